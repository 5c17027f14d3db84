"""A next hop that speaks TLS by Python's ssl, well or badly, and writes down what it hears.

usage: tls_hop.py PORT FILE CERT KEY HOW [OPTION=VALUE...]

HOW is implicit, starttls, or what it does instead:
    plain      speaks SMTP where TLS was expected
    missing    offers no STARTTLS
    refuses    offers STARTTLS, and says 454 to it
    injects    puts a reply behind the one to STARTTLS, in the clear
    text       says 220 to STARTTLS, and goes on in the clear
    leaves     closes in the middle of the handshake; leaves-implicit likewise
    slow       gives its handshake byte by byte, one in two tenths of a second
    silent     says nothing at all; silent-tls nothing more behind the 220 to STARTTLS
    half       sends half of its handshake, and no more
    renews     sends TLS messages without text, without end
OPTION is versions=LEAST-MOST, ca=FILE (asks for a certificate of the client), auth=USER:PASSWORD.

Each line of FILE is a command; inside TLS there is a `tls ` before it, and `client NAME` tells whose
certificate was shown. A message is a line `message BYTES`.
"""

import base64
import socket
import ssl
import sys
import threading
import time

port, path, cert, key, how = sys.argv[1:6]
options = dict(option.split("=", 1) for option in sys.argv[6:])
notes = open(path, "w", buffering=1)
VERSIONS = {"1.1": ssl.TLSVersion.TLSv1_1, "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if "versions" in options:
        least, most = options["versions"].split("-")
        if least == "1.1":
            made.set_ciphers("ALL:@SECLEVEL=0")
        made.minimum_version, made.maximum_version = VERSIONS[least], VERSIONS[most]
    made.load_cert_chain(cert, key)
    if "ca" in options:
        made.load_verify_locations(options["ca"])
        made.verify_mode = ssl.CERT_REQUIRED
    return made


class Trickle:
    """Between a socket and the handshake, so that it comes slowly or not to its end."""

    def __init__(self, connection):
        self.connection = connection
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context().wrap_bio(self.incoming, self.outgoing, server_side=True)

    def shake(self):
        while True:
            try:
                self.tls.do_handshake()
                self.flush()
                return
            except ssl.SSLWantReadError:
                self.flush()
                data = self.connection.recv(4096)
                if not data:
                    raise ConnectionError("closed")
                self.incoming.write(data)

    def flush(self):
        data = self.outgoing.read()
        if not data:
            return
        if how == "leaves" or how == "leaves-implicit":
            self.connection.sendall(data[: len(data) // 2])
            raise ConnectionError("enough")
        if how == "half":
            self.connection.sendall(data[: len(data) // 2])
            time.sleep(60)
        for at in range(len(data)):
            self.connection.sendall(data[at : at + 1])
            time.sleep(0.2)


def secured(connection):
    if how in ("leaves", "leaves-implicit", "slow", "half"):
        Trickle(connection).shake()
        raise ConnectionError("the slow one is never finished")
    tls = context().wrap_socket(connection, server_side=True)
    shown = tls.getpeercert() if "ca" in options else None
    if shown:
        notes.write("client %s\n" % shown["subject"][0][0][1])
    return tls


def talk(connection, is_secure, greets=True):
    lines = connection.makefile("rb")
    say = lambda text: connection.sendall(text.encode() + b"\r\n")
    if greets:
        say("220 hop.test ESMTP")
    while True:
        line = lines.readline()
        if not line:
            return
        line = line.decode(errors="replace").strip()
        verb = line.split(" ")[0].upper()
        shown = "AUTH *" if verb == "AUTH" else line
        notes.write(("tls " if is_secure else "") + shown + "\n")
        if verb == "EHLO":
            offers = ["hop.test", "PIPELINING"]
            if not is_secure and how not in ("missing", "plain", "implicit"):
                offers.append("STARTTLS")
            # Before TLS, too: who is asked there must not answer.
            if "auth" in options:
                offers.append("AUTH PLAIN")
            say("\r\n".join("250-" + offer for offer in offers) + "\r\n250 HELP")
        elif verb == "STARTTLS" and how == "refuses":
            say("454 4.7.0 not now")
        elif verb == "STARTTLS" and how == "injects":
            say("220 2.0.0 go\r\n250-injected\r\n250 AUTH PLAIN")
        elif verb == "STARTTLS":
            say("220 2.0.0 go")
            if how == "text":
                say("250 2.0.0 and on in the clear")
                continue
            if how == "silent-tls":
                time.sleep(60)
            lines.detach()
            return talk(secured(connection), True, False)
        elif verb == "AUTH":
            given = base64.b64decode(line.split(" ")[2]).decode().split("\0")
            good = is_secure and given[1:] == options["auth"].split(":")
            say("235 2.7.0 welcome" if good else "535 5.7.8 no")
        elif verb == "DATA":
            say("354 go")
            size = 0
            while True:
                text = lines.readline()
                if not text or text == b".\r\n":
                    break
                size += len(text)
            notes.write("message %d\n" % size)
            say("250 2.0.0 taken")
        elif verb == "QUIT":
            say("221 2.0.0 bye")
            return
        else:
            say("250 2.0.0 ok")


def serve(connection):
    try:
        if how == "silent":
            time.sleep(60)
        elif how in ("implicit", "leaves-implicit"):
            talk(secured(connection), True)
        else:
            talk(connection, False)
    except (OSError, ValueError, KeyError) as error:
        print(error, flush=True)
    finally:
        # Whoever reads lines still has it; and what TLS has taken over is gone from here.
        if connection.fileno() >= 0:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        connection.close()


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(port)))
listener.listen(50)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
