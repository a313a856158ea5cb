"""The two encoders, with the weight names of docs/model-folder.md.

The modules are written out rather than taken from timm and transformers, because the Rust ONNX writer mirrors
them operation by operation; the published weights are read from those libraries' files and renamed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class TowerError(ValueError):
    """Weights or a configuration that do not fit the architecture."""


@dataclass(frozen=True)
class ImageConfig:
    """A plain pre-norm ViT with a fusion head over several depths."""

    width: int = 192
    layers: int = 12
    heads: int = 3
    mlp_width: int = 768
    patch_px: int = 16
    grid: tuple[int, int] = (14, 14)
    norm_eps: float = 1e-6
    taps: tuple[str, ...] = ("block8", "block10", "value", "final")
    hidden: int = 768
    embedding_dim: int = 384

    def as_folder(self) -> dict:
        """The `image` object of config.json."""
        return {
            "arch": "vit",
            "width": self.width,
            "layers": self.layers,
            "heads": self.heads,
            "mlp_width": self.mlp_width,
            "patch_px": self.patch_px,
            "grid": list(self.grid),
            "patch_bias": True,
            "pre_norm": False,
            "activation": "gelu",
            "norm_eps": self.norm_eps,
            "head": {"kind": "fusion", "taps": list(self.taps), "hidden": self.hidden},
            "global": "mean",
        }


@dataclass(frozen=True)
class TextConfig:
    """A post-norm BERT encoder, mean-pooled over its real tokens."""

    width: int = 384
    layers: int = 6
    heads: int = 12
    mlp_width: int = 1536
    vocab: int = 30522
    positions: int = 512
    norm_eps: float = 1e-12

    def as_folder(self) -> dict:
        """The `text` object of config.json."""
        return {
            "arch": "bert",
            "width": self.width,
            "layers": self.layers,
            "heads": self.heads,
            "mlp_width": self.mlp_width,
            "vocab": self.vocab,
            "positions": self.positions,
            "activation": "gelu",
            "norm_eps": self.norm_eps,
            "projection": False,
        }


class Attention(nn.Module):
    """Multi-head self-attention; `qkv` rows are query, key, value."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [batch, tokens, width]; mask broadcastable to [batch, heads, tokens, tokens], true = visible."""
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, width))

    def value_path(self, x: Tensor) -> Tensor:
        """proj(v(x)): what each token would pass on if it attended to itself alone."""
        # Through the module, not by slicing its weight: an adapter around `qkv` must count here too.
        return self.proj(self.qkv(x)[..., -(self.qkv.out_features // 3) :])


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, out: int | None = None):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class PreNormBlock(nn.Module):
    def __init__(self, width: int, heads: int, mlp_width: int, eps: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = Mlp(width, mlp_width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PostNormBlock(PreNormBlock):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norm1(x + self.attn(x, mask))
        return self.norm2(x + self.mlp(x))


class FusionHead(nn.Module):
    """Per tap a LayerNorm, concatenation, then a two-layer perceptron to the text space."""

    def __init__(self, width: int, taps: int, hidden: int, out: int, eps: float):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps) for _ in range(taps))
        self.fc1 = nn.Linear(taps * width, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, taps: list[Tensor]) -> Tensor:
        joined = torch.cat([norm(tap) for norm, tap in zip(self.norms, taps, strict=True)], dim=-1)
        return self.fc2(F.gelu(self.fc1(joined)))


class Patch(nn.Module):
    def __init__(self, width: int, patch_px: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 3, patch_px, patch_px))
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.trunc_normal_(self.weight, std=0.02)


class ImageTower(nn.Module):
    """Pixels to patch embeddings."""

    def __init__(self, config: ImageConfig):
        super().__init__()
        self.config = config
        width = config.width
        for tap in config.taps:
            if tap not in ("value", "final") and tap not in {f"block{n + 1}" for n in range(config.layers)}:
                raise TowerError(f"tap {tap!r}: expected value, final or block1..block{config.layers}")
        self.patch = Patch(width, config.patch_px)
        self.class_token = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.zeros(1 + config.grid[0] * config.grid[1], width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.ModuleList(
            PreNormBlock(width, config.heads, config.mlp_width, config.norm_eps) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width, config.norm_eps)
        self.head = FusionHead(width, len(config.taps), config.hidden, config.embedding_dim, config.norm_eps)

    def positions_for(self, rows: int, cols: int) -> Tensor:
        """Position embeddings for a grid, [1, 1 + rows*cols, width]; see docs/model-folder.md."""
        class_row, grid = self.positions[:1], self.positions[1:]
        if (rows, cols) != self.config.grid:
            grid = grid.T.reshape(1, -1, *self.config.grid).float()
            grid = F.interpolate(grid, size=(rows, cols), mode="bicubic", align_corners=False, antialias=False)
            grid = grid.flatten(2)[0].T
        return torch.cat([class_row, grid.to(class_row.dtype)]).unsqueeze(0)

    def taps(self, pixels: Tensor, positions: Tensor | None = None) -> list[Tensor]:
        """The head's inputs: one [batch, patches, width] a tap. pixels [batch, 3, height, width_px]."""
        side = self.config.patch_px
        if pixels.shape[-2] % side or pixels.shape[-1] % side:
            raise TowerError(f"input of {tuple(pixels.shape[-2:])} px: expected multiples of {side}")
        x = F.conv2d(pixels, self.patch.weight, self.patch.bias, stride=side)
        if positions is None:
            positions = self.positions_for(x.shape[-2], x.shape[-1])
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), 1, -1), x], dim=1) + positions
        if torch.is_autocast_enabled(x.device.type):
            # The residual stream too: left in f32 it costs a CPU a third of the step in copies.
            x = x.to(torch.get_autocast_dtype(x.device.type))
        found: dict[str, Tensor] = {}
        for n, block in enumerate(self.blocks):
            if n + 1 == len(self.blocks) and "value" in self.config.taps:
                found["value"] = block.attn.value_path(block.norm1(x))
            x = block(x)
            found[f"block{n + 1}"] = x
        found["final"] = self.norm(x)
        return [found[tap][:, 1:] for tap in self.config.taps]

    def forward(self, pixels: Tensor, positions: Tensor | None = None) -> Tensor:
        """Patch embeddings, not normalised: [batch, patches, embedding_dim], row-major."""
        return self.head(self.taps(pixels, positions))


