"""The pure losses against worked cases."""

import pytest
import torch
import torch.nn.functional as F

from edge_seg_trainer import ttd

# Two patches, two orthogonal tags: patch 0 is all tag 0, patch 1 half and half.
PATCHES = F.normalize(torch.tensor([[[1.0, 0.0], [1.0, 1.0]]]), dim=-1)
TAGS = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
REAL = torch.tensor([[True, True, False]])
CAPTION = torch.tensor([[0.0, 1.0]])


def test_pixel_scores_compete_at_each_patch_then_take_the_best():
    scores = ttd.pixel_scores(PATCHES, TAGS, REAL, scale=2.0)
    first = torch.tensor([2.0, 0.0]).softmax(0)
    assert scores[0, 0].item() == pytest.approx(first[0].item())
    assert scores[0, 1].item() == pytest.approx(0.5)  # the mixed patch
    assert scores[0, 2].item() == 0.0  # padding


def test_image_and_text_scores_and_their_mean():
    picture = torch.tensor([[1.0, 0.0]])
    image = ttd.tag_scores("image", PATCHES, picture, CAPTION, TAGS, REAL, 1.0)
    text = ttd.tag_scores("text", PATCHES, picture, CAPTION, TAGS, REAL, 1.0)
    assert image[0, 0] == text[0, 1] == pytest.approx(torch.tensor([1.0, 0.0]).softmax(0)[0].item())
    both = ttd.tag_scores("image-text", PATCHES, picture, CAPTION, TAGS, REAL, 1.0)
    assert torch.allclose(both, (image + text) / 2)
    assert ttd.tag_scores("words", PATCHES, picture, CAPTION, TAGS, REAL, 1.0).tolist() == [[1.0, 1.0, 0.0]]


@pytest.mark.parametrize("normalisation", ["cosine", "min-max"])
def test_other_normalisations_leave_padding_out(normalisation):
    scores = ttd.pixel_scores(PATCHES, TAGS, REAL, 1.0, normalisation)
    assert scores[0, 2] == 0
    assert scores[0, 0] == pytest.approx(1.0)


def test_selection_keeps_the_best_tag_whatever_the_threshold():
    scores = torch.tensor([[0.2, 0.3, 0.9]])
    assert ttd.select(scores, REAL, 0.5).tolist() == [[False, True, False]]


def test_union_is_the_maximum_of_selected_maps_and_has_no_gradient():
    maps = torch.einsum("bpd,bkd->bpk", PATCHES, TAGS).requires_grad_()
    wanted, union = ttd.targets(maps, torch.tensor([[True, False, False]]))
    assert wanted[0, :, 0].tolist() == [1.0, 0.0] and wanted[0, :, 1:].abs().sum() == 0
    assert union.tolist() == [[1.0, 0.0]]
    assert not wanted.requires_grad and not union.requires_grad


@pytest.mark.parametrize("kind", ttd.DISTANCES)
@pytest.mark.parametrize("student", ttd.STUDENTS)
def test_losses_pull_the_caption_map_to_the_union(kind, student):
    torch.manual_seed(0)
    patches = F.normalize(torch.randn(2, 9, 4), dim=-1)
    tags = F.normalize(torch.randn(2, 3, 4), dim=-1)
    real = torch.tensor([[True, True, True], [True, True, False]])
    caption = torch.randn(2, 4, requires_grad=True)
    optimizer = torch.optim.Adam([caption], lr=0.05)
    found = []
    for _ in range(60):
        distill, _ = ttd.losses(patches, F.normalize(caption, dim=-1), tags, real, real, kind, student, 5.0, 0.0)
        optimizer.zero_grad()
        distill.backward()
        optimizer.step()
        found.append(distill.item())
    assert found[-1] < found[0]


def test_tag_loss_of_selected_tags_is_zero_for_a_min_max_student():
    torch.manual_seed(0)
    patches = F.normalize(torch.randn(1, 9, 2), dim=-1)
    _, tag = ttd.losses(patches, CAPTION, TAGS[:, :2], REAL[:, :2], torch.tensor([[True, True]]))
    assert tag.item() == pytest.approx(0.0, abs=1e-9)
    _, tag = ttd.losses(patches, CAPTION, TAGS[:, :2], REAL[:, :2], torch.tensor([[True, False]]))
    assert tag.item() > 0.01


def test_unknown_choices_are_named():
    with pytest.raises(ValueError, match="expected one of pixel"):
        ttd.tag_scores("pixels", PATCHES, CAPTION, CAPTION, TAGS, REAL, 1.0)
