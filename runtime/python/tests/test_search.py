"""Words that are shown, and the search in what was seen."""

import io
import pickle
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from conftest import CAT, PICTURES
from numpy.typing import NDArray
from PIL import Image

import edge_seg

COFFEE = PICTURES / "coffee.jpg"
MIDDLE = (112, 75, 225, 150)
NOON = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def model() -> edge_seg.Model:
    return edge_seg.Model(size=224)


@pytest.fixture(scope="module")
def example(model: edge_seg.Model) -> edge_seg.Example:
    return model.example(CAT, MIDDLE)


@pytest.fixture(scope="module")
def index(model: edge_seg.Model, tmp_path_factory: pytest.TempPathFactory) -> edge_seg.Index:
    """A hall with a table for a minute, with a cat from second 20 to 22, and the cat in the garden an hour later."""
    path = tmp_path_factory.mktemp("index") / "seen.index"
    cat, coffee = model.encode(CAT), model.encode(COFFEE)
    with edge_seg.IndexWriter(path, model) as writer:
        for second in range(0, 60, 2):
            assert writer.add(cat if 20 <= second < 24 else coffee, "hall", time=NOON + timedelta(seconds=second), at=second)
        writer.add(cat, "garden", time=(NOON + timedelta(hours=1)).timestamp())
        assert "seen.index" in repr(writer)
    return edge_seg.Index(path)


def test_what_is_shown_is_found(model: edge_seg.Model, example: edge_seg.Example) -> None:
    words = model.words(None, examples={"it": example})
    assert words.names == ["it"] and words.classes == [("it", [])] and words.examples == {"it": [example]}
    assert model.segment(CAT, words)["it"].share > 0.25 and model.segment(COFFEE, words)["it"].share < 0.1
    assert (model.words("", examples={"it": [example]}).embeddings == words.embeddings).all()
    assert (model.words([], examples={"it": [example]}).embeddings == words.embeddings).all()
    assert (model.encode(CAT).example(MIDDLE) == example) and not example.counter
    # As a counter-example it takes from its word, and from no other.
    text = model.words("cat, wall")
    against = model.words("cat, wall", examples={"Cat": example.countering()})
    assert against.names == text.names and (against.embeddings[1] == text.embeddings[1]).all()
    assert model.segment(CAT, against)["cat"].share < model.segment(CAT, text)["cat"].share
    assert model.example(CAT, MIDDLE, counter=True) == example.countering() != example
    # Beside text it turns the word, and does not replace it; ready words take examples and keep their settings.
    ready = model.words("cat, wall", thresholds={"wall": 0.75}, background=0.25)
    both = model.words(ready, examples={"cat": example, "mug": [model.example(COFFEE), model.example(COFFEE, (200, 100, 200, 200))]})
    assert both.names == ["cat", "wall", "mug"] and both.thresholds == {"wall": 0.75} and both.background == 0.25
    turned = float(both.embeddings[0] @ text.embeddings[0])
    assert 0.5 < turned < 0.999 and (both.embeddings[1] == text.embeddings[1]).all()
    assert len(both.examples["mug"]) == 2 and list(ready.examples) == []
    assert model.words(ready, thresholds={"cat": 0.5}).thresholds == {"cat": 0.5, "wall": 0.75}
    assert [name for name, _ in model.tags(CAT, words, threshold=0.0)] == ["it"]


def test_live_words_may_be_shown(model: edge_seg.Model, example: edge_seg.Example) -> None:
    cat = edge_seg.read_picture(CAT)
    with edge_seg.Live(model, [cat, cat], model.words("wall", examples={"it": example})) as live:
        assert live.words == ["wall", "it"]
        assert all(frame.found["it"].share > 0.2 for frame in live)


def test_examples_are_numbers_that_can_be_kept(model: edge_seg.Model, example: edge_seg.Example) -> None:
    kept = edge_seg.Example.from_json(example.to_json())
    ours, theirs = (model.words(None, examples={"it": one}).embeddings[0] for one in (example, kept))
    assert float(ours @ theirs) > 0.99999 and kept.model == example.model
    assert pickle.loads(pickle.dumps(example)) == kept, "pickled as its text is, rounded"
    assert pickle.loads(pickle.dumps(kept)) == kept and edge_seg.Example.from_json(kept.to_json()) == kept
    assert pickle.loads(pickle.dumps(example.countering())).counter and "counter-example" in repr(example.countering())
    for wrong in ("", "{}", '{"model": "m", "shows": []}', example.to_json().replace("model", "mode1")):
        with pytest.raises(edge_seg.WordsError, match="example: "):
            edge_seg.Example.from_json(wrong)
    other = edge_seg.Example.from_json(example.to_json().replace(example.model, "0123456789abcdef"))
    with pytest.raises(edge_seg.WordsError, match="expected examples by the model mini"):
        model.words(None, examples={"it": other})


