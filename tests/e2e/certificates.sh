#!/bin/sh
# Makes certificates for the next hops of the end-to-end tests, in the folder that is named: a CA of
# their own, one between, and servers that are right or wrong in one way each. NAME.pem holds the
# certificate (and what is between it and the CA), NAME.key its key.
set -eu
mkdir -p "$1"
cd "$1"
: >index
echo 1000 >serial
cat >config <<'EOF'
[ca]
default_ca = it
[it]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
unique_subject = no
email_in_dn = no
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
[ca_of]
basicConstraints = critical, CA:true
keyUsage = keyCertSign
[good]
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1, DNS:hop.test
extendedKeyUsage = serverAuth
[noname]
subjectAltName = DNS:other.test, DNS:*.other.test
[client]
extendedKeyUsage = clientAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
[self]
basicConstraints = CA:false
subjectAltName = DNS:localhost, IP:127.0.0.1
EOF
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key" 2>/dev/null; }
root() { # NAME
    key "$1"
    openssl req -config config -x509 -new -key "$1.key" -subj "/CN=$1" -days 3650 -extensions ca_of -out "$1.pem"
}
sign() { # NAME CA EXTENSIONS START END [DIGEST]
    key "$1"
    openssl req -config config -new -key "$1.key" -subj "/CN=$1" -out "$1.csr"
    openssl ca -config config -batch -notext -keyfile "$2.key" -cert "$2.pem" -extensions "$3" \
        -startdate "$4" -enddate "$5" -in "$1.csr" -out "$1.pem" 2>log || { cat log; exit 1; }
}
ever=20200101000000Z never=21000101000000Z
root ca
root stranger
sign good ca good $ever $never
sign between ca ca_of $ever $never
sign deep between good $ever $never
cp deep.pem lonely.pem; cp deep.key lonely.key
cat between.pem >>deep.pem
sign expired ca good $ever 20200201000000Z
sign early ca good 20990101000000Z $never
sign otherwise ca noname $ever $never
sign misused ca client $ever $never
sign foreign stranger good $ever $never
key selfmade
openssl req -config config -x509 -new -key selfmade.key -subj /CN=selfmade -days 3650 -extensions self -out selfmade.pem
# A hundred certificates, none of which leads anywhere.
cat foreign.pem >chain.pem
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do cat between.pem between.pem between.pem between.pem between.pem >>chain.pem; done
cp foreign.key chain.key
: >ready
