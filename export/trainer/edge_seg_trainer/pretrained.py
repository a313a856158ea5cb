"""Published weights of a plain ViT (timm's names) and of a BERT (transformers' names), renamed to those of the towers."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from .config import HeadConfig, ImageConfig, TextConfig, TowerError
from .towers import ImageTower, TextTower


# What wrappers (torch.compile, data parallel, lightning) put before a model's own names.
WRAPPERS = ("_orig_mod.", "module.", "_fsdp_wrapped_module.", "model.")


def plain_name(name: str) -> str:
    """A parameter's name without its wrappers', which may stand in any nesting and anywhere in it."""
    name = name.replace("._orig_mod.", ".").replace("._fsdp_wrapped_module.", ".")
    while wrapper := next((wrapper for wrapper in WRAPPERS if name.startswith(wrapper)), None):
        name = name.removeprefix(wrapper)
    return name


def stored_weights(path: Path) -> dict[str, Tensor]:
    """The float tensors of an .npz, a .safetensors, or of the shards that a `*.safetensors.index.json` lists; counters are left out."""
    path = Path(path)
    try:
        if path.suffix == ".npz":
            with np.load(path) as stored:
                found = {name: torch.from_numpy(stored[name]) for name in stored.files}
        elif path.name.endswith(".index.json"):
            listed = json.loads(path.read_text())["weight_map"]
            found = {}
            for shard in sorted(set(listed.values())):
                if not (path.parent / shard).is_file():
                    raise TowerError(f"{path}: names the shard {shard}, which is not there")
                found |= load_file(path.parent / shard)
            absent = sorted(set(listed) - set(found))
            if absent:
                raise TowerError(f"{path}: its shards lack {len(absent)} of the tensors that it names, {absent[0]} first")
        else:
            found = load_file(path)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, SafetensorError, zipfile.BadZipFile) as error:
        if isinstance(error, TowerError):
            raise
        raise TowerError(f"{path}: expected weights as .npz or .safetensors, found a file that cannot be read: {error}") from error
    renamed = {plain_name(name): value.float() for name, value in found.items() if value.is_floating_point()}
    if len(renamed) < sum(value.is_floating_point() for value in found.values()):
        raise TowerError(f"{path}: it holds several models (names are alike without their wrappers); keep one, for example the EMA's")
    return renamed


def weights_in(folder: Path) -> Path | None:
    """The weights file of a folder as transformers saves it, or the index of its shards."""
    return next((folder / name for name in ("model.safetensors", "model.safetensors.index.json") if (folder / name).is_file()), None)


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
    """The architecture of a ViT saved with timm's parameter names, read from its shapes.

    The number of heads leaves no trace in the shapes; all published ViTs of this family have 64 channels a head.
    """
    stored = stored_weights(path)
    try:
        width, _, patch_px, _ = stored["patch_embed.proj.weight"].shape
        side = int((stored["pos_embed"].shape[1] - 1) ** 0.5)
        mlp_width = stored["blocks.0.mlp.fc1.weight"].shape[0]
    except (KeyError, ValueError, IndexError) as error:
        raise TowerError(f"{path}: expected a ViT with timm's parameter names; it lacks {error}") from error
    layers = len({name.split(".")[1] for name in stored if name.startswith("blocks.")})
    return ImageConfig(
        width=width, layers=layers, heads=max(1, width // 64), mlp_width=mlp_width, patch_px=patch_px, grid=(side, side),
        head=head, embedding_dim=embedding_dim,
    )  # fmt: skip


def bert_config(path: Path) -> TextConfig:
    """The architecture in a transformers BERT's config.json."""
    try:
        given = json.loads(Path(path).read_text())
        return _bert_config(given, path)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, TowerError):
            raise
        raise TowerError(f"{path}: expected a BERT's config.json, found {error!r}") from error


def _bert_config(given: dict, path: Path) -> TextConfig:
    if given.get("model_type") != "bert" or given.get("hidden_act", "gelu") != "gelu":
        raise TowerError(
            f"{path}: expected model_type bert with hidden_act gelu, found {given.get('model_type')}, {given.get('hidden_act')}"
        )
    return TextConfig(
        width=given["hidden_size"], layers=given["num_hidden_layers"], heads=given["num_attention_heads"],
        mlp_width=given["intermediate_size"], vocab=given["vocab_size"], positions=given["max_position_embeddings"],
        norm_eps=given["layer_norm_eps"],
    )  # fmt: skip


def load_timm_vit(tower: ImageTower, path: Path) -> None:
    """Reads a ViT saved with timm's parameter names. Its classifier is dropped, the head stays as it is."""
    renamed: dict[str, Tensor] = {}
    for name, value in stored_weights(path).items():
        if name.startswith(("head.", "fc_norm.")):
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
    """Reads a BERT encoder saved by transformers, alone or inside a model for a task; its pooler and the task's head are dropped."""
    stored = {name.removeprefix("bert."): value for name, value in stored_weights(path).items()}
    renamed: dict[str, Tensor] = {}
    for name, value in stored.items():
        if name.startswith(("pooler.", "cls.", "classifier.", "qa_outputs.")):
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
        if not re.fullmatch(r"encoder\.layer\.\d+\..+\.(weight|bias)", name):
            raise TowerError(f"{path}: expected a BERT as transformers saves it, found the tensor {name!r}")
        _, _, layer, rest = name.split(".", 3)
        if rest.startswith("attention.self."):
            kind = rest.rsplit(".", 1)[1]
            wanted = [f"encoder.layer.{layer}.attention.self.{part}.{kind}" for part in ("query", "key", "value")]
            if absent := [one for one in wanted if one not in stored]:
                raise TowerError(f"{path}: it lacks {absent[0]}")
            parts = [stored[one] for one in wanted]
            renamed[f"blocks.{layer}.attn.qkv.{kind}"] = torch.cat(parts)
        else:
            stem, kind = rest.rsplit(".", 1)
            renamed[f"blocks.{layer}.{_BERT_NAMES.get(stem, stem)}.{kind}"] = value
    _fill(tower, renamed, str(path))
