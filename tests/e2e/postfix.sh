#!/bin/sh
# Runs the unpacked Postfix as a receiver in the foreground: 127.0.0.1:PORT into FOLDER/Maildir.
# With RELAYHOST in the environment it sends all on to that instead.
# usage: postfix.sh FOLDER PORT [MECHANISM...]. With mechanisms nobody sends mail without a login by
# one of them, as alice with the password on standard input, by Cyrus SASL. Needs root, as Postfix does. Debian's own users stand in for those
# that the package would create, so nothing outside FOLDER is touched.
set -eu
folder=$1 port=$2
shift 2
peers=$(cd "$(dirname "$0")/../../target/peers" && pwd)
package=$peers/postfix
owner=proxy

mkdir -p "$folder/etc" "$folder/data" "$folder/queue" "$folder/Maildir"
chmod 755 "$folder"
chown "$owner" "$folder/data" "$folder/Maildir"
for name in active bounce corrupt defer deferred flush hold incoming private saved trace; do
    mkdir -p "$folder/queue/$name"
    chown "$owner" "$folder/queue/$name"
done
mkdir -p "$folder/queue/pid" "$folder/queue/public" "$folder/queue/maildrop"
chown "$owner:uucp" "$folder/queue/public" "$folder/queue/maildrop"

libraries=$package/usr/lib/postfix
for library in "$package"/usr/lib/*-linux-*; do
    [ -d "$library" ] && libraries=$libraries:$library
done

# Those of the system, where it has them.
modules=
for found in "$peers"/sasl/usr/lib/*/sasl2; do
    if [ -d "$found" ]; then modules=$found; fi
done

cat >"$folder/etc/main.cf" <<EOF
compatibility_level = 3.6
mail_owner = $owner
setgid_group = uucp
default_privs = nobody
queue_directory = $folder/queue
data_directory = $folder/data
meta_directory = $folder/etc
shlib_directory = $package/usr/lib/postfix
daemon_directory = $package/usr/lib/postfix/sbin
command_directory = $package/usr/sbin
import_environment = MAIL_CONFIG LD_LIBRARY_PATH=$libraries ${modules:+SASL_PATH=$modules}
maillog_file = /dev/stdout
myhostname = postfix.test
mydestination =
alias_maps =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_relay_restrictions = reject_unauth_destination
message_size_limit = 0
mailbox_size_limit = 0
virtual_mailbox_limit = 0
virtual_mailbox_domains = example.net
virtual_mailbox_base = $folder
virtual_mailbox_maps = static:Maildir/
virtual_minimum_uid = 1
virtual_uid_maps = static:$(id -u "$owner")
virtual_gid_maps = static:$(id -g "$owner")
EOF
if [ $# -gt 0 ]; then
    "$peers/bin/saslpasswd2" -c -p -f "$folder/sasldb2" -u postfix.test alice
    chown "$owner" "$folder/sasldb2"
    # Where Debian's Postfix looks, and where any other is told to.
    mkdir "$folder/etc/sasl"
    cat >"$folder/etc/sasl/smtpd.conf" <<EOF
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: $folder/sasldb2
mech_list: $*
EOF
    cat >>"$folder/etc/main.cf" <<EOF
cyrus_sasl_config_path = $folder/etc/sasl
smtpd_sasl_auth_enable = yes
smtpd_sasl_local_domain = postfix.test
smtpd_sasl_security_options = noanonymous
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
EOF
fi
if [ -n "${RELAYHOST:-}" ]; then
    # Takes mail for anyone from here, and sends it there.
    cat >>"$folder/etc/main.cf" <<EOF
relayhost = $RELAYHOST
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
virtual_mailbox_domains =
EOF
fi
cat >"$folder/etc/master.cf" <<EOF
127.0.0.1:$port inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
EOF
export MAIL_CONFIG="$folder/etc"
exec "$peers/bin/postfix-master" -d
