"""Things: instances with numbers that last, counts, and rules about them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CAT
from numpy.typing import NDArray

import edge_seg

RULES = """
[[zone]]
name = "left"
points = [[0, 0], [0.34, 0], [0.34, 1], [0, 1]]

[[line]]
name = "gate"
points = [[0.7, 1.0], [0.7, 0.0]]

[[rule]]
name = "a pair"
when = { word = "cat", count_above = 2 }
for_s = 0.8
end_after_s = 0.5

[[rule]]
name = "out"
when = { word = "cat", line = "gate", crosses = "right" }
"""


@pytest.fixture(scope="module")
def model() -> edge_seg.Model:
    return edge_seg.Model(size=160)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two cats on grey, 5 frames a second: both stand for a second, then one walks out to the right, and the other stays."""
    from PIL import Image

    with Image.open(CAT) as picture:
        cat: NDArray[np.uint8] = np.asarray(picture.convert("RGB").resize((120, 80)))
    frames = np.full((30, 200, 480, 3), 128, np.uint8)
    for number, frame in enumerate(frames):
        for left in (10, 180 + 16 * max(0, number - 5)):
            width = min(120, 480 - left)
            if width > 0:
                frame[60:140, left : left + width] = cat[:, :width]
    path = tmp_path_factory.mktemp("clip") / "cats.rgb"
    path.write_bytes(frames.tobytes())
    return f"raw:{path}?size=480x200&format=rgb24&fps=5"


@pytest.fixture(scope="module")
def shown(model: edge_seg.Model, clip: str) -> list[edge_seg.LiveFrame]:
    with edge_seg.Live(model, clip, "cat, wall", things=["Cat"], rules=edge_seg.Rules(RULES), pace="every") as live:
        return list(live)


def test_things_keep_their_numbers(shown: list[edge_seg.LiveFrame]) -> None:
    assert len(shown) == 30
    assert shown[0].things == [] and shown[0].counts == {"cat": 0}, "who is seen once may be a flicker"
    first = {thing.id for thing in shown[1].things}
    assert len(first) == 2 and [frame.counts for frame in shown[1:6]] == 5 * [{"cat": 2}]

    def near(frame: edge_seg.LiveFrame, x: float) -> edge_seg.Thing | None:
        return next((thing for thing in frame.things if abs(thing.centroid[0] - x) < 40), None)

    stays = {thing.id for frame in shown[1:] if (thing := near(frame, 70))}
    walks = {thing.id for frame in shown[1:18] if (thing := near(frame, 240 + 16 * max(0, frame.sequence - 5)))}
    assert len(stays) == 1 and len(walks) == 1 and stays | walks == first
    assert shown[-1].counts == {"cat": 1} and [thing.id for thing in shown[-1].things] == list(stays)
    aged = near(shown[-1], 70)
    assert aged is not None and aged.age == pytest.approx(shown[-1].timestamp, abs=0.25)


