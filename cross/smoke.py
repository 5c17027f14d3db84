#!/usr/bin/env python3
"""The ways of mail through a mote that is run by an emulator, or through any other mote.

usage: smoke.py [--native MOTE] [--no-tls] WORDS...

WORDS are how mote is run: qemu-arm -cpu cortex-a7 PATH. Times 2040, mail in by SMTP, STARTTLS, TLS and
sendmail, kill -9 under load, recovery, sending on (by a verified STARTTLS, too), sendmail while nothing
runs, and mail hosts by a name server of this script's. With --native a queue that one machine has
written is read by the other, and the other way round.

Python's ssl (OpenSSL) is the peer for TLS. Everything is on 127.0.0.0/8. Mail hosts listen on
port 25, so that part is skipped, and says so, where this user may not. Ends with 1 at the first thing
that does not hold.
"""

import argparse
import collections
import os
import re
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

# An emulated processor beside other work is slow.
PATIENCE = 90


def wait_until(what, condition, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.05)
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def mail(number, size=2000):
    line = f"line of mail {number}, which must not be lost\r\n"
    body = ".begins with a dot\r\n" + line * (size // len(line))
    return f"From: a@first.test\r\nTo: b@example.test\r\nX-Number: {number}\r\n\r\n{body}".encode()


def number_of(message):
    found = re.search(rb"^X-Number: (\d+)\r?$", message, re.M)
    return int(found.group(1)) if found else None


def body_of(message):
    return message.replace(b"\r\n", b"\n").partition(b"\n\n")[2]


class Sink:
    """A next hop: counts the mails by number, and compares their bodies."""

    def __init__(self, address, port, context=None):
        self.context, self.arrived, self.bad = context, collections.Counter(), []
        self.encrypted, self.lock = 0, threading.Lock()
        self.listener = socket.create_server((address, port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                peer = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        try:
            self.talk(peer)
        except (OSError, ValueError):
            pass
        finally:
            peer.close()

    def talk(self, peer):
        lines, secure = peer.makefile("rb"), False
        peer.sendall(b"220 sink.test ESMTP\r\n")
        while line := lines.readline():
            verb = line.split()[0].upper()
            if verb == b"EHLO":
                offer = b"250-STARTTLS\r\n" if self.context and not secure else b""
                peer.sendall(b"250-sink.test\r\n" + offer + b"250 8BITMIME\r\n")
            elif verb == b"STARTTLS" and self.context:
                peer.sendall(b"220 go\r\n")
                peer = self.context.wrap_socket(peer, server_side=True)
                lines, secure = peer.makefile("rb"), True
            elif verb == b"DATA":
                peer.sendall(b"354 go\r\n")
                content = []
                while (line := lines.readline()) != b".\r\n":
                    if not line:
                        return
                    content.append(line[1:] if line.startswith(b".") else line)
                self.take(b"".join(content), secure)
                peer.sendall(b"250 taken\r\n")
            elif verb == b"QUIT":
                peer.sendall(b"221 bye\r\n")
                return
            else:
                peer.sendall(b"250 ok\r\n")

    def take(self, message, secure):
        number = number_of(message)
        with self.lock:
            self.arrived[number] += 1
            self.encrypted += secure
            if number is None or not any(
                body_of(message) == body_of(mail(number, size)) for size in (2000, 60_000)
            ):
                self.bad.append(number)


class NameServer:
    """Answers MX of example.test, and A of its host (RFC 1035 §4.1)."""

    def __init__(self, host_address):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port, self.address = self.socket.getsockname()[1], host_address
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            question, peer = self.socket.recvfrom(512)
            end = question.index(b"\0", 12) + 5
            kind = int.from_bytes(question[end - 4 : end - 2], "big")
            name = question[12 : end - 4].lower()
            data = None
            if kind == 15 and name == b"\x07example\x04test\0":
                data = b"\0\x0a\x02mx\xc0\x0c"
            elif kind == 1 and name == b"\x02mx\x07example\x04test\0":
                data = socket.inet_aton(self.address)
            head = question[:2] + b"\x85\x80\0\1" + (b"\0\1" if data else b"\0\0") + b"\0\0\0\0"
            answer = head + question[12:end]
            if data:
                rest = kind.to_bytes(2, "big") + b"\0\1\0\0\0\x3c" + len(data).to_bytes(2, "big")
                answer += b"\xc0\x0c" + rest + data
            self.socket.sendto(answer, peer)


class Mote:
    """One folder, and the process that serves it."""

    def __init__(self, words, folder, config):
        self.words, self.folder, self.process = words, folder, None
        os.makedirs(folder, exist_ok=True)
        self.ports = [free_port() for _ in range(3)]
        self.configure(config)

    def configure(self, lines):
        with open(self.path("mote.conf"), "w") as file:
            file.write(
                f"hostname = first.test\nlisten = 127.0.0.1:{self.ports[0]}\nretry = 1s\n"
                f"spool = {self.folder}/spool\nrun = {self.folder}/run\nspool-size = 4M\n{lines}\n"
            )

    def path(self, name):
        return os.path.join(self.folder, name)

    def command(self, *arguments):
        return [*self.words, "-C", self.path("mote.conf"), *arguments]

    def run(self, *arguments, **options):
        return subprocess.run(
            self.command(*arguments), capture_output=True, timeout=PATIENCE, **options
        )

    def log(self):
        with open(self.path("log"), errors="replace") as file:
            return file.read()

    def start(self):
        with open(self.path("log"), "a") as log:
            command = self.command("serve")
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

        def listens():
            assert self.process.poll() is None, f"mote ended at its start:\n{self.log()}"
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.ports[0])) == 0

        wait_until("mote listens", listens)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def leave(self):
        self.process.terminate()
        self.process.wait(PATIENCE)

    def sendmail(self, number):
        message = mail(number).replace(b"\r\n", b"\n")
        return self.run("sendmail", "-i", "b@example.test", input=message)


def certificates(folder):
    """A root, and what it has signed for localhost."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)

    new = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl(*new, "-x509", "-days", "3000", "-subj", "/CN=root", "-keyout", "ca.key", "-out", "ca.crt")
    openssl(*new, "-subj", "/CN=localhost", "-keyout", "host.key", "-out", "host.csr")
    with open(os.path.join(folder, "extensions"), "w") as file:
        file.write("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", "host.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "3000", "-extfile", "extensions", "-out", "host.crt")
    return [os.path.join(folder, name) for name in ("ca.crt", "host.crt", "host.key")]


class Smoke:
    def __init__(self, options, folder):
        self.words, self.options, self.folder = options.words, options, folder
        self.tls = not options.no_tls
        self.motes = []
        if self.tls:
            self.root, self.certificate, self.key = certificates(folder)

    def mote(self, name, config, words=None):
        mote = Mote(words or self.words, os.path.join(self.folder, name), config)
        self.motes.append(mote)
        return mote

    def times(self):
        """With 32 bits for the seconds, 2040 is 1903, and that file would be litter."""
        mote = self.mote("times", f"relay = maildir:{self.folder}/times/Maildir")
        for name in ("cur", "new", "tmp"):
            os.makedirs(mote.path(f"Maildir/{name}"))
        mote.start()
        # A name as mote makes them: that of a mail which it has delivered.
        with smtplib.SMTP("127.0.0.1", mote.ports[0], timeout=PATIENCE) as smtp:
            smtp.sendmail("a@first.test", ["b@example.test"], mail(1))
        name = wait_until("delivery", lambda: os.listdir(mote.path("Maildir/new")))[0]
        mote.kill()
        first, _, rest = name.partition(".")
        later, earlier = [mote.path(f"Maildir/tmp/{int(first) + n}.{rest}.0") for n in (1, 2)]
        for path, when in ((later, 2_208_988_800), (earlier, 1_577_836_800)):
            with open(path, "w"):
                pass
            os.utime(path, (when, when))
        mote.start()
        wait_until("litter of 2020 goes", lambda: not os.path.exists(earlier))
        time.sleep(0.5)
        assert os.path.exists(later), "a file dated 2040 was taken for an old one: 32-bit time_t"
        mote.kill()
        return "a file of 2040 stays, one of 2020 goes"

    def through(self):
        """In by every way, killed under load, and out by the surest way there is."""
        context = None
        if self.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, self.key)
        dead = free_port()
        listeners = ""
        mote = self.mote("through", f"relay = smtp://127.0.0.1:{dead}")
        if self.tls:
            for port, way in zip(mote.ports[1:], ("starttls", "implicit")):
                listeners += (
                    f"[listen {way}]\naddress = 127.0.0.1:{port}\ntls = {way}\n"
                    f"cert = {self.certificate}\nkey = {self.key}\n"
                )
        mote.configure(f"relay = smtp://127.0.0.1:{dead}\n{listeners}")
        mote.start()
        taken = set()

        def submit(smtp, numbers, size=2000):
            for number in numbers:
                smtp.sendmail("a@first.test", ["b@example.test"], mail(number, size))
                taken.add(number)

        with smtplib.SMTP("127.0.0.1", mote.ports[0], timeout=PATIENCE) as smtp:
            submit(smtp, range(100, 110))
            submit(smtp, range(110, 115), 60_000)
        if self.tls:
            client = ssl.create_default_context(cafile=self.root)
            with smtplib.SMTP("localhost", mote.ports[1], timeout=PATIENCE) as smtp:
                smtp.starttls(context=client)
                submit(smtp, range(200, 205))
            client.maximum_version = ssl.TLSVersion.TLSv1_2
            with smtplib.SMTP_SSL("localhost", mote.ports[2], timeout=PATIENCE, context=client) as smtp:
                submit(smtp, range(300, 305), 60_000)
        for number in range(400, 403):
            done = mote.sendmail(number)
            assert done.returncode == 0, done.stderr
            taken.add(number)
        listed = mote.run("mailq")
        assert listed.returncode == 0, listed.stderr

        def load():
            try:
                with smtplib.SMTP("127.0.0.1", mote.ports[0], timeout=PATIENCE) as smtp:
                    submit(smtp, range(500, 2000))
            except (OSError, smtplib.SMTPException):
                pass

        thread = threading.Thread(target=load)
        thread.start()
        wait_until("load", lambda: len(taken) > 60)
        mote.kill()
        thread.join()
        for number in range(450, 453):
            done = mote.sendmail(number)
            assert done.returncode == 0, done.stderr
            taken.add(number)

        sink = Sink("127.0.0.1", 0, context)
        relay, way = f"smtp://127.0.0.1:{sink.port}", "in the clear"
        if self.tls:
            relay = f"starttls://localhost:{sink.port}"
            listeners = f"ca = {self.root}\n{listeners}"
            way = "by STARTTLS, verified"
        mote.configure(f"relay = {relay}\n{listeners}")
        mote.start()
        wait_until("all arrive", lambda: taken <= sink.arrived.keys())
        assert not sink.bad, f"wrong: {sink.bad}"
        twice = sum(sink.arrived.values()) - len(sink.arrived)
        # One more than was answered: the mail on which the kill fell.
        assert twice == 0 and len(sink.arrived) <= len(taken) + 1, sink.arrived
        if way != "in the clear":
            assert sink.encrypted == sum(sink.arrived.values())
            self.unverified(mote, sink, f"relay = {relay}\n{listeners}")
        mote.leave()
        return f"{len(taken)} taken, kill -9, all sent on {way}, none twice"

    def unverified(self, mote, sink, lines):
        """A certificate for another name holds the mail."""
        before = sum(sink.arrived.values())
        mote.leave()
        mote.configure(lines.replace("//localhost", "//127.0.0.2"))
        strange = Sink("127.0.0.2", sink.port, sink.context)
        mote.start()
        assert mote.sendmail(460).returncode == 0
        wait_until("a wrong name is refused", lambda: "certificate for localhost" in mote.log())
        assert not strange.arrived and sum(sink.arrived.values()) == before
        strange.listener.close()
        mote.leave()
        mote.configure(lines)
        mote.start()
        wait_until("held mail goes", lambda: 460 in sink.arrived)

    def hosts(self):
        """relay = mx, by a name server on loopback."""
        try:
            sink = Sink("127.9.8.7", 25)
        except OSError as error:
            return f"skipped: no port 25 for this user ({error})"
        server = NameServer("127.9.8.7")
        mote = self.mote("hosts", f"relay = mx\nresolver = 127.0.0.1:{server.port}")
        mote.start()
        with smtplib.SMTP("127.0.0.1", mote.ports[0], timeout=PATIENCE) as smtp:
            smtp.sendmail("a@first.test", ["b@example.test"], mail(600))
        wait_until("mail by MX", lambda: sink.arrived[600])
        sink.listener.close()
        mote.kill()
        return "sent to the MX of example.test"

    def images(self):
        """A queue written here, read on the native machine and delivered from there; and back."""
        told = []
        ways = [("there", self.words, [self.options.native]), ("back", [self.options.native], self.words)]
        for name, writer, reader in ways:
            hold = "relay = smtp://127.0.0.1:1"
            mote = self.mote(name, hold, writer)
            mote.start()
            numbers = set(range(700, 720))
            with smtplib.SMTP("127.0.0.1", mote.ports[0], timeout=PATIENCE) as smtp:
                for number in numbers:
                    smtp.sendmail("a@first.test", ["b@example.test"], mail(number, 60_000))
            mote.kill()
            mote.words = reader
            checked = mote.run("spool", "check")
            assert checked.returncode == 0, checked.stdout + checked.stderr
            listed = mote.run("mailq").stdout
            assert listed.count(b"b@example.test") == len(numbers), listed
            sink = Sink("127.0.0.1", 0)
            mote.configure(f"relay = smtp://127.0.0.1:{sink.port}")
            mote.start()
            wait_until("all arrive", lambda: numbers <= sink.arrived.keys())
            assert not sink.bad and set(sink.arrived.values()) == {1}, (sink.bad, sink.arrived)
            mote.kill()
            told.append(f"{len(numbers)} {name}")
        return "written by one machine, read and sent by the other: " + ", ".join(told)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--native", help="a mote of this machine, to exchange queues with")
    parser.add_argument("--no-tls", action="store_true", help="a build without TLS")
    parser.add_argument("words", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mote-smoke-") as folder:
        smoke = Smoke(options, folder)
        parts = [smoke.times, smoke.through, smoke.hosts] + [smoke.images] * bool(options.native)
        try:
            for part in parts:
                began = time.monotonic()
                print(f"  {part.__name__}: {part()} ({time.monotonic() - began:.1f} s)", flush=True)
        except (AssertionError, OSError, smtplib.SMTPException, subprocess.SubprocessError) as error:
            print(f"  {part.__name__}: FAILED: {error}")
            for mote in smoke.motes[-1:]:
                print(mote.log()[-3000:] if os.path.exists(mote.path("log")) else "no log")
            return 1
        finally:
            for mote in smoke.motes:
                mote.kill()
    return 0


sys.exit(main())
