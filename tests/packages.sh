#!/usr/bin/env bash
# Checks the packages that firmware-tools/packaging/build wrote: `tests/packages.sh OUT [X86_PROGRAM]`.
#
# The glibc floor, lintian; the package installed, run and purged in a Debian 11 root, whose glibc is the floor itself; the arm64
# programs on a real picture under emulation as Cortex-A53, A72 and A76, with the labels that x86 gives. An arm64 package goes into
# an amd64 root with arm64's libraries, its programs under emulation: Debian's own tools need no emulation there.
# X86_PROGRAM is an edge-seg for this machine, where no amd64 package is there to take it from.
# Needs root, binutils, lintian, debootstrap, python3, pkg-config, and for arm64 gcc-aarch64-linux-gnu, qemu-user-static and the kernel's
# binfmt_misc.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath "${1:?a folder of packages}")
x86=${2:+$(realpath "$2")}
picture=$PWD/examples/pictures/cat.jpg
words="cat, wall, sofa, car"
binfmt=/proc/sys/fs/binfmt_misc

passed=0
ok() { printf 'ok    %s\n' "$1"; passed=$((passed + 1)); }
fail() { printf 'FAIL  %s\n' "$1"; exit 1; }

work=$(mktemp -d)
root=$work/root
cleanup() {
    for at in var/lib/edge-seg/data/recordings var/lib/edge-seg proc dev; do if mountpoint -q "$root/$at"; then umount "$root/$at"; fi; done
    if [ -n "${registered:-}" ]; then echo -1 > "$binfmt/edge-seg-arm64"; fi
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

# Lets the kernel run arm64 programs by the emulator, which it opens now: no root needs one inside.
emulate() {
    [ -e "$binfmt/register" ] || mount -t binfmt_misc binfmt_misc "$binfmt"
    if compgen -G "$binfmt/qemu-aarch64" >/dev/null || [ -e "$binfmt/edge-seg-arm64" ]; then return; fi
    local magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    local mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    printf '%s' ":edge-seg-arm64:M::$magic:$mask:$(command -v qemu-aarch64-static):F" > "$binfmt/register"
    registered=yes
}

inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }

