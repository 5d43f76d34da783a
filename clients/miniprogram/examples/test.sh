#!/usr/bin/env bash
# The examples in renderers; `./run test-clients` calls it after the package is built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/test"
if ! cmp -s package-lock.json node_modules/.installed; then
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
    cp package-lock.json node_modules/.installed
fi
node --test native.test.cjs
