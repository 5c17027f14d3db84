#!/bin/sh
# The unit by systemd's own judgement, and a socket handed over as systemd does it.
# usage: test.sh MOTE
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mote=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
limit=15 # tenths
folder=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true; rm -rf "$folder"' EXIT
if command -v systemd-analyze >/dev/null; then
    mkdir -p "$folder/bin"
    ln -s "$mote" "$folder/bin/mote"
    for unit in mote.service mote.socket; do sed "s|@PREFIX@|$folder|" "$here/$unit" >"$folder/$unit"; done
    told=$(systemd-analyze verify --man=no "$folder/mote.service" "$folder/mote.socket" 2>&1 | grep -F "$folder" || true)
    [ -z "$told" ] || { echo "FAILED: systemd-analyze verify: $told"; exit 1; }
    if told=$(systemd-analyze security --offline=true --threshold=$limit --no-pager "$folder/mote.service" 2>&1); then
        echo "$told" | tail -n 1
    elif echo "$told" | grep -q 'Overall exposure'; then
        echo "$told" | grep -v '✓'
        echo "FAILED: more exposed than $limit tenths"
        exit 1
    else
        echo "skipped: systemd-analyze security: $(echo "$told" | tail -n 1)"
    fi
else
    echo "skipped: no systemd-analyze"
fi
command -v systemd-socket-activate >/dev/null || { echo "skipped: no systemd-socket-activate"; exit 0; }
port=$((20000 + $$ % 10000))
cat >"$folder/mote.conf" <<CONFIG
hostname = mote.test
spool = $folder/spool
run = $folder/run
spool-size = 1M
[listen smtp]
address = inherited
CONFIG
systemd-socket-activate --listen=127.0.0.1:$port --fdname=smtp "$mote" -C "$folder/mote.conf" serve 2>"$folder/log" &
pid=$!
python3 - "$port" <<'TALK' || { cat "$folder/log"; exit 1; }
import smtplib, sys, time
for attempt in range(100):
    try:
        with smtplib.SMTP("127.0.0.1", int(sys.argv[1]), timeout=30) as smtp:
            smtp.sendmail("a@mote.test", ["b@example.net"], b"Subject: by a socket of systemd\r\n\r\nHello.\r\n")
        print("socket activation: mail taken by the socket that systemd opened")
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
else:
    sys.exit("FAILED: nobody listens")
TALK
