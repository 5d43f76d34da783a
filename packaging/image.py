"""Writes an OCI image with menshen and nothing else: no shell, no package manager, uid 65532. Needs no engine and no network.

Usage: image.py BINARY LICENCES VERSION COMMIT OUTPUT.tar, with SOURCE_DATE_EPOCH in the environment. Prints the digest of the manifest.
The same inputs give the same digest: one layer whose names are sorted and whose times are all SOURCE_DATE_EPOCH.

Of this machine's Debian come the C library that the binary is linked with, with its licence, and the certificates of the usual
authorities. The result is an `oci-archive` (skopeo, podman) and a directory layout (containerd) in one tar file.
"""

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time

USER = 65532
EPOCH = int(os.environ["SOURCE_DATE_EPOCH"])
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
PASSWD = f"root:x:0:0:root:/:/sbin/nologin\nmenshen:x:{USER}:{USER}:menshen:/var/lib/menshen:/sbin/nologin\n"
GROUP = f"root:x:0:\nmenshen:x:{USER}:\n"
# Names are looked up in /etc/hosts first, as everywhere.
NSSWITCH = "hosts: files dns\n"


def libraries(binary):
    """The libraries that the loader finds for a binary, by the path under which it looks for each."""
    listed = subprocess.run(["ldd", binary], check=True, capture_output=True, text=True).stdout
    return sorted(re.findall(r"(?:=> |^\s*)(/\S+)", listed, re.MULTILINE))


def licence_of(library):
    """The copyright file of the package that a library came with."""
    # dpkg knows a merged /usr by either name.
    for path in (library, os.path.realpath(library), library.removeprefix("/usr")):
        found = subprocess.run(["dpkg-query", "--search", path], capture_output=True, text=True)
        if found.returncode == 0:
            return f"/usr/share/doc/{found.stdout.split(':')[0]}/copyright"
    sys.exit(f"image.py: no package has {library}")


def contents(binary, licences):
    """Path in the image, mode and bytes of each file."""
    yield "usr/bin/menshen", 0o755, read(binary)
    yield "usr/share/doc/menshen/THIRD-PARTY", 0o644, read(licences)
    yield "usr/share/doc/menshen/LICENSE", 0o644, read("LICENSE")
    for library in libraries(binary):
        yield library.lstrip("/"), 0o755, read(library)
        licence = licence_of(library)
        yield licence.lstrip("/"), 0o644, read(licence)
    yield AUTHORITIES.lstrip("/"), 0o644, read(AUTHORITIES)
    yield "etc/passwd", 0o644, PASSWD.encode()
    yield "etc/group", 0o644, GROUP.encode()
    yield "etc/nsswitch.conf", 0o644, NSSWITCH.encode()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def entry(name, mode, user=0, kind=tarfile.REGTYPE, size=0):
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.mtime, info.type, info.size = mode, user, user, EPOCH, kind, size
    return info


def layer(files):
    """The layer as a tar: each directory before what it holds. Those that menshen writes to are its own."""
    by_name = {name: (mode, data) for name, mode, data in files}
    # Where engines mount, since the root is read-only.
    directories = {"dev", "etc/menshen", "proc", "sys", "tmp"}
    for name in by_name:
        parent = os.path.dirname(name)
        while parent:
            directories.add(parent)
            parent = os.path.dirname(parent)
    directories |= {"var", "var/lib", "var/lib/menshen"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in sorted(directories | set(by_name)):
            if name in by_name:
                mode, data = by_name[name]
                archive.addfile(entry(name, mode, size=len(data)), io.BytesIO(data))
            elif name == "var/lib/menshen":
                archive.addfile(entry(name, 0o700, USER, tarfile.DIRTYPE))
            else:
                archive.addfile(entry(name, 0o1777 if name == "tmp" else 0o755, kind=tarfile.DIRTYPE))
    return packed.getvalue()


class Blobs(dict):
    """Blobs of the image by their SHA-256."""

    def add(self, media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        self[digest] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def add_json(self, media_type, value):
        return self.add(media_type, to_json(value))


def to_json(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def main():
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    binary, licences, version, commit, output = sys.argv[1:]
    plain = layer(contents(binary, licences))
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EPOCH))
    labels = {
        "org.opencontainers.image.title": "menshen",
        "org.opencontainers.image.description": "A login gate for WeChat Mini Programs, in front of an existing backend",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.revision": commit,
        "org.opencontainers.image.created": created,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    blobs = Blobs()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": created,
        "config": {
            "User": f"{USER}:{USER}",
            "Env": ["PATH=/usr/bin", "MENSHEN_CONFIG=/etc/menshen/config.toml"],
            "Entrypoint": ["/usr/bin/menshen"],
            "Cmd": ["run"],
            "WorkingDir": "/var/lib/menshen",
            "ExposedPorts": {"8080/tcp": {}, "9090/tcp": {}},
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(plain).hexdigest()}"]},
        "history": [{"created": created, "created_by": "packaging/image.py"}],
    }
    compressed = gzip.compress(plain, compresslevel=9, mtime=0)
    manifest = blobs.add_json(
        "application/vnd.oci.image.manifest.v1+json",
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blobs.add_json("application/vnd.oci.image.config.v1+json", config),
            "layers": [blobs.add("application/vnd.oci.image.layer.v1.tar+gzip", compressed)],
            "annotations": labels,
        },
    )
    manifest["annotations"] = {"org.opencontainers.image.ref.name": f"menshen:{version}"}
    manifest["platform"] = {"architecture": "amd64", "os": "linux"}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest]}
    with tarfile.open(output, "w", format=tarfile.GNU_FORMAT) as archive:
        for name in ("blobs", "blobs/sha256"):
            archive.addfile(entry(name, 0o755, kind=tarfile.DIRTYPE))
        files = {"oci-layout": to_json({"imageLayoutVersion": "1.0.0"}), "index.json": to_json(index)}
        files |= {f"blobs/sha256/{digest}": data for digest, data in blobs.items()}
        for name, data in sorted(files.items()):
            archive.addfile(entry(name, 0o644, size=len(data)), io.BytesIO(data))
    print(manifest["digest"])


main()
