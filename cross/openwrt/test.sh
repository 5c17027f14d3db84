#!/bin/sh
# The router's scripts: shellcheck, and a run under busybox ash with stubs of OpenWrt's functions.
# The config that comes of UCI is read by `mote check`.
# usage: test.sh MOTE
# Both programs are the system's, or Debian's, unpacked.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cross=$(dirname "$here")
: "${CROSS_DIR:=$(dirname "$cross")/.cross}"
mote=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
tool() { # NAME PACKAGE PATH
    command -v "$1" && return
    sh "$cross/packages.sh" "$1" "$2" 2>"$CROSS_DIR/missing" && echo "$CROSS_DIR/$1/$3"
}
mkdir -p "$CROSS_DIR"
if shellcheck=$(tool shellcheck shellcheck usr/bin/shellcheck); then
    "$shellcheck" --shell=dash --exclude=SC3043,SC1091 "$here"/files/mote.init "$here"/files/mote.config.sh \
        "$here"/files/mote.hotplug
    # Those that run where mote is built are held to less.
    "$shellcheck" --severity=warning "$here"/*.sh "$cross"/*.sh "$cross"/zcc "$cross"/zar
    echo "shellcheck: nothing found"
else
    echo "skipped: shellcheck: $(tail -n 1 "$CROSS_DIR/missing")"
fi
if busybox=$(tool busybox busybox-static bin/busybox); then :; else
    echo "skipped: busybox: $(tail -n 1 "$CROSS_DIR/missing")"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
MOTE=$mote FILES=$here/files FOLDER=$folder "$busybox" ash "$here/scenes.sh"
