#!/bin/sh
# Runs an unpacked mail server in the foreground that files all mail into FOLDER/Maildir, with a mount
# namespace of its own: under /usr lies the package before the system, and in /etc/passwd are the users
# that it would create. usage: hop.sh exim|opensmtpd FOLDER PORT. Needs root, unshare and overlayfs;
# nothing outside FOLDER is touched.
set -eu
name=$1 folder=$2 port=$3
peers=$(cd "$(dirname "$0")/../../target/peers" && pwd)
if [ "${INSIDE_HOP:-}" != "$folder" ]; then
    INSIDE_HOP=$folder exec unshare -m sh "$0" "$@"
fi
mkdir -p "$folder/spool" "$folder/etc" "$folder/empty" "$folder/Maildir/new" "$folder/Maildir/cur" "$folder/Maildir/tmp"
mount -t overlay overlay -o "lowerdir=$peers/$name/usr:/usr" /usr
cp /etc/passwd /etc/group "$folder/etc/"
user() { # NAME NUMBER
    echo "$1:x:$2:$2::$folder/empty:/usr/sbin/nologin" >>"$folder/etc/passwd"
    echo "$1:x:$2:" >>"$folder/etc/group"
}
user Debian-exim 64401
user opensmtpd 64402
user opensmtpq 64403
user hop 64404
sed -i "s|^hop:.*|hop:x:64404:64404::$folder:/bin/sh|" "$folder/etc/passwd"
chmod 755 "$folder"
chown -R 64404:64404 "$folder/Maildir"

case $name in
exim)
    mkdir -p "$folder/etc/exim4"
    cat >"$folder/etc/exim4/exim4.conf" <<END
primary_hostname = exim.test
spool_directory = $folder/spool
log_file_path = $folder/spool/log.%s
daemon_smtp_ports = $port
local_interfaces = 127.0.0.1
message_size_limit = 0
smtp_accept_max = 100
queue_only = false
acl_smtp_rcpt = all
acl_smtp_data = all
begin acl
all:
  accept
begin routers
all:
  driver = accept
  transport = box
begin transports
box:
  driver = appendfile
  directory = $folder/Maildir
  maildir_format
  user = hop
  group = hop
begin retry
* * F,1h,1s
END
    # Where it was built to look: for a config from elsewhere it gives up being root.
    mount -t overlay overlay -o "lowerdir=$folder/etc:/etc" /etc
    chown Debian-exim "$folder/spool"
    exec /usr/sbin/exim4 -bdf -q1s
    ;;
opensmtpd)
    cat >"$folder/smtpd.conf" <<END
queue ttl 1h
smtp max-message-size 64M
table boxes { "@" = hop }
listen on 127.0.0.1 port $port hostname opensmtpd.test
action file maildir "$folder/Maildir" virtual <boxes>
match from any for any action file
END
    mount -t overlay overlay -o "lowerdir=$folder/etc:/etc" /etc
    # Its queue, and the place where its processes lock themselves in, are where it was built to look.
    mkdir -p "$folder/spool/smtpd" "$folder/lib/opensmtpd/empty"
    chmod 711 "$folder/spool/smtpd"
    mount --bind "$folder/spool" /var/spool
    mount --bind "$folder/lib" /var/lib
    exec /usr/sbin/smtpd -d -f "$folder/smtpd.conf"
    ;;
esac
