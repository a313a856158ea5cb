"""Segments one picture by words, with the model in the package:

python segment_picture.py ../pictures/coffee.jpg "cup, table, spoon"
"""

import sys

import edge_seg


def main(picture: str, words: str) -> None:
    model = edge_seg.Model()
    found = model.segment(picture, words)
    for one in found.classes:
        print(f"{one.name}: {one.score:.2f}, {one.share:.1%} of the picture, box {one.box}")


if __name__ == "__main__":
    main(*sys.argv[1:])
