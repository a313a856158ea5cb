"""The two encoders, with the weight names of docs/model-folder.md.

The modules are written out rather than taken from timm, transformers and open_clip, because the Rust ONNX writer mirrors
them operation by operation; published weights are renamed to theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .blocks import PostNormBlock, PreNormBlock, Turn
from .config import TEXTS, HeadConfig, ImageConfig, TextConfig, TowerError
from .heads import make_head


@dataclass(frozen=True)
class Preprocess:
    """What the image tower's input looks like."""

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    interpolation: str = "bicubic"
    input_px: int = 448
    fit: str = "grid"

    def resampling(self) -> Image.Resampling:
        return Image.Resampling[self.interpolation.upper()]

    def pixels(self, images: list[Image.Image]) -> Tensor:
        """Pictures of one size to [batch, 3, height, width], normalised."""
        return self.normalised(bytes_of(images))

    def normalised(self, pictures: Tensor) -> Tensor:
        """[batch, 3, height, width] u8 to f32."""
        scale = torch.tensor(self.std, device=pictures.device).view(3, 1, 1).mul(255.0)
        mean = torch.tensor(self.mean, device=pictures.device).view(3, 1, 1).mul(255.0)
        return pictures.float().sub_(mean).div_(scale)


def bytes_of(images: list[Image.Image]) -> Tensor:
    """Pictures of one size to [batch, 3, height, width] u8."""
    return torch.from_numpy(np.stack([np.asarray(image, np.uint8) for image in images])).permute(0, 3, 1, 2)


def frozen_dtype(device: torch.device) -> torch.dtype:
    """What a tower that does not learn computes in: bfloat16 where there are units for it, else f32, in which it is many times faster."""
    cpu = torch.backends.cpu.get_cpu_capability()
    return torch.float32 if device.type == "cpu" and cpu in ("DEFAULT", "AVX2") else torch.bfloat16


class Patch(nn.Module):
    """A convolution that steps by its own side."""

    def __init__(self, width: int, channels: int, side: int, bias: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, channels, side, side))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, stride=self.weight.shape[-1])


