#!/bin/sh
# Runs the arm64 program on a real picture under user-mode emulation, as Cortex-A53 (Pi 3, Zero 2), A72 (Pi 4), A76 (Pi 5) and a processor with
# products of bytes as matrices, and holds its labels against this machine's own: `tests/arm64.sh ARM64_PROGRAM X86_PROGRAM [ARM64_ROOT]`.
# ARM64_ROOT holds arm64's C library; without it, that of Debian's libc6:arm64 is taken. Needs qemu-aarch64-static and python3.
set -eu
program=$(realpath "$1") x86=$(realpath "$2") root=${3:-/}
cd "$(dirname "$0")/.."
# Of the picture's pixels, how many must carry the same label on both processors, in percent.
same_labels=99.5

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
segment() { # FOLDER PROGRAM...
    folder=$out/$1; shift
    "$@" segment examples/pictures/cat.jpg --tags "cat, wall, sofa, car" --size 224 --out "$folder" $half > "$out/json"
}
compare() { # PROCESSOR
    segment "$1" qemu-aarch64-static -cpu "$1" -L "$root" "$program" || { echo "FAIL  $1 $half: the program ended with $?"; exit 1; }
    share=$(python3 tests/python/same_pixels.py "$out/x86/cat.mask.png" "$out/$1/cat.mask.png")
    awk "BEGIN { exit !($share >= $same_labels) }" || { echo "FAIL  $1 $half: $share % of the labels are those of x86, expected $same_labels"; exit 1; }
    echo "ok    $1 $half: $share % of the labels are those of x86"
}

half=
segment x86 "$x86"
for processor in cortex-a53 cortex-a72 cortex-a76 max,pauth-impdef=on; do compare "$processor"; done
half=--half
compare cortex-a76
code=0
segment none qemu-aarch64-static -cpu cortex-a72 -L "$root" "$program" 2> "$out/error" || code=$?
{ [ "$code" = 2 ] && grep -q fp16 "$out/error"; } || { cat "$out/error"; echo "FAIL  cortex-a72 --half: expected an error that names fp16, found $code"; exit 1; }
echo "ok    cortex-a72 has no 16-bit floats and says so"
