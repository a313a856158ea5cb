#!/usr/bin/env bash
# Installs the C interface below a prefix: header, shared and static library, pkg-config file, as `-dev` packages have them.
#
#     cargo build --release --lib -p edge-seg-c
#     runtime/c/install.sh /usr/local [TARGET-FOLDER] [LIBRARY-FOLDER]
#
# TARGET-FOLDER holds the built libraries (target/release without another), LIBRARY-FOLDER is where they go (PREFIX/lib without another).
# DESTDIR stands before all paths, for packages.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
prefix=${1:?a prefix, such as /usr/local}
built=${2:-${CARGO_TARGET_DIR:-$here/../../target}/release}
lib=${3:-$prefix/lib}
root=${DESTDIR:-}
for library in libedge_seg_c.so libedge_seg_c.a; do
    [ -f "$built/$library" ] || { echo "install.sh: expected $built/$library, found none; try: cargo build --release --lib -p edge-seg-c" >&2; exit 2; }
done
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$here/../../Cargo.toml")
mkdir -p "$root$prefix/include" "$root$lib/pkgconfig"
install -m 644 "$here/include/edge_seg.h" "$root$prefix/include/"
# The library's own name is the interface's version: a program finds it whatever release it was linked with.
install -m 644 "$built/libedge_seg_c.so" "$root$lib/libedge_seg.so.$version"
ln -sf "libedge_seg.so.$version" "$root$lib/libedge_seg.so.0"
ln -sf libedge_seg.so.0 "$root$lib/libedge_seg.so"
install -m 644 "$built/libedge_seg_c.a" "$root$lib/libedge_seg.a"
sed "s|@PREFIX@|$prefix|; s|@LIBDIR@|$lib|; s|@VERSION@|$version|" "$here/edge_seg.pc.in" > "$root$lib/pkgconfig/edge_seg.pc"
