"""The examples, on a clip."""

import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from conftest import CAT, PICTURES

import edge_seg

EXAMPLES = Path(__file__).parents[3] / "examples"
ALL = sorted(PICTURES.glob("*.jpg"))


def run(*arguments: object) -> str:
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (160, 120))
    for picture in ALL:
        writer.write(cv2.resize(cv2.cvtColor(edge_seg.read_picture(picture), cv2.COLOR_RGB2BGR), (160, 120)))
    writer.release()
    return path


def test_a_picture() -> None:
    lines = run(EXAMPLES / "python" / "segment_picture.py", CAT, "cat, wall").splitlines()
    assert [line.split(":")[0] for line in lines] == ["cat", "wall"] and "box (" in lines[0]


def test_opencv(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "masks.avi"
    lines = run(EXAMPLES / "python" / "opencv_loop.py", clip, "cat, cup", out).splitlines()
    assert len(lines) == len(ALL) and all("cat" in line and "cup" in line for line in lines)
    written = cv2.VideoCapture(str(out))
    assert sum(written.read()[0] for _ in range(len(ALL) + 1)) == len(ALL)


def test_picamera2(clip: Path) -> None:
    lines = run(EXAMPLES / "python" / "picamera2_loop.py", "cat, cup", clip).splitlines()
    assert [line.split(":")[0] for line in lines] == [str(number) for number in range(len(ALL))]
