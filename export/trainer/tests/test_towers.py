"""The towers against other implementations of the same weights."""

import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from edge_seg_trainer.adapters import inject, merge
from edge_seg_trainer.folder import FolderError, read_folder, write_folder
from edge_seg_trainer.heads import neighbour_logits
from edge_seg_trainer.pretrained import bert_config, load_bert, vit_config, weights_in
from edge_seg_trainer.recipe import StageRecipe
from edge_seg_trainer.tiny import tiny_text_folder
from edge_seg_trainer.config import HeadConfig, ImageConfig, TowerError
from edge_seg_trainer.towers import ImageTower, TextTower

DATA = Path(__file__).parents[3] / "tests" / "data"
ATTENTION = {"kind": "attention", "similarity": "query-key", "neighbour": 0.0, "residual": True, "mlp": True}


@torch.no_grad()
def test_clip_gives_what_transformers_gives():
    model, config = read_folder(DATA / "tiny-clip")
    model.eval()
    golden = load_file(DATA / "tiny-clip" / "golden.safetensors")
    patches, whole = model.image.encode(golden["32x32.pixels"])
    assert torch.allclose(patches, golden["32x32.patches"], atol=1e-4)
    assert torch.allclose(whole, golden["32x32.global"], atol=1e-4)
    assert torch.allclose(model.text(golden["text.ids"], golden["text.mask"]), golden["text.text"], atol=1e-4)
    assert config["logit_bias"] is None and not model.calibrated


