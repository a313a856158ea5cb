"""Video: sources, sessions, rules, and the loops that people write."""

import os
import threading
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import PICTURES, WORDS
from numpy.typing import NDArray

import edge_seg

TEST = "test:?size=64x48&fps=1000&frames=5"
ALL = sorted(PICTURES.glob("*.jpg"))


def test_a_source_gives_arrays() -> None:
    with edge_seg.Source(PICTURES / "cat.jpg") as source:
        assert source.sequence is None and source.timestamp is None
        (only,) = source
        assert (only == edge_seg.read_picture(PICTURES / "cat.jpg")).all() and source.sequence == 0
    frames = list(edge_seg.Source(TEST, pace="every"))
    assert len(frames) == 5 and all(frame.shape == (48, 64, 3) for frame in frames)
    endless = edge_seg.Source(TEST, repeat=True)
    next(endless)
    endless.close()
    assert list(endless) == []
    with pytest.raises(edge_seg.SourceError, match="^source: expected .* found an empty name"):
        edge_seg.Source("")
    with pytest.raises(edge_seg.SourceError, match="nonsense"):
        edge_seg.Source("nonsense:?")
    with pytest.raises(edge_seg.OptionError, match="pace"):
        edge_seg.Source(TEST, pace="fast")  # type: ignore[arg-type]
    with pytest.raises(edge_seg.OptionError) as long:
        edge_seg.Source(TEST, pace="fast" * 1000)  # type: ignore[arg-type]
    assert str(long.value).startswith('pace: expected "auto", "live" or "every", found "fast') and len(str(long.value)) < 500
    with pytest.raises(edge_seg.OptionError, match="source: expected a name in UTF-8"):
        edge_seg.Source(os.fsdecode(b"caf\xe9.mjpeg"))


def test_a_session_gives_the_masks_of_each_frame(model: edge_seg.Model) -> None:
    with edge_seg.Live(model, TEST, WORDS, pace="every") as live:
        assert live.words == ["cat", "wall"]
        shown = list(live)
    assert [frame.sequence for frame in shown] == [0, 1, 2, 3, 4]
    for frame, picture in zip(shown, edge_seg.Source(TEST, pace="every")):
        assert frame.key and frame.key_sequence == frame.sequence and (frame.picture == picture).all()
        assert (frame.found.labels == model.segment(picture, WORDS).labels).all()
    assert live.counters["segmented"] == 5 and live.counters["dropped"] == 0
    assert list(live) == [], "a stopped session has no frames"


def test_an_iterable_is_a_source(model: edge_seg.Model) -> None:
    pictures = [edge_seg.read_picture(path) for path in ALL]
    bgr = [np.ascontiguousarray(picture[..., ::-1]) for picture in pictures]
    shown = list(edge_seg.Live(model, bgr, WORDS, order="bgr", scene_cuts=False))
    assert len(shown) == len(ALL)
    for frame, picture in zip(shown, pictures):
        assert (frame.found.labels == model.segment(picture, WORDS).labels).all()
    assert len(list(edge_seg.Live(model, ALL, WORDS))) == len(ALL), "paths are pictures too"


def test_words_change_while_frames_run(model: edge_seg.Model) -> None:
    def camera() -> Iterator[NDArray[np.uint8]]:
        while True:
            yield edge_seg.read_picture(ALL[0])

    with edge_seg.Live(model, camera(), "cat") as live:
        assert next(live).found.names == ["cat"]
        live.set_words(model.words("dog, wall: background wall, -floor", thresholds={"dog": 0.75}))
        live.adjust("wall", on=False)
        for frame in live:
            if frame.found.names == ["dog", "wall"] and frame.found["wall"].area == 0:
                break
        assert live.words == ["dog", "wall"]
        with pytest.raises(edge_seg.WordsError, match="expected one of the current classes"):
            live.adjust("bird", threshold=0.5)


def test_rules_look_at_each_frame(model: edge_seg.Model) -> None:
    rules = edge_seg.Rules('[[rule]]\nname = "a cat"\nwhen = { word = "cat", share_above = 0.05 }\n')
    cat = edge_seg.read_picture(PICTURES / "cat.jpg")
    with edge_seg.Live(model, [cat, cat], "cat", rules=rules) as live:
        events = [event for frame in live for event in frame.events]
    assert [(event.rule, event.event, event.sequence) for event in events] == [("a cat", "started", 0)]


