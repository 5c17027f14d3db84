#!/bin/sh
# Builds the commit that is checked out twice, in two folders of different names with tools and
# caches of their own, and compares the results byte by byte.
# usage: same.sh TARGET [words for cargo build]
set -eu
cross=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$cross")
: "${CROSS_DIR:=$top/.cross}"
# Fetches the tools.
sh "$cross/build.sh" "$@" >/dev/null
work=$CROSS_DIR/same
rm -rf "$work"
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/one" "$work/another/folder"
for place in "$work/one" "$work/another/folder"; do
    git clone --quiet --shared "$top" "$place/mote"
    mkdir "$place/mote/.cross"
    for tools in rustup debian "zig-*"; do
        # Links to the files cost nothing, and have another path.
        for found in "$CROSS_DIR"/$tools; do
            [ ! -d "$found" ] || cp -al "$found" "$place/mote/.cross/"
        done
    done
    CROSS_DIR=$place/mote/.cross sh "$place/mote/cross/build.sh" "$@" >"$place/built"
    cat "$place/built"
done
one=$(sed -n 's/: [0-9]* bytes$//p' "$work/one/built")
another=$(sed -n 's/: [0-9]* bytes$//p' "$work/another/folder/built")
cmp "$one" "$another"
echo "equal bytes: $(sha256sum <"$one" | cut -d' ' -f1)"
