#!/usr/bin/env bash
# Breaks the store on purpose, by one patch of this folder after the other, in a copy, and sees that a test of the library finds it.
# Prints a line each: the mutation, what found it, and in how many histories of the simulation. By hand: a build for each.
#
# run.sh [NAME...]; MENSHEN_SEEDS: most histories (10000).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cargo=${CARGO:-cargo}
tree=target/mutations
export MENSHEN_SEEDS=${MENSHEN_SEEDS:-10000}

if [ $# -eq 0 ]; then
    set -- tests/mutations/*.patch
    set -- "${@##*/}"
    set -- "${@%.patch}"
fi
rm -rf "$tree"
mkdir -p "$tree"
git ls-files -z | xargs -0 cp --parents -p -t "$tree"

# Tests of the copy, built in the folder where the dependencies are. Another profile gives them another name there: with the same one
# cargo would take them for the tests of this tree, and run what is broken.
tests() {
    # shellcheck disable=SC2086  # CARGO may have words
    $cargo test --locked --lib --config profile.dev.package.menshen.debug=false --manifest-path "$tree/Cargo.toml" --target-dir target "$@" >"$tree/log" 2>&1
}

survived=0
for name; do
    patch=$PWD/tests/mutations/$name.patch
    finder=$(sed -n 's/^Found by: //p' "$patch")
    patch -s -p1 -d "$tree" <"$patch"
    if ! tests --no-run; then
        cat "$tree/log" >&2
        exit 1
    fi
    if tests "$finder"; then
        survived=1
        printf '%-32s SURVIVED %s\n' "$name" "$finder"
    else
        seed=$(grep -o 'MENSHEN_SEED=[0-9]* shows' "$tree/log" | tr -dc '0-9\n' | sort -n | head -1 || true)
        printf '%-32s %s%s\n' "$name" "$finder" "${seed:+, history $seed}"
    fi
    patch -s -R -p1 -d "$tree" <"$patch"
done
exit $survived
