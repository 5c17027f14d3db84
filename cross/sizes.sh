#!/bin/sh
# Every cross build that there is beside its budget (cross/budget). Ends with 1 if one is over.
# usage: sizes.sh
set -eu
cross=$(cd "$(dirname "$0")" && pwd)
: "${CROSS_DIR:=$(dirname "$cross")/.cross}"

# As squashfs does: each block of 256 KiB for itself.
squeezed() {
    size=$(wc -c <"$1") at=0 sum=0
    while [ "$at" -lt "$size" ]; do
        piece=$(tail -c +$((at + 1)) "$1" | head -c 262144 | xz --format=xz --check=crc32 -6 --stdout | wc -c)
        sum=$((sum + piece)) at=$((at + 262144))
    done
    echo "$sum"
}

over=0
row() { # TARGET COLUMN FILE BYTES
    budget=$(awk -v target="$1" -v column="$2" '$1 == target {print $column}' "$cross/budget")
    case ${budget:--} in
        -) told="no budget" ;;
        *) if [ "$4" -le "$budget" ]; then told="of $budget"; else told="OVER $budget by $(($4 - budget))" over=1; fi ;;
    esac
    printf '%-10s %-12s %9d %-28s %s\n' "$1" "$3" "$4" "$told" "$5"
}
printf '%-10s %-12s %9s %-28s %s\n' target build bytes budget ".text"
for target in $(awk '!/^#/ && NF {print $1}' "$cross/targets"); do
    for name in mote mote-no-tls; do
        file=$CROSS_DIR/out/$target/$name
        [ -f "$file" ] || { printf '%-10s %-12s not built: make cross TARGET=%s\n' "$target" "$name" "$target"; continue; }
        column=2
        [ "$name" = mote ] || column=3
        text=$(size -A "$file" 2>/dev/null | awk '$1 == ".text" {print $2}')
        row "$target" "$column" "$name" "$(wc -c <"$file")" "${text:--}"
    done
done
file=$CROSS_DIR/out/armv7/mote
if [ -f "$file" ] && command -v xz >/dev/null; then
    row armv7.xz 2 mote "$(squeezed "$file")" -
fi
exit $over
