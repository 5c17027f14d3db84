"""What a long queue costs: thousands of messages that a next hop has put off.

usage: scale.py MOTE [COUNT…]     10000 and 100000 by default

The next hop here answers 451 to every RCPT, so each message is attempted and waits for its next
try. Told for each COUNT, beside the same spool with an empty queue: seconds from exec to the end of
the scan (the log's line) and to the first 220, RssAnon for each message, messages a second taken
from 8 sessions that wait for each 250 (rounds alternate between a long queue and an empty one; the
median of their ratios), the processor's time that took, and what a round of putting off writes to the disk (write_bytes of
/proc/PID/io; the log goes to a pipe). The spool lies in CARGO_TARGET_DIR, or target: a real disk.
"""

import os
import re
import shutil
import signal
import socket
import socketserver
import statistics
import subprocess
import sys
import tempfile
import threading
import time

TEXT = b"Subject: scale\r\nX-Filler: " + b"x" * 60 + b"\r\n\r\n" + b"0123456789 0123456789\r\n" * 40
ROUNDS = int(os.environ.get("ROUNDS", "5"))
ROUND_MESSAGES = 2000
SESSIONS = 8


class NextHop(socketserver.StreamRequestHandler):
    """Takes EHLO and MAIL, puts off every RCPT."""

    disable_nagle_algorithm = True

    def handle(self):
        try:
            self.wfile.write(b"220 next.hop ESMTP\r\n")
            for line in self.rfile:
                word = line[:4].upper()
                if word == b"EHLO":
                    self.wfile.write(b"250-next.hop\r\n250 PIPELINING\r\n")
                elif word == b"RCPT":
                    with self.server.lock:
                        self.server.refused += 1
                    self.wfile.write(b"451 4.2.1 later\r\n")
                elif word == b"DATA":
                    self.wfile.write(b"503 5.5.1 nobody to send to\r\n")
                elif word == b"QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                else:
                    self.wfile.write(b"250 ok\r\n")
        except OSError:
            pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def next_hop():
    server = Server(("127.0.0.1", 0), NextHop)
    server.lock = threading.Lock()
    server.refused = 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Mote:
    """One daemon, its spool, and what it says."""

    def __init__(self, program, folder, hop_port, count):
        self.program, self.folder, self.port = program, folder, free_port()
        os.makedirs(folder, exist_ok=True)
        size = ((count + (ROUNDS + 1) * ROUND_MESSAGES) * 108 // 100 + 4000) * 4
        with open(f"{folder}/mote.conf", "w") as config:
            config.write(
                f"hostname = scale.test\nlisten = 127.0.0.1:{self.port}\n"
                f"relay = smtp://127.0.0.1:{hop_port}\nspool = {folder}/spool\n"
                f"run = {folder}/run\nspool-size = {size}K\nmessage-size = 1M\n"
                "sessions = 20\nretry = 1d\n"
            )
        self.process = None

    def start(self):
        """Seconds to the end of the scan, and to the first 220."""
        begin = time.monotonic()
        self.process = subprocess.Popen(
            [self.program, "-C", f"{self.folder}/mote.conf", "serve"], stderr=subprocess.PIPE
        )
        scanned = threading.Event()
        self.scan = None
        threading.Thread(target=self.listen, args=(begin, scanned), daemon=True).start()
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 60) as connection:
                    assert connection.recv(3) == b"220"
                    greeted = time.monotonic() - begin
                    break
            except ConnectionRefusedError:
                assert self.process.poll() is None, "mote has ended"
                time.sleep(0.002)
        assert scanned.wait(60), "the log does not tell of the spool"
        return self.scan, greeted

    def listen(self, begin, scanned):
        for line in self.process.stderr:
            if b" messages, epoch" in line and self.scan is None:
                self.scan = time.monotonic() - begin
                scanned.set()

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def number(self, file, field):
        with open(f"/proc/{self.process.pid}/{file}") as text:
            return int(re.search(rf"^{field}:\s*(\d+)", text.read(), re.M)[1])

    def work(self):
        """Seconds of a processor so far."""
        with open(f"/proc/{self.process.pid}/stat") as text:
            fields = text.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def flush(self):
        run = [self.program, "-C", f"{self.folder}/mote.conf", "flush"]
        subprocess.run(run, check=True)

    def fill(self, count):
        threads = []
        for session in range(SESSIONS):
            share = count // SESSIONS + (session < count % SESSIONS)
            threads.append(threading.Thread(target=send, args=(self.port, share)))
        begin = time.monotonic()
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        return count / (time.monotonic() - begin)


