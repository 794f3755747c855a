#!/usr/bin/env bash
# The gates. They only read: what they complain about, `make fix` or a person repairs.
#
# All of them run, also after one failed, so that one round shows everything; the answer is the worst of them.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failed=()

gate() { # gate NAME COMMAND...
    local name=$1
    shift
    echo "verify: $name"
    "$@" || failed+=("$name")
}

gate format cargo fmt --all --check
# A workspace of its own: it depends on what the rest must not.
gate format-peer cargo fmt --manifest-path benches/peer/Cargo.toml --check
gate house-rules scripts/tidy.sh
gate shell-scripts scripts/shell.sh
gate licences scripts/licences.sh
gate api-lint scripts/buf.sh
gate lints scripts/cargo clippy --workspace --locked --all-targets -- -D warnings
# Private items are documented, too: a module's table of contents may link to them.
RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" gate docs scripts/cargo doc --workspace --locked --no-deps --document-private-items --quiet

if ((${#failed[@]})); then
    echo "verify: failed: ${failed[*]}" >&2
    exit 1
fi
echo "verify: all gates passed"
