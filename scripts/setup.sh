#!/usr/bin/env bash
# Makes sure that the machine can build Quorus. Idempotent and quick when nothing is missing.
#
# Needed: the Rust toolchain, a C++ compiler and libclang (RocksDB and its bindings), a compiler cache (so that RocksDB compiles once).
# Not needed: protoc. On Debian and its kin what is missing is installed, if this user may; else it is named.
set -euo pipefail

rust_wanted=1.95
missing=()
packages=()

need() { # need WHAT PACKAGE TEST...: remembers what the test does not find
    local what=$1 package=$2
    shift 2
    if ! "$@" >/dev/null 2>&1; then
        missing+=("$what")
        packages+=("$package")
    fi
}

libclang_found() {
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' || compgen -G '/usr/lib/*/libclang*.so*' || compgen -G '/usr/lib*/libclang*.so*' ||
        [[ -n ${LIBCLANG_PATH:-} ]]
}

check_system() {
    missing=()
    packages=()
    need 'a C compiler (gcc)' gcc command -v gcc
    need 'a C++ compiler (g++)' g++ command -v g++
    need 'make' make command -v make
    need 'libclang, with its headers' libclang-dev libclang_found
    need 'a compiler cache (ccache)' ccache command -v ccache
}

check_rust() {
    if ! command -v cargo >/dev/null; then
        echo "setup: the Rust toolchain is missing. Install it from https://rustup.rs, then run this again." >&2
        exit 1
    fi
    local have
    have=$(rustc --version | awk '{ print $2 }')
    if [[ $(printf '%s\n%s\n' "$rust_wanted" "$have" | sort -V | head -1) != "$rust_wanted" ]]; then
        echo "setup: Rust $rust_wanted or later is needed, this is $have. Run: rustup update stable" >&2
        exit 1
    fi
    local component
    for component in rustfmt clippy; do
        if ! cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1; then
            if command -v rustup >/dev/null; then
                rustup component add "$component"
            else
                echo "setup: $component is missing; make verify and make fix need it." >&2
            fi
        fi
    done
}

install_missing() {
    local sudo=()
    if [[ $(id -u) -ne 0 ]]; then
        # -n: never ask for a password in the middle of a build.
        if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
            sudo=(sudo -n)
        else
            return 1
        fi
    fi
    command -v apt-get >/dev/null || return 1
    echo "setup: installing ${packages[*]}"
    "${sudo[@]}" apt-get update -qq || echo "setup: the package lists could not be refreshed; trying with those that are there" >&2
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
}

check_rust
check_system
if ((${#missing[@]})) && install_missing; then
    check_system
fi
if ((${#missing[@]})); then
    {
        echo "setup: still missing:"
        printf '  - %s\n' "${missing[@]}"
        echo "On Debian or Ubuntu: sudo apt-get install ${packages[*]}"
        echo "Elsewhere: the packages with the same content, then run this again."
    } >&2
    exit 1
fi
