#!/usr/bin/env python3
"""A whole machine with mote on it, switched off in the middle of load, again and again.

usage: machine.py MOTE MACHINE ROUNDS [FILESYSTEM...]

MOTE is a static binary; MACHINE the folder where cross/packages.sh has unpacked qemu, a kernel of
Debian's and busybox. For each file system (ext4, f2fs, vfat, and jffs2 on a simulated MTD) a machine
boots with an initramfs of busybox and mote and a disk for the spool. Mail comes over qemu's user
network from two clients; at a random moment qemu is killed. At the next boot all that was
acknowledged has to arrive, whole, at a next hop on this side; nothing acknowledged may be lost.

The MTD is a part of the machine's memory that a file on this side holds (phram): block2mtd keeps what
jffs2 has written in its page cache, where no sync reaches it, and is no flash in this respect.

What qemu had been given stays, as in a disk with a battery: what is lost is what the machine had in
its memory, its page cache and half-done writes of the file system. A cache in the disk that loses
writes is what `make crash` cuts through. What a kernel does not have is said in one line.
"""

import collections
import glob
import os
import random
import re
import shutil
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
import time

PATIENCE = 180
DISK_BYTES = 64 << 20
# Flash is a part of the machine's memory, which is a file on this side and survives; the initramfs lies
# at the upper end of it.
MEMORY_BYTES, FLASH_BYTES = 256 << 20, 16 << 20
FLASH_AT = MEMORY_BYTES // 2
# What each file system needs of the kernel, beside what all need.
MODULES = {
    "ext4": ["ext4", "crc32c_generic"],
    "f2fs": ["f2fs", "crc32_generic"],
    "vfat": ["vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8"],
    "jffs2": ["jffs2", "phram"],
}
COMMON = ["virtio_pci", "virtio_blk", "virtio_net", "af_packet"]

