"""Dense heads: what makes patch tokens embeddings in the space of the words (docs/model-folder.md, "Heads").

All but `fusion` and `pooled` take the stream that enters the last block. `maskclip` and `attention` use that block's own weights in
another way and need no training; `tcl` brings a block and a decoder of its own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Attention, Mlp, PreNormBlock, Turn, activate
from .config import SIMILARITIES, WHOLES, ImageConfig, TowerError


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


class MaskClipHead(nn.Module):
    """The last block's value path, without residual and MLP (Zhou et al., ECCV 2022)."""

    def __init__(self, config: ImageConfig):
        super().__init__()
        self.projection = projection(config.width, config.embedding_dim, config.projection, config.projection_bias)

    def forward(self, tower: nn.Module, x: Tensor, grid: tuple[int, int], turn: Turn | None = None) -> Tensor:
        last = tower.blocks[-1]
        return self.projection(tower.norm(last.attn.value_path(last.norm1(x))[:, tower.config.prefix :]))


def projection(width: int, out: int, is_there: bool, bias: bool) -> nn.Module:
    """Into the words' space; a tower without one has its width."""
    return nn.Linear(width, out, bias=bias) if is_there else nn.Identity()


def neighbour_logits(rows: int, cols: int, deviation: float, device: torch.device, prefix: int = 1) -> Tensor:
    """exp(-d²/2σ²) of every pair of patches, zero for the tokens before them: [prefix + patches, prefix + patches] (Hajimiri et al., WACV
    2025)."""

    def line(length: int) -> Tensor:
        at = torch.arange(length, dtype=torch.float32, device=device)
        return torch.exp((at[:, None] - at[None]).square() / (-2 * deviation * deviation))

    window = (line(rows)[:, None, :, None] * line(cols)[None, :, None, :]).reshape(rows * cols, rows * cols)
    return F.pad(window, (prefix, 0, prefix, 0))


class AttentionHead(MaskClipHead):
    """The last block with another similarity, and without residual and MLP where the configuration says so.

    query-key without both: the reduced block. query-query, key-key: self-self attention (Wang et al., ECCV 2024; Lan et al.,
    ECCV 2024).
    """

    def __init__(self, config: ImageConfig):
        super().__init__(config)
        self.config = config.head
        if self.config.similarity not in SIMILARITIES:
            raise TowerError(f"similarity {self.config.similarity!r}: expected one of {', '.join(SIMILARITIES)}")

    def forward(self, tower: nn.Module, x: Tensor, grid: tuple[int, int], turn: Turn | None = None) -> Tensor:
        last, config, prefix = tower.blocks[-1], self.config, tower.config.prefix
        q, k, v = last.attn.parts(last.norm1(x), turn)
        q, k = {"query-key": (q, k), "query-query": (q, q), "key-key": (k, k)}[config.similarity]
        near = neighbour_logits(*grid, config.neighbour, x.device, prefix).to(q.dtype) if config.neighbour else None
        y = last.attn.mix(q[:, :, prefix:], k, v, None if near is None else near[prefix:])
        if config.residual:
            y = x[:, prefix:] + y
        if config.mlp:
            y = y + last.mlp(last.norm2(y))
        return self.projection(tower.norm(y))


class GatedConv(nn.Module):
    """x + tanh(gate) · conv3×3(gelu(norm(x))), maps [batch, rows, cols, width]."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, 1e-5)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        y = activate(self.norm(x), "gelu").permute(0, 3, 1, 2)
        return x + torch.tanh(self.gate) * self.conv(y).permute(0, 2, 3, 1)


class TclHead(nn.Module):
    """TCL's masker (Cha et al., CVPR 2023): a last block of its own whose tokens attend to themselves alone, then a gated
    convolution decoder that doubles the grid `layers` times. Each patch's embedding is the mean of its finer unit vectors."""

    def __init__(self, config: ImageConfig):
        super().__init__()
        self.layers = config.head.layers
        width = config.width
        self.block = PreNormBlock(width, config.heads, config.mlp_width, config.norm_eps, config.activation)
        self.convs = nn.ModuleList(GatedConv(width) for _ in range(2 * self.layers))
        self.norm = nn.LayerNorm(width, config.norm_eps)
        self.projection = nn.Linear(width, config.embedding_dim, bias=False)

    def forward(self, tower: nn.Module, x: Tensor, grid: tuple[int, int], turn: Turn | None = None) -> Tensor:
        x = x + self.block.attn.value_path(self.block.norm1(x))
        x = (x + self.block.mlp(self.block.norm2(x)))[:, tower.config.prefix :].unflatten(1, grid)
        for layer in range(self.layers):
            x = x.repeat_interleave(2, 1).repeat_interleave(2, 2)
            x = self.convs[2 * layer + 1](self.convs[2 * layer](x))
        fine = F.normalize(self.projection(self.norm(x)), dim=-1)  # [batch, rows·s, cols·s, dim]
        finer = 2**self.layers
        return F.avg_pool2d(fine.permute(0, 3, 1, 2), finer).permute(0, 2, 3, 1).flatten(1, 2)


