#!/usr/bin/env bash
# testssl.sh of Debian against the TLS listener of the real binary ($1). Fails on a finding of medium severity or worse.
#
# The certificate is of an authority made here, with what public ones have. The backend sends the headers that testssl.sh asks of
# pages: menshen passes answers on as they are.
set -euo pipefail
menshen=$(realpath "$1")
here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
place=$(mktemp -d)
cd "$place"
stop() {
    # shellcheck disable=SC2046  # one word for each process
    kill $(jobs -p) 2>/dev/null || true
    rm -rf "$place"
}
trap stop EXIT

key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
openssl req -x509 "${key[@]}" -keyout ca.key -out ca.pem -days 30 -subj /CN=authority -addext basicConstraints=critical,CA:TRUE \
    -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
cat >extensions <<'TEXT'
subjectAltName=DNS:localhost
basicConstraints=CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
crlDistributionPoints=URI:http://localhost:1/crl
TEXT
openssl req "${key[@]}" -keyout leaf.key -out leaf.csr -subj /CN=localhost 2>/dev/null
openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 90 -extfile extensions -out leaf.pem 2>/dev/null

python3 -B "$here/backend.py" >backend.out &
until grep -q listening backend.out; do sleep 0.1; done
cat >config.toml <<TEXT
mode = "development"
[server]
listen = ["tls:127.0.0.1:0"]
[server.tls]
cert_file = "leaf.pem"
key_file = "leaf.key"
[admin]
listen = "127.0.0.1:0"
[upstream]
urls = ["http://127.0.0.1:$(cut -d' ' -f2 backend.out)"]
[store]
url = "memory:"
[[rule]]
name = "open"
path = "/**"
access = "public"
TEXT
"$menshen" run --config config.toml >menshen.out 2>&1 &
until grep -q '"ready"' menshen.out; do
    kill -0 $! || { cat menshen.out >&2; exit 1; }
    sleep 0.1
done
port=$(grep -o 'tls:127.0.0.1:[0-9]*' menshen.out | head -1 | cut -d: -f3)

# Its own status says how many findings there were, of any severity.
testssl --color 0 --quiet --warnings batch --add-ca ca.pem --jsonfile-pretty found.json "localhost:$port" || true
python3 -B - found.json <<'TEXT'
import json
import sys

found = []


def walk(value):
    if isinstance(value, dict):
        if "severity" in value and "id" in value:
            found.append(value)
        for inner in value.values():
            walk(inner)
    elif isinstance(value, list):
        for inner in value:
            walk(inner)


walk(json.load(open(sys.argv[1])))
bad = [one for one in found if one["severity"] in ("MEDIUM", "HIGH", "CRITICAL", "FATAL")]
for one in bad:
    print("testssl:", one["severity"], one["id"], one["finding"], file=sys.stderr)
assert len(found) > 50, "testssl.sh has looked at next to nothing"
print(f"testssl: {len(found)} checks, {len(bad)} findings of medium severity or worse")
sys.exit(bool(bad))
TEXT
