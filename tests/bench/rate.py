"""Messages relayed: smtp-source → mote → smtp-sink, beside Postfix between the same two in one run.

usage: rate.py MOTE          MESSAGES=5000 ROUNDS=3 BYTES=1024
       rate.py MOTE calls    what system calls a relayed message costs, by strace -c (MESSAGES=1000)

Both have their queue on the same disk (CARGO_TARGET_DIR, or target), their defaults, and the peers
that tests/e2e/peers.sh unpacks; Postfix needs root. Rounds alternate who goes first; told are the
medians. A round lasts from the start of smtp-source until smtp-sink has the last message. CPU
seconds are those of all processes of a contender (utime and stime of /proc/PID/stat: mote's one;
Postfix's master, its living children, and those it has reaped), for 1000 messages.

The calls that are left, and why: smtp-source makes a connection for each message and waits for each
answer, so this is the most that a message costs; it was 38 with one session and 30 with 32.

- coming in: accept4, and with one session one in vain, which tells that nobody else waits; two
  setsockopt (TCP_NODELAY, SO_KEEPALIVE), epoll_ctl, close. Seven sendto, one for each answer. Six
  recvfrom for what it says in six segments, one in vain before the greeting, since devices speak
  without waiting for it, and one that finds it gone.
- the disk: one pwrite64 of the message's block; one fdatasync before its 250, shared by all that end
  in one turn; one pread64 to send it and one when that is over, for the log's line, since no
  envelope is kept in memory. Who is done is written once for some sixteen messages.
- going out, by a connection that stays open: MAIL, RCPT and DATA in one sendto, the message with its
  dot in another, and a recvfrom for the answers to each.
- waiting: an epoll_wait for each turn of the loop. With 32 sessions a turn serves several.
- the log: a write for each of its two lines.
- clocks are read without a system call.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "../../target"))
PEERS = os.path.abspath(os.path.join(HERE, "../../target/peers/bin"))
MESSAGES = int(os.environ.get("MESSAGES", "5000"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))
BYTES = int(os.environ.get("BYTES", "1024"))
TICKS = os.sysconf("SC_CLK_TCK")
PORT = 12000 + os.getpid() % 4000 * 4


def stat(pid):
    """Parent, own ticks, ticks of reaped children."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])


class Sink:
    """smtp-sink, and how many messages it has taken so far."""

    def __init__(self, port):
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        command = [f"{PEERS}/smtp-sink", *user, "-c", f"127.0.0.1:{port}", "1024"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.count = 0
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        rest = b""
        while chunk := os.read(self.process.stdout.fileno(), 65536):
            rest = (rest + chunk)[-4096:]
            if found := re.findall(rb"mesg=(\d+)\r", rest):
                self.count = int(found[-1])


class Mote:
    name = "mote"

    def __init__(self, binary, folder, port, sink, traced=None):
        self.port = port
        self.log = open(f"{folder}/log", "wb")
        config = f"{folder}/mote.conf"
        with open(config, "w") as file:
            file.write(f"hostname = rate.test\nlisten = 127.0.0.1:{port}\nsessions = 40\n"
                       f"relay = smtp://127.0.0.1:{sink}\n"
                       f"spool = {folder}/spool\nrun = {folder}/run\nspool-size = 128M\n")
        command = [binary, "-C", config, "serve"]
        if traced:
            command = ["strace", "-D", "-f", "-c", "-qq", "-o", traced, *command]
        self.process = subprocess.Popen(command, stderr=self.log)

    def ticks(self):
        return stat(self.process.pid)[1]

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Postfix:
    name = "Postfix"

    def __init__(self, folder, port, sink):
        self.port = port
        self.log = open(f"{folder}/log", "wb")
        script = os.path.join(HERE, "../e2e/postfix.sh")
        environment = dict(os.environ, RELAYHOST=f"[127.0.0.1]:{sink}")
        self.process = subprocess.Popen(
            ["sh", script, folder, str(port)], stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=self.log, env=environment, start_new_session=True)

    def ticks(self):
        _, total, reaped = stat(self.process.pid)
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    parent, own, theirs = stat(entry)
                except OSError:
                    continue
                if parent == self.process.pid:
                    total += own + theirs
        return total + reaped

    def stop(self):
        subprocess.run(["sh", "-c", f"kill -s TERM -- -{self.process.pid}"])
        self.process.wait()


def wait_for(port):
    import socket
    for _ in range(300):
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as peer:
                peer.recv(100)
                peer.sendall(b"QUIT\r\n")
                peer.recv(100)
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port}")


