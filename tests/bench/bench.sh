#!/bin/sh
# Messages a second that mote takes and puts on disk, beside limit.c: the least that any
# single-threaded receiver must do. Both use one disk in one run; rounds alternate between them, and
# the ratio is the median of the rounds' ratios. Prints a Markdown table.
# usage: bench.sh MOTE [FOLDER]     ROUNDS=7, and POINTS="1024 1 kept" for one point only
set -eu
mote=$1
here=$(cd "$(dirname "$0")" && pwd)
case $mote in /*) ;; *) mote=$PWD/$mote ;; esac
folder=$(mktemp -d "${2:-${CARGO_TARGET_DIR:-target}}/bench.XXXXXX")
folder=$(cd "$folder" && pwd)
rounds=${ROUNDS:-7}
compiler=$(command -v cc || command -v gcc || command -v clang) || { echo "missing: a C compiler (cc)"; exit 1; }

limit_pid= mote_pid=
stop() {
    for pid in $limit_pid $mote_pid; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    limit_pid= mote_pid=
}
trap 'stop; rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM

"$compiler" -O2 -o "$folder/limit" "$here/limit.c"
"$compiler" -O2 -o "$folder/load" "$here/load.c"
# Two ports below the range that the kernel hands out.
limit_port=$((11000 + $$ % 10000 * 2)) mote_port=$((11001 + $$ % 10000 * 2))

cat >"$folder/mote.conf" <<EOF
hostname = bench.test
listen = 127.0.0.1:$mote_port
spool = $folder/spool
run = $folder/run
spool-size = 1G
message-size = 8M
sessions = 40
[route *]
via = hold
EOF

# Both begin each point with a new file: mote holds what it took.
start() {
    rm -rf "$folder/spool" "$folder/limit.image"
    "$folder/limit" "$limit_port" "$folder/limit.image" &
    limit_pid=$!
    "$mote" -C "$folder/mote.conf" serve 2>"$folder/log" &
    mote_pid=$!
    for port in "$limit_port" "$mote_port"; do
        tries=0
        until "$folder/load" "$port" 1024 1 kept 1 >/dev/null 2>&1; do
            tries=$((tries + 1))
            [ "$tries" -lt 300 ] || { echo "nothing listens on port $port"; cat "$folder/log"; exit 1; }
            sleep 0.1
        done
    done
    sync
}

rate() { # PORT
    "$folder/load" "$1" "$bytes" "$sessions" "$connections" "$messages"
}

median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

# Messages of one round: about a second's work, and seven rounds fit into the spool.
messages_of() { # BYTES SESSIONS
    case $1 in
        1048576) echo 120 ;;
        4096) [ "$2" = 1 ] && echo 3000 || echo 12000 ;;
        *) [ "$2" = 1 ] && echo 4000 || echo 20000 ;;
    esac
}

points=${POINTS:-$(for bytes in 1024 4096 1048576; do for sessions in 1 8 32; do
    for connections in kept new; do echo "$bytes $sessions $connections"; done; done; done)}

echo "| message | sessions | connections | limit.c /s | mote /s | mote / limit |"
echo "|---|---|---|---|---|---|"
echo "$points" | while read -r bytes sessions connections; do
    start
    messages=$(messages_of "$bytes" "$sessions")
    : >"$folder/rates"
    round=0
    while [ "$round" -lt "$rounds" ]; do
        # By turns the one goes first and the other.
        [ $((round % 2)) = 0 ] && limit_rate=$(rate "$limit_port")
        mote_rate=$(rate "$mote_port")
        [ $((round % 2)) = 0 ] || limit_rate=$(rate "$limit_port")
        echo "$limit_rate $mote_rate" >>"$folder/rates"
        round=$((round + 1))
    done
    ratio=$(awk '{print $2 / $1}' "$folder/rates" | median)
    limit_rate=$(awk '{print $1}' "$folder/rates" | median)
    mote_rate=$(awk '{print $2}' "$folder/rates" | median)
    case $bytes in 1048576) size='1 MB' ;; *) size="$((bytes / 1024)) KB" ;; esac
    awk -v size="$size" -v s="$sessions" -v c="$connections" -v l="$limit_rate" -v m="$mote_rate" -v r="$ratio" \
        'BEGIN {printf "| %s | %s | %s | %.0f | %.0f | %.0f %% |\n", size, s, c, l, m, 100 * r}'
    stop
done
