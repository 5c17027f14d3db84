# What test.sh runs under busybox ash: the router's scripts between stubs of procd and UCI.
# MOTE, FILES and FOLDER come from there. Ends with 1 at the first thing that does not hold.
# shellcheck shell=dash
set -eu
failed() {
    echo "FAILED: $*"
    exit 1
}

# --- stubs: UCI's callbacks as functions.sh calls them, and procd's words, written down ------------

config() { config_cb "$@"; }
option() { option_cb "$@"; }
list() { list_cb "$@"; }
reset_cb() {
    config_cb() { :; }
    option_cb() { :; }
    list_cb() { :; }
}
reset_cb
config_load() {
    [ "$1" = mote ] || failed "config_load $1"
    # A file of this test's.
    # shellcheck disable=SC1090,SC1091
    . "$FOLDER/uci"
    config_cb
}
config_get_bool() { eval "$1=$ENABLED"; }
logger() { echo "logger $*" >>"$FOLDER/calls"; }
for word in procd_open_instance procd_set_param procd_close_instance procd_send_signal procd_add_reload_trigger stop; do
    eval "$word() { echo \"$word \$*\" >>\"\$FOLDER/calls\"; }"
done
running() { [ -e "$FOLDER/running" ]; }
start() { start_service; }

# --- the scripts, with their places under FOLDER ---------------------------------------------------

sed -e "s|/usr/lib/mote/config.sh|$FILES/mote.config.sh|; s|/usr/sbin/mote|$MOTE|; s|/var/etc|$FOLDER/etc|" \
    "$FILES/mote.init" >"$FOLDER/init"
# shellcheck disable=SC1091
. "$FOLDER/init"
ENABLED=1

check() { "$MOTE" -C "$FOLDER/etc/mote.conf" check >"$FOLDER/told" 2>&1; }
has() { grep -qxF -- "$2" "$1" || { cat "$1"; failed "no line '$2' in $1"; }; }

# --- all that can stand in UCI ---------------------------------------------------------------------

cat >"$FOLDER/uci" <<UCI
config mote main
option enabled 1
option relay 'smtp://127.0.0.1:2526'
option hostname router.example.net
option from router@example.net
option to_all me@example.net
option listen 127.0.0.1:2527
option spool '$FOLDER/spool'
option run '$FOLDER/run'
option spool_size 1M
list retry 1m
list retry 5m
config relay office
option url 'smtp://someone@127.0.0.1:2525'
option password 'two words # "quotes" and \$(date)'
config relay
option name other
option url 'smtp://someone@127.0.0.1:2525'
option password 'env:SECRET'
config route cfg0a1b2c
option pattern '*.example.org'
option via 'relay office'
config clients
option range 192.168.1.0/24
option relay yes
config rewrite
list address 'root = me@example.net'
UCI
: >"$FOLDER/calls"
start_service || failed "start_service: $(cat "$FOLDER/calls")"
conf=$FOLDER/etc/mote.conf
for line in 'relay = "smtp://127.0.0.1:2526"' 'to! = "me@example.net"' 'spool-size = "1M"' 'retry = "1m 5m"' \
    '[relay office]' '[relay other]' 'password = "env:SECRET"' '[route *.example.org]' 'via = "relay office"' \
    '[clients 192.168.1.0/24]' '[rewrite]' 'root = me@example.net' \
    "password = \"file:$FOLDER/etc/mote.secrets/1\""; do
    has "$conf" "$line"
done
has "$FOLDER/etc/mote.secrets/1" 'two words # "quotes" and $(date)'
[ "$(stat -c %a "$FOLDER/etc/mote.secrets/1")" = 600 ] || [ "$(stat -c %a "$FOLDER/etc/mote.secrets/1")" = 640 ] ||
    failed "the secret can be read by others"
! grep -q 'two words' "$conf" || failed "a secret in the config"
SECRET=x
export SECRET
code=0
check || code=$?
[ "$code" -eq 0 ] || { cat "$FOLDER/told" "$conf"; failed "mote check: $code"; }
has "$FOLDER/calls" "procd_set_param command $MOTE -C $conf serve"
has "$FOLDER/calls" 'procd_set_param respawn 3600 5 0'
has "$FOLDER/calls" 'procd_set_param stderr 1'
echo "UCI: every kind of section, a list, secrets; mote check reads it"

# --- reload ----------------------------------------------------------------------------------------

: >"$FOLDER/running"
: >"$FOLDER/calls"
reload_service
has "$FOLDER/calls" "procd_send_signal mote * HUP"
service_triggers
has "$FOLDER/calls" 'procd_add_reload_trigger mote'
before=$(cat "$conf")
: >"$FOLDER/calls"
for bad in "option from 'a
relay = discard'" "option from '\"a\" # b'" "config nonsense" "config route" \
    "config relay two
option password 'a
b'" "config rewrite
list address nothing" "config route
option pattern 'x]
y'"; do
    printf 'config mote main\noption to me@example.net\n%s\n' "$bad" >"$FOLDER/uci"
    ! reload_service || failed "taken: $bad"
done
[ "$(grep -c 'logger -t mote -p mail.err /etc/config/mote: ' "$FOLDER/calls")" = 7 ] || { cat "$FOLDER/calls"; failed "faults are logged"; }
[ "$(cat "$conf")" = "$before" ] && [ -e "$FOLDER/etc/mote.secrets/1" ] || failed "a bad config took the good one's place"
! grep -q HUP "$FOLDER/calls" || failed "a bad config was told to mote"
echo "reload: a signal; a value that cannot stand in the config leaves the old one, and the log says why"

ENABLED=0
: >"$FOLDER/calls"
reload_service
has "$FOLDER/calls" 'stop '
rm "$FOLDER/running"
: >"$FOLDER/calls"
start_service
[ ! -s "$FOLDER/calls" ] || failed "started though not enabled"
echo "not enabled: it stops, and does not start"

# --- hotplug ---------------------------------------------------------------------------------------

cat >"$FOLDER/mote" <<'FAKE'
#!/bin/sh
echo "$*" >>"$(dirname "$0")/flushed"
FAKE
chmod +x "$FOLDER/mote"
sed -e "s|/usr/sbin/mote|$FOLDER/mote|; s|\[ -S /run/mote/control \]|true|" "$FILES/mote.hotplug" >"$FOLDER/hotplug"
for event in 'ifdown wan' 'ifup loopback' 'ifup wan'; do
    # shellcheck disable=SC1091,SC2034
    (ACTION=${event% *} INTERFACE=${event#* } && . "$FOLDER/hotplug" && wait)
done
[ "$(cat "$FOLDER/flushed")" = flush ] || failed "hotplug: $(cat "$FOLDER/flushed")"
echo "hotplug: ifup flushes, ifdown and loopback do not"
