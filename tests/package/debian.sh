#!/usr/bin/env bash
# Installs the Debian package in a fresh Debian 12 without systemd, runs it as its unit would, upgrades, goes back, removes and purges
# it; and makes what can go wrong go wrong.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
base=$PWD/target/package-root/bookworm
if [ ! -e "$base/.complete" ]; then
    rm -rf "$base"
    mkdir -p "$base"
    debootstrap --variant=minbase --include=ca-certificates bookworm "$base" >"$base.log" || { tail "$base.log" >&2; exit 1; }
    touch "$base/.complete"
fi
[ "${1:-}" = --inside ] || exec unshare --mount --pid --net --fork --kill-child --mount-proc "$0" --inside
# shellcheck source-path=SCRIPTDIR
. tests/package/lib.sh
ip link set lo up
package=$PWD/target/package/menshen_${version}_amd64.deb
config=/etc/menshen/config.toml

# A fresh root: what is written lies in memory, above the one that debootstrap made.
fresh_root() {
    local name=$1
    root=$work/$name/root
    mkdir -p "$work/$name"
    mount -t tmpfs tmpfs "$work/$name"
    mkdir -p "$work/$name"/{root,upper,below}
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/$name/upper,workdir=$work/$name/below" "$root"
    mount -t proc proc "$root/proc"
    mount -t tmpfs tmpfs "$root/tmp"
    mount --bind /dev "$root/dev"
    cp "$work"/*.deb "$root/tmp/" 2>/dev/null || true
    cp "$package" "$root/tmp/menshen.deb"
}

in_root() {
    env -i PATH="$PATH" HOME=/root DEBIAN_FRONTEND=noninteractive chroot "$root" "$@"
}

# The process as deploy/systemd/menshen.service has it: its user, no capability and no way to get one, the root read-only but for
# /var/lib/menshen, /run/menshen and /tmp, umask 077.
as_unit() {
    # shellcheck disable=SC2016  # the inner shell expands it
    unshare --mount bash -c '
        set -e
        root=$1
        shift
        mount --rbind "$root" "$root"
        mount --bind "$root/var/lib/menshen" "$root/var/lib/menshen"
        mount -o remount,bind,ro "$root"
        mount -t proc -o hidepid=invisible proc "$root/proc"
        mount -t tmpfs tmpfs "$root/tmp"
        umask 077
        ulimit -n 65536 2>/dev/null || true # some machines allow less
        exec chroot "$root" env -i PATH=/usr/bin:/bin $variables setpriv --reuid=menshen --regid=menshen --clear-groups \
            --bounding-set=-all --inh-caps=-all --no-new-privs "$@"' unit "$root" "$@"
}
export variables=

# repacked VERSION: this package under another version.
repacked() {
    dpkg-deb -R "$package" "$work/repacked"
    sed -i "s/^Version: .*/Version: $1/" "$work/repacked/DEBIAN/control"
    dpkg-deb --root-owner-group -Znone -b "$work/repacked" "$work/menshen-$1.deb" >/dev/null
    rm -rf "$work/repacked"
}

ready_to_run() {
    printf '0123456789abcdef0123456789abcdef' | in_root install -m 640 -g menshen /dev/stdin /etc/menshen/secrets/wechat
}

repacked 0.0.9
start_backend

# --- install ---
fresh_root fresh
started=$SECONDS
ends 0 "$work/install" in_root apt-get install -y --no-install-recommends /tmp/menshen.deb
in_root setpriv --reuid=65534 --regid=65534 --clear-groups menshen demo --once >"$work/demo" || fail "the demo"
passed "apt install, and a login in the demo after $((SECONDS - started)) s"
says 'menshen is installed and not started' "$work/install"
says 'install -m 640 -g menshen /dev/stdin /etc/menshen/secrets/wechat' "$work/install"
says 'runuser -u menshen -- menshen run' "$work/install"
# Nothing of it runs: these are all processes of this namespace.
! pgrep -x menshen >/dev/null || fail "installing started a menshen"
[ "$(in_root stat -c '%a %U:%G' /var/lib/menshen)" = "700 menshen:menshen" ] || fail "/var/lib/menshen"
[ "$(in_root stat -c '%a %U:%G' /etc/menshen/secrets)" = "750 root:menshen" ] || fail "/etc/menshen/secrets"
# shellcheck disable=SC2016  # dpkg-query's own names
[ "$(in_root dpkg-query -W -f '${Conffiles}' menshen | awk '{ print $1 }' | xargs)" = "$config" ] || fail "conffiles"
grep -q '^ExecStart=/usr/bin/menshen run --config /etc/menshen/config.toml$' "$root/usr/lib/systemd/system/menshen.service" ||
    fail "the unit starts something else"
