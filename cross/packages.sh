#!/bin/sh
# Debian's packages, unpacked into .cross/NAME and not installed. Quick when they are there.
# usage: packages.sh NAME PACKAGE...; prints what is missing in one line, and ends with 1
# PACKAGE+ is a package with those that it needs and this system lacks; linux-image-amd64: today's.
set -eu
: "${CROSS_DIR:=$(cd "$(dirname "$0")/.." && pwd)/.cross}"
mkdir -p "$CROSS_DIR"
CROSS_DIR=$(cd "$CROSS_DIR" && pwd)
name=$1
shift
[ ! -e "$CROSS_DIR/$name/.ready" ] || exit 0
missing() {
    echo "missing: $*" >&2
    exit 1
}
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || missing "Debian's apt-get, to fetch $* with"
lists="-o Dir::State::lists=$CROSS_DIR/apt/lists -o Dir::Cache=$CROSS_DIR/apt/cache -o APT::Sandbox::User=root"
mkdir -p "$CROSS_DIR/apt/lists/partial" "$CROSS_DIR/apt/cache/archives/partial"
log=$CROSS_DIR/fetch.log
# Lists of a day are good enough.
if [ -z "$(find "$CROSS_DIR/apt/lists" -maxdepth 1 -name '*Packages*' -mtime -1)" ]; then
    # Several words each.
    # shellcheck disable=SC2086
    apt-get $lists -qq update >>"$log" 2>&1 || missing "Debian's package lists: $(tail -n 1 "$log")"
fi
rm -rf "${CROSS_DIR:?}/$name.debs" "${CROSS_DIR:?}/$name.tmp"
mkdir -p "$CROSS_DIR/$name.debs" "$CROSS_DIR/$name.tmp"
# shellcheck disable=SC2086
names=$(for package do
    case $package in
        *+) apt-get $lists -s -o Debug::NoLocking=1 install --no-install-recommends "${package%+}" 2>>"$log" |
            awk '$1 == "Inst" && ($3 !~ /^\[/) {print $2}' ;;
        linux-image-amd64) apt-cache $lists depends "$package" 2>>"$log" | sed -n 's/^ *Depends: \(.*\)/\1/p' | head -n 1 ;;
        *) echo "$package" ;;
    esac
done)
# shellcheck disable=SC2086
(cd "$CROSS_DIR/$name.debs" && apt-get $lists -qq download $names) >>"$log" 2>&1 ||
    missing "Debian's $*: $(grep -m1 '^E:' "$log" || tail -n 1 "$log")"
for deb in "$CROSS_DIR/$name.debs"/*.deb; do dpkg-deb -x "$deb" "$CROSS_DIR/$name.tmp"; done
: >"$CROSS_DIR/$name.tmp/.ready"
rm -rf "${CROSS_DIR:?}/$name" "$CROSS_DIR/$name.debs"
mv "$CROSS_DIR/$name.tmp" "$CROSS_DIR/$name"
