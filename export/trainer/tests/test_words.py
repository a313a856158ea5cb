"""What a dense stage may learn beside the image tower: the text tower, and what a word has to beat."""

import pytest
import torch

from edge_seg_trainer.adapters import inject
from edge_seg_trainer.kinds import make_stage
from edge_seg_trainer.loop import learning
from edge_seg_trainer.losses import dense_loss
from edge_seg_trainer.recipe import RecipeError
from edge_seg_trainer.stages import Part

from test_train import losses, start

DENSE = {"name": "dense", "kind": "dense", "learns": "all", "steps": 6, "rate": 3e-3}
TAUGHT = DENSE | {"pairs": ["shades"], "taught": 4, "cut": 0.5}


def made(recipe, stage, **more):
    """A run and its only stage, adapters in place."""
    built = recipe(stage, **more)
    run = start(built)
    source = make_stage(built.stages[0], run.around)
    if built.stages[0].adapted:
        inject(run.model, built.stages[0])
    learning(run.model, built.stages[0])
    return run, source


@pytest.mark.parametrize("stage", [TAUGHT | {"text_rate": 0.5, "ttd_weight": 0.1}, DENSE | {"learns": "lora"}], ids=["beside all", "lora"])
def test_class_names_learn_through_adapters_alone(recipe, stage):
    run, source = made(recipe, stage)
    source.loss(source.load(Part(0)))[0].backward()
    text = {name: parameter.grad for name, parameter in run.model.text.named_parameters()}
    assert any(gradient is not None and gradient.abs().sum() > 0 for name, gradient in text.items() if "lora_" in name)
    assert all(gradient is None for name, gradient in text.items() if "lora_" not in name)


def test_adapters_learn_at_their_share_of_the_rate(recipe):
    built = recipe(TAUGHT | {"text_rate": 0.25})
    run = start(built)
    inject(run.model, built.stages[0])
    shares = {id(parameter): group["share"] for group in learning(run.model, built.stages[0]) for parameter in group["params"]}
    for name, parameter in run.model.named_parameters():
        assert (shares.get(id(parameter)) == 0.25) == ("lora_" in name), name


def test_the_teachers_words_stay_while_the_text_tower_learns(recipe):
    run, source = made(recipe, TAUGHT | {"text_rate": 1.0})
    batch = source.load(Part(0))
    before, words = source._targets(batch, source._texts(batch["words"])), source._texts(batch["words"])
    with torch.no_grad():
        for name, parameter in run.model.text.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter))
    assert not torch.allclose(source._texts(batch["words"]), words, atol=1e-2)
    after = source._targets(batch, source._texts(batch["words"]))
    assert all(torch.equal(one, other) for one, other in zip(before, after))


@pytest.mark.parametrize("more", [{"text_rate": 1.0}, {"none": True}], ids=str)
def test_such_a_stage_resumes_exactly(recipe, more):
    run = start(recipe(TAUGHT | more, name="whole"))
    run.follow()
    start(recipe(TAUGHT | more, name="broken")).follow(until=5)
    again = start(recipe(TAUGHT | more, name="broken"))
    again.follow()
    assert losses(again) == losses(run)
    assert all(torch.equal(value, again.model.state_dict()[name]) for name, value in run.model.state_dict().items())


def test_none_competes_among_the_searched_classes_alone():
    similarity = torch.tensor([[[0.3, 0.1, 0.9]]])
    none = torch.tensor(2.0)
    ones, zeros = torch.ones(1, 1), torch.zeros(1, 1)
    searched = torch.tensor([True, True, False])
    scale, bias, weight = torch.tensor(10.0), torch.tensor(-2.0), torch.ones(3)
    blank = dense_loss(similarity, torch.zeros(1, 1, 3), ones, zeros, searched, scale, bias, weight, 0.0, none)
    assert torch.allclose(blank, torch.logsumexp(torch.tensor([3.0, 1.0, 2.0]), 0) - 2.0)
    labelled = dense_loss(similarity, torch.tensor([[[0.0, 0.0, 1.0]]]), zeros, zeros, searched, scale, bias, weight, 0.0, none)
    assert torch.allclose(labelled, torch.logsumexp(torch.tensor([3.0, 1.0, 9.0, 2.0]), 0) - 9.0, atol=1e-5)


def test_none_is_learned(recipe):
    _, source = made(recipe, DENSE | {"none": True})
    source.loss(source.load(Part(0)))[0].backward()
    assert source.own_parameters()[0].grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_rate": 0.5, "learns": "lora"}, "takes lora_towers"),
        ({"text_rate": 0.5, "teacher": "average", "ema": 0.9}, "does not follow the text tower"),
    ],
)
def test_faults_are_named(recipe, change, message):
    with pytest.raises(RecipeError, match=message):
        recipe(TAUGHT | change)
