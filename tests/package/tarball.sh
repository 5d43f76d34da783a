#!/usr/bin/env bash
# Unpacks the tarball and runs what is in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ "${1:-}" = --inside ] || exec unshare --mount --pid --net --fork --kill-child --mount-proc "$0" --inside
# shellcheck source-path=SCRIPTDIR
. tests/package/lib.sh
ip link set lo up

tar -xzf "target/package/menshen-$version-linux-amd64.tar.gz" -C "$work"
top=$work/menshen-$version-linux-amd64
[ "$(ls "$work")" = "menshen-$version-linux-amd64" ] || fail "more than one directory: $(ls "$work")"

# The newest version of the C library among its symbols is the one that README.md names, and nothing but that library is linked.
newest=$(objdump -T "$top/menshen" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -1)
grep -q "glibc ${newest#GLIBC_}" README.md || fail "README.md does not say that $newest is needed"
grep -q "glibc ${newest#GLIBC_}" README.zh-CN.md || fail "README.zh-CN.md does not say that $newest is needed"
linked=$(objdump -p "$top/menshen" | awk '/NEEDED/ { print $2 }' | sort | tr '\n' ' ')
# An optimised build needs nothing of the loader itself.
[ "${linked#ld-linux-x86-64.so.2 }" = "libc.so.6 libgcc_s.so.1 libm.so.6 " ] || fail "it links $linked"
passed "it needs $newest and links $linked"

# The licences of everything: each package that is locked for this system is named with its version.
for crate in aws-lc-sys libmimalloc-sys libz-ng-sys mysql_async pingora-core sled tokio; do
    grep -q "^  $crate [0-9.]*: " "$top/THIRD-PARTY" || fail "THIRD-PARTY does not name $crate"
done
for file in LICENSE README.md README.zh-CN.md CHANGELOG.md config.toml docs/running.md deploy/systemd/menshen.service \
    man/man1/menshen.1 completions/menshen.bash completions/_menshen completions/menshen.fish; do
    [ -s "$top/$file" ] || fail "$file is missing"
done
bash -n "$top/completions/menshen.bash"

# Every subcommand has a page, and `man` reads it without a warning.
"$top/menshen" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' | grep -v '^help$' >"$work/commands"
[ "$(wc -l <"$work/commands")" -gt 15 ] || fail "few commands: $(cat "$work/commands")"
while read -r command; do
    [ -s "$top/man/man1/menshen-$command.1" ] || fail "menshen $command has no manual page"
done <"$work/commands"
if command -v man >/dev/null; then
    for page in "$top"/man/man1/*; do
        MANROFFSEQ='' man --warnings -E UTF-8 -l -Tutf8 -Z "$page" >/dev/null 2>"$work/man" || fail "man: $page"
        [ ! -s "$work/man" ] || fail "man: $page: $(cat "$work/man")"
    done
fi
passed "licences, docs, $(find "$top/man" -type f | wc -l) manual pages, completions"

# A user without any right, in a directory of that user's own.
mkdir "$work/home"
chown 65534:65534 "$work/home"
chmod 755 "$work"
as_nobody() {
    (cd "$work/home" && env -i PATH="$PATH" setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs "$@")
}
ends 0 "$work/version" as_nobody "$top/menshen" --version
says "menshen $version (" "$work/version"
ends 0 "$work/demo" as_nobody "$top/menshen" demo --once
passed "$(cat "$work/version"), and the demo"

# A first config by `init`, which overwrites nothing.
init=("$top/menshen" init --backend http://127.0.0.1:3000 --app-id wx0123456789abcdef --dialect nest --data "$work/home/data")
printf '0123456789abcdef0123456789abcdef' >"$work/home/wechat.secret"
chmod 644 "$work/home/wechat.secret"
start_backend
ends 1 "$work/init" as_nobody "${init[@]}" --secret-file wechat.secret
says 'config.toml: written' "$work/init"
says 'config.toml: ok' "$work/init"
says 'WeChat' "$work/init"
ends 64 "$work/init" as_nobody "${init[@]}" --secret-file other.secret
says 'overwrites nothing' "$work/init"
passed "init, check and doctor"

env -i MENSHEN_MODE=development setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs \
    "$top/menshen" run --config "$work/home/config.toml" >"$work/log" 2>&1 &
menshen=$!
until_ready "$menshen"
login_and_call alice
stop "$menshen"
passed "a login and a call with that config"
