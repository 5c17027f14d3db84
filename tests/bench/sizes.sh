#!/bin/sh
# How large the product is: stripped bytes, sections, and bytes of code by room. A function that was
# inlined counts for the room that took it in, so the rooms are an approximation.
# usage: sizes.sh MOTE
set -eu
mote=$1
cargo=${CARGO:-cargo}
for tool in size nm; do
    command -v $tool >/dev/null || { echo "missing: $tool (package binutils)"; exit 1; }
done
echo "stripped: $(wc -c <"$mote") bytes"
size -A "$mote" | awk '$1 == ".text" || $1 == ".rodata" || $1 == ".data" || $1 == ".bss" || $1 == ".data.rel.ro" || $1 == ".eh_frame" {printf "%-13s %9d\n", $1, $2}'
echo
echo "code by room, of the same build with its symbols:"
named=${CARGO_TARGET_DIR:-target}/sizes
CARGO_PROFILE_RELEASE_STRIP=none "$cargo" build --quiet --release --target-dir "$named"
nm --demangle --print-size --radix=d "$named/release/mote" | awk '
    $3 ~ /^[tTwW]$/ {
        bytes = $2 + 0
        $1 = $2 = $3 = ""
        room = "libraries and std"
        if (match($0, /mote::[a-z_]+/)) room = substr($0, RSTART, RLENGTH)
        sum[room] += bytes
    }
    END {for (room in sum) printf "%9d  %s\n", sum[room], room}' | sort -rn
