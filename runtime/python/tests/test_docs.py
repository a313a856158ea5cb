"""What docs/python.md shows, as it stands there, with files of the names that it uses and a clip in place of cameras."""

import re
from datetime import timedelta
from importlib.metadata import files, metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import PICTURES

import edge_seg

DOCUMENT = (Path(__file__).parents[3] / "docs" / "python.md").read_text()
QUEUE = '[[zone]]\nname = "queue"\npoints = [[0, 0], [1, 0], [1, 1], [0, 1]]\n\n[[rule]]\nname = "queue"\nwhen = { word = "person", zone = "queue", count_above = 1 }\n'


def blocks() -> dict[str, list[str]]:
    """The document's Python by its headings; what stands before the first has none."""
    sections = re.split(r"^## (.*)$", DOCUMENT, flags=re.MULTILINE)
    named = [("", sections[0]), *zip(sections[1::2], sections[2::2])]
    return {heading: re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) for heading, text in named}


@pytest.mark.parametrize("heading", ["", "Video", "Things", "Hiding", "Words that are shown", "Searching the past"])
def test_the_document_works_as_it_is_written(heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    person = cv2.resize(edge_seg.read_picture(PICTURES / "astronaut.jpg"), (720, 540))
    for name in ("photo", "street", "shelf", "desk", "bench"):
        cv2.imwrite(f"{name}.jpg", person[..., ::-1])
    (tmp_path / "holiday").mkdir()
    cv2.imwrite("holiday/sea.png", person)
    Path("queue.toml").write_text(QUEUE)
    np.stack([person[:480, :640]] * 3).tofile("clip.rgb")
    clip = "raw:clip.rgb?size=640x480&format=rgb24&fps=5"
    names: dict[str, Any] = {"edge_seg": edge_seg, "cv2": cv2, "Path": Path, "timedelta": timedelta, "camera": clip}
    names["model"] = edge_seg.Model(size=96)
    found = blocks()[heading]
    assert found, f"{heading}: code in the document"
    for block in found:
        exec(compile(re.sub(r"(rtsp|v4l2)://[^\"]*", clip, block), f"docs/python.md, {heading}", "exec"), names)
    if heading == "Searching the past":
        assert edge_seg.Index("seen.index").contents().cameras == ["hall"]
    if heading == "Hiding":
        assert not (edge_seg.read_picture("street.png") == edge_seg.read_picture("street.jpg")).all()
    if heading == "Words that are shown":
        assert edge_seg.Example.from_json(Path("mug.json").read_text()).model == names["mug"].model


def test_the_licence_comes_with_the_package() -> None:
    told = metadata("edge-seg")
    assert told["License-Expression"] == "Apache-2.0" and told.get_all("License-File") == ["LICENSE", "NOTICE"]
    texts = {path.name: path.read_text() for path in files("edge-seg") or [] if path.parent.name == "licenses"}
    assert texts == {name: (Path(__file__).parents[3] / name).read_text() for name in ("LICENSE", "NOTICE")}
