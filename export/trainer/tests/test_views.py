"""What the views count, on photos whose patches are known."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from edge_seg_trainer.data import IGNORE, OTHER, Labelled
from edge_seg_trainer.views import THRESHOLDS, View, ious, measured, of_words, tallied

WORDS = {"dog": 0, "sky": 1, "anvil": 2, "hound": 0, "wheel": 3}


class Bank:
    """Each word an axis; a hound is alike to a dog."""

    def words(self, texts: list[str], learning: bool = False) -> torch.Tensor:
        rows = F.one_hot(torch.tensor([WORDS[text] for text in texts]), 4).float()
        rows[[text == "hound" for text in texts]] = torch.tensor([0.8, 0.0, 0.0, 0.6])
        return rows


class Seen:
    """An encoder of four patches a row: the cosines of each with the axes."""

    def __init__(self, patches: list[list[float]]):
        self.patches = torch.tensor(patches)

    def similarity(self, photo: Labelled, bank) -> torch.Tensor:
        return bank.best((self.patches @ bank.rows.T).T).reshape(len(bank), 1, len(self.patches))


@pytest.fixture
def photo(tmp_path) -> Labelled:
    """One row of four patches, of 16 pixels each: dog, dog, sky, nothing of these."""
    label: Path = tmp_path / "label.png"
    Image.fromarray(np.repeat(np.repeat(np.array([[0, 0, 1, 2]], np.uint8), 16, 0), 16, 1)).save(label)
    table = np.full(256, IGNORE, np.uint8)
    table[:3] = 0, 1, OTHER
    return Labelled(tmp_path / "none.jpg", label, table)


def test_a_word_with_low_scores_is_told_the_threshold_that_suits_it(photo):
    view = View("row", [photo], ["dog", "sky"], none_counts=True)
    # The sky scores 0.2 where it is, which the default of 0.5 blanks.
    tallies = tallied(view, Seen([[0.9, 0.0, 0, 0], [0.9, 0.0, 0, 0], [0.0, 0.2, 0, 0], [0.0, 0.0, 0, 0]]), Bank(), (10.0, -3.0))
    rows = of_words(view, tallies, 0.5)
    assert [row.word for row in rows] == ["sky", "dog"]  # what a threshold would help most comes first
    assert rows[0].iou == 0 and rows[0].best < 0.3 and rows[0].best_iou > 50 and rows[0].shown == pytest.approx(25)
    assert rows[1].recall > 95 and rows[1].precision > 90
    assert set(tallies) == set(THRESHOLDS)
    # Dog, sky and none of them count alike; without `none_counts` the last does not.
    assert measured(view, tallies)[0.5][0] == pytest.approx(100 * ious(tallies[0.5]).mean())
    assert measured(View("row", [photo], ["dog", "sky"]), tallies)[0.5][0] == pytest.approx(100 * ious(tallies[0.5])[:2].mean())


def test_words_beside_the_names_take_pixels_unless_they_may_be_said_of_them(photo):
    seen = Seen([[0.5, 0.0, 0.6, 0.9], [0.9, 0.0, 0.1, 0.9], [0.0, 0.9, 0.2, 0.9], [0.0, 0.0, 0.0, 0.0]])
    names = ["dog", "sky"]

    def right(among: list[str]) -> float:
        view = View("row", [photo], names, among=among)
        return {row.word: row.recall for row in of_words(view, tallied(view, seen, Bank(), (10.0, -3.0)), 0.5)}["dog"]

    assert right([]) > 95
    assert 30 < right(["anvil"]) < 70  # the first patch looks more like an anvil
    assert right(["hound", "wheel"]) > 95  # alike to a dog; a part of something
