"""Published weights of a plain ViT (timm's names) and of a BERT (transformers' names), renamed to those of the towers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .towers import HeadConfig, ImageConfig, ImageTower, TextConfig, TextTower, TowerError


def _fill(module: nn.Module, weights: dict[str, Tensor], source: str, optional: tuple[str, ...] = ()) -> None:
    """Loads `weights` into `module`, all of them and nothing missing but names that start with `optional`."""
    own = module.state_dict()
    missing = [name for name in own if name not in weights and not name.startswith(optional or ("\0",))]
    unused = [name for name in weights if name not in own]
    shapes = [
        f"{name}: expected {tuple(own[name].shape)}, found {tuple(weights[name].shape)}"
        for name in weights
        if name in own and own[name].shape != weights[name].shape
    ]
    if missing or unused or shapes:
        raise TowerError(f"{source}: missing {missing[:5]}, unused {unused[:5]}, shapes {shapes[:5]}")
    module.load_state_dict(weights, strict=False)


def vit_config(path: Path, head: HeadConfig, embedding_dim: int) -> ImageConfig:
    """The architecture of a ViT saved with timm's parameter names (.npz), read from its shapes.

    The number of heads leaves no trace in the shapes; all published ViTs of this family have 64 channels a head.
    """
    with np.load(path) as stored:
        try:
            width, _, patch_px, _ = stored["patch_embed.proj.weight"].shape
            side = int((stored["pos_embed"].shape[1] - 1) ** 0.5)
            mlp_width = stored["blocks.0.mlp.fc1.weight"].shape[0]
        except KeyError as error:
            raise TowerError(f"{path}: expected a ViT with timm's parameter names, {error}") from error
        layers = len({name.split(".")[1] for name in stored.files if name.startswith("blocks.")})
    return ImageConfig(
        width=width, layers=layers, heads=max(1, width // 64), mlp_width=mlp_width, patch_px=patch_px, grid=(side, side),
        head=head, embedding_dim=embedding_dim,
    )  # fmt: skip


def bert_config(path: Path) -> TextConfig:
    """The architecture in a transformers BERT's config.json."""
    given = json.loads(Path(path).read_text())
    if given.get("model_type") != "bert" or given.get("hidden_act", "gelu") != "gelu":
        raise TowerError(f"{path}: expected model_type bert with hidden_act gelu, found {given.get('model_type')}, {given.get('hidden_act')}")
    return TextConfig(
        width=given["hidden_size"], layers=given["num_hidden_layers"], heads=given["num_attention_heads"],
        mlp_width=given["intermediate_size"], vocab=given["vocab_size"], positions=given["max_position_embeddings"],
        norm_eps=given["layer_norm_eps"],
    )  # fmt: skip


def load_timm_vit(tower: ImageTower, path: Path) -> None:
    """Reads a ViT saved with timm's parameter names (.npz). Its classifier is dropped, the head stays as it is."""
    renamed: dict[str, Tensor] = {}
    with np.load(path) as stored:
        for name in stored.files:
            value = torch.from_numpy(stored[name].astype(np.float32))
            if name.startswith("head."):
                continue
            elif name == "cls_token":
                renamed["class_token"] = value.flatten()
            elif name == "pos_embed":
                renamed["positions"] = value[0]
            elif name.startswith("patch_embed.proj."):
                renamed["patch." + name.removeprefix("patch_embed.proj.")] = value
            else:
                renamed[name] = value
    _fill(tower, renamed, str(path), optional=("head.",))


_BERT_NAMES = {
    "attention.output.dense": "attn.proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "output.LayerNorm": "norm2",
}


def load_bert(tower: TextTower, path: Path) -> None:
    """Reads a BERT encoder saved by transformers (.safetensors); its pooler is dropped."""
    stored = {name.removeprefix("bert."): value.float() for name, value in load_file(path).items()}
    renamed: dict[str, Tensor] = {}
    for name, value in stored.items():
        if name.startswith("pooler.") or name == "embeddings.position_ids":
            continue
        if name.startswith("embeddings."):
            short = name.removeprefix("embeddings.")
            table = {
                "word_embeddings.weight": "word_embeddings",
                "position_embeddings.weight": "position_embeddings",
                "LayerNorm.weight": "embedding_norm.weight",
                "LayerNorm.bias": "embedding_norm.bias",
            }
            if short == "token_type_embeddings.weight":
                renamed["type_embedding"] = value[0]
            else:
                renamed[table.get(short, name)] = value
            continue
        _, _, layer, rest = name.split(".", 3)
        if rest.startswith("attention.self."):
            kind = rest.rsplit(".", 1)[1]
            parts = [stored[f"encoder.layer.{layer}.attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            renamed[f"blocks.{layer}.attn.qkv.{kind}"] = torch.cat(parts)
        else:
            stem, kind = rest.rsplit(".", 1)
            renamed[f"blocks.{layer}.{_BERT_NAMES.get(stem, stem)}.{kind}"] = value
    _fill(tower, renamed, str(path))
