#!/usr/bin/env python3
"""Bytes and flushes that reach the device for each 1 KiB mail, accepted and delivered.

usage: device.py MOTE        (as root; prints one line with a reason where loop devices are not to be had)

The spool lies on a private ext4 in a loop image; the mails go to a next hop that keeps nothing. Counted are the loop
device's sectors written and flushes (/sys/block/*/stat) between the first mail and the last delivery, and five seconds
more, for the marks. Limits: 4.6 KB and 1.1 flushes a mail over 400 mails one after another, 0.15 flushes at 32 sessions.
"""
import os, shutil, socket, socketserver, subprocess, sys, tempfile, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
LIMITS = {1: (4600, 1.1), 32: (None, 0.15)}


class Sink(socketserver.StreamRequestHandler):
    taken = 0

    def handle(self):
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wfile.write(b"220 sink\r\n")
        while line := self.rfile.readline():
            if line.startswith(b"EHLO"):
                self.wfile.write(b"250-sink\r\n250 PIPELINING\r\n")
            elif line.startswith(b"DATA"):
                self.wfile.write(b"354 go\r\n")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
                Sink.taken += 1
                self.wfile.write(b"250 ok\r\n")
            else:
                self.wfile.write(b"250 ok\r\n")


def stat(device):
    fields = open(f"/sys/block/{os.path.basename(device)}/stat").read().split()
    return int(fields[6]) * 512, int(fields[15])


def measure(mote, load, folder, device, sessions, mails, sink_port):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = os.path.join(folder, f"mote{sessions}.conf")
    with open(config, "w") as file:
        file.write(f"hostname = bench.test\nlisten = 127.0.0.1:{port}\nrelay = smtp://127.0.0.1:{sink_port}\n"
                   f"spool = {folder}/mnt/spool{sessions}\nrun = {folder}/run{sessions}\nspool-size = 16M\nsessions = 40\n")
    daemon = subprocess.Popen([mote, "-C", config, "serve"], stderr=open(os.path.join(folder, "log"), "ab"))
    try:
        for _ in range(100):
            time.sleep(0.1)
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                pass
        time.sleep(1)
        os.sync()
        Sink.taken = 0
        before = stat(device)
        subprocess.run([load, str(port), "1024", str(sessions), "kept", str(mails)], check=True, stdout=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while Sink.taken < mails and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(6)
        after = stat(device)
    finally:
        daemon.kill()
        daemon.wait()
    if Sink.taken < mails:
        sys.exit(f"only {Sink.taken} of {mails} mails arrived")
    return (after[0] - before[0]) / mails, (after[1] - before[1]) / mails


def main():
    mote = os.path.abspath(sys.argv[1])
    folder = tempfile.mkdtemp(prefix="mote-device-", dir=os.path.dirname(mote))
    image, mount = os.path.join(folder, "image"), os.path.join(folder, "mnt")
    device, failed = None, False
    try:
        os.mkdir(mount)
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        try:
            subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image], check=True)
            device = subprocess.run(["losetup", "--find", "--show", "--direct-io=on", image], check=True, capture_output=True,
                                    text=True).stdout.strip()
            subprocess.run(["mount", device, mount], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"skipped: device bytes: no loop device with ext4 here ({error})")
            return 0
        load = os.path.join(folder, "load")
        subprocess.run(["cc", "-O2", "-o", load, os.path.join(HERE, "load.c")], check=True)
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Sink)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print("| sessions | mails | device bytes a mail | flushes a mail |\n|---|---|---|---|")
        for sessions, mails in ((1, 400), (32, 3200)):
            size, flushes = measure(mote, load, folder, device, sessions, mails, server.server_address[1])
            print(f"| {sessions} | {mails} | {size:.0f} | {flushes:.3f} |", flush=True)
            size_max, flushes_max = LIMITS[sessions]
            failed |= flushes > flushes_max or (size_max is not None and size > size_max)
    finally:
        subprocess.run(["umount", "-l", mount], stderr=subprocess.DEVNULL)
        if device:
            subprocess.run(["losetup", "-d", device])
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
