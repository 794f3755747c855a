#!/usr/bin/env bash
# Every script parses; shellcheck has its say when it is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts=(scripts/cargo scripts/*.sh .ci/run)
for script in "${scripts[@]}"; do
    bash -n "$script"
done
if command -v shellcheck >/dev/null; then
    shellcheck "${scripts[@]}"
else
    echo "  skipped shellcheck: it is not installed (scripts were only parsed)"
fi
