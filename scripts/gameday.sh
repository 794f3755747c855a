#!/usr/bin/env bash
# Holds game days: builds the programs, runs experiments one after the other, and answers with the worst verdict.
#
#   scripts/gameday.sh short                 two experiments with real processes, for CI
#   scripts/gameday.sh long [SEED...]        all shipped experiments, once per seed; those that need root are left out without it
#
# Exit code 0: all valid; 1: a promise was broken somewhere; 2: somewhere nothing was proven.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/cargo build --workspace --locked --bins || exit 2
chaos=${CARGO_TARGET_DIR:-target}/debug/quorus-chaos
results=${RESULTS:-results}
worst=0
lines=()

day() { # day EXPERIMENT ARGUMENT...
    local code=0
    "$chaos" run "$@" --results "$results" || code=$?
    # A broken promise is worse than an unknown one.
    if ((code == 1)) || ((worst == 0)); then worst=$code; fi
    lines+=("$(printf '%-28s %s' "$1" "$([[ $code == 0 ]] && echo valid || { [[ $code == 1 ]] && echo VIOLATED || echo unknown; })")")
}

case ${1:-short} in
short)
    day leader-kill --seed 1 --runs 80 --rate 10 --mix small
    day worker-kill --seed 2 --runs 60 --rate 10 --mix small
    ;;
long)
    shift
    seeds=("$@")
    ((${#seeds[@]})) || seeds=(1 2 3)
    left_out=
    ((EUID == 0)) || left_out=$("$chaos" list --names --tag root)
    for seed in "${seeds[@]}"; do
        while IFS= read -r name; do
            grep -qxF "$name" <<<"$left_out" || day "$name" --seed "$seed"
        done < <("$chaos" list --names)
    done
    for name in $left_out; do lines+=("$(printf '%-28s %s' "$name" "left out: it needs root")"); done
    ;;
*)
    echo "say short, or long and seeds" >&2
    exit 2
    ;;
esac

echo
printf '%s\n' "${lines[@]}"
exit "$worst"
