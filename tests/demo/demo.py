#!/usr/bin/env python3
"""Mail through two instances of mote on loopback, then SIGKILL with 200 mails in flight.

    sendmail -t  ->  first (relay)  ->  second (Maildir)

First a mail with an attachment of 3 MB: its way in both logs, and its body compared byte for byte.
Then 200 mails of 1-64 KB, half by SMTP and half by sendmail; in the middle the first instance is
killed with SIGKILL and restarted. Every mail that was answered 250 or exit 0 must arrive.

usage: demo.py MOTE
"""

import collections
import os
import random
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time
from email.message import EmailMessage

MAILS = 200
KILL_AFTER = 60
ATTACHMENT = 3_000_000
RECIPIENT = "someone@example.net"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Instance:
    def __init__(self, mote, folder, name, relay):
        self.mote, self.name, self.port = mote, name, free_port()
        self.folder = os.path.join(folder, name)
        self.config = os.path.join(self.folder, "mote.conf")
        self.log = os.path.join(self.folder, "log")
        os.mkdir(self.folder)
        with open(self.config, "w") as file:
            file.write(
                f"hostname = {name}.test\nlisten = 127.0.0.1:{self.port}\nrelay = {relay}\n"
                f"spool = {self.folder}/spool\nrun = {self.folder}/run\nspool-size = 64M\n"
            )
        self.process = None

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [self.mote, "-C", self.config, "serve"], stdout=log, stderr=log
            )
        for _ in range(200):
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        sys.exit(f"{self.name} does not listen:\n{self.lines()}")

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def lines(self):
        with open(self.log, errors="replace") as file:
            return file.read()

    def sendmail(self, message, *arguments):
        command = [self.mote, "-C", self.config, "sendmail", *arguments]
        return subprocess.run(command, input=message, stderr=subprocess.PIPE)


def arrived(maildir):
    try:
        return [os.path.join(maildir, "new", name) for name in os.listdir(maildir + "/new")]
    except FileNotFoundError:
        return []


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def body(message):
    """What follows the header, with the line ends of the standard."""
    return message.replace(b"\r\n", b"\n").partition(b"\n\n")[2].replace(b"\n", b"\r\n")


def attachment(first, second, maildir, folder):
    mail = EmailMessage()
    mail["From"] = "sender@first.test"
    mail["To"] = RECIPIENT
    mail["Subject"] = "three megabytes"
    mail.set_content("The picture is attached.\n")
    data = random.Random(3).randbytes(ATTACHMENT)
    mail.add_attachment(data, maintype="application", subtype="octet-stream", filename="picture")
    message = mail.as_bytes()
    print(f"== {len(message)} bytes by sendmail -t")
    done = first.sendmail(message, "-t")
    print(f"exit {done.returncode} {done.stderr.decode(errors='replace')}".rstrip())
    if done.returncode != 0 or not wait_until(lambda: arrived(maildir), 30):
        print(first.lines(), second.lines(), sep="\n")
        sys.exit("the mail did not arrive")
    wait_until(lambda: "status=sent" in first.lines(), 5)
    for instance in (first, second):
        print(f"== log of {instance.name}")
        print(instance.lines(), end="")
    with open(arrived(maildir)[0], "rb") as file:
        bodies = {"sent": body(message), "arrived": body(file.read())}
    for name, text in bodies.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(text)
    equal = subprocess.run(["cmp", "sent", "arrived"], cwd=folder).returncode == 0
    print(f"== cmp sent arrived: {'equal' if equal else 'DIFFERENT'}, {len(bodies['sent'])} bytes")
    return equal


class Load:
    def __init__(self, instance):
        self.instance, self.lock = instance, threading.Lock()
        self.numbers = iter(range(1, MAILS + 1))
        self.acknowledged, self.unanswered = {}, []
        self.reached = threading.Event()

    def next(self):
        with self.lock:
            return next(self.numbers, None)

    def note(self, number, way):
        with self.lock:
            if way:
                self.acknowledged[number] = way
            else:
                self.unanswered.append(number)
            if len(self.acknowledged) >= KILL_AFTER:
                self.reached.set()

    def mail(self, number):
        size = random.Random(number).randrange(1024, 64 * 1024)
        line = "A line of a mail that must not be lost.\n"
        return (
            f"From: sender@first.test\nTo: {RECIPIENT}\nSubject: mail {number}\n"
            f"X-Number: {number}\n\n{line * (size // len(line))}"
        ).encode()

    def by_smtp(self):
        smtp = None
        while (number := self.next()) is not None:
            try:
                smtp = smtp or smtplib.SMTP("127.0.0.1", self.instance.port, timeout=20)
                mail = self.mail(number).replace(b"\n", b"\r\n")
                smtp.sendmail("sender@first.test", [RECIPIENT], mail)
                self.note(number, "250")
            except (OSError, smtplib.SMTPException):
                self.note(number, None)
                smtp = None
                time.sleep(0.3)

    def by_sendmail(self):
        while (number := self.next()) is not None:
            done = self.instance.sendmail(self.mail(number), "-t")
            self.note(number, "exit 0" if done.returncode == 0 else None)


def killed(first, maildir):
    print(f"== {MAILS} mails of 1-64 KB, half by SMTP, half by sendmail")
    load = Load(first)
    threads = [threading.Thread(target=way) for way in [load.by_smtp, load.by_sendmail] * 4]
    for thread in threads:
        thread.start()
    load.reached.wait(60)
    first.kill()
    here = len(arrived(maildir)) - 1
    print(f"SIGKILL after {len(load.acknowledged)} were answered, {here} of them had arrived")
    time.sleep(0.5)
    first.start()
    print("restarted")
    for thread in threads:
        thread.join()

    def times():
        counts = collections.Counter()
        for path in arrived(maildir):
            with open(path, "rb") as file:
                head = file.read(4096).replace(b"\r\n", b"\n")
            for line in head.split(b"\n"):
                if line.startswith(b"X-Number: "):
                    counts[int(line[10:])] += 1
        return counts

    wait_until(lambda: load.acknowledged.keys() <= times().keys(), 60)
    # Whatever comes a second time comes now.
    time.sleep(1)
    counts = times()
    lost = sorted(load.acknowledged.keys() - counts.keys())
    twice = sum(count - 1 for count in counts.values())
    ways = collections.Counter(load.acknowledged.values())
    answered = ", ".join(f"{count} by {way}" for way, count in sorted(ways.items()))
    print(f"answered: {len(load.acknowledged)} ({answered}); not answered: {len(load.unanswered)}")
    print(f"arrived:  {len(counts)}; lost: {len(lost)} {lost or ''}; duplicates: {twice}")
    return not lost


def main():
    mote = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="mote-demo-") as folder:
        maildir = os.path.join(folder, "Maildir")
        second = Instance(mote, folder, "second", f"maildir:{maildir}")
        first = Instance(mote, folder, "first", f"smtp://127.0.0.1:{second.port}")
        try:
            second.start()
            first.start()
            fine = attachment(first, second, maildir, folder) & killed(first, maildir)
        finally:
            first.kill()
            second.kill()
    sys.exit(0 if fine else 1)


main()
