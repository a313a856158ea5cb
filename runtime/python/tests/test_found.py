"""Masks, scores and embeddings in every form."""

import io
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CAT, WORDS
from numpy.typing import NDArray
from PIL import Image

import edge_seg


@pytest.fixture(scope="module")
def found(model: edge_seg.Model) -> edge_seg.Segmentation:
    return model.segment(CAT, WORDS)


def test_each_class_comes_in_every_form(found: edge_seg.Segmentation) -> None:
    coco: Any = import_module("pycocotools.mask")

    assert found.names == ["cat", "wall"] and len(found) == 2
    assert found.scores.shape == (2,) and found.scores.dtype == np.float32
    share = found.background_share
    for label, one in enumerate(found.classes, 1):
        mask = found.mask(one.name)
        assert mask.dtype == np.bool_ and (mask == (found.labels == label)).all()
        assert (one.mask == mask).all() and (found.mask(label) == mask).all()
        assert one.area == mask.sum() and one.share == pytest.approx(mask.mean()) and one.label == label
        assert one.score == found.scores[label - 1]
        rle = one.rle()
        assert rle["size"] == list(mask.shape)
        assert (coco.decode(rle).astype(bool) == mask).all()
        if not mask.any():
            assert one.box is None and one.polygons() == []
            continue
        left, top, width, height = one.box or (0, 0, 0, 0)
        rows, columns = np.nonzero(mask)
        assert (left, top, left + width, top + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        for outline in one.polygons(tolerance=0):
            assert outline.dtype == np.int32 and outline.shape[1] == 2 and len(outline) >= 4
        assert len(one.polygons()) == len(one.polygons(tolerance=0))
        share += one.share
    assert share == pytest.approx(1)
    assert found["cat"].area > 1000, "the cat is found"
    assert found["CAT"].name == "cat"
    assert "cat" in found and "Wall" in found and "dog" not in found and 1 not in found
    assert [one.name for one in found] == found.names
    assert (found.mask(0) == (found.labels == 0)).all()
    for wrong in ("dog", 3, -1):
        with pytest.raises(edge_seg.WordsError, match="mask: expected"):
            found.mask(wrong)
    with pytest.raises(edge_seg.OptionError):
        found["cat"].polygons(tolerance=float("nan"))


def test_labels_are_kept_as_they_were_found(found: edge_seg.Segmentation) -> None:
    assert found.labels is found.labels, "no copy"
    with pytest.raises(ValueError, match="read-only"):
        found.labels[0, 0] = 1
    for array in (found.labels, found.labels.base):
        assert isinstance(array, np.ndarray)
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


def test_pictures_of_masks(model: edge_seg.Model, found: edge_seg.Segmentation) -> None:
    plain = found.overlay(opacity=0, outline=False, legend=False)
    assert (plain == found.picture).all()
    drawn = found.overlay(legend=False, outline=False)
    changed = (drawn != found.picture).any(axis=2)
    assert changed.any() and not changed[found.labels == 0].any()
    shown = Image.open(io.BytesIO(found._repr_png_()))
    assert shown.size == found.labels.shape[::-1] and (np.asarray(shown) == found.overlay()).all()
    with pytest.raises(edge_seg.OptionError):
        found.overlay(opacity=2)
    assert "cat" in repr(found) and repr(found["cat"]).startswith("<FoundClass cat: ") and f"box {found['cat'].box}>" in repr(found["cat"])
    nowhere = model.segment(CAT, "cat, red car")["red car"]
    assert nowhere.box is None and repr(nowhere).endswith("%, no box>")


def test_a_large_picture_is_shown_small(model: edge_seg.Model) -> None:
    wide = np.zeros((100, 4000, 3), np.uint8)
    assert Image.open(io.BytesIO(model.segment(wide, "cat")._repr_png_())).size == (1280, 32)


def test_supervision_takes_what_is_found(model: edge_seg.Model, found: edge_seg.Segmentation) -> None:
    import supervision as sv

    detections = found.to_supervision()
    present = [one for one in found.classes if one.area]
    assert len(detections) == len(present)
    assert list(detections.class_id) == [one.label for one in present]
    assert list(detections.data["class_name"]) == [one.name for one in present]
    assert [float(area) for area in detections.area] == [one.area for one in present]
    for box, one in zip(detections.xyxy, present):
        left, top, width, height = one.box or (0, 0, 0, 0)
        assert list(box) == [left, top, left + width, top + height]
    scene = np.ascontiguousarray(found.picture[..., ::-1])
    drawn = sv.MaskAnnotator().annotate(scene.copy(), detections)
    assert ((drawn != scene).any(axis=2) & (found.labels == 0)).sum() == 0 and (drawn != scene).any()
    sv.LabelAnnotator().annotate(scene.copy(), detections, labels=list(detections.data["class_name"]))

    regions = found.to_supervision(regions=True)
    assert len(regions) >= len(detections)
    for one in present:
        parts = regions.mask[regions.class_id == one.label]
        assert (parts.sum(axis=0) <= 1).all(), "regions lie apart"
        assert not (parts.any(axis=0) & ~one.mask).any()
    nothing = model.segment(CAT, model.words("cat", thresholds={"cat": 1.0})).to_supervision()
    assert len(nothing) == 0


def test_embeddings(model: edge_seg.Model, cat: NDArray[np.uint8]) -> None:
    encoded = model.encode(cat)
    rows, columns = encoded.grid
    assert encoded.patches.shape == (rows, columns, model.dim) and encoded.patches.dtype == np.float32
    assert np.allclose(np.linalg.norm(encoded.patches, axis=2), 1, atol=1e-5)
    assert encoded.embedding.shape == (model.dim,)
    for words in (WORDS, "person, sky"):
        assert (encoded.segment(words).labels == model.segment(cat, words).labels).all()
    text = model.embed_text("the ear of a cat")
    assert text.shape == (model.dim,) and np.linalg.norm(text) == pytest.approx(1, abs=1e-5)
    row, column = np.unravel_index((encoded.patches @ text).argmax(), (rows, columns))
    left, top, width, height = encoded.patch_box(int(row), int(column)) or (0, 0, 0, 0)
    assert width > 0 and height > 0 and left + width <= cat.shape[1] and top + height <= cat.shape[0]
    assert encoded.patch_box(rows, 0) is None and encoded.patch_box(0, -1) is None


def test_tags(model: edge_seg.Model) -> None:
    everything = model.tags(CAT, "cat, rocket, coffee", threshold=0)
    assert {name for name, _ in everything} == {"cat", "rocket", "coffee"}
    scores = [score for _, score in everything]
    assert scores == sorted(scores, reverse=True) and everything[0][0] == "cat"
    assert model.tags(CAT, "cat, rocket, coffee", threshold=1.0) == []
    with pytest.raises(edge_seg.OptionError):
        model.tags(CAT, "cat", threshold=2)


def test_rules_make_events(model: edge_seg.Model) -> None:
    rules = edge_seg.Rules(
        """
        [[zone]]
        name = "lower half"
        points = [[0, 0.5], [1, 0.5], [1, 1], [0, 1]]

        [[rule]]
        name = "a cat lies there"
        when = { word = "cat", zone = "lower half", share_above = 0.05 }
        for_s = 1
        end_after_s = 0
        """
    )
    assert rules.words == ["cat"] and rules.states == {"a cat lies there": False}
    shown, empty = model.segment(CAT, "cat"), model.segment(np.zeros((30, 40, 3), np.uint8), model.words("cat", thresholds={"cat": 1.0}))
    assert rules.look(shown, timestamp=0) == []
    (started,) = rules.look(shown, timestamp=1.5)
    assert (started.rule, started.event, started.timestamp) == ("a cat lies there", "started", 1.5)
    assert started.measured[0]["word"] == "cat" and started.measured[0]["share"] > 0.05
    assert rules.states == {"a cat lies there": True}
    assert [event.event for event in rules.look(empty, timestamp=2)] == ["ended"]
    timed = [rules.look(model.segment(CAT, "cat", timestamp=second)) for second in (3, 4.5)]
    assert [[event.event for event in events] for events in timed] == [[], ["started"]]
    with pytest.raises(edge_seg.RulesError, match="rules:2"):
        edge_seg.Rules("\nnonsense")
    for wrong, said in ((-1, r"-1\.0"), (1e300, "1e300"), (float("nan"), "NaN")):
        with pytest.raises(edge_seg.OptionError, match=f"timestamp: expected seconds, 0 or more, found {said}$"):
            rules.look(shown, timestamp=wrong)
    with pytest.raises(edge_seg.OptionError, match=r"timestamp: expected 4\.5 s or later"):
        rules.look(shown, timestamp=4)


def test_models_are_opened_and_refused(tmp_path: Path) -> None:
    bundle = Path(__file__).parents[2] / "models" / "mini.esb"
    built_in = edge_seg.Model(size=64, threads=1)
    expected = built_in.segment(CAT, WORDS).labels
    for model in (edge_seg.Model(bundle, size=64), edge_seg.Model(bundle.read_bytes(), size=64)):
        assert model.name == "mini" and (model.segment(CAT, WORDS).labels == expected).all()
    assert repr(built_in).startswith("<Model mini ")
    assert (edge_seg.Model(size=64, refine=True).segment(CAT, WORDS).labels != expected).any()
    with pytest.raises(FileNotFoundError):
        edge_seg.Model(tmp_path / "none.esb")
    with pytest.raises(edge_seg.BundleError):
        edge_seg.Model(b"nonsense")
    with pytest.raises(edge_seg.OptionError, match="^size: expected 16 to 8192 pixels, found 1$"):
        edge_seg.Model(size=1)
    for option, wrong in (("threads", 0), ("threads", -1), ("size", -448)):
        given: dict[str, Any] = {option: wrong}
        with pytest.raises(edge_seg.OptionError, match=option):
            edge_seg.Model(**given)
    with pytest.raises(edge_seg.OptionError, match="device"):
        edge_seg.Model(device="tpu")  # type: ignore[arg-type]
    with pytest.raises(edge_seg.OptionError, match="keys"):
        edge_seg.Model(keys=tmp_path)
    key = "untrusted comment: minisign public key\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n"
    with pytest.raises(edge_seg.BundleError, match="unsigned"):
        edge_seg.Model(bundle, keys={"a key": key})
    (tmp_path / "a.pub").write_text(key)
    with pytest.raises(edge_seg.BundleError, match="unsigned"):
        edge_seg.Model(bundle.read_bytes(), keys=tmp_path)
    with pytest.raises(edge_seg.BundleError, match="minisign public key"):
        edge_seg.Model(bundle, keys={"a key": "nonsense"})
