"""Sends bodies of every size over one connection, and hashes bodies that arrived.

usage: bodies.py send PORT COUNT RECIPIENT   prints number and SHA-256 of each body acknowledged
       bodies.py sums FOLDER                 prints the same for the messages in a folder
"""

import hashlib
import math
import os
import random
import smtplib
import sys

LARGEST = 1_000_000
BYTES = bytes(byte for byte in range(1, 256) if byte not in b"\r\n")
TABLE = bytes(BYTES[byte % len(BYTES)] for byte in range(256))


def body(size, rng):
    """Exactly so many bytes in lines of up to 998, many of which begin with dots."""
    lines, left = [], size
    while left > 0:
        length = min(rng.choice((0, 1, 60, 76, 998, rng.randrange(999))), left)
        line = rng.randbytes(length).translate(TABLE)
        # aiosmtpd counts the doubled dot as part of the line, so a full one begins otherwise.
        if line[:1] == b"." and length == 998:
            line = b"x" + line[1:]
        elif 0 < length < 998 and rng.random() < 0.25:
            line = b"." + line[1:]
        lines.append(line)
        left -= length + 2
    text = (b"\r\n".join(lines) + b"\r\n")[:size]
    if text.endswith(b"\r"):
        # Cut in the middle of a line end: no bare CR may be left, no line may grow past 998.
        text = text[:-3] + b"\r\nx" if len(lines[-1]) == 998 else text[:-1] + b"x"
    return text


def send(port, count, recipient):
    rng = random.Random(5321)
    sizes = [1, 2, 3, 4095, 4096, 4097, LARGEST]
    sizes += [int(math.exp(rng.uniform(0, math.log(LARGEST)))) for _ in range(count - len(sizes))]
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.test") as smtp:
        for number, size in enumerate(sizes[:count]):
            text = body(size, rng)
            # What SMTP carries always ends with a line end.
            text = text if text.endswith(b"\r\n") else text + b"\r\n"
            header = (
                f"From: sender@client.test\r\nTo: {recipient}\r\nSubject: body {number}\r\n"
                f"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <{number}@client.test>\r\n"
                f"X-Number: {number}\r\n\r\n"
            )
            smtp.sendmail(
                "sender@client.test", [recipient], header.encode() + text, ["BODY=8BITMIME"]
            )
            print(number, hashlib.sha256(text).hexdigest())


def sums(folder):
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            # A Maildir may hold either line end; as it was sent, each was CRLF.
            message = file.read().replace(b"\r\n", b"\n")
        header, _, text = message.partition(b"\n\n")
        fields = [line for line in header.split(b"\n") if line.lower().startswith(b"x-number:")]
        print(int(fields[0][9:]), hashlib.sha256(text.replace(b"\n", b"\r\n")).hexdigest())


if sys.argv[1] == "send":
    send(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
else:
    sums(sys.argv[2])
