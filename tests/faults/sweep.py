#!/usr/bin/env python3
"""The real binary, killed and hurt at each of its system calls.

usage: sweep.py MOTE [--every N] [--only kill|error|sticky|short|full]

A client hands in fifty mails by SMTP and a few lie in the drop directory, while a next hop takes
what it gets. Under strace the daemon is

  kill    killed before its n-th pwrite, fdatasync, fsync, rename or unlink, for every n;
  error   told once, at the n-th call, that it failed (EIO, ENOSPC, EROFS, EINTR);
  sticky  told so at every call until the fault goes away, and then serves again by itself;
  short   given short and interrupted writes all the time (by a preloaded library);
  full    filled to the last block on a small tmpfs, and then drained.

After a kill it is started again. Nothing that was answered 250 may be missing at the next hop or
differ there; mails come twice only within the allowance: deliveries finished since the last state
write. --every N takes every N-th point. Prints one closing line; exit 1 if anything failed.
"""
import hashlib, os, random, shutil, signal, socket, socketserver, subprocess, sys, tempfile, threading, time

MAILS = 50
DROPS = 5
SENDERS = 4
TWICE_MAX = 16 + SENDERS


class Hop(socketserver.ThreadingTCPServer):
    """A next hop: remembers how often it took each mail, by number, and what it looked like."""
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), HopSession)
        self.lock = threading.Lock()
        self.taken = {}
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def take(self, number, digest):
        with self.lock:
            self.taken.setdefault(number, []).append(digest)


class HopSession(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")
        self.wfile.flush()

    def handle(self):
        try:
            self.say("220 hop ESMTP")
            while line := self.rfile.readline():
                word = line[:4].upper()
                if word == b"DATA":
                    self.say("354 go")
                    self.body()
                elif word == b"EHLO":
                    self.say("250-hop\r\n250 PIPELINING")
                elif word == b"QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 ok")
        except OSError:
            pass

    def body(self):
        number, hasher, in_body = None, hashlib.sha256(), False
        while (line := self.rfile.readline()) and line != b".\r\n":
            line = line[1:] if line.startswith(b".") else line
            if in_body:
                hasher.update(line)
            elif line.startswith(b"X-Number: "):
                number = int(line[10:])
            in_body = in_body or line == b"\r\n"
        if line:
            self.server.take(number, hasher.hexdigest())
            self.say("250 taken")


def mail(number):
    """A mail, and the digest of its body; the same for the same number."""
    dice = random.Random(number)
    size = dice.choice([1, 100, 1000, 3800, 4200, 9000, 20000])
    lines = []
    while sum(map(len, lines)) < size:
        lines.append(bytes(dice.choice(b"abc .xyz") for _ in range(dice.randint(0, 70))) + b"\r\n")
    body = b"".join(lines)
    head = f"From: a@client.test\r\nX-Number: {number}\r\nDate: x\r\nMessage-ID: <{number}@x>\r\n\r\n"
    return head.encode() + body, hashlib.sha256(body).hexdigest()


