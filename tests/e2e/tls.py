"""Peers for the TLS tests: python3 tls.py WHAT PORT [COUNT]. Whoever is ready says so, and waits.

hold   COUNT sessions inside TLS from the first byte, which have said EHLO and are idle
greet  the same in the clear
hello  COUNT connections that have sent the first flight of a handshake, and stop there
half   COUNT connections, each from an address of its own, with half a record
shown  prints the certificate that is shown there
"""

import socket
import ssl
import sys

what, port = sys.argv[1], int(sys.argv[2])
count = int(sys.argv[3]) if len(sys.argv) > 3 else 1
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
held = []


def connect(source="127.0.0.1"):
    return socket.create_connection(("127.0.0.1", port), 30, (source, 0))


def greet(connection):
    connection.recv(1000)
    connection.sendall(b"EHLO client.test\r\n")
    connection.recv(1000)


if what == "shown":
    print(ssl.get_server_certificate(("127.0.0.1", port)), end="")
    sys.exit()
for number in range(count):
    if what == "half":
        connection = connect(f"127.1.0.{number + 1}")
        # A ClientHello of 256 bytes, but for 255 of them.
        connection.sendall(b"\x16\x03\x01\x01\x00\x01")
    elif what == "hello":
        connection = connect()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing)
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        connection.sendall(outgoing.read())
        # The server's answer is on its way, so it has done its part.
        connection.recv(1, socket.MSG_PEEK)
    elif what == "hold":
        connection = context.wrap_socket(connect())
        greet(connection)
    else:
        connection = connect()
        greet(connection)
    held.append(connection)
print("ready", flush=True)
sys.stdin.read()
