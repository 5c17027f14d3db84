#!/bin/sh
# Fetches the mail programs that the end-to-end tests talk to. Nothing is installed: Debian's mail
# servers conflict with each other, so packages are unpacked into target/peers/NAME, with those
# libraries they need that the system lacks, and run from there by target/peers/bin/COMMAND.
# Quick when all is there. A peer that cannot be had leaves target/peers/NAME.missing with the reason;
# its tests then say "skipped: NAME: reason".
set -u
cd "$(dirname "$0")/../.."
peers=$PWD/target/peers
mkdir -p "$peers/bin" "$peers/deb"

# Package lists of our own, for a machine whose lists are empty or stale; works without root.
own_lists() {
    mkdir -p "$peers/apt/lists/partial" "$peers/apt/cache/archives/partial"
    apt_options="-o Dir::State::lists=$peers/apt/lists -o Dir::Cache=$peers/apt/cache -o APT::Sandbox::User=root"
    apt-get $apt_options -qq update >/dev/null 2>"$peers/apt/error"
}

# The packages and what they need beyond the system, less fonts and documentation.
packages_of() {
    # Several packages are several words.
    apt-get $apt_options -s -o Debug::NoLocking=1 install --no-install-recommends $1 2>/dev/null |
        awk -v package="$1" '$1 == "Inst" && ($3 !~ /^\[/ || $2 == package) && $2 !~ /^(fonts-|sphinx-)|-doc$/ {print $2}'
}

fetch() { # NAME PACKAGE
    names=$(packages_of "$2")
    [ -n "$names" ] || names=$2
    rm -rf "$peers/deb/$1"
    mkdir -p "$peers/deb/$1"
    (cd "$peers/deb/$1" && apt-get $apt_options -qq -o APT::Sandbox::User=root download $names) >"$peers/deb/$1/log" 2>&1
}

wrap() { # NAME COMMAND PATH
    {
        echo '#!/bin/sh'
        echo "root=\$(cd \"\$(dirname \"\$0\")/..\" && pwd)/$1"
        cat <<'EOF'
for folder in "$root"/usr/lib/*-linux-* "$root"/lib/*-linux-* "$root/usr/lib/postfix"; do
    [ -d "$folder" ] && LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
done
for folder in "$root/usr/share/perl5" "$root"/usr/share/perl/5* "$root"/usr/lib/*/perl/5* "$root"/usr/lib/*/perl5/5*; do
    [ -d "$folder" ] && PERL5LIB=${PERL5LIB:+$PERL5LIB:}$folder
done
for folder in "$root"/usr/lib/*/sasl2; do
    [ -d "$folder" ] && export SASL_PATH=$folder
done
export LD_LIBRARY_PATH PERL5LIB
EOF
        [ "$1" = python3 ] && echo 'export PYTHONHOME="$root/usr"'
        # Without a path of its own: whatever command follows, with these libraries.
        if [ -n "$3" ]; then echo "exec \"\$root/$3\" \"\$@\""; else echo 'exec "$@"'; fi
    } >"$peers/bin/$2"
    chmod +x "$peers/bin/$2"
}

peer() { # NAME PACKAGE [COMMAND PATH]...
    name=$1 package=$2
    shift 2
    [ -e "$peers/$name/.ready" ] && return
    rm -rf "$peers/$name" "$peers/$name.missing"
    if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
        echo "no apt-get to fetch package $package with" >"$peers/$name.missing"
    elif fetch "$name" "$package" || { own_lists && fetch "$name" "$package"; }; then
        mkdir -p "$peers/$name"
        for deb in "$peers/deb/$name"/*.deb; do dpkg -x "$deb" "$peers/$name"; done
        while [ $# -gt 0 ]; do
            wrap "$name" "$1" "$2"
            shift 2
        done
        : >"$peers/$name/.ready"
        echo "peers: $name is ready"
    else
        { echo "package $package cannot be downloaded: $(grep -m1 '^E:' "$peers/deb/$name/log")"; } >"$peers/$name.missing"
    fi
    rm -rf "$peers/deb/$name"
    [ -e "$peers/$name.missing" ] && echo "peers: $name is missing: $(cat "$peers/$name.missing")"
    return 0
}

tool() { # NAME PACKAGE PATH: only where the system has none
    command -v "$1" >/dev/null || peer "$1" "$2" "$1" "$3"
}

node() { # NAME VERSION, from npm's registry
    [ -e "$peers/$1/.ready" ] && return
    rm -rf "$peers/$1" "$peers/$1.missing"
    if ! command -v npm >/dev/null; then
        echo "no npm to fetch it with" >"$peers/$1.missing"
    elif npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$peers/$1" "$1@$2" >"$peers/$1.log" 2>&1; then
        : >"$peers/$1/.ready"
        echo "peers: $1 is ready"
    else
        { echo "npm cannot install it: $(tail -n 1 "$peers/$1.log")"; } >"$peers/$1.missing"
    fi
    [ -e "$peers/$1.missing" ] && echo "peers: $1 is missing: $(cat "$peers/$1.missing")"
    return 0
}

apt_options=
tool python3 python3 usr/bin/python3
tool curl curl usr/bin/curl
tool strace strace usr/bin/strace
peer swaks 'swaks libnet-ssleay-perl' swaks usr/bin/swaks
tool openssl openssl usr/bin/openssl
peer msmtp msmtp msmtp usr/bin/msmtp
peer s-nail s-nail s-nail usr/bin/s-nail
peer aiosmtpd python3-aiosmtpd
peer aiosmtplib python3-aiosmtplib
peer perl-smtp 'libauthen-sasl-perl libio-socket-ssl-perl libnet-ssleay-perl' with-perl-smtp ""
peer cron cron cron usr/sbin/cron
peer mutt 'mutt libsasl2-modules' mutt usr/bin/mutt
node nodemailer 10.6.0
peer postfix postfix smtp-sink usr/sbin/smtp-sink smtp-source usr/sbin/smtp-source \
    postfix-master usr/lib/postfix/sbin/master
peer sasl 'sasl2-bin libsasl2-modules libsasl2-modules-db' saslpasswd2 usr/sbin/saslpasswd2
peer haproxy haproxy haproxy usr/sbin/haproxy
peer inetd openbsd-inetd inetd usr/sbin/inetd
node smtp-server 3.21.6
peer exim exim4-daemon-light exim4 usr/sbin/exim4
peer opensmtpd opensmtpd
peer mandoc mandoc mandoc usr/bin/mandoc
