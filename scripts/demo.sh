#!/usr/bin/env bash
# Builds the programs and shows what they are for. The story itself is chaos/src/demo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/cargo build --workspace --locked --bins
exec "${CARGO_TARGET_DIR:-target}/debug/quorus-demo" "$@"