INIT = """#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc none /proc
busybox mount -t sysfs none /sys
busybox mount -t devtmpfs none /dev
busybox mount -t tmpfs none /run
for module in $(busybox cat /modules/order); do
    case $module in phram.ko) words="phram=flash,FLASH_AT,FLASH_BYTES,0x10000" ;; *) words= ;; esac
    busybox insmod /modules/$module $words || echo "MACHINE no $module"
done
busybox ifconfig lo 127.0.0.1 up
busybox ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
busybox route add default gw 10.0.2.2
kind=$(busybox sed 's/.*spool=\\([a-z0-9]*\\).*/\\1/' /proc/cmdline)
case $kind in
    jffs2) device=mtd0 ;;
    *) device=/dev/vda ;;
esac
busybox mount -t $kind $device /mnt || { echo "MACHINE cannot mount $kind"; busybox poweroff -f; }
echo "MACHINE mounted $kind"
/bin/mote -C /mote.conf serve
echo "MACHINE mote ended: $?"
busybox poweroff -f
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def mail(number):
    line = f"line of mail {number}, which must not be lost\r\n"
    count = random.Random(number).randrange(5, 400)
    return f"From: a@box.test\r\nTo: b@example.net\r\nX-Number: {number}\r\n\r\n{line * count}".encode()


class Sink:
    """The next hop, on this side; closed until it is opened."""

    def __init__(self):
        self.port, self.arrived, self.bad = free_port(), collections.Counter(), []
        self.listener = None

    def open(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def close(self):
        # Wakes whoever waits in accept.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self, listener):
        while True:
            try:
                peer = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.talk, args=(peer,), daemon=True).start()

    def talk(self, peer):
        try:
            lines = peer.makefile("rb")
            peer.sendall(b"220 sink.test\r\n")
            while line := lines.readline():
                if line.upper().startswith(b"DATA"):
                    peer.sendall(b"354 go\r\n")
                    content = []
                    while (line := lines.readline()) != b".\r\n":
                        if not line:
                            return
                        content.append(line[1:] if line.startswith(b".") else line)
                    self.take(b"".join(content))
                peer.sendall(b"250 ok\r\n")
        except OSError:
            pass

    def take(self, message):
        number = int(re.search(rb"^X-Number: (\d+)", message, re.M).group(1))
        self.arrived[number] += 1
        if message.partition(b"\r\n\r\n")[2] != mail(number).partition(b"\r\n\r\n")[2]:
            self.bad.append(number)


class Machine:
    def __init__(self, mote, root, kind, folder, sink):
        self.root, self.kind, self.folder = root, kind, folder
        self.disk = os.path.join(folder, "disk")
        self.console = os.path.join(folder, "console")
        self.port, self.process = free_port(), None
        self.kernel = sorted(glob.glob(f"{root}/boot/vmlinuz-*"))[-1]
        self.modules = f"{root}/lib/modules/{os.path.basename(self.kernel)[8:]}"
        self.initramfs(mote, sink)
        self.format()

    def needed(self, wanted):
        """The files of modules, those they depend on first; a module is known by its file's name."""
        paths = {}
        for path in glob.glob(f"{self.modules}/kernel/**/*.ko", recursive=True):
            paths[os.path.basename(path)[:-3].replace("-", "_")] = path
        order = []

        def add(name):
            path = paths.get(name.replace("-", "_"))
            if not path or path in order:
                return bool(path)
            with open(path, "rb") as file:
                depends = re.search(rb"\0depends=([^\0]*)\0", file.read()).group(1).decode()
            for other in filter(None, depends.split(",")):
                add(other)
            order.append(path)
            return True

        builtin = open(f"{self.modules}/modules.builtin").read()
        for name in wanted:
            if not add(name) and not re.search(rf"/{name}\.ko", builtin.replace("-", "_")):
                if name == self.kind:
                    raise FileNotFoundError(f"this kernel has no {name}")
        return order

    def initramfs(self, mote, sink):
        tree = os.path.join(self.folder, "tree")
        for name in ("bin", "proc", "sys", "dev", "run", "mnt", "modules", "etc"):
            os.makedirs(os.path.join(tree, name))
        busybox = next(p for p in (f"{self.root}/bin/busybox", f"{self.root}/usr/bin/busybox") if os.path.exists(p))
        shutil.copy(busybox, f"{tree}/bin/busybox")
        shutil.copy(mote, f"{tree}/bin/mote")
        # What f2fs asks for by name while it mounts, it asks modprobe for: not here, so they come first.
        order = self.needed(COMMON + ["crc32c_generic", "crc32_generic", "libcrc32c"] + MODULES[self.kind])
        for path in order:
            shutil.copy(path, f"{tree}/modules")
        files = {
            "modules/order": "\n".join(os.path.basename(path) for path in order) + "\n",
            "init": INIT.replace("FLASH_AT", hex(FLASH_AT)).replace("FLASH_BYTES", hex(FLASH_BYTES)),
            "etc/passwd": "root:x:0:0:root:/:/bin/sh\n",
            "mote.conf": (
                "hostname = box.test\nlisten = 0.0.0.0:25\nspool = /mnt/spool\nrun = /run/mote\n"
                f"spool-size = 2M\nretry = 1s\nrelay = smtp://10.0.2.2:{sink.port}\n"
                "[clients 10.0.2.0/24]\nrelay = yes\n"
            ),
        }
        for name, text in files.items():
            with open(os.path.join(tree, name), "w") as file:
                file.write(text)
        os.chmod(f"{tree}/init", 0o755)
        names = subprocess.run(["find", "."], cwd=tree, capture_output=True, check=True).stdout
        with open(os.path.join(self.folder, "initramfs"), "wb") as file:
            command = [f"{tree}/bin/busybox", "cpio", "-o", "-H", "newc"]
            subprocess.run(command, cwd=tree, input=names, stdout=file, stderr=subprocess.DEVNULL, check=True)

    def format(self):
        with open(self.disk, "wb") as file:
            if self.kind == "jffs2":
                # The machine's memory, with erased flash in it.
                file.truncate(MEMORY_BYTES)
                file.seek(FLASH_AT)
                file.write(b"\xff" * FLASH_BYTES)
            else:
                file.truncate(DISK_BYTES)
        command = {
            "ext4": ["mkfs.ext4", "-q", "-F", self.disk],
            "f2fs": [f"{self.root}/sbin/mkfs.f2fs", "-q", "-f", self.disk],
            "vfat": [f"{self.root}/sbin/mkfs.fat", self.disk],
        }.get(self.kind)
        if command:
            os.environ["PATH"] += ":/usr/sbin:/sbin"
            done = subprocess.run(command, env=self.libraries(), capture_output=True)
            assert done.returncode == 0, done.stderr.decode()

    def libraries(self):
        folders = [f"{self.root}/{part}lib/{cpu}" for part in ("", "usr/") for cpu in ("x86_64-linux-gnu",)]
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(folders)}

    def boot(self):
        if self.kind == "jffs2":
            memory = f"memory-backend-file,id=ram,size={MEMORY_BYTES},mem-path={self.disk},share=on"
            medium = ["-object", memory, "-machine", "memory-backend=ram"]
            flash = f" memmap={hex(FLASH_BYTES)}${hex(FLASH_AT)}"
        else:
            drive = f"file={self.disk},if=none,format=raw,id=disk"
            medium = ["-drive", drive, "-device", "virtio-blk-pci,drive=disk"]
            flash = ""
        # Emulated throughout: /dev/kvm is there on machines where it does not work.
        command = [
            f"{self.root}/usr/bin/qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none",
            "-L", f"{self.root}/usr/share/seabios", "-L", f"{self.root}/usr/share/qemu",
            "-machine", "pc,accel=tcg", "-m", "256",
            "-kernel", self.kernel, "-initrd", os.path.join(self.folder, "initramfs"),
            "-append", f"console=ttyS0 quiet nokaslr panic=-1 spool={self.kind}{flash}",
            "-serial", f"file:{self.console}",
            *medium,
            "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self.port}-10.0.2.15:25",
            "-device", "virtio-net-pci,netdev=net,romfile=",
        ]  # fmt: skip
        self.process = subprocess.Popen(command, env=self.libraries(), stderr=subprocess.PIPE)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the machine stopped: {self.process.stderr.read().decode()}{self.told()}")
            try:
                with smtplib.SMTP("127.0.0.1", self.port, timeout=5) as smtp:
                    smtp.ehlo()
                    return
            except (OSError, smtplib.SMTPException):
                time.sleep(0.2)
        raise AssertionError(f"no mote within {PATIENCE} s: {self.told()}")

    def told(self):
        with open(self.console, errors="replace") as file:
            return file.read()[-3000:]

    def cut(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Load:
    """Two clients at once, until the machine is gone."""

    def __init__(self, machine, first):
        self.machine, self.taken, self.lock = machine, set(), threading.Lock()
        self.next = first
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(2)]
        for thread in self.threads:
            thread.start()

    def run(self):
        try:
            with smtplib.SMTP("127.0.0.1", self.machine.port, timeout=20) as smtp:
                while True:
                    with self.lock:
                        number, self.next = self.next, self.next + 1
                    smtp.sendmail("a@box.test", ["b@example.net"], mail(number))
                    with self.lock:
                        self.taken.add(number)
        except (OSError, smtplib.SMTPException):
            pass


