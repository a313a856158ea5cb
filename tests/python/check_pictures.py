"""Holds the pixels that `edge-seg segment` reads against pillow's, for pictures as pillow writes them: formats, kinds of pixels, samplings,
restarts, progressive and optimised JPEGs, orientations, transparency, several frames.

usage: check_pictures.py EDGE_SEG PICTURE.jpg

Pillow decodes JPEG by libjpeg-turbo. Overlays without masks and legend are the pictures as they were read.
Exit codes: 0 all agree, 1 some differ.
"""

import io
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, features
from PIL import __version__ as version

# Mean difference of a colour, of 255: decoders may round, and smooth chroma, in ways of their own.
MOST = {".jpg": 3.0}
MOST_ELSE = 1.0


def jpegs(base):
    for width, height in ((1, 1), (7, 9), (17, 33), (320, 240), (500, 3)):
        picture = base.resize((width, height))
        for sampling in ("4:4:4", "4:2:2", "4:2:0"):
            for progressive in (False, True):
                name = f"{width}x{height} {sampling.replace(':', '')} {progressive}"
                yield name, picture, {"subsampling": sampling, "progressive": progressive, "quality": 90}
        yield f"{width}x{height} grey", picture.convert("L"), {}
    picture = base.resize((333, 217))
    yield "restarts by blocks", picture, {"restart_marker_blocks": 3}
    yield "restarts by rows", picture, {"restart_marker_rows": 1, "progressive": True}
    yield "optimised", picture, {"optimize": True}
    yield "quality 1", picture, {"quality": 1}
    yield "quality 100", picture, {"quality": 100}
    yield "as RGB", picture, {"keep_rgb": True}
    yield "four inks", picture.convert("CMYK"), {}
    yield "four inks progressive", picture.convert("CMYK"), {"progressive": True}
    yield "markers in a comment", picture, {"comment": b"\xff\xd9 \xff\xd8 \xff\xda"}


def orientations(base):
    for n in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = n
        picture = base.resize((60, 32))
        yield f"turned {n}.jpg", picture, {"exif": exif, "subsampling": 0, "quality": 95}
        yield f"turned {n}.png", picture, {"exif": exif}
        yield f"turned {n}.tif", picture, {"tiffinfo": {0x0112: n}}
        plain = exif.tobytes().removeprefix(b"Exif\0\0")
        yield f"turned {n}.webp", picture, {"exif": plain, "lossless": True}
        yield f"turned {n} with JPEG's mark.webp", picture, {"exif": b"Exif\0\0" + plain, "lossless": True}


def others(base):
    picture = base.resize((33, 21))
    clear = np.zeros((21, 33, 4), np.uint8)
    clear[..., 0], clear[..., 3] = 200, np.linspace(0, 255, 33)[None]
    clear = Image.fromarray(clear)
    deep = Image.fromarray((np.arange(21 * 33).reshape(21, 33) * 90).astype(np.uint16))
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield f"{mode}.bmp", picture.convert(mode), {}
        yield f"{mode}.png", picture.convert(mode), {}
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
            if mode in ("L", "RGB"):
                yield f"{mode} {compression}.tif", picture.convert(mode), {"compression": compression}
    yield "lossy.webp", picture, {"quality": 90}
    yield "lossless.webp", picture, {"lossless": True}
    yield "clear.png", clear, {}
    yield "clear.tif", clear, {}
    yield "clear.webp", clear, {"lossless": True}
    yield "clear grey.png", clear.convert("LA"), {}
    yield "clear palette.png", clear.quantize(16), {}
    yield "grey of 16 bits.png", deep, {}
    yield "grey of 16 bits.tif", deep, {}
    yield "film.gif", picture, {"save_all": True, "append_images": [picture.rotate(90)]}
    yield "film.webp", picture, {"save_all": True, "append_images": [picture.rotate(90)], "lossless": True}


def shown(picture):
    """What is to be seen: upright, the first frame, over white."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):
        grey = np.asarray(picture).astype(float) / 257
        return np.repeat(grey[..., None], 3, 2)
    picture = picture.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", picture.size, (255,) * 4), picture).convert("RGB"), float)


def main(program, path):
    base = Image.open(path).convert("RGB")
    named = [(f"{name}.jpg", *rest) for name, *rest in jpegs(base)] + [*orientations(base), *others(base)]
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        folder, want = Path(folder), {}
        (folder / "in").mkdir()
        for number, (name, picture, options) in enumerate(named):
            data = io.BytesIO()
            picture.save(data, {".jpg": "JPEG", ".tif": "TIFF"}.get(Path(name).suffix, Path(name).suffix[1:]), **options)
            file = f"{number:03}{Path(name).suffix}"
            (folder / "in" / file).write_bytes(data.getvalue())
            want[file] = name, shown(Image.open(io.BytesIO(data.getvalue())))
        command = [program, "segment", "in", "--tags", "cat", "--size", "64", "--background", "1", "--legend", "none", "--out", "out"]
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        for file, (name, pixels) in want.items():
            seen = folder / "out" / f"{Path(file).stem}.overlay.png"
            if not seen.exists():
                wrong.append(f"{name}: is not read")
                continue
            found = np.asarray(Image.open(seen).convert("RGB"), float)
            off = abs(found - pixels).mean() if found.shape == pixels.shape else f"{found.shape} for {pixels.shape}"
            if not isinstance(off, float) or off > MOST.get(Path(file).suffix, MOST_ELSE):
                wrong.append(f"{name}: {off}")
    print(f"pillow {version}, libjpeg-turbo {features.version('libjpeg_turbo')}: {len(want)} pictures, {len(wrong)} differences")
    print("\n".join([*wrong[:20], *(ended.stderr.splitlines()[:5] if wrong else [])]), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