@torch.no_grad()
def test_the_attention_head_with_all_its_parts_is_the_plain_block():
    model, _ = read_folder(DATA / "tiny-clip", HeadConfig.from_folder(ATTENTION))
    tower = model.image.eval()
    pixels = torch.randn(2, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    x, _ = tower.embed(pixels)
    for block in tower.blocks:
        x = block(x)
    expected = tower.head.projection(tower.norm(x))
    patches, whole = tower.encode(pixels)
    assert torch.allclose(patches, expected[:, 1:], atol=1e-5)
    assert torch.allclose(whole, expected[:, 0], atol=1e-5)


def test_neighbours_count_more_the_nearer_they_are():
    near = neighbour_logits(3, 4, 1.0, torch.device("cpu"))
    assert near.shape == (13, 13) and near[:, 0].abs().sum() == 0
    assert near[1, 1] == 1.0
    assert near[1, 2] == pytest.approx(torch.exp(torch.tensor(-0.5)).item())  # the next column
    assert near[1, 1 + 4 + 1] == pytest.approx(torch.exp(torch.tensor(-1.0)).item())  # a row and a column on
    assert near[1 + 3, 1 + 4] < 0.02  # the end of a row is far from the next one's start


def tcl_names(state: dict) -> dict:
    """The image part of TCL's state dict under the tower's names."""
    renamed = {}
    for name, value in state.items():
        for old, new in (
            ("clip_image_encoder.clip_visual.class_embedding", "class_token"), ("clip_image_encoder.clip_visual.positional_embedding", "positions"),
            ("clip_image_encoder.clip_visual.conv1.", "patch."), ("clip_image_encoder.clip_visual.ln_pre.", "ln_pre."),
            ("clip_image_encoder.clip_visual.transformer.resblocks.", "blocks."), ("clip_image_encoder.clip_proj.ln.", "norm."),
            ("clip_image_encoder.clip_proj.proj", "projection.weight"), ("masker.image_encoder.backbone.transformer.resblocks.0.", "head.block."),
            ("masker.image_encoder.decoder.image_proj.ln.", "head.norm."), ("masker.image_encoder.decoder.image_proj.proj", "head.projection.weight"),
            ("masker.image_encoder.decoder.decoder.net.0.conv.", "head.convs.0."), ("masker.image_encoder.decoder.decoder.net.0.conv2.", "head.convs.1."),
            ("masker.image_encoder.decoder.decoder.net.1.conv.", "head.convs.2."), ("masker.image_encoder.decoder.decoder.net.1.conv2.", "head.convs.3."),
            ("gate.gate", "gate"), (".ln_1.", ".norm1."), (".ln_2.", ".norm2."), (".attn.in_proj_", ".attn.qkv."), (".attn.out_proj.", ".attn.proj."),
            (".mlp.c_fc.", ".mlp.fc1."), (".mlp.c_proj.", ".mlp.fc2."),
        ):  # fmt: skip
            name = name.replace(old, new)
        if name.endswith("projection.weight"):
            value = value.T
        renamed[name] = value.float().reshape(1) if name.endswith(".gate") else value.float()
    return {name: value for name, value in renamed.items() if not name.startswith(("clip_text_encoder.", "masker."))}


class WithoutSettings(pickle.Unpickler):
    """Reads TCL's checkpoints without the library that its training script stores settings with."""

    def find_class(self, module, name):
        if module.split(".")[0] == "omegaconf":
            return type(name, (), {"__setstate__": lambda self, state: None})
        return super().find_class(module, name)


@torch.no_grad()
def test_the_tcl_head_gives_its_authors_embeddings():
    settings_passed_over = SimpleNamespace(**vars(pickle) | {"Unpickler": WithoutSettings})
    state = torch.load(DATA / "clip-families" / "tcl.pth", weights_only=False, pickle_module=settings_passed_over)["model"]
    golden = load_file(DATA / "clip-families" / "golden.safetensors")
    weights = tcl_names(state)
    width = weights["class_token"].shape[0]
    config = ImageConfig(
        width=width, layers=2, heads=width // 16, mlp_width=4 * width, patch_px=8, grid=(4, 4), norm_eps=1e-5, patch_bias=False, pre_norm=True,
        activation="quick_gelu", head=HeadConfig(kind="tcl", layers=2), whole="class", embedding_dim=16,
    )  # fmt: skip
    tower = ImageTower(config).eval()
    tower.load_state_dict(weights)
    patches, whole = tower.encode(golden["32x32.pixels"])
    unit = F.normalize(patches, dim=-1)
    assert torch.allclose(unit, F.normalize(golden["tcl.32x32.patches"], dim=-1), atol=1e-4)
    assert torch.allclose(whole, golden["32x32.global"], atol=1e-4)


@torch.no_grad()
def test_a_folder_is_written_as_it_was_read(tmp_path):
    head = HeadConfig.from_folder(ATTENTION | {"neighbour": 2.0, "similarity": "key-key"})
    model, config = read_folder(DATA / "tiny-clip", head)
    settings = {name: config[name] for name in ("name", "context", "templates", "pad_token", "background", "tag_threshold", "card")}
    settings |= {"input_px": 32, "logit_scale": config["logit_scale"], "logit_bias": None}
    write_folder(tmp_path / "out", model, DATA / "tiny-clip" / "tokenizer.json", settings)
    again, found = read_folder(tmp_path / "out")
    assert found["image"]["head"] == head.as_folder()
    assert found | {"image": None, "preprocess": None} == config | {"image": None, "preprocess": None}
    pixels = torch.randn(1, 3, 32, 32)
    assert torch.equal(again.image(pixels), model.image(pixels))


@pytest.mark.parametrize("kind", ["maskclip", "attention"])
def test_adapters_reach_both_clip_towers_and_merge(kind):
    head = HeadConfig(kind=kind, similarity="query-query")
    model, _ = read_folder(DATA / "tiny-clip", head)
    pixels, ids = torch.randn(1, 3, 32, 32), torch.tensor([[2, 4, 3]])
    inject(model, StageRecipe(name="x", kind="ttd", learns="lora", steps=1))
    adapted = [name for name, _ in model.named_parameters() if "lora_B" in name]
    assert any(name.startswith("image.") for name in adapted) and any(name.startswith("text.") for name in adapted)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
        before = model.image(pixels), model.text(ids, torch.ones_like(ids))
        merge(model)
        after = model.image(pixels), model.text(ids, torch.ones_like(ids))
    for one, other in zip(before, after):
        assert torch.allclose(one, other, atol=1e-4)


def test_heads_and_folders_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(TowerError, match="expected one of fusion"):
        HeadConfig.from_folder({"kind": "fusoin"})
    with pytest.raises(TowerError, match="expected the keys similarity"):
        HeadConfig.from_folder({"kind": "attention", "similarity": "key-key"})
    with pytest.raises(FolderError, match="share their weights"):
        read_folder(DATA / "tiny-model", HeadConfig(kind="maskclip"))
    config = json.loads((DATA / "tiny-clip" / "config.json").read_text())
    config["image"]["layers"] = 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").symlink_to(DATA / "tiny-clip" / "model.safetensors")
    with pytest.raises(FolderError, match="missing .*blocks.2"):
        read_folder(tmp_path)


def bert_file(folder: Path) -> dict[str, torch.Tensor]:
    tiny_text_folder(folder)
    return load_file(folder / "model.safetensors")


def text_tower(folder: Path) -> TextTower:
    config = bert_config(folder / "config.json")
    tower = TextTower(config, config.width)
    load_bert(tower, weights_in(folder))
    return tower


@pytest.mark.parametrize("prefix", ["bert.", "_orig_mod.bert.", "module._orig_mod.", "model.bert."])
def test_a_bert_is_read_out_of_a_model_for_a_task_and_out_of_wrappers(tmp_path, prefix):
    plain = bert_file(tmp_path)
    before = text_tower(tmp_path).state_dict()
    wrapped = {prefix + name: value for name, value in plain.items()}
    wrapped |= {
        f"{prefix.removesuffix('bert.')}cls.predictions.bias": torch.zeros(3),
        f"{prefix}embeddings.position_ids": torch.arange(40)[None],
    }
    save_file(wrapped, tmp_path / "model.safetensors")
    after = text_tower(tmp_path).state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_bert_in_shards_is_read_and_a_missing_one_is_named(tmp_path):
    plain = bert_file(tmp_path)
    before = text_tower(tmp_path).state_dict()
    names = sorted(plain)
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({name: plain[name] for name in part}, tmp_path / f"model-{number}.safetensors")
    (tmp_path / "model.safetensors").unlink()
    listed = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(names)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    assert all(torch.equal(value, before[name]) for name, value in text_tower(tmp_path).state_dict().items())
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(TowerError, match="names the shard model-1.safetensors, which is not there"):
        text_tower(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no weights", b"\xff" * 64])
def test_broken_weights_are_named(tmp_path, content):
    bert_file(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(TowerError, match="model.safetensors: expected weights"):
        text_tower(tmp_path)
    (tmp_path / "vit.npz").write_bytes(content)
    with pytest.raises(TowerError, match="vit.npz"):
        vit_config(tmp_path / "vit.npz", HeadConfig(), 32)


def test_a_bert_that_lacks_a_tensor_is_named(tmp_path):
    plain = bert_file(tmp_path)
    del plain["encoder.layer.0.attention.self.key.weight"]
    save_file(plain, tmp_path / "model.safetensors")
    with pytest.raises(TowerError, match="lacks encoder.layer.0.attention.self.key.weight"):
        text_tower(tmp_path)
