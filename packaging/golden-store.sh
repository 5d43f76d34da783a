#!/usr/bin/env bash
# Makes test data of a release: a store with users, a ban, two signing keys and a phone, its key, and its export.
#
#   golden-store.sh BINARY VERSION     writes tests/data/stores/VERSION.tar.gz, which tests/it/older_stores.rs reads
#
# All in it is made up: two users of development mode, and a phone of nobody.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# = 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 64; }
menshen=$(realpath "$1")
output=$PWD/tests/data/stores/$2.tar.gz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat >config.toml <<TOML
mode = "development"
sms.providers = ["log"]
server.listen = ["unix:$work/http.sock"]
server.unready_grace = "100ms"
admin.listen = "127.0.0.1:19090"
admin.token_file = "admin.token"
store.url = "sled:data"
store.encryption_key_file = "store.key"
TOML

post() {
    curl -sf --unix-socket http.sock "http://menshen$1" -H 'Content-Type: application/json' -d "$2" >/dev/null
}

"$menshen" run >log &
pid=$!
until curl -sf -o /dev/null http://127.0.0.1:19090/readyz; do
    kill -0 "$pid"
    sleep 0.1
done
post /auth/wechat/login '{"code": "alice", "nickname": "Alice"}'
post /auth/wechat/login '{"code": "bob"}'
post /auth/sms/send '{"phone": "+8613800138000"}'
code=$(sed -n 's/.*the code for .* is \([0-9]\{6\}\).*/\1/p' log)
post /auth/sms/login "{\"phone\": \"+8613800138000\", \"code\": \"$code\"}"
"$menshen" users add root --admin <<<'correct horse battery staple'
"$menshen" users ban openid:development/bob
"$menshen" keys rotate
"$menshen" export store.backup
kill "$pid"
wait "$pid"
tar -czf "$output" --owner=0 --group=0 --numeric-owner data store.key store.backup
ls -l "$output"