def test_each_thing_comes_in_every_form(shown: list[edge_seg.LiveFrame]) -> None:
    from importlib import import_module

    coco: Any = import_module("pycocotools.mask")
    frame = shown[3]
    cats = frame.found.mask("cat")
    together = np.zeros_like(cats)
    for thing in frame.things:
        mask = thing.mask
        assert mask.dtype == np.bool_ and mask.sum() == thing.area > 0
        assert not (mask & ~cats).any() and not (mask & together).any(), "of its word, and no other thing's"
        together |= mask
        rows, columns = np.nonzero(mask)
        left, top, width, height = thing.box
        assert (left, top, left + width, top + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert thing.centroid == pytest.approx((columns.mean() + 0.5, rows.mean() + 0.5), abs=0.1)
        assert thing.foot == (left + width / 2, top + height - 0.5)
        assert (coco.decode(thing.rle()).astype(bool) == mask).all()
        assert all(outline.dtype == np.int32 and outline.shape[1] == 2 for outline in thing.polygons()) and thing.polygons()
        assert (thing.name, thing.label) == ("cat", 1) and 0 < thing.score <= 1 and f"Thing cat {thing.id}:" in repr(thing)
    detections: Any = frame.to_supervision()
    assert detections.tracker_id.tolist() == [thing.id for thing in frame.things]
    assert detections.class_id.tolist() == [1, 1] and detections.data["class_name"].tolist() == ["cat", "cat"]
    for thing, mask, xyxy in zip(frame.things, detections.mask, detections.xyxy):
        left, top, width, height = thing.box
        assert (mask == thing.mask).all() and xyxy.tolist() == [left, top, left + width, top + height]
    with pytest.raises(edge_seg.OptionError):
        frame.things[0].polygons(-1)


def test_rules_count_them(shown: list[edge_seg.LiveFrame]) -> None:
    events = [(event.rule, event.event) for frame in shown for event in frame.events]
    assert events[0] == ("a pair", "started") and ("out", "started") in events and ("a pair", "ended") in events
    started = next(event for frame in shown for event in frame.events)
    measured = started.measured[0]
    assert (measured["word"], measured["count"], measured["zone"], measured["line"]) == ("cat", 2, None, None)
    assert sorted(measured["ids"]) == sorted(thing.id for thing in shown[started.sequence].things)
    zone, line = shown[-1].tallies
    assert (zone["word"], zone["zone"], zone["count"]) == ("cat", "left", 1)
    assert line == {"word": "cat", "line": "gate", "to_right": 1, "to_left": 0}
    # The same by hand, on frames that are there.
    rules = edge_seg.Rules(RULES)
    again = [(event.rule, event.event) for frame in shown for event in rules.look(frame)]
    assert again == events and rules.tallies == shown[-1].tallies
    # Masks alone say nothing of things.
    rules = edge_seg.Rules(RULES)
    assert [event for frame in shown for event in rules.look(frame.found)] == [] and rules.tallies == []


def test_what_nobody_follows_is_told(model: edge_seg.Model, clip: str) -> None:
    with edge_seg.Live(model, clip, "cat", pace="every") as live:
        frame = next(live)
    for ask in (lambda: frame.things, lambda: frame.counts, lambda: frame.tallies, frame.to_supervision):
        with pytest.raises(edge_seg.OptionError, match="expected a session that follows some"):
            ask()
    with pytest.warns(UserWarning, match="things: cta are not among the words"):
        edge_seg.Live(model, clip, "cat", things="cat, cta").stop()
    with pytest.warns(UserWarning, match="rules: cat are not among the words"):
        edge_seg.Live(model, clip, "dog", rules=edge_seg.Rules(RULES)).stop()
    with pytest.warns(UserWarning, match="rules: cat are not among the things"):
        edge_seg.Live(model, clip, "cat", rules=edge_seg.Rules(RULES)).stop()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"things": ""}, edge_seg.OptionError, "things: expected all, or words"),
        ({"things": []}, edge_seg.OptionError, "things: expected all, or words"),
        ({"things": ["cat, dog"]}, edge_seg.OptionError, "one word an entry"),
        ({"things": 5}, TypeError, "a list of words"),
        ({"things": "cat", "things_least": 2}, edge_seg.OptionError, "0 to 1"),
        ({"things": "cat", "things_least": float("nan")}, edge_seg.OptionError, "0 to 1"),
        ({"things_least": 0.5}, edge_seg.OptionError, "words beside things_least"),
        ({"things_patience": 1}, edge_seg.OptionError, "words beside things_least"),
        ({"things": "cat", "things_patience": -1}, edge_seg.OptionError, "seconds"),
    ],
)
def test_options_that_are_none_are_refused(model: edge_seg.Model, clip: str, options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        edge_seg.Live(model, clip, "cat", **options)


def test_small_things_and_short_patience(model: edge_seg.Model, clip: str) -> None:
    with edge_seg.Live(model, clip, "cat", things="all", things_least=0.9, pace="every") as live:
        assert all(frame.counts == {"cat": 0} for frame in live)


def test_things_outlive_their_session(model: edge_seg.Model, clip: str, tmp_path: Path) -> None:
    with edge_seg.Live(model, clip, "cat", things="cat", pace="every") as live:
        next(live)
        things = next(live).things
    del live
    assert all(thing.mask.sum() == thing.area for thing in things)
