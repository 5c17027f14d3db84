#!/bin/sh
# A whole machine with mote on it, switched off under load and booted again (machine.py).
# usage: image-test.sh ROUNDS [FILESYSTEM...]
# Where emulation cannot be had it says so in one line, and ends with 0.
set -eu
cross=$(cd "$(dirname "$0")" && pwd)
: "${CROSS_DIR:=$(dirname "$cross")/.cross}"
mkdir -p "$CROSS_DIR"
skip() {
    echo "skipped: $*"
    exit 0
}
[ "$(uname -m)" = x86_64 ] || skip "the machine is x86_64, and emulated on one"
for tool in python3 mkfs.ext4; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || skip "missing: $tool"
done
sh "$cross/packages.sh" machine qemu-system-x86+ seabios qemu-system-data linux-image-amd64 f2fs-tools+ dosfstools \
    busybox-static 2>"$CROSS_DIR/missing" || skip "$(tail -n 1 "$CROSS_DIR/missing")"
if ! built=$(sh "$cross/build.sh" x86_64 2>"$CROSS_DIR/build.log"); then
    told=$(grep '^cross: .*\(no Rust\|cannot be had\|missing:\)' "$CROSS_DIR/build.log") && skip "$told"
    tail -n 30 "$CROSS_DIR/build.log"
    exit 1
fi
exec python3 "$cross/machine.py" "${built%%: *}" "$CROSS_DIR/machine" "$@"
