#!/usr/bin/env bash
# Builds a wheel for glibc 2.31 and newer (manylinux_2_31), one for all CPythons from 3.11:
#
#     runtime/python/build.sh x86_64|aarch64 OUT
#
# zig's linker is given that glibc's symbols. Needs maturin and ziglang as PyPI has them (`pip install maturin==1.16.0 ziglang==0.17.1`),
# and for another processor a rustc with its standard library: rustup's (`rustup target add aarch64-unknown-linux-gnu`), or Debian's
# rustc-web with libstd-rust-web-dev:arm64. RUSTC names it where it is not the first one found.
set -euo pipefail
cd "$(dirname "$0")"
arch=${1:?x86_64 or aarch64} out=$(realpath -m "${2:?a folder for the wheel}")
case $arch in
    x86_64 | aarch64) target=$arch-unknown-linux-gnu ;;
    *) echo "build.sh: expected x86_64 or aarch64, found $arch" >&2; exit 2 ;;
esac
options=(--release --locked --compatibility manylinux_2_31 --out "$out")
if [ "$arch" = "$(uname -m)" ]; then
    # Without a target's name, so that an engine that is built already is taken: zig links the last crate alone.
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    printf '#!/bin/sh\nexec maturin zig cc -- -target %s-linux-gnu.2.31 "$@"\n' "$arch" > "$scratch/cc"
    chmod +x "$scratch/cc"
    options+=(-- -C "linker=$scratch/cc")
else
    has_target() { "$1" --print target-libdir --target "$target" 2>/dev/null | xargs -I{} sh -c 'ls {}/libstd-*.rlib' >/dev/null 2>&1; }
    for rustc in ${RUSTC:-} rustc /usr/bin/rustc; do
        if has_target "$rustc"; then found=$rustc; break; fi
    done
    [ -n "${found:-}" ] || { echo "build.sh: expected a rustc with the standard library of $target, found none" >&2; exit 2; }
    export RUSTC=$found
    options+=(--zig --target "$target")
fi
mkdir -p "$out"
maturin build "${options[@]}"
ls -l "$out"
