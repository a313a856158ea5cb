#!/usr/bin/env bash
# The C interface's Debian packages, unpacked: a program is built with them as with a system's, and runs.
#
#     runtime/c/tests/packages.sh amd64|arm64 FOLDER-OF-PACKAGES
#
# An arm64 one is built by Debian's cross compiler (gcc-aarch64-linux-gnu) and runs under emulation (qemu-user-static, libc6:arm64).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
arch=${1:?amd64 or arm64} packages=${2:?a folder of packages}
case $arch in
    amd64) triplet=x86_64-linux-gnu cc=cc run=() ;;
    arm64) triplet=aarch64-linux-gnu cc=aarch64-linux-gnu-gcc run=(qemu-aarch64-static) ;;
    *) echo "packages.sh: expected amd64 or arm64, found $arch" >&2; exit 2 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for deb in "$packages"/libedge-seg0_*_"$arch".deb "$packages"/libedge-seg-dev_*_"$arch".deb; do dpkg-deb -x "$deb" "$work/unpacked"; done
[ "$(dpkg-deb -f "$packages"/libedge-seg-dev_*_"$arch".deb Depends)" = "libedge-seg0 (= $(dpkg-deb -f "$packages"/libedge-seg0_*_"$arch".deb Version)), libc6-dev" ]
# The C library that the package asks for has all that the library does, and no newer one is asked for.
newest=$(readelf -VW "$work"/unpacked/usr/lib/*/libedge_seg.so.0 | grep -o 'GLIBC_[0-9][0-9.]*' | sort -Vu | tail -n 1)
[ "$(dpkg-deb -f "$packages"/libedge-seg0_*_"$arch".deb Depends)" = "libc6 (>= ${newest#GLIBC_}), libgcc-s1" ]
# One for another processor is not packed.
mkdir "$work/built"
for kind in so.0 a; do ln -s "$work"/unpacked/usr/lib/*/libedge_seg.$kind "$work/built/libedge_seg_c.${kind%.0}"; done
other=$([ "$arch" = amd64 ] && echo arm64 || echo amd64)
! "$root/firmware-tools/packaging/library" "$other" "$work/built" "$work/none" 2> "$work/refused.txt"
grep -q "libedge_seg_c.so for $other, found" "$work/refused.txt"
export PKG_CONFIG_SYSROOT_DIR=$work/unpacked PKG_CONFIG_LIBDIR=$work/unpacked/usr/lib/$triplet/pkgconfig
read -ra flags <<< "$(pkg-config --cflags --libs edge_seg)"
read -ra alone <<< "$(pkg-config --static --cflags --libs edge_seg | sed "s|-ledge_seg|$work/unpacked/usr/lib/$triplet/libedge_seg.a|")"
$cc -std=c11 -Wall -Wextra -Werror "$root/examples/c/segment_picture.c" -o "$work/shared" "${flags[@]}"
$cc -std=c11 -Wall -Wextra -Werror "$root/examples/c/segment_picture.c" -o "$work/static" "${alone[@]}"
readelf -d "$work/shared" | grep 'NEEDED.*\[libedge_seg.so.0\]' > /dev/null
! readelf -d "$work/static" | grep 'NEEDED.*libedge_seg' > /dev/null
# What was linked when it was built is what is found when it runs, and both say the same.
for program in shared static; do
    env LD_LIBRARY_PATH="$work/unpacked/usr/lib/$triplet" "${run[@]}" "$work/$program" "$root/examples/pictures/cat.jpg" "cat, wall" > "$work/$program.txt"
done
grep -q '^cat ' "$work/shared.txt"
cmp "$work/shared.txt" "$work/static.txt"
echo "the C interface's packages for $arch: $(du -h --apparent-size "$work"/unpacked/usr/lib/$triplet/libedge_seg.so.*.* | cut -f1) shared, $(du -h --apparent-size "$work"/unpacked/usr/lib/$triplet/libedge_seg.a | cut -f1) static"
