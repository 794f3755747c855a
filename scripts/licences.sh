#!/usr/bin/env bash
# Every dependency's licence is one that the project may ship with: by cargo-deny when it is installed, else by evaluating the
# licence expressions that cargo knows against the same list (read from deny.toml, so there is one list).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if cargo deny --version >/dev/null 2>&1; then
    # Advisories need the network and change from day to day: they belong to a scheduled job, not to a gate of a commit.
    exec cargo deny --log-level error check licenses bans sources
fi

allowed=$(awk '/^allow = \[/ { list = 1; next } list && /^\]/ { exit } list' deny.toml | grep -o '"[^"]*"' | tr -d '"')

# Turns an expression into arithmetic: allowed licences become 1, others 0.
accepted() {
    local expression=$1 word arithmetic=""
    expression=${expression//\// OR }
    expression=${expression//(/ ( }
    expression=${expression//)/ ) }
    expression=${expression// WITH /_WITH_}
    for word in $expression; do
        case $word in
        OR) arithmetic+="||" ;;
        AND) arithmetic+="&&" ;;
        '(' | ')') arithmetic+=$word ;;
        *) if grep -qxF "${word//_WITH_/ WITH }" <<<"$allowed"; then arithmetic+=1; else arithmetic+=0; fi ;;
        esac
    done
    [[ -n $arithmetic ]] && ((arithmetic))
}

bad=0
count=0
while IFS='|' read -r package licence; do
    count=$((count + 1))
    if ! accepted "$licence"; then
        echo "  $package: licence '${licence:-none stated}' is not on the list in deny.toml" >&2
        bad=1
    fi
done < <(cargo tree --workspace --locked --edges normal,build,dev --prefix none --format '{p}|{l}' | sed 's/ (\*)$//; s/ (proc-macro)//' | grep . | sort -u)
echo "  $count packages checked (without cargo-deny: licences only)"
((count > 0 && bad == 0))