def relay(contender, sink, sessions, messages):
    """Seconds, and CPU seconds for 1000."""
    before, goal, start = contender.ticks(), sink.count + messages, time.monotonic()
    subprocess.run(
        [f"{PEERS}/smtp-source", "-s", str(sessions), "-m", str(messages), "-l", str(BYTES), "-f",
         "me@rate.test", "-t", "you@example.net", f"127.0.0.1:{contender.port}"], check=True)
    while sink.count < goal:
        if time.monotonic() - start > 600:
            raise SystemExit(f"{contender.name}: {goal - sink.count} messages have not arrived")
        time.sleep(0.002)
    seconds = time.monotonic() - start
    time.sleep(0.2)
    return seconds, (contender.ticks() - before) / TICKS / messages * 1000


def compare(binary, folder, sink):
    contenders = [Mote(binary, f"{folder}/mote", PORT + 1, PORT)]
    if os.getuid() == 0:
        contenders.append(Postfix(f"{folder}/postfix", PORT + 2, PORT))
    else:
        print("skipped: Postfix must be started as root")
    try:
        for contender in contenders:
            wait_for(contender.port)
            relay(contender, sink, 4, 100)
        print("| sessions | | messages/s | CPU s / 1000 |\n|---|---|---|---|")
        for sessions in (1, 32):
            results = {contender.name: [] for contender in contenders}
            for number in range(ROUNDS):
                for contender in contenders[:: 1 if number % 2 == 0 else -1]:
                    results[contender.name].append(relay(contender, sink, sessions, MESSAGES))
            for name, rounds in results.items():
                rate = MESSAGES / statistics.median(seconds for seconds, _ in rounds)
                cpu = statistics.median(cpu for _, cpu in rounds)
                print(f"| {sessions} | {name} | {rate:.0f} | {cpu:.2f} |", flush=True)
    finally:
        for contender in contenders:
            contender.stop()


def traced(binary, folder, sink, sessions, messages):
    """Calls by name: how many, and how many of them in vain."""
    place, table = tempfile.mkdtemp(dir=folder), f"{folder}/calls"
    # Filling the image belongs to no message.
    for trace in (None, table):
        mote = Mote(binary, place, PORT + 1, PORT, traced=trace)
        try:
            wait_for(mote.port)
            if trace and messages:
                relay(mote, sink, sessions, messages)
        finally:
            mote.stop()
    for _ in range(100):
        if os.path.exists(table) and "total" in open(table).read():
            break
        time.sleep(0.1)
    found = {}
    for line in open(table):
        words = line.split()
        if len(words) >= 5 and words[3].isdigit():
            in_vain = int(words[4]) if words[4].isdigit() else 0
            found[words[-1]] = (int(words[3]), in_vain)
    os.remove(table)
    return found


def calls(binary, folder, sink):
    messages = int(os.environ.get("MESSAGES", "1000"))
    still = traced(binary, folder, sink, 1, 0)
    for sessions in (1, 32):
        print(f"\n{sessions} sessions, calls for each of {messages} messages:")
        for name, (count, in_vain) in traced(binary, folder, sink, sessions, messages).items():
            before, vain_before = still.get(name, (0, 0))
            count, in_vain = (count - before) / messages, (in_vain - vain_before) / messages
            if count >= 0.02:
                vain = f", {in_vain:.2f} of them in vain" if in_vain >= 0.02 else ""
                print(f"  {name:16} {count:6.2f}{vain}")


def main():
    for peer in ("smtp-sink", "smtp-source"):
        if not os.path.exists(f"{PEERS}/{peer}"):
            raise SystemExit(f"missing: {peer}; run tests/e2e/peers.sh")
    os.makedirs(TARGET, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="rate.", dir=os.path.abspath(TARGET))
    os.chmod(folder, 0o755)
    for name in ("mote", "postfix"):
        os.mkdir(f"{folder}/{name}")
    sink = Sink(PORT)
    try:
        wait_for(PORT)
        (calls if "calls" in sys.argv[2:] else compare)(os.path.abspath(sys.argv[1]), folder, sink)
    finally:
        sink.process.terminate()
        sink.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


main()
