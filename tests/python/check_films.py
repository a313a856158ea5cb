"""Writes films with masks by two versions of ffmpeg, and reads them with a third's libraries (PyAV); then the other way round.

usage: check_films.py PROGRAM

The versions are the installed one and that of imageio-ffmpeg. Exit codes: 0 all is well, 1 something is wrong.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

WIDTH, HEIGHT, FRAMES, RATE = 161, 120, 12, 10
COLOURS = [(200, 30, 60), (30, 180, 60), (40, 60, 220)]
# By ending: whether the file tells its colours. MPEG-TS and -PS begin where they like.
OVERLAYS = {"mp4": True, "mkv": True, "mov": True, "m4v": True, "webm": True, "ts": True, "m2ts": True, "mpg": True, "mxf": True}
OVERLAYS |= {"avi": False, "flv": False, "wmv": False, "ogv": False, "y4m": False}
BEGIN_LATE = ("ts", "m2ts", "mpg")
REGULAR = [round(1000 * index / RATE) for index in range(FRAMES)]
IRREGULAR = [index * 90 + index * index * 13 % 40 for index in range(FRAMES)]
FILMS = {
    "b-frames.mp4": ("libx264", REGULAR, {"bf": "2"}),
    "irregular.mkv": ("libx264", IRREGULAR, {"bf": "0"}),
    "irregular.webm": ("libvpx-vp9", IRREGULAR, {"deadline": "realtime"}),
    "hevc.mp4": ("libx265", REGULAR, {"x265-params": "log-level=none"}),
    "av1.mp4": ("libsvtav1", REGULAR, {"preset": "9"}),
    "mpeg2.ts": ("mpeg2video", REGULAR, {}),
}
ALONE = ["--tags", "sky", "--size", "64", "--background", "1", "--legend", "none"]


def picture(index):
    """Three stripes, and a white square that tells which picture it is."""
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for stripe, colour in enumerate(COLOURS):
        pixels[stripe * 40 : stripe * 40 + 40] = colour
    pixels[100:, index * 12 + 4 : index * 12 + 16] = 255
    return pixels


def run(folder, path, *arguments):
    return subprocess.run([PROGRAM, "run", *arguments, *ALONE], cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60)


def frames_of(film):
    with av.open(film) as container:
        return list(container.decode(video=0))


def faults_of(film, tells):
    """What differs from the pictures of `picture`, at their times and in their colours."""
    frames = frames_of(film)
    times = [round(1000 * frame.time) for frame in frames]
    first = times[0] if film.suffix[1:] in BEGIN_LATE else 0
    if any(abs(at - first - 1000 * index / RATE) > 1 for index, at in enumerate(times)) or len(times) != FRAMES:
        yield f"{len(times)} pictures at {times} ms"
    for index, frame in enumerate(frames):
        # Without a word on its matrix a film is shown as BT.601.
        pixels = frame.to_ndarray(format="rgb24").astype(int)
        square = int(pixels[104:116].min(axis=(0, 2)).argmax())
        seen = pixels[10:120:40, 152]
        if not index * 12 + 2 <= square <= index * 12 + 18 or np.abs(seen - COLOURS).max() > 8:
            yield f"picture {index} has its square at {square}, and the colours {seen.tolist()}"
            break
    # BT.709 in limited range.
    told = {(int(f.colorspace), int(f.color_primaries), int(f.color_trc), int(f.color_range)) for f in frames}
    if tells and told != {(1, 1, 1, 1)}:
        yield f"matrix, primaries, transfer and range are told as {told}"


def written(folder, path):
    """Overlays of every kind, HLS, SRT and a recording."""
    source = f"raw:film.raw?size={WIDTH}x{HEIGHT}&format=rgb24&fps={RATE}"
    for ending, tells in OVERLAYS.items():
        ended = run(folder, path, "--source", source, "--overlay", f"o.{ending}")
        if ended.returncode:
            yield f".{ending}: exit status {ended.returncode}: {ended.stderr[:500]}"
        else:
            yield from (f".{ending}: {fault}" for fault in faults_of(folder / f"o.{ending}", tells))
            (folder / f"o.{ending}").unlink()
    ended = run(folder, path, "--source", f"test:?size=64x48&fps={RATE}", "--frames", "25", "--overlay", f"hls-{len(path)}/live.m3u8")
    frames = frames_of(folder / f"hls-{len(path)}/live.m3u8")
    if ended.returncode or len(frames) < 20 or not frames[0].key_frame or {int(frame.colorspace) for frame in frames} != {1}:
        yield f"HLS: exit status {ended.returncode}, {len(frames)} pictures: {ended.stderr[:500]}"
    yield from sent(folder, path)
    yield from recorded(folder, path)


def sent(folder, path):
    """To a listener for SRT, which is told the end."""
    with socket.socket(type=socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    listener = subprocess.Popen(["ffmpeg", "-nostdin", "-loglevel", "quiet", "-y", "-i", f"srt://127.0.0.1:{port}?mode=listener", "-c", "copy", "sent.mkv"], cwd=folder)
    while f":{port:04X} " not in Path("/proc/net/udp").read_text() and listener.poll() is None:
        time.sleep(0.05)
    ended = run(folder, path, "--source", f"test:?size=64x48&fps={RATE}", "--frames", "25", "--overlay", f"srt://127.0.0.1:{port}")
    listener.wait(20)
    frames = frames_of(folder / "sent.mkv")
    if ended.returncode or len(frames) < 15 or {int(frame.colorspace) for frame in frames} != {1}:
        yield f"SRT: exit status {ended.returncode}, {len(frames)} pictures: {ended.stderr[:500]}"


def recorded(folder, path):
    films = folder / f"films-{len(path)}"
    command = [PROGRAM, "run", "--source", f"test:?size=64x48&fps={RATE}", *ALONE, "--http", "127.0.0.1:0", "--recordings", str(films)]
    camera = subprocess.Popen(command, cwd=folder, env={**os.environ, "PATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        address = next(word.rstrip("/,") for line in camera.stderr for word in line.split() if word.startswith("http://"))
        threading.Thread(target=camera.stderr.read, daemon=True).start()
        for on in (True, False):
            body = json.dumps({"on": on}).encode()
            asked = urllib.request.Request(f"{address}/api/recording", body, {"content-type": "application/json"})
            urllib.request.urlopen(asked, timeout=20).read()
            time.sleep(2)
        found = list(films.glob("*.mp4"))
        frames = frames_of(found[0]) if found else []
        if len(frames) < 10 or frames[0].time != 0 or {int(frame.colorspace) for frame in frames} != {1}:
            yield f"a recording: {found}, {len(frames)} pictures, the first at {frames and frames[0].time}"
    finally:
        camera.send_signal(signal.SIGTERM)
        camera.wait()


def films(folder):
    """Films by PyAV's libraries: name, and the times of its pictures in milliseconds."""
    for name, (codec, times, options) in FILMS.items():
        base = Fraction(1, 1000 if times is IRREGULAR else RATE)
        with av.open(folder / name, "w") as container:
            stream = container.add_stream(codec, rate=RATE, options=options)
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH - 1, HEIGHT, "yuv420p", 4_000_000
            stream.codec_context.time_base = stream.time_base = base
            for index, at in enumerate(times):
                frame = av.VideoFrame.from_ndarray(picture(index)[:, :-1].copy(), format="rgb24").reformat(format="yuv420p")
                frame.time_base, frame.pts = base, at if times is IRREGULAR else index
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        yield name, times