def test_examples_that_are_none_are_refused(model: edge_seg.Model, example: edge_seg.Example, tmp_path: Path) -> None:
    for box in ((451, 0, 5, 5), (0, 0, 0, 5), (-1, 0, 5, 5), (0, 0, 5, -5)):
        with pytest.raises(edge_seg.OptionError, match="pixels of the 451×300 picture"):
            model.example(CAT, box)
    for wrong in ((1, 2, 3), "1234", (0.5, 0.5, 1.0, 1.0)):
        with pytest.raises((TypeError, ValueError)):
            model.example(CAT, wrong)  # type: ignore[arg-type]
    refused: list[tuple[Any, type[Exception], str]] = [
        ({"it": example.countering()}, edge_seg.WordsError, "an example of what it means"),
        ({"it": []}, edge_seg.WordsError, "found none"),
        ({" ": example}, edge_seg.WordsError, "an empty one"),
        ({"it": "example"}, TypeError, "an Example of"),
        ({"it": [5]}, TypeError, "found int"),
        ({}, edge_seg.WordsError, "one word or more"),
    ]
    for examples, error, said in refused:
        with pytest.raises(error, match=said):
            model.words("", examples=examples)
    with pytest.raises(TypeError):
        model.words(None)
    with pytest.raises(edge_seg.WordsError, match="left_out: expected words as text"):
        model.words(model.words("cat"), left_out=["wall"])
    # Labelling writes down words, and has none for these.
    with pytest.raises(edge_seg.WordsError, match="some that are shown"):
        edge_seg.label([CAT], model.words("cat", examples={"cat": example}), tmp_path / "out", model=model)


def test_a_search_tells_when_and_where(model: edge_seg.Model, index: edge_seg.Index) -> None:
    found = index.search(model, "cat")
    assert {(one.name, one.camera, one.first, one.last, one.frames) for one in found} == {
        ("cat", "hall", NOON + timedelta(seconds=20), NOON + timedelta(seconds=22), 2),
        ("cat", "garden", NOON + timedelta(hours=1), NOON + timedelta(hours=1), 1),
    }
    hall = next(one for one in found if one.camera == "hall")
    assert hall.best.tzinfo == timezone.utc and hall.first <= hall.best <= hall.last and hall.at in (20.0, 22.0)
    assert 0 < hall.score <= 1 and hall.size == (451, 300) and "hall" in repr(hall)
    left, top, width, height = hall.box
    assert left >= 0 and top >= 0 and left + width <= 451 and top + height <= 300 and width * height > 451 * 300 / 10
    picture = hall.thumbnail()
    assert picture is not None and Image.open(io.BytesIO(picture)).size == (112, 75) and hall._repr_jpeg_() == picture
    contents = index.contents()
    assert (contents.frames, contents.cameras) == (31, ["garden", "hall"]) and contents.embeddings > 31
    assert (contents.first, contents.last) == (NOON, NOON + timedelta(hours=1)) and index.model == model.example(CAT).model


def test_a_search_is_narrowed(model: edge_seg.Model, index: edge_seg.Index) -> None:
    def cameras(**options: Any) -> list[str]:
        return sorted(one.camera for one in index.search(model, "cat", **options))

    assert cameras(since=NOON + timedelta(minutes=30)) == ["garden"]
    assert cameras(until=NOON + timedelta(minutes=30)) == ["hall"]
    assert cameras(since=NOON.timestamp(), until=NOON.timestamp() + 60) == ["hall"]
    # A local time is the same moment.
    assert cameras(since=(NOON + timedelta(minutes=30)).astimezone(timezone(timedelta(hours=9)))) == ["garden"]
    ago = datetime.now(timezone.utc) - NOON
    assert cameras(since=ago - timedelta(minutes=30)) == (["garden"] if ago > timedelta(hours=1) else [])
    assert cameras(most=1) != cameras() and len(cameras(most=1)) == 1
    assert cameras(gap=1) == ["garden", "hall", "hall"], "two frames that lie two seconds apart"
    assert cameras(threshold=1.0) == []
    words = index.search(model, "coffee cup, cat, -wall", most=1)
    assert [one.name for one in words] == ["coffee cup", "cat"]