def send(port, count):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        replies = connection.makefile("rb")
        replies.readline()
        connection.sendall(b"EHLO scale\r\n")
        while replies.readline()[3:4] == b"-":
            pass
        for _ in range(count):
            connection.sendall(b"MAIL FROM:<a@scale.test>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
            for expected in (b"250", b"250", b"354"):
                reply = replies.readline()
                assert reply[:3] == expected, reply
            connection.sendall(TEXT + b".\r\n")
            reply = replies.readline()
            assert reply[:3] == b"250", reply
        connection.sendall(b"QUIT\r\n")


def settle(hop):
    """Waits until the next hop is asked no more; the number of refusals by then."""
    before, quiet = -1, time.monotonic()
    while time.monotonic() - quiet < 3:
        time.sleep(0.1)
        if hop.refused != before:
            before, quiet = hop.refused, time.monotonic()
    return before


def measure(program, folder, count):
    hop = next_hop()
    long = Mote(program, f"{folder}/long", hop.server_address[1], count)
    empty = Mote(program, f"{folder}/empty", hop.server_address[1], count)
    long.start()
    fill_rate = long.fill(count)
    settle(hop)
    long.stop()
    empty.start()
    empty.stop()

    empty_scan, empty_greeted = empty.start()
    anon_empty = empty.number("status", "RssAnon")
    scan, greeted = long.start()
    before = hop.refused
    attempts = settle(hop) - before
    anon = long.number("status", "RssAnon")
    time.sleep(6)  # Marks, if there were any, would have been written after five seconds.
    written, syncs_before = long.number("io", "write_bytes"), hop.refused
    long.flush()
    again = settle(hop) - syncs_before
    time.sleep(6)
    written = long.number("io", "write_bytes") - written

    ratios, rates, works = [], [], []
    for number in range(ROUNDS):
        rate, work = {}, {}
        # Each goes first in every other round: what the disk does meanwhile hits both.
        for mote in (long, empty) if number % 2 else (empty, long):
            before = mote.work()
            rate[mote] = mote.fill(ROUND_MESSAGES)
            settle(hop)
            work[mote] = mote.work() - before
        ratios.append(rate[long] / rate[empty])
        rates.append((rate[long], rate[empty]))
        works.append((work[long], work[empty]))
        # The other queue is emptied, so that it is empty in the next round too.
        ask = [program, "-C", f"{empty.folder}/mote.conf", "queue", "rm", "all"]
        subprocess.run(ask, check=True)
    long.stop()
    empty.stop()
    hop.shutdown()
    rate, beside = (statistics.median(column) for column in zip(*rates))
    work, work_beside = (statistics.median(column) for column in zip(*works))
    print(f"{count} messages put off (filled at {fill_rate:.0f}/s; first round {attempts} attempts)")
    print(f"  scan       {scan:.3f} s   empty {empty_scan:.3f} s")
    print(f"  first 220  {greeted:.3f} s   empty {empty_greeted:.3f} s")
    print(f"  RssAnon    {anon} KiB, empty {anon_empty} KiB: "
          f"{(anon - anon_empty) * 1024 / count:.1f} bytes a message")
    print(f"  accepted   {rate:.0f}/s beside {beside:.0f}/s: ratio {statistics.median(ratios):.3f}")
    print(f"  work       {work * 1000:.0f} ms of a processor for {ROUND_MESSAGES} accepted and put off, "
          f"beside {work_beside * 1000:.0f} ms")
    print(f"  put off    {again} once more: {written} bytes written", flush=True)


def main():
    program = os.path.abspath(sys.argv[1])
    counts = [int(word) for word in sys.argv[2:]] or [10_000, 100_000]
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    os.makedirs(target, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="scale.", dir=target)
    try:
        for count in counts:
            measure(program, os.path.abspath(f"{folder}/{count}"), count)
    finally:
        shutil.rmtree(folder)


main()
