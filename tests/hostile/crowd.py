"""A crowd of clients that send one byte a second and come back when they are sent away, while two
good ones hand mail in, a new connection each time: one from loopback, one a stranger.

crowd.py PORT SECONDS CLIENTS SOURCES MANNER WARM
    SOURCES: how many addresses the crowd comes from
    WARM: seconds that the stranger waits: each of the crowd must have been slow once
    MANNER: what it sends: `line` a command without end, `noop` good commands, `data` a message

Prints for each good client: its name, mails taken, mails refused or failed, and milliseconds at
p50, p99 and most; then how often the crowd has connected. Needs 10.99.0.0/16 on a loopback interface of its own, where mote listens on
10.99.0.1 and 127.0.0.1.
"""

import errno
import selectors
import socket
import sys
import threading
import time

PORT, SECONDS, CLIENTS, SOURCES = map(int, sys.argv[1:5])
MANNER, WARM = sys.argv[5], int(sys.argv[6])
PRELUDE = b"EHLO crowd\r\nMAIL FROM:<a@crowd.test>\r\nRCPT TO:<b@mote.test>\r\nDATA\r\n"
TEXT = {"line": b"x" * 4000, "noop": b"NOOP\r\n" * 700, "data": PRELUDE + b"y" * 4000}[MANNER]
over = threading.Event()
counts = {"connections": 0, "bytes": 0}


class Slow:
    """One of the crowd."""

    def __init__(self, number):
        self.source = f"10.99.{1 + number % SOURCES // 250}.{1 + number % SOURCES % 250}"
        self.socket = None
        self.sent = 0

    def connect(self, selector):
        self.close(selector)
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.bind((self.source, 0))
        self.sent = 0
        counts["connections"] += 1
        if self.socket.connect_ex(("10.99.0.1", PORT)) not in (0, errno.EINPROGRESS):
            return self.close(selector)
        selector.register(self.socket, selectors.EVENT_READ, self)

    def close(self, selector):
        if self.socket is not None:
            try:
                selector.unregister(self.socket)
            except KeyError:
                pass
            self.socket.close()
            self.socket = None

    def hear(self, selector):
        """Its server has said something; True if it is still there."""
        try:
            if self.socket.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.connect(selector)

    def say(self, selector):
        if self.socket is None:
            return self.connect(selector)
        # What comes ahead of a message may come at once.
        count = len(PRELUDE) if MANNER == "data" and self.sent == 0 else 1
        try:
            sent = self.socket.send(TEXT[self.sent : self.sent + count])
            counts["bytes"] += sent
            self.sent += sent
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                self.connect(selector)


def crowd():
    selector = selectors.DefaultSelector()
    slow = [Slow(number) for number in range(CLIENTS)]
    for one in slow:
        one.connect(selector)
    at, begin = 0, time.monotonic()
    while not over.is_set():
        for key, _ in selector.select(0.005):
            key.data.hear(selector)
        # Each once a second, one after the other.
        due = int((time.monotonic() - begin) * CLIENTS)
        while at < due:
            slow[at % CLIENTS].say(selector)
            at += 1


def deliver(source, address):
    """One mail over a new connection; raises if it is not taken."""
    with socket.socket() as out:
        out.settimeout(30)
        out.bind((source, 0))
        out.connect((address, PORT))
        lines = out.makefile("rb")

        def expect(code):
            while True:
                line = lines.readline()
                if line[3:4] != b"-":
                    break
            if line[:3] != code:
                raise OSError(line.decode() or "closed")

        expect(b"220")
        for command, code in (
            (b"EHLO good.test", b"250"),
            (b"MAIL FROM:<good@client.test>", b"250"),
            (b"RCPT TO:<me@mote.test>", b"250"),
            (b"DATA", b"354"),
            (b"Subject: good\r\n\r\nHello.\r\n.", b"250"),
            (b"QUIT", b"221"),
        ):
            out.sendall(command + b"\r\n")
            expect(code)


def good(name, source, address, results):
    times, failures = [], {}
    while not over.is_set():
        begin = time.monotonic()
        try:
            deliver(source, address)
            times.append(1000 * (time.monotonic() - begin))
        except OSError as error:
            why = str(error).strip()
            failures[why] = failures.get(why, 0) + 1
        time.sleep(0.05)
    results[name] = (sorted(times), failures)


results = {}
threads = [
    threading.Thread(target=crowd),
    threading.Thread(target=good, args=("loopback", "127.0.0.1", "127.0.0.1", results)),
    threading.Thread(target=good, args=("stranger", "10.99.200.7", "10.99.0.1", results)),
]
threads[0].start()
time.sleep(3)
threads[1].start()
time.sleep(WARM)
threads[2].start()
time.sleep(SECONDS)
over.set()
for thread in threads:
    thread.join()
for name, (times, failures) in sorted(results.items()):
    at = lambda share: round(times[min(len(times) - 1, int(len(times) * share))]) if times else -1
    print(name, len(times), sum(failures.values()), at(0.5), at(0.99), at(1))
    for why, count in failures.items():
        print(f"  {count} times {why}", file=sys.stderr)
print("crowd", counts["connections"], counts["bytes"])
