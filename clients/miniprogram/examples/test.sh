#!/usr/bin/env bash
# The examples in renderers, before the menshen that is named; `./run test-clients` calls it after the package is built.
set -euo pipefail
menshen=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")"
for dir in test taro uni; do
    if ! cmp -s $dir/package-lock.json $dir/node_modules/.installed; then
        printf 'test.sh: installing the packages of examples/%s\n' $dir >&2
        (cd $dir && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
        cp $dir/package-lock.json $dir/node_modules/.installed
    fi
done
for dir in taro uni; do
    (cd $dir && NODE_ENV=production npm run --silent build:weapp >/dev/null)
done
cd test
node --test native.test.cjs
node pack.cjs
node weapp.cjs
node h5.mjs "$menshen" taro uni
