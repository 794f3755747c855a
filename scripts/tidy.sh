#!/usr/bin/env bash
# House rules that no compiler knows. Each has a reason; each names the place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lines_max=600
bad=0

complain() {
    echo "  $*" >&2
    bad=1
}

mapfile -t sources < <(find . \( -name target -o -name .git \) -prune -o -type f -name '*.rs' -print | sort)

# A file about one noun is read in one sitting; at 600 lines the second noun has been found.
for file in "${sources[@]}"; do
    lines=$(wc -l <"$file")
    ((lines <= lines_max)) || complain "$file: $lines lines, more than $lines_max: split it by noun"
done

# No stub is called done, nothing from a debugging session stays.
while IFS= read -r hit; do
    complain "$hit: left over"
done < <(grep -nE '\b(todo|unimplemented|dbg)!' "${sources[@]}" | grep -vE ':[0-9]+:\s*//' | cut -d: -f1,2)

# A module says what it is before it says how.
for file in "${sources[@]}"; do
    case $file in
    */src/lib.rs | */src/main.rs | */src/*/mod.rs)
        [[ $(head -c 3 "$file") == '//!' ]] || complain "$file: starts without a module comment (//!)"
        ;;
    esac
done

# The architecture's walls: what a crate must not know, it does not depend on.
forbid() { # forbid MANIFEST CRATE...
    local manifest=$1 crate
    shift
    for crate in "$@"; do
        if sed '/^\[dev-dependencies\]/,/^\[[^d]/d' "$manifest" | grep -qE "^$crate(\.workspace)? *="; then
            complain "$manifest: must not depend on $crate (ARCHITECTURE.md, Rooms)"
        fi
    done
}
forbid node/engine/Cargo.toml tokio rocksdb tonic prost openraft ractor rand quorus-proto quorus-raft quorus-node
forbid raft/Cargo.toml quorus-engine quorus-spec quorus-node quorus-client ractor
forbid proto/Cargo.toml quorus-engine quorus-spec quorus-raft quorus-node quorus-client
forbid node/Cargo.toml openraft quorus-client quorus-chaos quorus-benches
forbid benches/options/Cargo.toml quorus-proto quorus-engine quorus-client quorus-node quorus-chaos tokio
forbid client/Cargo.toml openraft rocksdb quorus-raft quorus-node quorus-chaos quorus-benches

# Links between the papers lead somewhere.
while IFS= read -r paper; do
    while IFS= read -r link; do
        [[ -e $(dirname "$paper")/${link%%#*} ]] || complain "$paper: link to $link leads nowhere"
    done < <(grep -oE '\]\([^)#:]+(#[^)]*)?\)' "$paper" | sed -E 's/^\]\(//; s/\)$//')
done < <(find . \( -name target -o -name .git -o -name node_modules \) -prune -o -name '*.md' -print)

((bad == 0))
