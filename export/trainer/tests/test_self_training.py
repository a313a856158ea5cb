"""Self-training: what the captions name, what the teacher may say of it, and when."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from edge_seg_trainer.data import Classes, recoloured
from edge_seg_trainer.kinds import make_stage
from edge_seg_trainer.loop import StageLoop
from edge_seg_trainer.recipe import RecipeError
from edge_seg_trainer.stages import Part
from edge_seg_trainer.self_training import cut_rectangles, named_classes, pasted, rare_first, teacher_shares
from edge_seg_trainer.blocks import WholeAttention

from test_train import losses, start

TAUGHT = {"name": "self", "kind": "dense", "learns": "all", "steps": 6, "pairs": ["shades"], "taught": 4, "ema": 0.8, "rate": 3e-3, "cut": 0.5, "teacher": "average", "ttd_weight": 0.1}


def test_classes_are_named_by_phrases_and_plurals():
    classes = Classes(["car", "traffic light", "light", "sea"], [["car"], ["traffic light"], ["lamp"], ["sea", "sea wave"]])
    found = named_classes(("Two cars wait at the traffic lights.", "A man and his oscar"), classes)
    assert found.tolist() == [True, True, False, False]
    assert named_classes(("lights of traffic, cart",), classes).tolist() == [False] * 4


def test_photos_of_rare_classes_are_drawn_more():
    named = np.zeros((20, 3), bool)
    named[:16, 0] = True
    named[15, 1] = True
    shares = rare_first(named, 0.5)
    assert np.isclose(shares.sum(), 1) and np.isclose(shares[15], 4 * shares[0]) and (shares[16:] > 0).all()
    assert np.allclose(rare_first(named, 0.0), 1 / 20)


def test_the_teacher_keeps_to_what_captions_name():
    things = torch.tensor([True, True, False, False])
    named = torch.tensor([[True, False, True, False]])
    similarity = torch.tensor([[[0.5, 0.9, 0.1, 0.1], [0.1, 0.9, 0.2, 0.5], [0.3, 0.0, 0.3, 0.0]]])
    shares = teacher_shares(similarity, named, things, scale=10.0, prior=1.0, confidence=0.6)
    assert torch.equal(shares[..., 1], torch.zeros(1, 3))  # a thing that is not named, though it looks most like one
    assert shares[0].argmax(-1)[:2].tolist() == [0, 3]  # stuff that is not named wins by more than the prior ...
    strict = teacher_shares(similarity, named, things, scale=10.0, prior=9.0, confidence=0.6)
    assert strict[0, 1].argmax() == 2  # ... and not by less
    assert torch.equal(shares[0, 2], torch.zeros(4))  # undecided
    assert torch.allclose(shares[0, :2].sum(-1), torch.ones(2))


def test_rectangles_are_pasted_whole_and_cover_half_at_most():
    cut = cut_rectangles(np.random.default_rng(0), 200, 20, 0.5)
    areas = cut.flatten(1).sum(1)
    assert 60 < (areas > 0).sum() < 140 and areas.max() <= 0.6 * 400
    rows, cols = cut.any(2), cut.any(1)
    assert torch.equal(areas, rows.sum(1) * cols.sum(1))
    values = torch.arange(3.0)[:, None].expand(3, 4)
    mixed = pasted(values, torch.tensor([[True, False, False, False]] * 3))
    assert mixed[:, 0].tolist() == [1, 2, 0] and mixed[:, 1].tolist() == [0, 1, 2]


def test_a_taught_stage_resumes_exactly_with_its_teacher(recipe):
    run = start(recipe(TAUGHT, name="whole"))
    run.follow()
    start(recipe(TAUGHT, name="broken")).follow(until=5)
    again = start(recipe(TAUGHT, name="broken"))
    again.follow()
    assert losses(again) == losses(run)


@pytest.mark.parametrize("teacher", ["average", "start"])
def test_the_teacher_is_who_the_recipe_says(recipe, teacher):
    made = recipe(TAUGHT | {"teacher": teacher})
    run = start(made)
    source = make_stage(made.stages[0], run.around)
    loop = StageLoop(run, 0, made.stages[0], source)
    before = source.taught.tower.head.fc1.weight.clone()
    with torch.no_grad():
        for value in loop.average:
            value.add_(1.0)
    source.averaged(loop.learned, loop.average)
    after = source.taught.tower.head.fc1.weight
    assert torch.equal(before, after) == (teacher == "start")
    source.loss(source.load(Part(0)))[0].backward()
    assert after.grad is None and run.model.image.head.fc1.weight.grad is not None


def test_labelled_targets_do_not_depend_on_the_teacher(recipe):
    made = recipe(TAUGHT | {"cut": 0.0})
    run = start(made)
    source = make_stage(made.stages[0], run.around)
    batch = source.load(Part(3))
    texts = run.bank.fixed(batch["words"])
    first = source._targets(batch, texts)
    with torch.no_grad():
        for value in source.taught.tower.parameters():
            value.normal_()
    second = source._targets(batch, texts)
    labelled = len(batch["labels"])
    assert torch.equal(first[0][:labelled], second[0][:labelled])
    assert not torch.equal(first[0][labelled:], second[0][labelled:])
    for shares, other, ignored in (first, second):
        assert torch.allclose(shares.sum(-1) + other + ignored, torch.ones_like(other), atol=1e-2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": []}, "both `pairs` and `taught`"),
        ({"taught": 0}, "both `pairs` and `taught`"),
        ({"ema": 0.0}, "teacher 'average' needs ema"),
        ({"teacher": "stat"}, "did you mean 'start'"),
        ({"learns": "head"}, "cached features"),
        ({"confidence": 1.5}, "confidence: expected a share"),
        ({"taught": 5, "accumulate": 2}, "taught 5 cannot be dealt"),
    ],
)
def test_faults_of_taught_stages_are_named(recipe, change, message):
    with pytest.raises(RecipeError, match=message):
        recipe(TAUGHT | change)


def test_whole_attention_is_attention():
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(2, 3, 37, 16, generator=generator) for _ in range(4)]
    exact = [part.clone().requires_grad_() for part in parts[:3]]
    short = [part.bfloat16().requires_grad_() for part in parts[:3]]
    F.scaled_dot_product_attention(*exact).backward(parts[3])
    WholeAttention.apply(*short).backward(parts[3].bfloat16())
    assert torch.allclose(F.scaled_dot_product_attention(*exact), WholeAttention.apply(*short).float(), atol=3e-2)
    for fine, coarse in zip(exact, short):
        assert (fine.grad - coarse.grad.float()).norm() < 0.02 * fine.grad.norm()


def test_recolouring_is_one_affine_map_of_each_pixel():
    pixels = np.random.default_rng(0).integers(90, 150, (8, 8, 3), np.uint8)
    found = np.asarray(recoloured(Image.fromarray(pixels), np.random.default_rng(1)), float)
    known = np.c_[pixels.reshape(-1, 3), np.ones(64)]
    fitted = known @ np.linalg.lstsq(known, found.reshape(-1, 3), rcond=None)[0]
    assert np.abs(fitted - found.reshape(-1, 3)).max() < 1.0 and np.abs(found - pixels).mean() > 1.0