for file in usr/share/man/man1/menshen-users-list.1.gz usr/share/bash-completion/completions/menshen \
    usr/share/zsh/vendor-completions/_menshen usr/share/fish/vendor_completions.d/menshen.fish \
    usr/share/doc/menshen/copyright usr/share/doc/menshen/THIRD-PARTY usr/share/doc/menshen/docs/running.md \
    usr/share/doc/menshen/deploy/systemd/README.md usr/lib/systemd/system/menshen-livez.timer; do
    # debootstrap's minbase keeps all docs.
    [ -s "$root/$file" ] || fail "/$file is missing"
done
[ "$(find "$root/usr/share/man/man1" -name 'menshen*' | wc -l)" -gt 30 ] || fail "few manual pages"

# --- check, and run as the unit does ---
ends 64 "$work/check" in_root menshen check --config "$config"
says 'wechat.secret_file' "$work/check"
ready_to_run
ends 0 "$work/check" in_root menshen check --config "$config"
ends 64 "$work/run" in_root menshen init --config "$config" --app-id wx0123456789abcdef
says 'overwrites nothing' "$work/run"
variables=MENSHEN_MODE=development
as_unit menshen run --config "$config" >"$work/log" 2>&1 &
menshen=$!
until_ready "$menshen"
login_and_call alice
in_root menshen users list --config "$config" >"$work/users"
[ "$(wc -l <"$work/users")" = 2 ] || fail "users: $(cat "$work/users")"
passed "a login and a call, as the unit runs it"

# --- a port that is taken ---
as_unit env MENSHEN_STORE__URL=memory: menshen run --config "$config" >"$work/second" 2>&1 && fail "two on one port"
says '8080' "$work/second"
grep -qiE 'in use' "$work/second" || fail "it does not say that the port is in use: $(cat "$work/second")"
stop "$menshen"
[ "$(in_root stat -c '%a %U' /var/lib/menshen/data)" = "700 menshen" ] || fail "the store's mode"
passed "a port that is taken"

# --- a newer store: neither the package nor the program of an older version touches it ---
marker=$root/var/lib/menshen/data/menshen.store
cp "$marker" "$work/marker"
sed -i 's/ format [0-9]*\./ format 99./' "$marker"
before=$(cd "$root/var/lib/menshen" && find . -type f -exec sha256sum {} + | sort)
ends 1 "$work/run" as_unit menshen users list --config "$config"
says 'has format 99' "$work/run"
ends 1 "$work/downgrade" in_root dpkg -i /tmp/menshen-0.0.9.deb
says 'has format 99: a newer menshen wrote it' "$work/downgrade"
says 'Nothing was changed' "$work/downgrade"
# shellcheck disable=SC2016  # dpkg-query's own names
[ "$(in_root dpkg-query -W -f '${Version} ${Status}' menshen)" = "$version install ok installed" ] || fail "the state after the refusal"
[ "$before" = "$(cd "$root/var/lib/menshen" && find . -type f -exec sha256sum {} + | sort)" ] || fail "the newer store was changed"
cp "$work/marker" "$marker"
passed "a newer store is refused by package and program, and not changed"

# --- remove keeps, purge takes and says so ---
ends 0 "$work/remove" in_root dpkg --remove menshen
says 'Kept: /etc/menshen' "$work/remove"
for file in "$marker" "$root$config"; do
    [ -s "$file" ] || fail "removing took $file"
