"""Hiding: no picture that comes out shows what the words cover."""

import io
from typing import Any, Literal

import numpy as np
import pytest
from conftest import CAT, PICTURES, WORDS
from numpy.typing import NDArray
from PIL import Image

import edge_seg

ASTRONAUT = PICTURES / "astronaut.jpg"


@pytest.fixture(scope="module")
def model() -> edge_seg.Model:
    return edge_seg.Model(size=224)


@pytest.fixture(scope="module")
def hide(model: edge_seg.Model) -> edge_seg.Hide:
    return model.hide("person")


def test_no_form_of_a_picture_shows_what_is_hidden(model: edge_seg.Model, hide: edge_seg.Hide) -> None:
    picture = edge_seg.read_picture(ASTRONAUT)
    found = model.segment(ASTRONAUT, "flag, rocket", hide=hide)
    hidden = found.hidden
    assert hidden is not None and 0.2 < hidden.share < 1 and (hidden.age, hidden.whole) == (0, None)
    mask = hidden.mask
    assert mask.dtype == np.bool_ and mask.shape == picture.shape[:2] and mask.mean() == pytest.approx(hidden.share)
    # One grey where it is, the picture where it is not.
    assert (found.picture[mask] == found.picture[mask][0]).all() and (found.picture[~mask] == picture[~mask]).all()
    plain = found.overlay(opacity=0, outline=False, legend=False)
    assert (plain == found.picture).all()
    shown = np.asarray(Image.open(io.BytesIO(found._repr_png_())))
    assert (shown == found.overlay()).all()
    # Masks are found in the whole picture.
    assert (found.labels == model.segment(ASTRONAUT, "flag, rocket").labels).all()
    encoded = model.encode(ASTRONAUT)
    again = encoded.segment("flag, rocket", hide=hide)
    assert (again.picture == found.picture).all() and encoded.segment("flag").hidden is None
    assert (hide.show(ASTRONAUT) == found.picture).all()
    assert (hide.show(np.ascontiguousarray(picture[..., ::-1]), order="bgr") == found.picture).all()


def test_ways_of_hiding(model: edge_seg.Model) -> None:
    picture = edge_seg.read_picture(ASTRONAUT)
    shown: dict[str, NDArray[np.uint8]] = {}
    ways: list[Literal["fill", "pixelate", "blur"]] = ["fill", "pixelate", "blur"]
    for by in ways:
        hide = model.hide(["person", "face"], by=by, margin=0.1, threshold=0.1, max_age=1.5)
        assert (hide.names, hide.by, hide.max_age) == (["person", "face"], by, 1.5)
        assert (hide.margin, hide.threshold) == pytest.approx((0.1, 0.1)) and repr(hide) == f"<Hide person, face by {by}>"
        shown[by] = hide.show(ASTRONAUT)
    colours = {by: len(np.unique(found.reshape(-1, 3), axis=0)) for by, found in shown.items()}
    assert colours["fill"] < colours["pixelate"] < colours["blur"]
    # Whatever the way, what is hidden is the same; wider and surer hide more.
    changed = [(found != picture).any(axis=2) for found in shown.values()]
    assert (changed[0] | changed[1]).mean() == pytest.approx(changed[0].mean(), abs=0.01)
    wider, narrower = model.hide("person", margin=0.2).show(ASTRONAUT), model.hide("person", margin=0.0, threshold=0.5).show(ASTRONAUT)
    assert (wider != picture).any(axis=2).sum() > (narrower != picture).any(axis=2).sum() > 0
    assert model.hide("person").threshold == pytest.approx(model.threshold / 3)
    assert (model.hide("red car").show(CAT) == edge_seg.read_picture(CAT)).mean() > 0.9


def test_video_shows_none_of_it(model: edge_seg.Model, hide: edge_seg.Hide) -> None:
    picture = edge_seg.read_picture(ASTRONAUT)[:300, :400]
    film = [np.ascontiguousarray(np.roll(picture, 4 * at, axis=1)) for at in range(6)]
    with edge_seg.Live(model, film, "flag", hide=hide, keys=3) as live:
        frames = list(live)
    assert len(frames) == 6
    for frame, given in zip(frames, film):
        hidden = frame.hidden
        assert hidden is not None and hidden.share > 0.2 and (frame.key or hidden.age > 0 or hidden.whole is not None)
        mask = hidden.mask
        assert (frame.picture[mask] == frame.picture[mask][0]).all() and (frame.picture[~mask] == given[~mask]).all()
        assert (frame.found.picture == frame.picture).all() and frame.found.hidden is not None
        assert (frame.found.overlay(opacity=0, outline=False, legend=False) == frame.picture).all()
    with edge_seg.Live(model, film[:1], "flag") as live:
        assert next(live).hidden is None


def test_what_cannot_be_hidden_is_refused(model: edge_seg.Model, hide: edge_seg.Hide) -> None:
    with pytest.raises(edge_seg.OptionError, match="by: expected"):
        model.hide("person", by="paint")  # type: ignore[arg-type]
    out_of_range: list[dict[str, Any]] = [{"margin": 2}, {"threshold": -0.1}, {"threshold": float("nan")}, {"max_age": -1}]
    for wrong in out_of_range:
        with pytest.raises(edge_seg.OptionError):
            model.hide("person", **wrong)
    refused: list[tuple[Any, str]] = [("", "one word or more"), ("person, -wall", "to be left out"), (model.words(WORDS), "as text")]
    for words, said in refused:
        with pytest.raises(edge_seg.WordsError, match=said):
            model.hide(words)
    # Another size of the same model knows the words as they are.
    assert edge_seg.Model(size=64).segment(ASTRONAUT, "flag", hide=hide).hidden is not None
