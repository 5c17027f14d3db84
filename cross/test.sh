#!/bin/sh
# The smoke test (smoke.py) of a cross build, on an old processor of its kind played by qemu-user.
# What is not proved by this: the kernel's side, and how fast it is.
# usage: test.sh TARGET [words for cargo build]
# Ends with 77 where the tools cannot be had, and says so in one line.
set -eu
cross=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$cross")
: "${CROSS_DIR:=$top/.cross}"
mkdir -p "$CROSS_DIR"
CROSS_DIR=$(cd "$CROSS_DIR" && pwd)
export CROSS_DIR
skip() {
    echo "skipped: $*"
    exit 77
}
line=$(awk -v wanted="$1" '!/^#/ && NF && ($1 == wanted || $2 == wanted) {print $1, $6, $7}' "$cross/targets")
[ -n "$line" ] || { echo "cross: no target $1; there are: $(awk '!/^#/ && NF {printf "%s ", $1}' "$cross/targets")" >&2; exit 2; }
shift
# Three words.
# shellcheck disable=SC2086
read -r short qemu model <<LINE
$line
LINE
for tool in python3 openssl; do
    command -v $tool >/dev/null || skip "missing: $tool"
done
emulator=$(command -v "qemu-$qemu-static" || command -v "qemu-$qemu" || true)
if [ -z "$emulator" ]; then
    sh "$cross/packages.sh" qemu-user qemu-user-static 2>"$CROSS_DIR/missing" || skip "$(tail -n 1 "$CROSS_DIR/missing")"
    emulator=$CROSS_DIR/qemu-user/usr/bin/qemu-$qemu-static
fi
# What cannot be fetched is no fault of mote's; what does not compile is.
if ! sh "$cross/build.sh" "$short" "$@" >"$CROSS_DIR/built" 2>"$CROSS_DIR/build.log"; then
    told=$(grep '^cross: .*\(no Rust\|cannot be had\|missing:\)' "$CROSS_DIR/build.log") && skip "$told"
    tail -n 30 "$CROSS_DIR/build.log"
    exit 1
fi
cat "$CROSS_DIR/built"
binary=$(sed -n 's/: [0-9]* bytes$//p' "$CROSS_DIR/built")
set --
case $binary in *-no-tls) set -- --no-tls ;; esac
# Queues are exchanged with a build for this machine, if there is one.
for native in "$CROSS_DIR/out/$(uname -m)/mote" "$top/target/release/mote" "$top/target/debug/mote"; do
    if [ -x "$native" ]; then
        set -- "$@" --native "$native"
        break
    fi
done
echo "$short on $model:"
exec python3 "$cross/smoke.py" "$@" "$emulator" -cpu "$model" "$binary"
