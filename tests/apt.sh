#!/usr/bin/env bash
# Checks the apt repository that firmware-tools/packaging/apt writes, with the apt of a Debian root: `tests/apt.sh OUT [ROOT]`.
#
# OUT holds packages of this machine's architecture, ROOT is a Debian root with apt and gpgv; without it one is made by debootstrap.
# Needs root, apt-utils, gpg. What apt does is changed in no way: it installs what is signed, refuses what was changed, and upgrades.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath "${1:?a folder of packages}") base=${2:-}
fail() { echo "FAIL  $1"; exit 1; }
passed=0
ok() { echo "ok    $1"; passed=$((passed + 1)); }
work=$(mktemp -d)
root=$work/root
trap 'umount "$root/repository" 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT
if [ -n "$base" ]; then
    cp -a "$base" "$root"
else
    debootstrap --variant=minbase --include=adduser,gpgv bookworm "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} > "$work/log" 2>&1 || fail "debootstrap"
fi
inside() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }

export GNUPGHOME=$work/gnupg
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-generate-key "workshop <workshop@localhost>" ed25519 sign never
firmware-tools/packaging/apt "$out" "$work/repository" workshop@localhost file:/repository
mkdir "$root/repository"
mount --bind "$work/repository" "$root/repository"
install -D -m 644 "$work/repository/edge-seg.gpg" "$root/etc/apt/keyrings/edge-seg.gpg"
# No other source: what is found is found here.
rm -f "$root/etc/apt/sources.list" "$root"/etc/apt/sources.list.d/*
install -m 644 "$work/repository/edge-seg.sources" "$root/etc/apt/sources.list.d/"
refresh() { inside apt-get -q update -o APT::Update::Error-Mode=any > "$work/update.log" 2>&1; }

refresh || { cat "$work/update.log"; fail "apt update"; }
inside apt-get -qq install -y --no-install-recommends edge-seg > "$work/install.log" 2>&1 || { cat "$work/install.log"; fail "apt install"; }
inside edge-seg-fw --version >/dev/null || fail "the program that was installed"
ok "apt installs edge-seg $(inside dpkg-query -W -f '${Version}' edge-seg) from the signed repository"

# A second run changes nothing that boards have, and takes no other package of the same version.
before=$(sha256sum "$work/repository/dists/stable/main/binary-$(dpkg --print-architecture)/Packages")
firmware-tools/packaging/apt "$out" "$work/repository" workshop@localhost file:/repository > /dev/null
[ "$before" = "$(sha256sum "$work/repository/dists/stable/main/binary-$(dpkg --print-architecture)/Packages")" ] || fail "another list of the same packages"
mkdir "$work/other"
pool=$(ls "$work/repository/pool/main"/*_"$(dpkg --print-architecture)".deb)
dpkg-deb -R "$pool" "$work/tree"
echo changed > "$work/tree/usr/share/changed"
dpkg-deb -Znone -b "$work/tree" "$work/other/edge-seg.deb" >/dev/null
! firmware-tools/packaging/apt "$work/other" "$work/repository" workshop@localhost file:/repository 2>/dev/null || fail "another package of the same version was taken"
ok "one version means one package"

# What was changed is refused: the package, then the list, then the signed file itself.
cp "$pool" "$work/kept.deb"
cp "$work/other/edge-seg.deb" "$pool"
! inside apt-get -qq install -y --reinstall edge-seg > "$work/install.log" 2>&1 || fail "a changed package was installed"
cp "$work/kept.deb" "$pool"
list=$work/repository/dists/stable/main/binary-$(dpkg --print-architecture)/Packages
sed -i 's/^Description:.*/Description: changed/' "$list"
gzip -9nkf "$list"
inside sh -c 'rm -rf /var/lib/apt/lists/*'
! refresh || fail "a changed list was taken"
sed -i 's/^Suite: .*/Suite: stables/' "$work/repository/dists/stable/InRelease"
rm "$work/repository/dists/stable/Release.gpg"
! refresh || fail "a changed release file was taken"
ok "apt refuses a changed package, a changed list and a changed release file"

# A newer version is an upgrade.
sed -i 's/^Version: .*/Version: 9.9.9/' "$work/tree/DEBIAN/control"
dpkg-deb -Znone -b "$work/tree" "$work/other/edge-seg.deb" >/dev/null
firmware-tools/packaging/apt "$work/other" "$work/repository" workshop@localhost file:/repository > /dev/null
refresh || { cat "$work/update.log"; fail "apt update"; }
inside apt-get -qq upgrade -y > "$work/install.log" 2>&1 || { cat "$work/install.log"; fail "apt upgrade"; }
[ "$(inside dpkg-query -W -f '${Version}' edge-seg)" = 9.9.9 ] || fail "no upgrade"
ok "apt upgrades to a newer version"
echo "$passed passed, 0 failed"
