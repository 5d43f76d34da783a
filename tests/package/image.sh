#!/usr/bin/env bash
# Unpacks the image and runs it as its user with a read-only root: by hand, and by runc where this machine lets it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ "${1:-}" = --inside ] || exec unshare --mount --pid --net --fork --kill-child --mount-proc "$0" --inside
# shellcheck source-path=SCRIPTDIR
. tests/package/lib.sh
ip link set lo up
archive=$PWD/target/package/menshen-$version-oci.tar

# What another program reads of it: skopeo checks each digest as it copies.
skopeo copy --quiet "oci-archive:$archive:menshen:$version" "oci:$work/layout:$version"
skopeo inspect "oci:$work/layout:$version" >"$work/inspect"
digest=$(sed -n 's/.*"Digest": "\(.*\)".*/\1/p' "$work/inspect")
[ "$digest" = "$(cat target/package/build/image-digest)" ] || fail "the digest is $digest"
says "\"org.opencontainers.image.version\": \"$version\"" "$work/inspect"
says "\"org.opencontainers.image.revision\": \"$(git -c safe.directory='*' rev-parse HEAD)\"" "$work/inspect"
# Once more from the same inputs.
SOURCE_DATE_EPOCH=$(git -c safe.directory='*' log -1 --format=%ct) python3 -B packaging/image.py target/package/build/menshen \
    target/package/build/THIRD-PARTY "$version" "$(git -c safe.directory='*' rev-parse HEAD)" "$work/again.tar" >"$work/again"
cmp "$work/again" target/package/build/image-digest
cmp "$work/again.tar" "$archive"
passed "skopeo reads it, twice the same digest: $digest"

umoci unpack --image "$work/layout:$version" "$work/bundle"
root=$work/bundle/rootfs
[ "$(find "$root" -type f -perm /111 -name '*sh' | wc -l)" = 0 ] || fail "there is a shell"
start_backend
mkdir "$work/config"
sed 's|^secret_file = .*|secret = "0123456789abcdef0123456789abcdef"|' deploy/systemd/config.toml >"$work/config/config.toml"

# By hand: the root read-only, the volume and the config mounted, no capability.
mount --bind "$root" "$root"
mkdir "$work/volume"
chown 65532:65532 "$work/volume"
mount --bind "$work/volume" "$root/var/lib/menshen"
mount --bind "$work/config" "$root/etc/menshen"
mount -o remount,bind,ro "$root"
contained() {
    env -i MENSHEN_CONFIG=/etc/menshen/config.toml MENSHEN_MODE=development setpriv --no-new-privs --inh-caps=-all \
        /usr/sbin/chroot --userspec=65532:65532 --groups= "$root" /usr/bin/menshen "$@"
}
contained run >"$work/log" 2>&1 &
menshen=$!
until_ready "$menshen"
login_and_call alice
contained users list >"$work/users"
[ "$(wc -l <"$work/users")" = 2 ] || fail "users: $(cat "$work/users")"
stop "$menshen"
umount "$root/var/lib/menshen" "$root/etc/menshen" "$root"
passed "a login and a call, as uid 65532 with a read-only root"

# By runc, in this network. A machine may forbid what it needs (cgroups, further namespaces); then its reason is printed.
python3 - "$work" <<'PYTHON'
import json
import sys

work = sys.argv[1]
path = f"{work}/bundle/config.json"
with open(path) as file:
    spec = json.load(file)
assert spec["process"]["user"] == {"uid": 65532, "gid": 65532}, spec["process"]["user"]
assert spec["process"]["args"] == ["/usr/bin/menshen", "run"], spec["process"]["args"]
spec["root"]["readonly"] = True
spec["process"]["terminal"] = False
spec["process"]["env"].append("MENSHEN_MODE=development")
spec["process"]["noNewPrivileges"] = True
spec["process"]["capabilities"] = {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")}
spec["linux"]["namespaces"] = [entry for entry in spec["linux"]["namespaces"] if entry["type"] in ("pid", "mount", "ipc", "uts")]
spec["mounts"] = [entry for entry in spec["mounts"] if entry["type"] not in ("cgroup", "sysfs") and entry["destination"] != "/etc/resolv.conf"]
for source, destination, mode in ((f"{work}/config", "/etc/menshen", "ro"), (f"{work}/volume", "/var/lib/menshen", "rw")):
    spec["mounts"].append({"source": source, "destination": destination, "type": "bind", "options": ["bind", mode]})
spec["linux"].pop("resources", None)
with open(path, "w") as file:
    json.dump(spec, file)
PYTHON
runc --root "$work/runc" run --no-pivot --bundle "$work/bundle" menshen >"$work/runc.log" 2>&1 &
runc=$!
tries=0
until curl -sf -o /dev/null http://127.0.0.1:9090/readyz; do
    tries=$((tries + 1))
    if ! kill -0 "$runc" 2>/dev/null || [ "$tries" -gt 100 ]; then
        printf 'skipped: runc cannot run here: %s\n' "$(tail -1 "$work/runc.log")"
        exit 0
    fi
    read -rt 0.1 <> <(:) || true
done
login_and_call alice
runc --root "$work/runc" kill menshen TERM
wait "$runc" || fail "runc: menshen did not end cleanly: $(tail -1 "$work/runc.log")"
passed "a login and a call, under runc"