class ImageTower(nn.Module):
    """Pixels to patch embeddings and one for the whole picture."""

    def __init__(self, config: ImageConfig):
        super().__init__()
        self.config = config
        self.recompute = False  # keep no activations of the blocks, and compute them again for the gradient
        width = config.width
        before = [3, *(channels for channels, _ in config.stem)]
        self.stem = nn.ModuleList(Patch(channels, of, side, True) for of, (channels, side) in zip(before, config.stem))
        self.patch = Patch(width, *config.patch_kernel, config.patch_bias)
        self.class_token = nn.Parameter(torch.zeros(width)) if config.class_token else None
        self.registers = nn.Parameter(torch.zeros(config.registers, width)) if config.registers else None
        self.positions = nn.Parameter(torch.zeros(1 + config.grid[0] * config.grid[1], width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        if config.pre_norm:
            self.ln_pre = nn.LayerNorm(width, config.norm_eps)
        self.blocks = nn.ModuleList(
            PreNormBlock(width, config.heads, config.mlp_width, config.norm_eps, config.activation, config.gated)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width, config.norm_eps)
        self.head = make_head(config)
        if config.head.kind == "tcl" and config.whole == "class":
            self.projection = nn.Linear(width, config.embedding_dim, bias=False)

    def positions_for(self, rows: int, cols: int) -> Tensor:
        """Position embeddings for a grid, [1, 1 + rows*cols, width], the class token's first; see docs/model-folder.md."""
        class_row, grid = self.positions[:1], self.positions[1:]
        if (rows, cols) != self.config.grid:
            grid = grid.T.reshape(1, -1, *self.config.grid).float()
            grid = F.interpolate(grid, size=(rows, cols), mode="bicubic", align_corners=False, antialias=False)
            grid = grid.flatten(2)[0].T
        return torch.cat([class_row, grid.to(class_row.dtype)]).unsqueeze(0)

    def turn_for(self, rows: int, cols: int) -> Turn | None:
        """Cosine and sine of every token's angles, [prefix + rows*cols, head width / 2], for towers with rotary positions."""
        rotary = self.config.rotary
        if rotary is None:
            return None
        device = self.patch.weight.device
        count = self.config.width // self.config.heads // 4
        bands = rotary.temperature ** (-torch.arange(count, dtype=torch.float32, device=device) / count)
        at = [
            (torch.arange(side, dtype=torch.float32, device=device) + rotary.offset) / side * trained
            for side, trained in zip((rows, cols), rotary.grid)
        ]
        of_row = (at[0][:, None] * bands)[:, None].expand(rows, cols, count)
        of_col = (at[1][:, None] * bands)[None].expand(rows, cols, count)
        angles = torch.cat((of_col, of_row) if rotary.columns_first else (of_row, of_col), -1).flatten(0, 1)
        angles = F.pad(angles, (0, 0, self.config.prefix, 0))
        return angles.cos(), angles.sin()

    def embed(self, pixels: Tensor, positions: Tensor | None = None) -> tuple[Tensor, tuple[int, int]]:
        """What enters the first block, [batch, prefix + patches, width], and the grid. pixels [batch, 3, height, width_px]."""
        side = self.config.patch_px
        if pixels.shape[-2] % side or pixels.shape[-1] % side:
            raise TowerError(f"input of {tuple(pixels.shape[-2:])} px: expected multiples of {side}")
        x = pixels
        for convolution in self.stem:
            x = F.gelu(convolution(x))
        x = self.patch(x)
        grid = x.shape[-2], x.shape[-1]
        if positions is None:
            positions = self.positions_for(*grid)
        x = x.flatten(2).transpose(1, 2) + positions[:, 1:]
        before = [] if self.class_token is None else [(self.class_token + positions[:, :1]).expand(len(x), -1, -1)]
        before += [] if self.registers is None else [self.registers.expand(len(x), -1, -1)]
        x = torch.cat([*before, x], dim=1) if before else x
        if self.config.pre_norm:
            x = self.ln_pre(x)
        if torch.is_autocast_enabled(x.device.type):
            # The residual stream too: left in f32 it costs a CPU a third of the step in copies.
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return x, grid

    def run(self, block: nn.Module, x: Tensor, turn: Turn | None) -> Tensor:
        if self.recompute and self.training and torch.is_grad_enabled():
            return checkpoint(block, x, turn=turn, use_reentrant=False)
        return block(x, turn=turn)

    def taps(self, pixels: Tensor, positions: Tensor | None = None) -> list[Tensor]:
        """The fusion head's inputs: one [batch, patches, width] a tap."""
        taps = self.config.head.taps
        x, grid = self.embed(pixels, positions)
        turn = self.turn_for(*grid)
        found: dict[str, Tensor] = {}
        for n, block in enumerate(self.blocks):
            if n + 1 == len(self.blocks) and "value" in taps:
                found["value"] = block.attn.value_path(block.norm1(x))
            x = self.run(block, x, turn)
            found[f"block{n + 1}"] = x
        found["final"] = self.norm(x)
        return [found[tap][:, self.config.prefix :] for tap in taps]

    def encode(self, pixels: Tensor, positions: Tensor | None = None, whole: bool = True) -> tuple[Tensor, Tensor | None]:
        """Patch embeddings [batch, patches, embedding_dim], row-major, and the picture's [batch, embedding_dim]; not normalised."""
        config = self.config
        if config.head.kind == "fusion":
            patches = self.head(self.taps(pixels, positions))
            return patches, global_embedding(patches) if whole else None
        x, grid = self.embed(pixels, positions)
        turn = self.turn_for(*grid)
        for block in self.blocks[:-1]:
            x = self.run(block, x, turn)
        if config.head.kind == "pooled":
            return self.head(self.norm(self.run(self.blocks[-1], x, turn)), whole)
        patches = self.head(self, x, grid, turn)
        if not whole or config.whole == "mean":
            return patches, global_embedding(patches) if whole else None
        projection = self.projection if config.head.kind == "tcl" else self.head.projection
        if config.whole == "class":
            return patches, projection(self.norm(self.blocks[-1].of_class(x, turn)[:, 0]))
        tokens = self.run(self.blocks[-1], x, turn)[:, config.prefix :]
        pooled = self.norm(tokens.mean(1)) if config.whole == "pool-norm" else self.norm(tokens).mean(1)
        return patches, projection(pooled)

    def forward(self, pixels: Tensor, positions: Tensor | None = None) -> Tensor:
        """The patch embeddings of `encode` alone."""
        return self.encode(pixels, positions, whole=False)[0]


def global_embedding(patches: Tensor) -> Tensor:
    """The mean of the unit-norm patches: [batch, patches, dim] to [batch, dim]."""
    return F.normalize(patches, dim=-1).mean(dim=1)


class TextTower(nn.Module):
    """Token ids to one embedding a text."""

    def __init__(self, config: TextConfig, embedding_dim: int, context: int | None = None, pad_token: int = 0):
        super().__init__()
        if config.arch not in TEXTS:
            raise TowerError(f"text.arch {config.arch!r}: expected one of {', '.join(TEXTS)}")
        if context is not None and not 1 <= context <= config.positions:
            raise TowerError(f"context {context}: expected 1 to text.positions, {config.positions}")
        self.config = config
        self.context, self.pad_token = context or config.positions, pad_token  # what `padded` fills a text to, and with
        self.recompute = False
        width = config.width
        self.word_embeddings = nn.Parameter(torch.randn(config.vocab, width) * 0.02)
        self.position_embeddings = nn.Parameter(torch.randn(config.positions, width) * 0.02)
        kind = PostNormBlock if config.arch == "bert" else PreNormBlock
        if config.arch == "bert":
            self.type_embedding = nn.Parameter(torch.zeros(width))
            self.embedding_norm = nn.LayerNorm(width, config.norm_eps)
        else:
            self.norm = nn.LayerNorm(width, config.norm_eps)
        self.blocks = nn.ModuleList(
            kind(width, config.heads, config.mlp_width, config.norm_eps, config.activation) for _ in range(config.layers)
        )
        if config.projection:
            self.projection = nn.Linear(width, embedding_dim, bias=config.projection_bias)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask [batch, tokens] (mask 1 = real) to [batch, embedding_dim], not normalised."""
        arch = self.config.arch
        if arch == "padded":
            ids = F.pad(ids, (0, self.context - ids.shape[1]), value=self.pad_token)
        x = self.word_embeddings[ids] + self.position_embeddings[: ids.shape[1]]
        if arch == "bert":
            x = self.embedding_norm(x + self.type_embedding)
        visible = mask.bool()[:, None, None, :] if arch in ("bert", "mean") else None
        causal = arch == "clip"  # so that nothing real sees the padding
        for block in self.blocks:
            if self.recompute and self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, visible, causal, use_reentrant=False)
            else:
                x = block(x, visible, causal)
        if arch in ("bert", "mean"):
            x = x if arch == "bert" else self.norm(x)
            weight = mask.unsqueeze(-1).to(x.dtype)
            x = (x * weight).sum(1) / weight.sum(1).clamp(min=1)
        elif arch == "clip":
            last = mask.sum(1).clamp(min=1) - 1
            x = self.norm(x[torch.arange(len(x), device=x.device), last])
        else:
            x = self.norm(x[:, -1])
        return self.projection(x) if self.config.projection else x


class Model(nn.Module):
    """Both towers and the two numbers that turn a cosine into a logit."""

    def __init__(
        self,
        image: ImageConfig,
        text: TextConfig,
        logit_scale: float = 20.0,
        logit_bias: float | None = -6.0,
        preprocess: Preprocess = Preprocess(),
        context: int | None = None,
        pad_token: int = 0,
    ):
        super().__init__()
        if not text.projection and image.embedding_dim != text.width:
            raise TowerError(f"embedding_dim {image.embedding_dim}: expected the text width, {text.width}, or a projection")
        self.preprocess = preprocess
        self.image = ImageTower(image)
        self.text = TextTower(text, image.embedding_dim, context, pad_token)
        self.calibrated = logit_bias is not None  # word by word; otherwise scores are a softmax over the words
        self.logit_scale = nn.Parameter(torch.tensor(float(logit_scale)))
        self.logit_bias = nn.Parameter(torch.tensor(float(logit_bias or 0.0)))

    @property
    def device(self) -> torch.device:
        return self.logit_scale.device

    def score_from(self, scale: float, bias: float) -> None:
        """Scores each word by itself from here on, by the sigmoid of `scale · cosine + bias`."""
        self.calibrated = True
        self.logit_scale.data.fill_(scale)
        self.logit_bias.data.fill_(bias)

    def recompute(self, on: bool) -> None:
        """Gradient checkpointing of both towers' blocks."""
        self.image.recompute = self.text.recompute = on

    def compile_blocks(self) -> None:
        """torch.compile, block by block: the blocks of a tower share one compilation."""
        for block in (*self.image.blocks, *self.text.blocks):
            block.compile()


def with_head(config: ImageConfig, head: HeadConfig) -> ImageConfig:
    """The same backbone with another head that needs the same weights."""
    free = ("maskclip", "attention")
    if head != config.head and not (head.kind in free and config.head.kind in free):
        raise TowerError(f"head {head.kind!r} cannot take the place of {config.head.kind!r}: only {' and '.join(free)} share their weights")
    return replace(config, head=head)