done
[ ! -e "$root/usr/bin/menshen" ] || fail "removing left the binary"
ends 0 "$work/purge" in_root dpkg --purge menshen
says 'takes /etc/menshen (config, secrets), /var/lib/menshen' "$work/purge"
left=$(find "$root/etc" "$root/usr" "$root/var" -name '*menshen*')
[ -z "$left" ] || fail "purging left $left"
! in_root getent passwd menshen >/dev/null || fail "purging left the user"
passed "remove and purge"

# --- upgrade over the version before ---
fresh_root upgrade
ends 0 "$work/install" in_root dpkg -i /tmp/menshen-0.0.9.deb
ready_to_run
printf '# mine\n' >>"$root$config"
as_unit menshen run --config "$config" >"$work/log" 2>&1 &
menshen=$!
until_ready "$menshen"
login_and_call alice
stop "$menshen"
key=$(sha256sum <"$root/var/lib/menshen/store.key")
ends 0 "$work/install" in_root dpkg -i /tmp/menshen.deb
! grep -q 'not started' "$work/install" || fail "an upgrade tells how to begin"
[ "$(tail -1 "$root$config")" = '# mine' ] || fail "the config was replaced"
[ "$key" = "$(sha256sum <"$root/var/lib/menshen/store.key")" ] || fail "the store's key was replaced"
as_unit menshen run --config "$config" >"$work/log" 2>&1 &
menshen=$!
until_ready "$menshen"
login_and_call alice
in_root menshen users list --config "$config" >"$work/users"
[ "$(wc -l <"$work/users")" = 2 ] || fail "alice is another user after the upgrade"
stop "$menshen"
passed "upgrade from 0.0.9"

# --- a data directory that is root's ---
chown -R 0:0 "$root/var/lib/menshen/data"
ends 1 "$work/run" as_unit menshen run --config "$config"
says 'cannot be written' "$work/run"
says "menshen's user needs to read and write this directory" "$work/run"
in_root chown -R menshen:menshen /var/lib/menshen/data
passed "a data directory owned by root"

# --- a full disk while it starts ---
mount -t tmpfs -o size=64k,mode=700 tmpfs "$root/var/lib/menshen"
dd if=/dev/zero of="$root/var/lib/menshen/other" bs=4k status=none 2>/dev/null || true
in_root chown menshen:menshen /var/lib/menshen
ends 1 "$work/run" as_unit menshen run --config "$config"
grep -qi 'disk is full\|no space left' "$work/run" || fail "a full disk: $(cat "$work/run")"
umount "$root/var/lib/menshen"
passed "a full disk at start"

# --- the config of another version, there before the package ---
fresh_root foreign
mkdir "$root/etc/menshen"
printf 'mode = "production"\n[gateway]\nbackends = []\n[server]\nlistens = ["0.0.0.0:8080"]\n' >"$root$config"
cp "$root$config" "$work/foreign.toml"
ends 0 "$work/install" in_root dpkg --force-confold -i /tmp/menshen.deb
cmp "$work/foreign.toml" "$root$config" || fail "the config that was there was replaced"
ends 64 "$work/check" in_root menshen check --config "$config"
says 'config.toml:2: gateway: is not a key' "$work/check"
says 'config.toml:5: server.listens: is not a key' "$work/check"
passed "a config of another version"

# --- a full disk during the install ---
fresh_root full
mkdir -p "$root/usr/share/doc/menshen"
mount -t tmpfs -o size=64k tmpfs "$root/usr/share/doc/menshen"
ends 1 "$work/install" in_root dpkg -i /tmp/menshen.deb
says 'No space left on device' "$work/install"
umount "$root/usr/share/doc/menshen"
left=$(find "$root/usr/bin" -name 'menshen*')
[ -z "$left" ] || fail "$left was left"
! in_root getent passwd menshen >/dev/null || fail "a user was left"
ends 0 "$work/install" in_root dpkg -i /tmp/menshen.deb
passed "a full disk during the install, and the install after it"
