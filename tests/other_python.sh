#!/usr/bin/env bash
# A CPython of another Debian release or another processor, unpacked into a folder and not installed, with numpy beside it:
#
#     tests/other_python.sh amd64 trixie FOLDER      # prints the command that runs it
#     tests/other_python.sh arm64 bookworm FOLDER    # runs on the processor under emulation (qemu-user-static)
#
# For the wheel's promise of one stable ABI, and for the arm64 wheel where no board is. What is downloaded stays in FOLDER.
set -euo pipefail
arch=${1:?amd64 or arm64} suite=${2:?a release of Debian, as trixie} root=${3:?a folder}
case $arch in
    amd64) triplet=x86_64-linux-gnu loader=lib64/ld-linux-x86-64.so.2 platform=x86_64 emulator='' ;;
    arm64) triplet=aarch64-linux-gnu loader=lib/ld-linux-aarch64.so.1 platform=aarch64 emulator=qemu-aarch64-static ;;
    *) echo "other_python.sh: expected amd64 or arm64, found $arch" >&2; exit 2 ;;
esac
case $suite in
    bookworm) version=3.11 ;;
    trixie) version=3.13 ;;
    *) echo "other_python.sh: expected bookworm or trixie, found $suite" >&2; exit 2 ;;
esac
if ! [ -e "$root/ready" ]; then
    rm -rf "$root"
    mkdir -p "$root"/apt/{lists/partial,cache/archives/partial} "$root/debs"
    # The mirror that this machine has, with that release in place of its own.
    mirror=$(cat /etc/apt/sources.list.d/* /etc/apt/sources.list 2>/dev/null | sed -nE 's,.*[ :](https?://[^ ]+/debian)/?( .*)?$,\1,p;T;q' || true)
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    echo "deb [arch=$arch signed-by=$keyring] $mirror $suite main" > "$root/apt/sources.list"
    touch "$root/apt/status"
    apt=(-o Dir::Etc::SourceList="$root/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$root/apt/lists"
        -o Dir::State::status="$root/apt/status" -o Dir::Cache="$root/apt/cache" -o APT::Architecture="$arch" -o APT::Architectures="$arch"
        -o APT::Sandbox::User=root -qq)
    apt-get "${apt[@]}" update
    apt-get "${apt[@]}" install -y --no-install-recommends --download-only "python$version-minimal" "libpython$version-stdlib" libstdc++6
    for deb in "$root"/apt/cache/archives/*.deb; do dpkg-deb -x "$deb" "$root"; done
    rm -rf "$root/apt"
    # Either layout of /lib, as the release has it.
    [ -e "$root/$loader" ] || { mkdir -p "$root/$(dirname "$loader")" && ln -s "$(cd "$root" && realpath --relative-to="$root/$(dirname "$loader")" usr/lib/$triplet/$(basename "$loader"))" "$root/$loader"; }
    python3 -m pip --disable-pip-version-check install --quiet --target "$root/numpy" --python-version "$version" --only-binary=:all: \
        --platform "manylinux_2_27_$platform" --platform "manylinux_2_28_$platform" --platform "manylinux2014_$platform" numpy
    touch "$root/ready"
fi
echo "env PYTHONHOME=$root/usr PYTHONPATH=$root/numpy${PYTHONPATH:+:$PYTHONPATH} $emulator $root/$loader --library-path $root/usr/lib/$triplet:$root/lib/$triplet $root/usr/bin/python$version"
