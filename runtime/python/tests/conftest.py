import signal
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import edge_seg

# A shell that runs these in the background has them ignore Ctrl-C, and what they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

PICTURES = Path(__file__).parents[3] / "examples" / "pictures"
CAT = PICTURES / "cat.jpg"
WORDS = "cat, wall: background wall, -floor"


@pytest.fixture(scope="session")
def model() -> edge_seg.Model:
    return edge_seg.Model(size=64)


@pytest.fixture(scope="session")
def cat() -> NDArray[np.uint8]:
    """The cat: uint8 [300, 451, 3], red first."""
    return edge_seg.read_picture(CAT)
