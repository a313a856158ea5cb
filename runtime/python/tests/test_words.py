"""Words as Python writes them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CAT

import edge_seg


def test_a_line_a_list_and_a_mapping_are_the_same(model: edge_seg.Model) -> None:
    line = model.words("cat, red car: sports car: coupe, -wall")
    listed = model.words(["cat", "red car: sports car: coupe", "-wall"])
    mapped = model.words({"cat": [], "red car": ["sports car", "coupe"]}, left_out=["wall"])
    for words in (line, listed, mapped):
        assert words.names == ["cat", "red car"] and len(words) == 2
        assert words.classes == [("cat", ["cat"]), ("red car", ["red car", "sports car", "coupe"])]
        assert words.left_out == ["wall"]
        assert list(words) == words.names and "Red Car" in words and "coupe" not in words and 5 not in words
        assert (words.embeddings == line.embeddings).all()
    assert line.embeddings.shape == (5, model.dim) and line.embeddings.dtype == np.float32
    assert np.allclose(np.linalg.norm(line.embeddings, axis=1), 1, atol=1e-5)
    assert model.words({"car": "auto"}).classes == [("car", ["car", "auto"])]
    assert "cat, red car, left out: wall" in repr(line)


def test_thresholds_and_background(model: edge_seg.Model) -> None:
    words = model.words("cat, wall", thresholds={"Cat": 0.5}, off=["wall"], background=None)
    assert words.thresholds == {"cat": 0.5} and words.off == ["wall"] and words.background is None
    plain = model.words("cat, wall")
    assert plain.background == pytest.approx(model.threshold) and plain.thresholds == {} and plain.off == []
    changed = plain.with_threshold("cat", 0.25).with_off("wall").with_background(0.125)
    assert (changed.thresholds, changed.off, changed.background) == ({"cat": 0.25}, ["wall"], 0.125)
    assert plain.thresholds == {}, "words do not change"
    assert model.words("cat", background=0.25).background == 0.25
    found = model.segment(CAT, model.words("cat, wall", background=None))
    assert found.background_share == 0, "without a threshold every pixel gets a word"
    assert model.segment(CAT, changed)["wall"].area == 0


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ("", edge_seg.WordsError, "one word or more"),
        ([], edge_seg.WordsError, "one word or more"),
        (["cat", "Cat"], edge_seg.WordsError, "twice"),
        (["hot dog, mustard"], edge_seg.WordsError, "one word an entry"),
        (["cat", ""], edge_seg.WordsError, "one word an entry"),
        ({"cat": [""]}, edge_seg.WordsError, "an empty one"),
        ({"": ["cat"]}, edge_seg.WordsError, "an empty one"),
        ({}, edge_seg.WordsError, "one word or more"),
        (5, TypeError, "found int"),
        ([5], TypeError, "found list that holds int"),
        ({"cat": None}, TypeError, "found NoneType for \"cat\""),
    ],
)
def test_words_that_are_none_are_refused(model: edge_seg.Model, words: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        model.words(words)
    with pytest.raises(error, match=said):
        model.segment(CAT, words)


def test_what_is_raised_while_a_mapping_is_looked_for_is_raised(model: edge_seg.Model) -> None:
    def interrupted(_self: Any) -> Any:
        raise KeyboardInterrupt

    odd: Any = type("Odd", (), {"__class__": property(interrupted)})()
    with pytest.raises(KeyboardInterrupt):
        model.words(odd)


def test_what_stands_for_long_words_is_short(model: edge_seg.Model) -> None:
    words = model.words({f"{'very ' * 190}good cat": []}, left_out=["bad " * 200 + "cat"])
    found = model.segment(CAT, words)
    hidden = model.hide(words.names)
    with edge_seg.Live(model, [CAT], words) as live:
        shown = [repr(thing) for thing in (words, found, found.classes[0], hidden, live)]
    with pytest.raises(edge_seg.WordsError) as error:
        found.mask("dog")
    assert all(len(text) < 200 and "very very" in text for text in [*shown, str(error.value)]), shown
    with pytest.raises(edge_seg.WordsError, match="1 to 1000 characters") as error:
        model.words("very " * 200 + "good cat")
    assert len(str(error.value)) < 300
    names = [f"thing {at}" for at in range(40)]
    with pytest.raises(edge_seg.WordsError, match=r"thing 7, \.\.\. 40 in all, found"):
        model.segment(CAT, names).mask("dog")


def test_settings_that_are_none_are_refused(model: edge_seg.Model) -> None:
    with pytest.raises(edge_seg.WordsError, match="one of cat"):
        model.words("cat", thresholds={"dog": 0.5})
    for threshold in (float("nan"), 1.5, -0.1):
        with pytest.raises(edge_seg.OptionError, match='threshold: expected 0 to 1 for "cat"'):
            model.words("cat", thresholds={"cat": threshold})
    with pytest.raises(edge_seg.OptionError, match="0 to 1"):
        model.words("cat", background=2)
    with pytest.raises(edge_seg.OptionError, match='None or "model"'):
        model.words("cat", background="none")  # type: ignore[arg-type]
    with pytest.raises(edge_seg.WordsError):
        model.words("cat", left_out=[" "])


def test_words_of_other_languages_are_looked_for_by_their_meaning(model: edge_seg.Model) -> None:
    assert [model.meaning(word) for word in ("Hund", "voiture rouge", "dog", "xyzzyplugh", "", " ")] == ["dog", "red car", "dog", None, None, None]
    german, english = model.words("Hund, rotes Auto"), model.words("dog, red car")
    assert german.names == ["Hund", "rotes Auto"] and (german.embeddings == english.embeddings).all()
    off = edge_seg.Model(size=64, languages="off")
    assert off.meaning("Hund") == "Hund" and not (off.words("Hund").embeddings == english.embeddings[0]).all()
    with pytest.raises(edge_seg.OptionError, match="expected off, all, or some of en, de"):
        edge_seg.Model(languages="xx")


def test_files_of_words_are_read(model: edge_seg.Model, tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("cat # comment\n\nred car: sports car, coupe\n")
    words = edge_seg.read_words(file)
    assert words == {"cat": [], "red car": ["sports car", "coupe"]}
    assert model.words(words).classes == [("cat", ["cat"]), ("red car", ["red car", "sports car", "coupe"])]
    (tmp_path / "table.csv").write_text('name,synonyms\n"cup","mug, beaker"\n')
    assert edge_seg.read_words(str(tmp_path / "table.csv")) == {"cup": ["mug", "beaker"]}
    file.write_text("cat\ncat\n")
    with pytest.raises(edge_seg.WordsError, match="words.txt"):
        edge_seg.read_words(file)
    with pytest.raises(FileNotFoundError):
        edge_seg.read_words(tmp_path / "none.txt")
