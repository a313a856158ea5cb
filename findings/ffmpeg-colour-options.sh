#!/usr/bin/env bash
# ffmpeg obeys two of its four output options for colour, and forgets the other two without a word.
#
# Expected: `-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv` before the output file mark the video so. All four
#   are documented as options of the encoder (ffmpeg-codecs, "Codec Options"), and ffmpeg 5.1 writes all four.
# Real (n9.0.2, from imageio-ffmpeg 0.8.1): matrix and range are written, primaries and transfer become "unknown", for frames of which the
#   input says nothing, as pipes of raw pixels do. No warning. Players then guess, and a guess by the picture's height changes colours.
# What works: the filter `setparams=color_primaries=bt709:color_trc=bt709`, last in the chain: it marks the frames themselves.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check imageio-ffmpeg==0.8.1
ffmpeg=$(venv/bin/python -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')
"$ffmpeg" -version | head -n 1

# What ffmpeg says of the colours of a grey clip that it wrote with these options beside the four.
marked() {
    head -c $((64 * 64 * 3 * 5)) /dev/zero | "$ffmpeg" -loglevel error -y -f rawvideo -pix_fmt rgb24 -s 64x64 -r 5 -i - "$@" \
        -pix_fmt yuv420p -colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv -c:v libx264 clip.mp4
    { "$ffmpeg" -hide_banner -i clip.mp4 2>&1 || true; } | grep -o 'yuv420p([^)]*)'
}
options=$(marked)
filter=$(marked -vf setparams=color_primaries=bt709:color_trc=bt709)
echo "by the options: $options"
echo "by the filter:  $filter"
[ "$options" = 'yuv420p(tv, bt709/unknown/unknown, progressive)' ] && [ "$filter" = 'yuv420p(tv, bt709, progressive)' ] || {
    echo "this has changed"
    exit 1
}
