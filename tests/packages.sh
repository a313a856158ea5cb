#!/usr/bin/env bash
# Checks packages that firmware-tools/packaging/build wrote: `tests/packages.sh OUT [ROOT]`.
#
# glibc floor, lintian; amd64: installed, run and purged in a Debian root (one that debootstrap makes, or a copy of ROOT; with `/`
# an overlay over this system's own, which is quicker but hides a dependency that is missing from the package); arm64: the real
# model on a real picture under emulation as Cortex-A53, A72 and A76, with the labels that x86 gives. Needs root, binutils,
# lintian, debootstrap, and for arm64 binutils-aarch64-linux-gnu, qemu-user-static and libc6:arm64.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath "${1:?a folder of packages}")
base=${2:-}
# Of the picture's pixels, how many must carry the same label on both processors.
same_labels=99.0
picture=$PWD/examples/pictures/cat.jpg
words="cat, grass, sky, car"

passed=0
ok() { printf 'ok    %s\n' "$1"; passed=$((passed + 1)); }
fail() { printf 'FAIL  %s\n' "$1"; exit 1; }

work=$(mktemp -d)
cleanup() {
    for at in debian/proc debian/dev debian layers; do mountpoint -q "$work/$at" && umount "$work/$at"; done
    rm -rf "$work"
}
trap cleanup EXIT

for deb in "$out"/*.deb; do
    arch=$(dpkg-deb -f "$deb" Architecture)
    mkdir "$work/$arch"
    dpkg-deb -x "$deb" "$work/$arch"
    for program in edge-seg edge-seg-fw; do
        newest=$(objdump -T "$work/$arch/usr/bin/$program" 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1 || true)
        [ -n "$newest" ] || newest=$(aarch64-linux-gnu-objdump -T "$work/$arch/usr/bin/$program" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
        [ "$(printf '%s\nGLIBC_2.31\n' "$newest" | sort -V | tail -n 1)" = GLIBC_2.31 ] || fail "$arch $program needs $newest"
        ok "$arch $program needs no more than $newest"
    done
    lintian --fail-on error --suppress-tags no-manual-page "$deb" || fail "lintian on $arch"
    ok "$arch passes lintian"
done

run_x86() {
    "$work/amd64/usr/bin/edge-seg" segment "$picture" --tags "$words" --out "$work/x86" > "$work/x86.json"
}

if [ -d "$work/amd64" ]; then
    run_x86
    case $base in
        "") debootstrap --variant=minbase --include=adduser bookworm "$work/debian" >/dev/null ;;
        /)
            # An overlay cannot lie on another one, which a container's root often is: its own layers are kept in memory.
            mkdir "$work/layers" "$work/debian"
            mount -t tmpfs tmpfs "$work/layers"
            mkdir "$work/layers/upper" "$work/layers/work"
            mount -t overlay overlay -o "lowerdir=/,upperdir=$work/layers/upper,workdir=$work/layers/work" "$work/debian"
            ;;
        *) cp -a "$base" "$work/debian" ;;
    esac
    mount --bind /proc "$work/debian/proc"
    mount --bind /dev "$work/debian/dev"
    cp "$out"/*_amd64.deb "$work/debian/edge-seg.deb"
    cp "$picture" "$work/debian/photo.jpg"
    inside() { chroot "$work/debian" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
    inside dpkg -i /edge-seg.deb >/dev/null
    inside id -nG edge-seg | grep -qw video || fail "edge-seg is not in group video"
    [ "$(inside stat -c %U:%a /var/lib/edge-seg)" = edge-seg:755 ] || fail "/var/lib/edge-seg has another owner or mode"
    [ -f "$work/debian/usr/lib/systemd/system/edge-seg.service" ] || [ -f "$work/debian/lib/systemd/system/edge-seg.service" ] || fail "no unit"
    ok "the package installs, with its user, its folders and its unit"
    inside edge-seg segment /photo.jpg --tags "$words" --out /masks | grep -q '"width"' || fail "segment in the root"
    inside edge-seg-fw board --json | grep -q '"key": "x86"' || fail "board in the root"
    # The service's own command, as its own user, on the configuration as it comes.
    inside install -d -o edge-seg -g edge-seg /var/lib/edge-seg/pictures
    inside cp /photo.jpg /var/lib/edge-seg/pictures/
    inside runuser -u edge-seg -- edge-seg-fw guard | grep -q '"width"' || fail "the guard with the configuration as it comes"
    ok "the programs and the service's command run in the root"
    inside dpkg --purge edge-seg >/dev/null 2>&1
    for left in /etc/edge-seg /var/lib/edge-seg /usr/bin/edge-seg /usr/bin/edge-seg-fw /usr/share/doc/edge-seg; do
        [ ! -e "$work/debian$left" ] || fail "the purge leaves $left"
    done
    ! inside getent passwd edge-seg >/dev/null || fail "the purge leaves the user"
    ok "the purge leaves nothing"
fi

if [ -d "$work/arm64" ]; then
    [ -d "$work/amd64" ] || fail "the arm64 labels need the amd64 package to be held against"
    for cpu in cortex-a53 cortex-a72 cortex-a76; do
        start=$SECONDS
        qemu-aarch64-static -cpu "$cpu" "$work/arm64/usr/bin/edge-seg" segment "$picture" --tags "$words" --out "$work/$cpu" > "$work/$cpu.json" ||
            fail "$cpu: the program ended with $?"
        share=$(python3 tests/python/same_pixels.py "$work/x86/cat.mask.png" "$work/$cpu/cat.mask.png")
        awk "BEGIN { exit !($share >= $same_labels) }" || fail "$cpu: $share % of the labels are those of x86, expected $same_labels"
        ok "$cpu: $share % of the labels are those of x86 ($((SECONDS - start)) s under emulation)"
    done
    qemu-aarch64-static -cpu cortex-a53 "$work/arm64/usr/bin/edge-seg-fw" board --root tests/boards/pi3 | grep -q pi3 || fail "edge-seg-fw on arm64"
    ok "edge-seg-fw runs on arm64"
fi
echo "$passed passed, 0 failed"
