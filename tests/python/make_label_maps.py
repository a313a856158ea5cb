"""Writes tests/data/label-maps: label maps as scipy saves them in MATLAB's files, for the reader of PASCAL Context's release.

usage: make_label_maps.py OUT_FOLDER
"""

import sys
from pathlib import Path

import numpy as np
from scipy.io import savemat

labels = np.full((24, 32), 458, np.uint16)
labels[:4] = 0
labels[:, :16] = 2
labels[0, 0] = 255

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
savemat(out / "2008_000002.mat", {"LabelMap": labels}, do_compression=True)
savemat(
    out / "plain.mat",
    {
        "note": "a text",
        "small": np.array([[7, 9]], np.uint8),
        "doubles": labels.astype(np.float64),
        "complex": labels[:2] + 1j,
        "halves": labels[:2] / 2 + 0.25,
        "negative": labels[:2].astype(np.int32) - 1,
        "LabelMap": labels,
    },
    do_compression=False,
)
