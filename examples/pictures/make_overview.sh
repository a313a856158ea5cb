#!/usr/bin/env bash
# Makes overview.webp, README's moving picture: a slow zoom over the pictures of this folder, segmented as a video, in which words change.
#
#   bash examples/pictures/make_overview.sh [EDGE-SEG [MODEL.esb]]
#
# EDGE-SEG is the program, else the one that cargo builds. Needs ffmpeg with libwebp. Run it again when the model or the overlay changes.
set -euo pipefail
pictures=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$pictures/../.." && pwd)
if [ $# -gt 0 ]; then
    program=$(realpath "$1")
else
    (cd "$root" && cargo build --release --bin edge-seg)
    program=${CARGO_TARGET_DIR:-$root/target}/release/edge-seg
fi
model=()
[ $# -lt 2 ] || model=(--model "$(realpath "$2")")

width=480 height=320 rate=8
# Frames of each choice of words, and at most so many bytes for the whole.
step=11 limit=1500000
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

part=0
# scene PICTURE X Y ZOOM WORDS...: zooms towards a point (shares of the picture) and shows each choice of words for a while.
scene() {
    local picture=$1 x=$2 y=$3 zoom=$4 frames=$((step * ($# - 4)))
    shift 4
    # Enlarged first, for zoompan moves by whole pixels; square pixels, or parts would have other widths.
    ffmpeg -hide_banner -loglevel error -y -i "$pictures/$picture" -frames:v "$frames" -pix_fmt yuv420p -vf "
        crop='min(iw,ih*$width/$height)':'min(ih,iw*$height/$width)', scale=$((width * 4)):$((height * 4)):flags=lanczos,
        zoompan=d=$frames:fps=$rate:s=${width}x$height:z='1+($zoom-1)*on/$frames':x='(iw-iw/zoom)*$x':y='(ih-ih/zoom)*$y', setsar=1" "$work/scene.y4m"
    local first=0 words
    for words in "$@"; do
        part=$((part + 1))
        ffmpeg -hide_banner -loglevel error -y -i "$work/scene.y4m" -vf "trim=start_frame=$first:end_frame=$((first + step)),setpts=PTS-STARTPTS" "$work/part.y4m"
        "$program" run "${model[@]}" --source "$work/part.y4m" --tags "$words" --key-interval 1 --overlay "$work/$(printf %03d $part).y4m" > /dev/null
        printf "file '%s/%03d.y4m'\n" "$work" $part >> "$work/parts.txt"
        first=$((first + step))
    done
}
scene coffee.jpg 0.6 0.5 1.25 "cup" "cup, table" "cup, table, spoon"
scene astronaut.jpg 0.4 0.2 1.2 "person" "person, wall"
scene cat.jpg 0.45 0.4 1.3 "cat"

ffmpeg -hide_banner -loglevel error -y -f concat -safe 0 -i "$work/parts.txt" -c:v libwebp_anim -quality 55 -compression_level 6 -loop 0 "$work/overview.webp"
bytes=$(stat -c %s "$work/overview.webp")
[ "$bytes" -le "$limit" ] || { echo "make_overview: $bytes bytes, expected at most $limit: fewer frames or a lower quality" >&2; exit 1; }
mv "$work/overview.webp" "$pictures/overview.webp"
echo "$pictures/overview.webp: $bytes bytes"
