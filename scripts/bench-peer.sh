#!/usr/bin/env bash
# Measures Quorus beside a peer (a released binary of Restate, installed by npm into the target folder) with the same work on both sides.
# The comparison itself is benches/peer. Where the peer can't be had, this says so and is content.
#
#   scripts/bench-peer.sh                                   three rounds with 1, 64, 256 and 1024 clients, release builds
#   PROFILE=dev scripts/bench-peer.sh --rounds 1 --concurrency 16
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=1.7.12
package=@restatedev/restate-server-linux-x64
profile=${PROFILE:-release}
target=${CARGO_TARGET_DIR:-$PWD/target}
scratch=$target/peer
export CARGO_TARGET_DIR=$target

skip() {
    echo "bench-peer: skipped: $*"
    exit 0
}

[[ $(uname -sm) == 'Linux x86_64' ]] || skip "the peer's binary is for Linux on x86-64, this is $(uname -sm)"
command -v npm >/dev/null || skip "npm is not installed, and the peer's binary comes through it"

server=$scratch/node_modules/$package/bin/restate-server
installed=$scratch/node_modules/$package/package.json
if ! grep -qs "\"version\": *\"$version\"" "$installed"; then
    timeout 60 npm view "$package@$version" version >/dev/null 2>&1 || skip "the npm registry does not answer for $package@$version"
    mkdir -p "$scratch"
    npm install --prefix "$scratch" --no-save --no-audit --no-fund --loglevel=error "$package@$version"
fi

case $profile in
dev) built=$target/debug ;;
*) built=$target/$profile ;;
esac
scripts/cargo build --workspace --locked --bins --profile "$profile"
scripts/cargo build --manifest-path benches/peer/Cargo.toml --locked --profile "$profile"

exec "$built/quorus-bench-peer" compare --server "$server" --server-version "$version" --quorus-bench "$built/quorus-bench" \
    --folder "$scratch/data" --out "$scratch/result.json" "$@"
