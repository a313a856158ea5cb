"""Makes a clip of things whose places are known: cut-outs that walk, cross, stand in a queue and go behind a pole.

    make_things_clip.py OUT PICTURE.jpg WORD        cut-outs of one picture, by an ellipse, on grey
    make_things_clip.py OUT FILM.mp4 SECOND...      people of a film that stands still, by what differs from its first frame

writes OUT/clip.y4m (640×360, 10 frames a second, 30 seconds) and OUT/gt.txt, one line a thing and frame as MOTChallenge has it:
frame from 1, number, left, top, width, height of what is to be seen of it, 1, 1, share of it that is to be seen. Needs numpy, pillow, scipy and ffmpeg.
"""

import pathlib
import subprocess
import sys

import numpy as np
from PIL import Image
from scipy import ndimage

SIZE = (640, 360)
FRAMES = 300
# What is seen of less than this is hidden.
LEAST_SEEN = 0.1
POLE = (430, 452)


def film_frame(film, second):
    command = ["ffmpeg", "-v", "error", "-ss", str(second), "-i", film, "-frames:v", "1", "-vf", f"scale={SIZE[0]}:{SIZE[1]}", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.uint8).reshape(SIZE[1], SIZE[0], 3)


def cut_out(pixels, mask):
    """The largest part of a mask: its pixels and whether each is inside."""
    parts, count = ndimage.label(ndimage.binary_fill_holes(ndimage.binary_opening(mask, iterations=1)))
    if count == 0:
        sys.exit("expected somebody, found nothing that differs from the first frame")
    largest = 1 + int(np.argmax(ndimage.sum_labels(mask, parts, range(1, count + 1))))
    box = ndimage.find_objects(parts)[largest - 1]
    return pixels[box], parts[box] == largest


def actors(argv):
    """The scene without anybody, and everybody's cut-out."""
    source = argv[2]
    if source.endswith(".jpg"):
        picture = np.asarray(Image.open(source).convert("RGB").resize((150, 100)))
        y, x = np.mgrid[:100, :150]
        inside = ((x - 75) / 72) ** 2 + ((y - 50) / 48) ** 2 <= 1
        shades = [picture, picture[:, ::-1], picture[..., ::-1], np.clip(picture * 0.6, 0, 255).astype(np.uint8), np.clip(picture * 1.3, 0, 255).astype(np.uint8)]
        return np.full((SIZE[1], SIZE[0], 3), 128, np.uint8), [(shade, inside) for shade in shades]
    empty = film_frame(source, 0)
    found = []
    for second in argv[3:]:
        frame = film_frame(source, second)
        differs = np.abs(frame.astype(int) - empty.astype(int)).max(2) > 40
        found.append(cut_out(frame, differs))
    return empty, found


def path(points, frame):
    """Where somebody is at a frame, between (frame, x, y) of the feet; none before and after."""
    for (f0, x0, y0), (f1, x1, y1) in zip(points, points[1:]):
        if f0 <= frame < f1:
            share = (frame - f0) / (f1 - f0)
            return x0 + share * (x1 - x0), y0 + share * (y1 - y0)
    return None


# Feet of each, x and y in pixels; the later in the list stand in front.
WAYS = [
    [(0, -60, 300), (110, 700, 300)],
    [(15, 700, 330), (125, -60, 330)],
    [(60, -60, 320), (100, 120, 320), (250, 120, 320), (290, -60, 320)],
    [(120, 700, 345), (170, 210, 345), (260, 210, 345), (299, 700, 345)],
    [(140, 700, 310), (180, 320, 310), (240, 320, 310), (285, 700, 310)],
]


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    empty, people = actors(sys.argv)
    encoder = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIZE[0]}x{SIZE[1]}", "-r", "10", "-i", "-", "-pix_fmt", "yuv420p", str(out / "clip.y4m")]
    pole = np.linspace(70, 110, POLE[1] - POLE[0]).astype(np.uint8)[None, :, None]
    with subprocess.Popen(encoder, stdin=subprocess.PIPE) as video, open(out / "gt.txt", "w") as truth:
        for frame in range(FRAMES):
            picture = empty.copy()
            owner = np.zeros(SIZE[::-1], int)
            whole = {}
            for number, points in enumerate(WAYS, 1):
                pixels, inside = people[(number - 1) % len(people)]
                place = path(points, frame)
                if place is None:
                    continue
                left, top = round(place[0] - inside.shape[1] / 2), round(place[1] - inside.shape[0])
                rows = slice(max(top, 0), min(top + inside.shape[0], SIZE[1]))
                cols = slice(max(left, 0), min(left + inside.shape[1], SIZE[0]))
                if rows.start >= rows.stop or cols.start >= cols.stop:
                    continue
                part = (slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left))
                picture[rows, cols][inside[part]] = pixels[part][inside[part]]
                owner[rows, cols][inside[part]] = number
                whole[number] = inside.sum()
            picture[:, POLE[0] : POLE[1]] = pole
            owner[:, POLE[0] : POLE[1]] = 0
            video.stdin.write(picture.tobytes())
            for number, box in enumerate(ndimage.find_objects(owner), 1):
                seen = (owner == number).sum() / whole.get(number, 1)
                if box is None or seen < LEAST_SEEN:
                    continue
                (y, x) = box
                truth.write(f"{frame + 1},{number},{x.start},{y.start},{x.stop - x.start},{y.stop - y.start},1,1,{seen:.3f}\n")
        video.stdin.close()


main()