def read(folder, path):
    """Each picture of a film once, at its own time."""
    for name, times in films(folder):
        ended = run(folder, path, "--source", name)
        seen = [round(json.loads(line)["timestamp_ms"]) for line in ended.stdout.splitlines()]
        if ended.returncode or any(abs(a - b) > 1 for a, b in zip(seen, times)) or len(seen) != len(times):
            yield f"{name}: exit status {ended.returncode}, {seen} for {times}: {ended.stderr[:500]}"


def main():
    os.environ["SVT_LOG"] = "1"
    faults = []
    newer = imageio_ffmpeg.get_ffmpeg_exe()
    print(f"read with PyAV {av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "film.raw").write_bytes(b"".join(picture(index).tobytes() for index in range(FRAMES)))
        (folder / "newer").mkdir()
        (folder / "newer/ffmpeg").symlink_to(newer)
        for path in (os.environ["PATH"], f"{folder / 'newer'}:{os.environ['PATH']}"):
            version = subprocess.run(["ffmpeg", "-version"], env={**os.environ, "PATH": path}, capture_output=True, text=True).stdout.split()[2]
            found = [f"ffmpeg {version}: {fault}" for of in (written, read) for fault in of(folder, path)]
            print(f"ffmpeg {version}: {len(OVERLAYS) + 3} kinds written, {len(FILMS)} read, {len(found)} faults")
            faults += found
    print("\n".join(faults), file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    PROGRAM = str(Path(sys.argv[1]).resolve())
    sys.exit(main())
