#!/usr/bin/env bash
# Lints the .proto files with buf: the one in PATH, or one that npx can fetch. Says so and passes when there is neither.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=1.75.0
if command -v buf >/dev/null; then
    buf=(buf)
elif command -v npx >/dev/null && timeout 120 npx --yes "@bufbuild/buf@$version" --version >/dev/null 2>&1; then
    buf=(npx --yes "@bufbuild/buf@$version")
else
    echo "  skipped: neither buf nor an npx that can fetch it is here"
    exit 0
fi
"${buf[@]}" lint
