#!/usr/bin/env bash
# The C interface from outside: installed, found by pkg-config, used from C and C++ under the address sanitizer, and by the examples.
#
#     runtime/c/tests/run.sh BUILT-LIBRARIES-FOLDER
# What reads a pipe reads all of it: a program that is cut off in its writing would fail.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../../..
built=${1:?the folder with libedge_seg_c.so}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/empty"
"$here/../install.sh" "$work/usr" "$built"
export PKG_CONFIG_PATH=$work/usr/lib/pkgconfig LD_LIBRARY_PATH=$work/usr/lib
read -ra flags <<< "$(pkg-config --cflags --libs edge_seg)"
[ "$(pkg-config --modversion edge_seg)" = "$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml")" ]
strict=(-Wall -Wextra -Werror -pedantic)
sanitized=(-g -O1 -fsanitize=address,undefined -fno-omit-frame-pointer)
cat=$root/examples/pictures/cat.jpg bundle=$root/runtime/models/mini.esb

cc -std=c11 "${strict[@]}" "${sanitized[@]}" "$here/interface.c" -o "$work/interface" "${flags[@]}" -lpthread
"$work/interface" "$cat" "$bundle" "$work/empty"
c++ -std=c++17 "${strict[@]}" "${sanitized[@]}" "$here/interface.cpp" -o "$work/interface_cpp" "${flags[@]}"
"$work/interface_cpp" "$cat"

# The header alone, in every standard that knows commas behind an enumeration's last name.
for standard in c99 c11 c17 c2x; do cc -std=$standard "${strict[@]}" -fsyntax-only "$here/interface.c" "${flags[@]}"; done
echo '#include <edge_seg.h>' > "$work/header.cpp"
for standard in c++11 c++14 c++17 c++20 c++23; do c++ -std=$standard "${strict[@]}" -fsyntax-only "$work/header.cpp" "${flags[@]}"; done
# In older ones too, where nobody asks for strictness.
cc -std=c89 -fsyntax-only -x c "$work/header.cpp" "${flags[@]}"
c++ -std=c++98 -Wall -Wextra -Werror -fsyntax-only "$work/header.cpp" "${flags[@]}"

# The same program with the library inside.
read -ra alone <<< "$(pkg-config --static --libs edge_seg | sed 's/-ledge_seg//')"
cc -std=c11 "${strict[@]}" "$here/interface.c" -I"$work/usr/include" "$work/usr/lib/libedge_seg.a" -o "$work/static" "${alone[@]}"
# Assembly of the engine does not say that it needs no executable stack, and one such file is enough for the linker.
if readelf -lW "$work/static" | grep "GNU_STACK.*RWE" > /dev/null; then echo "run.sh: expected no executable stack in the static program" >&2; exit 1; fi
env -u LD_LIBRARY_PATH "$work/static" "$cat" "$bundle" "$work/empty"

# Nothing but the interface is exported.
others=$(nm -D --defined-only "$work/usr/lib/libedge_seg.so" | awk '$2 ~ /[TDB]/ && $3 !~ /^edge_seg_/ { print $3 }')
[ -z "$others" ] || { echo "run.sh: exported beside the interface: $others" >&2; exit 1; }
readelf -d "$work/usr/lib/libedge_seg.so" | grep 'soname: \[libedge_seg.so.0\]' > /dev/null

cc -std=c11 "${strict[@]}" "$root/examples/c/segment_picture.c" -o "$work/segment_picture" "${flags[@]}"
(cd "$work" && ./segment_picture "$cat" "cat, wall") | grep '^cat ' > /dev/null
if pkg-config --exists gstreamer-app-1.0; then
    read -ra gst <<< "$(pkg-config --cflags --libs gstreamer-app-1.0)"
    cc -std=c11 -Wall -Wextra -Werror "$root/examples/c/gstreamer_appsink.c" -o "$work/appsink" "${flags[@]}" "${gst[@]}"
    EVERY_FRAME=1 "$work/appsink" "videotestsrc num-buffers=5 ! video/x-raw,width=160,height=120" "sky, stripes" > "$work/appsink.txt"
    [ "$(grep -c '^frame ' "$work/appsink.txt")" = 5 ]
    code=0
    timeout 60 "$work/appsink" "filesrc location=$work/none.mp4 ! decodebin" "sky" 2> "$work/appsink.txt" || code=$?
    [ "$code" = 2 ]
    grep -q "none.mp4" "$work/appsink.txt"
elif [ "${EDGE_SEG_TESTS_REQUIRE:-}" = all ]; then
    echo "run.sh: expected gstreamer-app-1.0, found none" >&2
    exit 1
fi
echo "the C interface: all of it"