def test_what_a_source_raises_is_raised(model: edge_seg.Model) -> None:
    def breaks() -> Iterator[NDArray[np.uint8]]:
        yield edge_seg.read_picture(ALL[0])
        raise KeyError("the camera's own error")

    live = edge_seg.Live(model, breaks(), "cat")
    assert next(live).sequence == 0
    with pytest.raises(KeyError, match="the camera's own error"):
        next(live)
    with pytest.raises(edge_seg.ImageError, match="float64"):
        list(edge_seg.Live(model, [np.zeros((4, 4, 3))], "cat"))
    with pytest.raises(edge_seg.SourceError, match="iterable of pictures, found int$"):
        edge_seg.Live(model, 5, "cat")  # type: ignore[arg-type]
    with pytest.raises(edge_seg.SourceError, match="found function; try: calling it"):
        edge_seg.Live(model, breaks, "cat")  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [RuntimeError("the cable is out"), TypeError("the camera's own"), ValueError("no such camera")])
def test_what_a_source_raises_at_its_start_is_raised(model: edge_seg.Model, error: Exception) -> None:
    class Camera:
        def __iter__(self) -> Iterator[NDArray[np.uint8]]:
            raise error

    def starts() -> Iterator[NDArray[np.uint8]]:
        raise error
        yield

    with pytest.raises(type(error)) as raised:
        edge_seg.Live(model, Camera(), "cat")
    assert raised.value is error
    with pytest.raises(type(error)) as raised, edge_seg.Live(model, starts(), "cat") as live:
        next(live)
    assert raised.value is error
    for words in (Camera(), {"cat": Camera()}):
        with pytest.raises(type(error)) as raised:
            model.words(words)  # type: ignore[arg-type]
        assert raised.value is error


def test_leaving_early_is_no_error(model: edge_seg.Model) -> None:
    gone = threading.Event()

    def camera() -> Iterator[NDArray[np.uint8]]:
        yield edge_seg.read_picture(ALL[0])
        gone.wait()

    with edge_seg.Live(model, camera(), "cat") as live:
        for _ in live:
            break
    assert list(live) == []
    with pytest.raises(KeyError, match="the loop's own"), edge_seg.Live(model, camera(), "cat") as live:
        next(live)
        raise KeyError("the loop's own")
    live = edge_seg.Live(model, camera(), "cat")
    next(live)
    live.stop()
    gone.set()


@pytest.mark.parametrize(
    ("options", "said"),
    [({"keys": 0}, "keys"), ({"keys": 1.5}, "keys"), ({"keys": True}, "keys"), ({"keys": "all"}, "keys"), ({"carry": "far"}, "carry"), ({"smoothing": -1.0}, "smoothing")],
)
def test_options_are_checked(model: edge_seg.Model, options: dict[str, Any], said: str) -> None:
    with pytest.raises(edge_seg.OptionError, match=said):
        edge_seg.Live(model, TEST, "cat", **options)


def test_masks_are_carried_between_key_frames(model: edge_seg.Model) -> None:
    shown = list(edge_seg.Live(model, TEST, "cat", keys=2, pace="every", carry="still", scene_cuts=False))
    assert [frame.key for frame in shown] == [True, False, True, False, True]
    assert [frame.key_sequence for frame in shown] == [0, 0, 2, 2, 4]


class Picamera2:
    """As `picamera2.Picamera2` configured with "RGB888": arrays whose bytes are blue, green, red, in lines with padding."""

    def __init__(self, pictures: list[NDArray[np.uint8]]) -> None:
        self.pictures = iter(pictures)

    def capture_array(self, name: str = "main") -> NDArray[np.uint8]:
        picture = next(self.pictures)
        height, width, _ = picture.shape
        buffer = np.zeros((height, -(-3 * width // 64) * 64), np.uint8)
        lines = buffer[:, : 3 * width].reshape(height, width, 3)
        lines[:] = picture[..., ::-1]
        return lines


def test_a_picamera2_loop(model: edge_seg.Model) -> None:
    pictures = [edge_seg.read_picture(path) for path in ALL]
    camera, words = Picamera2(pictures), model.words(WORDS)
    for picture in pictures:
        found = model.segment(camera.capture_array(), words, order="bgr")
        assert (found.labels == model.segment(picture, words).labels).all()


def test_an_opencv_loop(model: edge_seg.Model, tmp_path: Any) -> None:
    clip = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(clip, cv2.VideoWriter.fourcc(*"MJPG"), 5, (160, 120))
    pictures = [cv2.resize(cv2.cvtColor(edge_seg.read_picture(path), cv2.COLOR_RGB2BGR), (160, 120)) for path in ALL]
    for picture in pictures:
        writer.write(picture)
    writer.release()
    capture, count = cv2.VideoCapture(clip), 0
    while True:
        ok, frame = capture.read()
        if not ok:
            break
        found = model.segment(frame, WORDS, order="bgr")
        assert found.labels.shape == frame.shape[:2] and (found.picture == frame[..., ::-1]).all()
        drawn = cv2.cvtColor(found.overlay(), cv2.COLOR_RGB2BGR)
        assert drawn.shape == frame.shape
        count += 1
    assert count == len(ALL)