for deb in "$out"/edge-seg_*.deb; do
    arch=$(dpkg-deb -f "$deb" Architecture)
    mkdir "$work/$arch"
    dpkg-deb -x "$deb" "$work/$arch"
    for program in edge-seg edge-seg-fw; do
        newest=$(readelf --dyn-syms -W "$work/$arch/usr/bin/$program" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
        [ "$(printf '%s\nGLIBC_2.31\n' "$newest" | sort -V | tail -n 1)" = GLIBC_2.31 ] || fail "$arch $program needs $newest"
        ok "$arch $program needs no more than $newest"
    done
    lintian --allow-root --fail-on error,warning "$deb" || fail "lintian on $arch"
    ok "$arch passes lintian"
    for program in edge-seg edge-seg-fw; do
        # Every command that the program's own page names has a page, and every shell a script that can be read.
        page=$work/$arch/usr/share/man/man1/$program.1.gz
        commands=$(gunzip -c "$page" | tr -d '\\' | sed -n "s/^$program-\([a-z-]*\)(1)$/\1/p")
        [ "$(wc -w <<< "$commands")" -ge 7 ] || fail "$arch: the page of $program names few commands: $commands"
        for command in $commands; do
            [ -s "$work/$arch/usr/share/man/man1/$program-$command.1.gz" ] || fail "$arch: no page for $program $command"
        done
        bash -n "$work/$arch/usr/share/bash-completion/completions/$program" || fail "$arch: completions of $program for bash"
        for script in "zsh/vendor-completions/_$program" "fish/vendor_completions.d/$program.fish"; do
            [ -s "$work/$arch/usr/share/$script" ] || fail "$arch: no $script"
        done
    done
    ok "$arch has manual pages and completions for every command"
    (cd "$work/$arch/usr/share/doc/edge-seg" && for page in *.md *.md.gz; do
        [ -e "$page" ] || continue
        for named in $(gunzip -cf "$page" | grep -o '](\([A-Za-z-]*\.md\)' | tr -d '](' | sort -u); do
            [ -e "$named" ] || [ -e "$named.gz" ] || { echo "$page names $named"; exit 1; }
        done
    done) || fail "$arch: a page of the documentation names one that is not there"
    ok "$arch: the pages of its documentation find one another"
    dpkg-deb -x "$out"/libedge-seg0_*_"$arch".deb "$work/$arch-library"
    newest=$(readelf --dyn-syms -W "$work/$arch-library"/usr/lib/*/libedge_seg.so.0 | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
    [ "$(printf '%s\nGLIBC_2.31\n' "$newest" | sort -V | tail -n 1)" = GLIBC_2.31 ] || fail "$arch libedge_seg needs $newest"
    lintian --allow-root --fail-on error,warning "$out"/libedge-seg*_"$arch".deb || fail "lintian on $arch's libraries"
    runtime/c/tests/packages.sh "$arch" "$out" || fail "$arch: the C interface's packages"
    ok "$arch: a C program is built with libedge-seg-dev, and runs"
done

debootstrap --variant=minbase --include=adduser bullseye "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} > "$work/debootstrap.log" 2>&1 || { tail -n 5 "$work/debootstrap.log"; fail "debootstrap"; }
mount --bind /proc "$root/proc"
mount --bind /dev "$root/dev"
cp "$picture" "$root/photo.jpg"
for arch in amd64 arm64; do
    [ -d "$work/$arch" ] || continue
    cp "$out"/edge-seg_*_"$arch".deb "$root/edge-seg.deb"
    if [ "$arch" = arm64 ]; then
        emulate
        inside dpkg --add-architecture arm64
        inside apt-get -qq update
    fi
    inside apt-get -qq install -y --no-install-recommends /edge-seg.deb > "$work/install.log" 2>&1 || { tail -n 20 "$work/install.log"; fail "$arch: the installation"; }
    inside id -nG edge-seg | grep -w video > /dev/null || fail "edge-seg is not in group video"
    [ "$(inside stat -c %U:%a /var/lib/edge-seg)" = root:755 ] || fail "/var/lib/edge-seg has another owner or mode"
    [ "$(inside stat -c %U:%a /var/lib/edge-seg/data)" = edge-seg:755 ] || fail "/var/lib/edge-seg/data has another owner or mode"
    [ -f "$root/usr/lib/systemd/system/edge-seg.service" ] || [ -f "$root/lib/systemd/system/edge-seg.service" ] || fail "no unit"
    ok "$arch installs on glibc $(inside ldd --version | head -n 1 | grep -o '[0-9.]*$'), with its user, its folders and its unit"
    inside edge-seg segment /photo.jpg --tags "$words" --out /masks --size 224 | grep '"width"' > /dev/null || fail "$arch: segment in the root"
    inside edge-seg-fw board --json | grep '"key"' > /dev/null || fail "$arch: board in the root"
    inside edge-seg config check /etc/edge-seg/edge-seg.toml 2> "$work/check.log" || { cat "$work/check.log"; fail "$arch: the configuration as it comes"; }
    # The service's own command on the configuration as it comes, until its first frame; what it starts is the service's user's.
    inside install -d -o edge-seg -g edge-seg /var/lib/edge-seg/data/pictures
    inside cp /photo.jpg /var/lib/edge-seg/data/pictures/
    # Under emulation a picture of the model's own size takes minutes.
    inside edge-seg-fw guard --first 500 > "$work/guard.json" 2> "$work/guard.log" &
    guard=$!
    for _ in $(seq 1000); do
        if grep -q '"width"' "$work/guard.json" || ! kill -0 "$guard" 2>/dev/null; then break; fi
        sleep 0.5
    done
    pkill -TERM -P "$guard" 2>/dev/null || true
    wait "$guard" 2>/dev/null || true
    grep -q '"width"' "$work/guard.json" || { tail -n 5 "$work/guard.log"; fail "$arch: the guard with the configuration as it comes"; }
    ok "$arch: the programs and the service's command run in the root"
    # The slots on another disk, as the documentation has it, a disk for recordings, and the timer switched on.
    mkdir -p "$root/disk" "$root/etc/systemd/system/timers.target.wants"
    cp -a "$root/var/lib/edge-seg/." "$root/disk"
    mount --bind "$root/disk" "$root/var/lib/edge-seg"
    mkdir "$root/var/lib/edge-seg/data/recordings"
    mount -t tmpfs none "$root/var/lib/edge-seg/data/recordings"
    touch "$root/var/lib/edge-seg/data/recordings/kept"
    ln -sf /lib/systemd/system/edge-seg-pull.timer "$root/etc/systemd/system/timers.target.wants/"
    inside dpkg --purge "edge-seg:$arch" > "$work/purge.log" 2>&1 || { tail -n 5 "$work/purge.log"; fail "$arch: the purge"; }
    [ -e "$root/var/lib/edge-seg/data/recordings/kept" ] || fail "$arch: the purge empties a disk that is mounted below"
    umount "$root/var/lib/edge-seg/data/recordings" "$root/var/lib/edge-seg"
    rm -rf "$root/var/lib/edge-seg" # the mount point, with what lay there before
    [ "$(find "$root/disk" -mindepth 1 | sort | tr '\n' ' ')" = "$root/disk/data $root/disk/data/recordings " ] || fail "$arch: the purge leaves what lies on another disk"
    for left in /etc/edge-seg /etc/systemd/system/timers.target.wants/edge-seg-pull.timer /var/lib/edge-seg /usr/bin/edge-seg /usr/bin/edge-seg-fw /usr/share/doc/edge-seg /usr/share/man/man1/edge-seg.1.gz; do
        { [ ! -e "$root$left" ] && [ ! -L "$root$left" ]; } || fail "$arch: the purge leaves $left"
    done
    ! inside getent passwd edge-seg >/dev/null || fail "$arch: the purge leaves the user"
    rm -rf "$root/disk"
    ok "$arch: the purge leaves nothing, but disks that are mounted there"
done

if [ -d "$work/arm64" ]; then
    x86=${x86:-$work/amd64/usr/bin/edge-seg}
    [ -x "$x86" ] || fail "arm64's labels need a program of x86 to be held against"
    tests/arm64.sh "$work/arm64/usr/bin/edge-seg" "$x86" "$root" || fail "the arm64 program"
    passed=$((passed + 6))
fi
echo "$passed passed, 0 failed"