def rounds(mote, root, kind, count, folder, chance):
    sink = Sink()
    machine = Machine(mote, root, kind, folder, sink)
    acknowledged, first = set(), 1
    try:
        for number in range(count + 1):
            machine.boot()
            sink.open()
            end = time.monotonic() + PATIENCE
            while not acknowledged <= sink.arrived.keys():
                if time.monotonic() > end:
                    lost = sorted(acknowledged - sink.arrived.keys())
                    raise AssertionError(f"{len(lost)} acknowledged are lost: {lost[:10]}: {machine.told()}")
                time.sleep(0.1)
            assert not sink.bad, f"not as they were sent: {sink.bad[:10]}"
            if number == count:
                break
            # Every other cut falls while mail goes out, too.
            if number % 2 == 0:
                sink.close()
            wanted, load = chance.randrange(20, 200), Load(machine, first)
            while len(load.taken) < wanted and any(thread.is_alive() for thread in load.threads):
                time.sleep(0.01)
            machine.cut()
            for thread in load.threads:
                thread.join()
            if number % 2:
                sink.close()
            assert load.taken, f"no mail was taken: {machine.told()}"
            acknowledged, first = acknowledged | load.taken, load.next
    finally:
        machine.cut()
    twice = sum(sink.arrived.values()) - len(sink.arrived)
    print(f"{kind}: {count} cuts, {len(acknowledged)} acknowledged, 0 lost, {twice} twice", flush=True)


def main():
    mote, root, count = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), int(sys.argv[3])
    seed = int(os.environ.get("SEED", "1"))
    code = 0
    for kind in sys.argv[4:] or MODULES:
        with tempfile.TemporaryDirectory(prefix="mote-machine-") as folder:
            try:
                rounds(mote, root, kind, count, folder, random.Random(f"{seed} {kind}"))
            except FileNotFoundError as missing:
                print(f"{kind}: skipped: {missing}", flush=True)
            except AssertionError as error:
                print(f"{kind}: FAILED (SEED={seed}): {error}", flush=True)
                code = 1
    return code


sys.exit(main())