class PooledHead(nn.Module):
    """A pooling attention with a learned query, as SigLIP and PE-Core have it: each patch as if the query saw it alone, the picture as the
    query sees all tokens. It takes all tokens after the tower's norm."""

    def __init__(self, config: ImageConfig):
        super().__init__()
        head, width = config.head, config.width
        self.pool = Pool(width, head.heads, head.mlp_width, config.norm_eps, config.activation)
        self.projection = projection(width, config.embedding_dim, head.projection, head.projection_bias)
        self.prefix = config.prefix

    def forward(self, normed: Tensor, whole: bool = True) -> tuple[Tensor, Tensor | None]:
        """normed [batch, tokens, width] to the patches [batch, patches, dim] and, if asked for, the picture [batch, dim]."""
        pool = self.pool
        _, k, v = pool.attn.parts(normed)
        patches = self.projection(pool.rest(pool.attn.proj(v.transpose(1, 2).flatten(2)[:, self.prefix :])))
        if not whole:
            return patches, None
        q, _, _ = pool.attn.parts(pool.probe.to(normed.dtype).expand(len(normed), 1, -1))
        return patches, self.projection(pool.rest(pool.attn.mix(q, k, v)))[:, 0]


class Pool(nn.Module):
    def __init__(self, width: int, heads: int, mlp_width: int, eps: float, activation: str):
        super().__init__()
        self.probe = nn.Parameter(torch.randn(width) * 0.02)
        self.attn = Attention(width, heads)
        self.norm = nn.LayerNorm(width, eps)
        self.mlp = Mlp(width, mlp_width, activation=activation)

    def rest(self, x: Tensor) -> Tensor:
        """What follows the attention."""
        return x + self.mlp(self.norm(x))


def make_head(config: ImageConfig) -> nn.Module:
    head = config.head
    if config.whole not in WHOLES:
        raise TowerError(f"global {config.whole!r}: expected one of {', '.join(WHOLES)}")
    if head.kind == "fusion" and config.whole != "mean":
        raise TowerError(f"global {config.whole!r}: expected mean with the head fusion")
    if (head.kind == "pooled") != (config.whole == "attention"):
        raise TowerError(f"global {config.whole!r}: expected attention with the head pooled, and with no other")
    if head.kind != "pooled" and not config.class_token:
        raise TowerError("class_token false: expected true but for the head pooled")
    if config.gated and head.kind in ("pooled", "tcl"):
        raise TowerError(f"gated true: expected false with the head {head.kind}")
    is_there = head.projection if head.kind == "pooled" else config.projection
    if not is_there and config.width != config.embedding_dim:
        raise TowerError(f"projection false: expected true, since the width {config.width} is not embedding_dim {config.embedding_dim}")
    if head.kind == "fusion":
        for tap in head.taps:
            if tap not in ("value", "final") and tap not in {f"block{n + 1}" for n in range(config.layers)}:
                raise TowerError(f"tap {tap!r}: expected value, final or block1..block{config.layers}")
        return FusionHead(config.width, len(head.taps), head.hidden, config.embedding_dim, config.norm_eps)
    return {"maskclip": MaskClipHead, "attention": AttentionHead, "pooled": PooledHead, "tcl": TclHead}[head.kind](config)
