"""Whether the package works in a Python that has numpy alone: check_import.py PICTURE"""

import sys

import numpy as np

import edge_seg

model = edge_seg.Model(size=64)
found = model.segment(sys.argv[1], "cat, wall: background wall, -floor")
again = model.segment(edge_seg.read_picture(sys.argv[1])[..., ::-1], "cat, wall: background wall, -floor", order="bgr")
assert found["cat"].area > 1000 and (found.labels == again.labels).all() and found.labels.dtype == np.uint16
try:
    model.words("")
except edge_seg.WordsError:
    print(f"Python {sys.version.split()[0]}, numpy {np.__version__}, {model}: {found}")
