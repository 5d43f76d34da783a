#!/usr/bin/env bash
# Builds what a release page carries, in target/package. `./run package` brings what this needs and calls it:
#
#   package.sh                  the Debian package, the tarball, the image, the SBOM, and SHA256SUMS
#   package.sh --development    the first two, around a development build: for CI, where there is no time for a release build
#
# The same commit gives the same bytes: names are sorted, and each time is that of the commit.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
export LC_ALL=C TZ=UTC

profile=release
directory=release
if [ "${1:-}" = --development ]; then
    profile=dev
    directory=debug
fi
version=$(sed -n '/^\[package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
out=target/package
name=menshen-$version-linux-amd64
tree=$out/tarball/$name
root=$out/debian/root

die() {
    printf 'package: %s\n' "$*" >&2
    exit 1
}

say() {
    printf 'package: %s (%d s)\n' "$*" "$SECONDS"
}

# What git knows of these paths, below a directory; nothing that lies beside it goes into a package.
copy_tracked() {
    local into=$1
    shift
    mkdir -p "$into"
    git ls-files -z "$@" | xargs -0 cp --parents -t "$into"
}

build() {
    [ -z "$(git status --porcelain --untracked-files=no)" ] || say "this tree has changes: what it makes is of no commit"
    cargo build --locked --bin menshen --profile "$profile"
    rm -rf "$out"
    mkdir -p "$out/build"
    strip -o "$out/build/menshen" "target/$directory/menshen"
    chmod 755 "$out/build/menshen"
    "$out/build/menshen" man "$out/build/man1"
    python3 -B packaging/licences.py >"$out/build/THIRD-PARTY"
    say "menshen $("$out/build/menshen" --version | cut -d' ' -f2-)"
}

# All of the tarball: one directory with the binary, and what is read beside it.
tarball() {
    copy_tracked "$tree" LICENSE README.md README.zh-CN.md CHANGELOG.md SECURITY.md ARCHITECTURE.md config.toml docs deploy
    cp "$out/build/menshen" "$out/build/THIRD-PARTY" "$tree"
    mkdir -p "$tree/man" "$tree/completions"
    cp -r "$out/build/man1" "$tree/man/man1"
    "$out/build/menshen" completions bash >"$tree/completions/menshen.bash"
    "$out/build/menshen" completions zsh >"$tree/completions/_menshen"
    "$out/build/menshen" completions fish >"$tree/completions/menshen.fish"
    tar --directory "$out/tarball" --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
        --format=gnu "$name" | gzip -n -9 >"$out/$name.tar.gz"
    say "$name.tar.gz"
}

# The files of the package below $root and its scripts; Cargo.toml says where they go and what else the package is.
debian() {
    local script format
    format=$(sed -n 's/^pub.* const FORMAT: u32 = \([0-9]*\);/\1/p' src/store/open_options.rs)
    [ -n "$format" ] || die "src/store/open_options.rs names no format"
    mkdir -p "$root"/usr/bin "$root"/usr/lib/systemd/system "$root"/usr/share/{doc/menshen,man,bash-completion/completions} \
        "$root"/usr/share/{zsh/vendor-completions,fish/vendor_completions.d} "$root"/etc/menshen "$out/debian/scripts"
    cp "$out/build/menshen" "$root/usr/bin/menshen"
    cp deploy/systemd/config.toml "$root/etc/menshen/config.toml"
    for script in menshen.service menshen-livez.service menshen-livez.timer; do
        sed 's|/usr/local/bin/|/usr/bin/|' "deploy/systemd/$script" >"$root/usr/lib/systemd/system/$script"
    done
    cp -r "$out/build/man1" "$root/usr/share/man/man1"
    gzip -n -9 "$root"/usr/share/man/man1/*
    cp "$tree/completions/menshen.bash" "$root/usr/share/bash-completion/completions/menshen"
    cp "$tree/completions/_menshen" "$root/usr/share/zsh/vendor-completions/_menshen"
    cp "$tree/completions/menshen.fish" "$root/usr/share/fish/vendor_completions.d/menshen.fish"
    cp -r "$tree"/{README.md,README.zh-CN.md,CHANGELOG.md,SECURITY.md,ARCHITECTURE.md,THIRD-PARTY,config.toml,docs,deploy} \
        "$root/usr/share/doc/menshen/"
    for script in preinst postinst prerm postrm; do
        sed "s/@FORMAT@/$format/g; s/@VERSION@/$version/g" "packaging/debian/$script" >"$out/debian/scripts/$script"
        chmod 755 "$out/debian/scripts/$script"
    done
    cargo deb --no-build --no-strip --compress-system --profile "$profile" --quiet --output "$out/menshen_${version}_amd64.deb" --deb-version "$version"
    say "menshen_${version}_amd64.deb"
}

oci_image() {
    python3 -B packaging/image.py "$out/build/menshen" "$out/build/THIRD-PARTY" "$version" "$(git rev-parse HEAD)" \
        "$out/menshen-$version-oci.tar" >"$out/build/image-digest"
    say "menshen-$version-oci.tar, $(cat "$out/build/image-digest")"
}

# What the binary is made of, in CycloneDX. The path of this checkout is taken out of it.
sbom() {
    cargo cyclonedx --quiet --format json --no-build-deps --target x86_64-unknown-linux-gnu --spec-version 1.5 \
        --override-filename menshen-sbom
    sed "s|$PWD|/menshen|g" menshen-sbom.json >"$out/menshen-$version-sbom.cdx.json"
    rm -f menshen-sbom.json
    say "menshen-$version-sbom.cdx.json"
}

build
tarball
debian
if [ "$profile" = release ]; then
    oci_image
    sbom
fi
(cd "$out" && find . -maxdepth 1 -type f -name 'menshen*' -printf '%f\n' | sort | xargs sha256sum >SHA256SUMS)
(cd "$out" && xargs -a <(cut -c67- SHA256SUMS) ls -l | awk '{ printf "  %8.2f MB  %s\n", $5 / 1e6, $9 }')
