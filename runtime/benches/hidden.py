#!/usr/bin/env python3
"""How much of what --hide is to hide it hides, on labelled pictures.

    runtime/benches/hidden.py PROGRAM PICTURES LABELS VALUE WORDS [OPTIONS ...]

PROGRAM is `edge-seg`; PICTURES and LABELS are folders of pictures and of PNGs with a value a pixel, of the same stems and sizes; VALUE is the
one of what WORDS mean; OPTIONS are of `edge-seg segment`. Pictures without the value count for what is hidden needlessly. A thing is a
connected region of the value of a thousandth of the picture or more. Needs numpy, pillow and scipy.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
from PIL import Image
from scipy import ndimage

FILLED = 40


def main():
    program, pictures, labels, value, words, *options = sys.argv[1:]
    pictures = sorted(Path(pictures).iterdir())
    seen = needless = truth = other = things = missed = whole = 0
    with tempfile.TemporaryDirectory() as out:
        # A word that reaches no threshold of 1, so that nothing is drawn over what is filled.
        command = [program, "segment", *map(str, pictures), "--tags", "nothing", "--background", "1", "--legend", "none", "--out", out]
        subprocess.run([*command, "--hide", words, "--hide-by", "fill", *options], check=True, stdout=subprocess.DEVNULL)
        for picture in pictures:
            shown = numpy.asarray(Image.open(Path(out, picture.stem + ".overlay.png")).convert("RGB"))
            was = numpy.asarray(Image.open(picture).convert("RGB"))
            hidden = (shown == FILLED).all(axis=2) & (shown != was).any(axis=2)
            label = numpy.asarray(Image.open(Path(labels, picture.stem + ".png"))) == int(value)
            assert label.shape == hidden.shape, picture
            truth, other = truth + label.sum(), other + (~label).sum()
            seen, needless = seen + (label & ~hidden).sum(), needless + (~label & hidden).sum()
            regions, count = ndimage.label(label)
            for region in range(1, count + 1):
                here = regions == region
                if here.sum() * 1000 >= here.size:
                    things += 1
                    missed += hidden[here].mean() < 0.5
                    whole += hidden[here].mean() > 0.99
    print(f"{len(pictures)} pictures, {' '.join(options) or 'as it is'}")
    print(f"hidden of what was to be: {1 - seen / truth:.1%} of the pixels; of {things} things {whole / things:.1%} all but a hundredth, {missed / things:.1%} less than half")
    print(f"hidden of the rest: {needless / other:.1%}")


main()