def test_what_is_shown_is_searched_for(model: edge_seg.Model, index: edge_seg.Index, example: edge_seg.Example) -> None:
    # From the score on that its masks begin at: that of the model's background.
    shown = index.search(model, model.words(None, examples={"it": example}), threshold=model.threshold)
    assert {one.camera for one in shown} == {"hall", "garden"} and all(one.name == "it" for one in shown)
    whole = index.search(model, model.words(None, examples={"it": model.example(CAT)}), most=1)
    assert whole[0].first in (NOON + timedelta(seconds=20), NOON + timedelta(hours=1))


def test_video_leaves_its_key_frames(model: edge_seg.Model, tmp_path: Path) -> None:
    path, source = tmp_path / "seen.index", "test:?size=96x64&fps=10&frames=20"
    before = time.time()
    with edge_seg.IndexWriter(path, model, interval=0.5) as writer, edge_seg.Live(model, source, "sky", keys=2, pace="every") as live:
        taken = [frame.sequence for frame in live if writer.add(frame, "door")]
        assert taken == [0, 6, 12, 18], "key frames, half a second apart or more"
        writer.sync()
    contents = edge_seg.Index(path).contents()
    assert contents.frames == 4 and contents.cameras == ["door"]
    assert contents.first is not None and before - 1 <= contents.first.timestamp() <= time.time()
    # It goes on where it was, also with a clip's own times.
    with edge_seg.IndexWriter(path, model, interval=0) as writer, edge_seg.Live(model, source, "sky", pace="every") as live:
        for frame in live:
            assert writer.add(frame, "clip", time=NOON + timedelta(seconds=frame.timestamp))
    contents = edge_seg.Index(path).contents()
    assert contents.frames == 24 and contents.first == NOON


def test_indexes_that_are_none_are_refused(model: edge_seg.Model, index: edge_seg.Index, tmp_path: Path, cat: NDArray[np.uint8]) -> None:
    with pytest.raises(FileNotFoundError):
        edge_seg.Index(tmp_path / "none.index")
    (tmp_path / "text").write_text("no index of anything, and longer than a header is, or so it seems")
    for opens in (lambda: edge_seg.Index(tmp_path / "text"), lambda: edge_seg.IndexWriter(tmp_path / "text", model), lambda: edge_seg.Index(tmp_path)):
        with pytest.raises(edge_seg.DataError):
            opens()
    assert (tmp_path / "text").read_text().startswith("no index")
    out_of_range: list[dict[str, int]] = [{"limit": 1}, {"limit": -1}, {"frame_bytes": 1}, {"interval": -1}]
    for options in out_of_range:
        with pytest.raises(edge_seg.OptionError):
            edge_seg.IndexWriter(tmp_path / "new.index", model, **options)
    writer = edge_seg.IndexWriter(tmp_path / "new.index", model)
    with pytest.raises(edge_seg.DataError, match="writing"):
        edge_seg.IndexWriter(tmp_path / "new.index", model)
    encoded = model.encode(cat)
    with pytest.raises(edge_seg.OptionError, match="a datetime with a time zone"):
        writer.add(encoded, "hall", time=datetime(2026, 5, 1))
    for time_of in cast(list[float], ["noon", -5.0, float("inf")]):
        with pytest.raises(edge_seg.OptionError, match="time: "):
            writer.add(encoded, "hall", time=time_of)
    with pytest.raises(edge_seg.OptionError, match="camera"):
        writer.add(encoded, " ")
    with pytest.raises(TypeError, match="a frame of Live"):
        writer.add(cat, "hall")  # type: ignore[arg-type]
    with edge_seg.Live(model, [cat], "cat", hide=model.hide("person")) as live, pytest.raises(edge_seg.OptionError, match="nothing is hidden"):
        writer.add(next(live), "hall")
    writer.close()
    writer.close()
    with pytest.raises(edge_seg.EdgeSegError, match="was closed"):
        writer.add(encoded, "hall")
    assert edge_seg.Index(tmp_path / "new.index").contents().first is None
    with pytest.raises(edge_seg.OptionError, match="threshold"):
        index.search(model, "cat", threshold=2)
    with pytest.raises(edge_seg.WordsError):
        index.search(model, "")


def test_times_beyond_pythons_calendar_are_refused(model: edge_seg.Model, tmp_path: Path) -> None:
    encoded = model.encode(CAT)
    with edge_seg.IndexWriter(tmp_path / "seen.index", model) as writer:
        with pytest.raises(edge_seg.OptionError, match="milliseconds"):
            writer.add(encoded, "hall", time=1_796_062_365_700)
        assert writer.add(encoded, "hall", time=1_796_062_365.7)
    assert edge_seg.Index(tmp_path / "seen.index").contents().frames == 1