def global_embedding(patches: Tensor) -> Tensor:
    """The picture's own embedding, mean of the unit-norm patches: [batch, patches, dim] to [batch, dim]."""
    return F.normalize(patches, dim=-1).mean(dim=1)


class TextTower(nn.Module):
    """Token ids to one embedding a text."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.word_embeddings = nn.Parameter(torch.randn(config.vocab, width) * 0.02)
        self.position_embeddings = nn.Parameter(torch.randn(config.positions, width) * 0.02)
        self.type_embedding = nn.Parameter(torch.zeros(width))
        self.embedding_norm = nn.LayerNorm(width, config.norm_eps)
        self.blocks = nn.ModuleList(
            PostNormBlock(width, config.heads, config.mlp_width, config.norm_eps) for _ in range(config.layers)
        )

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask [batch, tokens] (mask 1 = real) to [batch, width], not normalised."""
        x = self.word_embeddings[ids] + self.position_embeddings[: ids.shape[1]] + self.type_embedding
        x = self.embedding_norm(x)
        visible = mask.bool()[:, None, None, :]
        for block in self.blocks:
            x = block(x, visible)
        weight = mask.unsqueeze(-1).to(x.dtype)
        return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


class Model(nn.Module):
    """Both towers and the two numbers that turn a cosine into a logit."""

    def __init__(self, image: ImageConfig, text: TextConfig, logit_scale: float = 20.0, logit_bias: float = -6.0):
        super().__init__()
        if image.embedding_dim != text.width:
            raise TowerError(f"embedding_dim {image.embedding_dim}: expected the text width, {text.width}")
        self.image = ImageTower(image)
        self.text = TextTower(text)
        self.logit_scale = nn.Parameter(torch.tensor(float(logit_scale)))
        self.logit_bias = nn.Parameter(torch.tensor(float(logit_bias)))


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


def vit_config(path: Path, taps: tuple[str, ...], hidden: int, embedding_dim: int) -> ImageConfig:
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
        taps=taps, hidden=hidden, embedding_dim=embedding_dim,
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