class Run:
    """One daemon in a folder of its own, its next hop, and what was acknowledged."""

    def __init__(self, mote, folder=None, extra=""):
        self.mote = mote
        self.folder = folder or tempfile.mkdtemp(prefix="mote-faults-")
        self.own = folder is None
        self.hop = Hop()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.config = os.path.join(self.folder, "mote.conf")
        with open(self.config, "w") as file:
            file.write(f"hostname = mote.test\nlisten = 127.0.0.1:{self.port}\n"
                       f"relay = smtp://127.0.0.1:{self.hop.server_address[1]}\n"
                       f"spool = {self.folder}/spool\nrun = {self.folder}/run\n"
                       f"senders = {SENDERS}\nretry = 1s\n" + (extra or "spool-size = 2M\n"))
        self.log = open(os.path.join(self.folder, "log"), "ab")
        self.acked, self.refusals, self.process = set(), [], None

    def start(self, *before, env=None):
        command = [*before, self.mote, "-C", self.config, "serve"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log,
                                        env={**os.environ, **(env or {})}, start_new_session=True)

    def connect(self, limit=5.0):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            try:
                peer = socket.create_connection(("127.0.0.1", self.port), timeout=5)
                file = peer.makefile("rb")
                if file.readline().startswith(b"220"):
                    return peer, file
                peer.close()
            except OSError:
                if self.process.poll() is not None:
                    return None
            time.sleep(0.02)
        return None

    def submit(self, numbers):
        """Hands mails in over one connection; true if all were answered 250."""
        link = self.connect()
        if link is None:
            return False
        peer, file = link
        whole = True
        try:
            peer.sendall(b"EHLO client.test\r\n")
            while file.readline()[3:4] == b"-":
                pass
            for number in numbers:
                peer.sendall(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<b@far.test>\r\nDATA\r\n")
                replies = [file.readline() for _ in range(3)]
                if not replies[2].startswith(b"354"):
                    self.refused(replies)
                    whole = False
                    peer.sendall(b"RSET\r\n")
                    if not file.readline():
                        return False
                    continue
                text, _ = mail(number)
                text = b"\r\n".join(b"." + l if l.startswith(b".") else l for l in text.split(b"\r\n"))
                peer.sendall(text + b".\r\n")
                reply = file.readline()
                if reply.startswith(b"250"):
                    self.acked.add(number)
                else:
                    self.refused([reply])
                    whole = False
                    if not reply:
                        return False
        except OSError:
            return False
        finally:
            peer.close()
        return whole

    def refused(self, replies):
        """Keeps the first refusal: what follows it is said to commands that came along with it."""
        self.refusals += [reply for reply in replies if reply and reply[:1] not in b"23"][:1]

    def drop(self, numbers):
        """Leaves mails in the drop directory while the daemon is down."""
        for number in numbers:
            text = mail(number)[0].replace(b"\r\n", b"\n")
            done = subprocess.run([self.mote, "-C", self.config, "sendmail", "-i", "-f", "a@client.test",
                                   "b@far.test"], input=text, capture_output=True)
            if done.returncode == 0:
                self.acked.add(number)

    def settled(self, limit=15.0):
        """Waits until the next hop has what was acknowledged; what is wrong, or none."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if self.acked <= set(self.hop.taken) and self.queue_is_empty():
                break
            time.sleep(0.05)
        lost = self.acked - set(self.hop.taken)
        if lost:
            return f"lost {sorted(lost)}"
        for number, digests in self.hop.taken.items():
            if any(digest != mail(number)[1] for digest in digests):
                return f"mail {number} differs"
        if not self.queue_is_empty():
            return "the queue does not empty"
        return None

    def queue_is_empty(self):
        asked = subprocess.run([self.mote, "-C", self.config, "queue", "ls", "--json"], capture_output=True)
        return asked.returncode == 0 and not asked.stdout.strip()

    def twice(self):
        return sum(len(digests) - 1 for digests in self.hop.taken.values())

    def end(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.hop.shutdown()
        self.hop.server_close()
        self.log.close()
        if self.own:
            shutil.rmtree(self.folder, ignore_errors=True)


def prepare(mote):
    """A run whose image is made and whose drop directory holds a few mails."""
    run = Run(mote)
    run.start()
    run.connect()
    run.process.terminate()
    run.process.wait()
    run.drop(range(1000, 1000 + DROPS))
    return run


def trace(*inject):
    words = [word for rule in inject for word in ("-e", f"inject={rule}")]
    return ["strace", "-f", "-o", "/dev/null", *words]


def kill_point(mote, call, n):
    """None: there is no such call. Else what is wrong, empty for nothing."""
    run = prepare(mote)
    try:
        run.start(*trace(f"{call}:signal=KILL:when={n}"))
        run.submit(range(MAILS))
        settled = run.process.poll() is None and run.settled(2.0)
        if run.process.poll() is None and settled is None:
            return None
        run.process.wait(timeout=10) if run.process.poll() is None else None
        run.start()
        wrong = run.settled()
        if not wrong and run.twice() > TWICE_MAX:
            wrong = f"{run.twice()} mails came twice"
        return wrong or ""
    except subprocess.TimeoutExpired:
        return f"neither dead nor settled: {settled}"
    finally:
        run.end()


def error_point(mote, call, error, n):
    run = prepare(mote)
    try:
        run.start(*trace(f"{call}:error={error}:when={n}"))
        run.submit(range(MAILS))
        if run.process.poll() is not None:
            # A fault while it starts may end it, with a word; the next start must do.
            run.start()
        deadline = time.monotonic() + 15
        rest = [number for number in range(MAILS) if number not in run.acked]
        while rest and time.monotonic() < deadline:
            run.submit(rest)
            rest = [number for number in range(MAILS) if number not in run.acked]
            time.sleep(0.1)
        if rest:
            return f"never taken: {rest}"
        if any(reply[:1] == b"5" for reply in run.refusals):
            return f"a lasting refusal for a passing fault: {run.refusals[:3]}"
        wrong = run.settled()
        return wrong or ("" if run.twice() <= TWICE_MAX else f"{run.twice()} mails came twice")
    finally:
        run.end()


def sticky_point(mote, call, error):
    run = prepare(mote)
    try:
        run.start()
        run.submit(range(10))
        tracer = subprocess.Popen(["strace", "-f", "-o", "/dev/null", "-p", str(run.process.pid), "-e",
                                   f"inject={call}:error={error}"], stderr=subprocess.DEVNULL)
        time.sleep(0.4)
        run.submit(range(10, 20))
        if call in ("pwrite64", "fdatasync") and error != "EINTR" and run.acked & set(range(10, 20)):
            return "acknowledged what could not be written"
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        deadline = time.monotonic() + 30
        rest = list(range(10, MAILS))
        while rest and time.monotonic() < deadline:
            run.submit(rest)
            rest = [number for number in rest if number not in run.acked]
            time.sleep(0.2)
        if rest:
            return f"does not serve again: {run.refusals[-1:]}"
        if any(reply[:1] == b"5" for reply in run.refusals):
            return f"a lasting refusal for a passing fault: {run.refusals[:3]}"
        return run.settled() or ""
    finally:
        run.end()


def short_run(mote):
    run = prepare(mote)
    library = os.path.join(run.folder, "short.so")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "short.c")
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        run.start(env={"LD_PRELOAD": library})
        if not run.submit(range(MAILS)):
            return f"refused: {run.refusals[:3]}"
        os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()
        run.start()
        return run.settled() or ""
    finally:
        run.end()


def full_run(mote):
    """Filled to the last block while the next hop is away, then drained."""
    folder = tempfile.mkdtemp(prefix="mote-faults-")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]).returncode == 0
    run = Run(mote, folder, "spool-size = 768K\nmessage-size = 64K\n")
    away = run.hop
    try:
        away.shutdown()
        away.server_close()
        run.start()
        number = 0
        while number < 2000 and not run.refusals:
            run.submit(range(number, number + 20))
            number += 20
        if not run.refusals:
            return "never full"
        if not all(reply.startswith(b"452") for reply in run.refusals):
            return f"full is 452, not {run.refusals[:3]}"
        run.hop = Hop.__new__(Hop)
        socketserver.ThreadingTCPServer.__init__(run.hop, away.server_address, HopSession)
        run.hop.lock, run.hop.taken = threading.Lock(), {}
        threading.Thread(target=run.hop.serve_forever, args=(0.05,), daemon=True).start()
        subprocess.run([mote, "-C", run.config, "flush"], check=True, capture_output=True)
        wrong = run.settled(30)
        run.refusals.clear()
        if wrong or not run.submit(range(5000, 5020)):
            return wrong or f"not taken after draining: {run.refusals[:3]}"
        return run.settled() or ""
    finally:
        run.end()
        if mounted:
            subprocess.run(["umount", "-l", folder])
        shutil.rmtree(folder, ignore_errors=True)


def points(mote, every):
    """Every point as (name, function); a function's None ends its series."""
    for call in ("pwrite64", "fdatasync", "fsync", "unlinkat", "rename"):
        yield ("kill", call, lambda n, call=call: kill_point(mote, call, n))
    for call in ("pwrite64", "fdatasync", "unlinkat", "fsync"):
        for error in ("EIO", "ENOSPC", "EROFS", "EINTR"):
            yield ("error", f"{call} {error}",
                   lambda n, call=call, error=error: error_point(mote, call, error, n) if n <= 70 else None)
            yield ("sticky", f"{call} {error}",
                   lambda n, call=call, error=error: sticky_point(mote, call, error) if n <= every else None)
    yield ("short", "pwrite", lambda n: short_run(mote) if n <= every else None)
    yield ("full", "tmpfs", lambda n: full_run(mote) if n <= every else None)


def main():
    words = sys.argv[1:]
    if not words:
        sys.exit(__doc__)
    mote = os.path.abspath(words[0])
    every = int(words[words.index("--every") + 1]) if "--every" in words else 1
    only = words[words.index("--only") + 1] if "--only" in words else None
    if not shutil.which("strace"):
        print("skipped: faults: strace is not installed")
        return 0
    passed = failed = 0
    for kind, name, point in points(mote, every):
        if only and kind != only:
            continue
        n = every
        while (wrong := point(n)) is not None:
            if wrong:
                failed += 1
                print(f"{kind} {name} {n}: {wrong}", flush=True)
            else:
                passed += 1
            n += every
    print(f"faults: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
