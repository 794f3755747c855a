#!/usr/bin/env bash
# All tests of the workspace: by nextest when it is installed, else by cargo test. Documentation tests always.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Snapshots are compared, never written.
export INSTA_UPDATE=no CI=${CI:-1}

if cargo nextest --version >/dev/null 2>&1; then
    scripts/cargo nextest run --workspace --locked "$@"
    scripts/cargo test --workspace --locked --doc
else
    scripts/cargo test --workspace --locked "$@"
fi
