#!/bin/sh
# Tests the NEON kernels under user-mode emulation, as a Raspberry Pi 4 (Cortex-A72) and a Raspberry Pi 5 (Cortex-A76) would run them,
# and a processor with products of bytes as matrices (i8mm), which the emulator has no named one of.
# Needs qemu-aarch64-static, aarch64-linux-gnu-gcc and a rustc with AArch64's standard library: rustup's
# (`rustup target add aarch64-unknown-linux-gnu`) or Debian's (`dpkg --add-architecture arm64; apt-get install rustc-web libstd-rust-web-dev:arm64
# qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross`). RUSTC names it where it is not the first one found.
set -eu
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu

has_target() { "$1" --print target-libdir --target "$target" 2>/dev/null | xargs -I{} sh -c 'ls {}/libstd-*.rlib' >/dev/null 2>&1; }
for rustc in ${RUSTC:-} rustc /usr/bin/rustc; do
    if has_target "$rustc"; then found=$rustc; break; fi
done
[ -n "${found:-}" ] || { echo "neon: expected a rustc with the standard library of $target, found none" >&2; exit 2; }
for tool in qemu-aarch64-static aarch64-linux-gnu-gcc; do
    command -v "$tool" >/dev/null || { echo "neon: expected $tool on the path, found none" >&2; exit 2; }
done

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# Linked statically: the emulator then needs no AArch64 system beside it.
"$found" --test --edition 2024 -O --target "$target" -C linker=aarch64-linux-gnu-gcc -C target-feature=+crt-static \
    -o "$out/kernels" runtime/kernels/src/lib.rs
for processor in cortex-a72:neon cortex-a76:neon,neondot,fp16 max,pauth-impdef=on:neon,neondot,neoni8mm,fp16; do
    echo "neon: ${processor%:*}, required: ${processor#*:}"
    EDGE_SEG_REQUIRE_KERNELS=${processor#*:} timeout 600 qemu-aarch64-static -cpu "${processor%:*}" "$out/kernels" "$@"
done
