"""The two encoders, with the weight names of docs/model-folder.md.

The modules are written out rather than taken from timm, transformers and open_clip, because the Rust ONNX writer mirrors
them operation by operation; published weights are renamed to theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu")
HEADS = ("fusion", "maskclip", "attention", "tcl")
SIMILARITIES = ("query-key", "query-query", "key-key")


class TowerError(ValueError):
    """Weights or a configuration that do not fit the architecture."""


@dataclass(frozen=True)
class HeadConfig:
    """How patch tokens become embeddings; each kind reads its own keys."""

    kind: str = "fusion"
    taps: tuple[str, ...] = ("block8", "block10", "value", "final")  # fusion
    hidden: int = 768  # fusion
    similarity: str = "query-key"  # attention
    neighbour: float = 0.0  # attention: deviation in patches of the Gaussian added to the logits; 0: none
    residual: bool = False  # attention
    mlp: bool = False  # attention
    layers: int = 2  # tcl: doublings of the grid

    OWN = {
        "fusion": ("taps", "hidden"),
        "maskclip": (),
        "attention": ("similarity", "neighbour", "residual", "mlp"),
        "tcl": ("layers",),
    }

    def as_folder(self) -> dict:
        values = {name: getattr(self, name) for name in self.OWN[self.kind]}
        return {"kind": self.kind} | {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_folder(cls, given: dict) -> HeadConfig:
        kind = given.get("kind")
        if kind not in HEADS:
            raise TowerError(f"head {kind!r}: expected one of {', '.join(HEADS)}")
        if set(given) - {"kind"} != set(cls.OWN[kind]):
            raise TowerError(f"head {kind!r}: expected the keys {', '.join(cls.OWN[kind]) or 'kind alone'}, found {sorted(given)}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


@dataclass(frozen=True)
class ImageConfig:
    """A pre-norm ViT with a class token."""

    width: int = 192
    layers: int = 12
    heads: int = 3
    mlp_width: int = 768
    patch_px: int = 16
    grid: tuple[int, int] = (14, 14)
    norm_eps: float = 1e-6
    patch_bias: bool = True
    pre_norm: bool = False
    activation: str = "gelu"
    head: HeadConfig = field(default_factory=HeadConfig)
    whole: str = "mean"  # how the picture's own embedding is made: mean | class
    embedding_dim: int = 384

    def as_folder(self) -> dict:
        """The `image` object of config.json."""
        plain = ("width", "layers", "heads", "mlp_width", "patch_px")
        more = ("patch_bias", "pre_norm", "activation", "norm_eps")
        return (
            {"arch": "vit"}
            | {name: getattr(self, name) for name in plain}
            | {"grid": list(self.grid)}
            | {name: getattr(self, name) for name in more}
            | {"head": self.head.as_folder(), "global": self.whole}
        )

    @classmethod
    def from_folder(cls, given: dict, embedding_dim: int) -> ImageConfig:
        given = dict(given)
        if given.pop("arch") != "vit":
            raise TowerError("image.arch: expected vit")
        head, whole = HeadConfig.from_folder(given.pop("head")), given.pop("global")
        return cls(**given | {"grid": tuple(given["grid"])}, head=head, whole=whole, embedding_dim=embedding_dim)


@dataclass(frozen=True)
class TextConfig:
    """`bert`: post-norm, mean of the real tokens. `clip`: pre-norm, causal, the last real token."""

    arch: str = "bert"
    width: int = 384
    layers: int = 6
    heads: int = 12
    mlp_width: int = 1536
    vocab: int = 30522
    positions: int = 512
    activation: str = "gelu"
    norm_eps: float = 1e-12
    projection: bool = False

    def as_folder(self) -> dict:
        """The `text` object of config.json."""
        return dict(self.__dict__)


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


def activate(x: Tensor, kind: str) -> Tensor:
    if kind == "quick_gelu":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate="tanh" if kind == "gelu_tanh" else "none")


class WholeAttention(torch.autograd.Function):
    """softmax(q·kᵀ/√d)·v of [batch, heads, tokens, d], with the whole score matrix kept for the gradient.

    On a CPU with matrix units, plain products of bf16 take less time than PyTorch's fused kernel, most of all for the gradient.
    """

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q = (q * q.shape[-1] ** -0.5).contiguous()
        k, v = k.contiguous(), v.contiguous()
        share = (q @ k.transpose(-1, -2)).softmax(-1).to(q.dtype)
        ctx.save_for_backward(q, k, v, share)
        return share @ v

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, share = ctx.saved_tensors
        gradient = gradient.to(q.dtype).contiguous()
        of_score = torch._softmax_backward_data(gradient @ v.transpose(-1, -2), share, -1, share.dtype)
        of_q = (of_score @ k) * q.shape[-1] ** -0.5
        return of_q, of_score.transpose(-1, -2) @ q, share.transpose(-1, -2) @ gradient


class Attention(nn.Module):
    """Multi-head self-attention; `qkv` rows are query, key, value."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def parts(self, x: Tensor) -> Tensor:
        """Query, key, value, each [batch, heads, tokens, width / heads]."""
        batch, tokens, width = x.shape
        return self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        plain = mask is None and not causal and torch.is_grad_enabled()
        if plain and q.device.type == "cpu" and q.dtype == torch.bfloat16:
            out = WholeAttention.apply(q, k, v)
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.proj(out.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """x [batch, tokens, width]; mask broadcastable to [batch, heads, tokens, tokens], true = visible."""
        return self.mix(*self.parts(x), mask, causal)

    def value_path(self, x: Tensor) -> Tensor:
        """proj(v(x)): what each token would pass on if it attended to itself alone."""
        # Through the module, not by slicing its weight: an adapter around `qkv` must count here too.
        return self.proj(self.qkv(x)[..., -(self.qkv.out_features // 3) :])


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, out: int | None = None, activation: str = "gelu"):
        super().__init__()
        self.activation = activation
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(activate(self.fc1(x), self.activation))


class PreNormBlock(nn.Module):
    def __init__(self, width: int, heads: int, mlp_width: int, eps: float, activation: str = "gelu"):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = Mlp(width, mlp_width, activation=activation)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        x = x + self.attn(self.norm1(x), causal=causal)
        return x + self.mlp(self.norm2(x))

    def of_class(self, x: Tensor) -> Tensor:
        """The class token after the block, [batch, 1, width]; the other tokens are only looked at."""
        q, k, v = self.attn.parts(self.norm1(x))
        x = x[:, :1] + self.attn.mix(q[:, :, :1], k, v)
        return x + self.mlp(self.norm2(x))


class PostNormBlock(PreNormBlock):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norm1(x + self.attn(x, mask))
        return self.norm2(x + self.mlp(x))


class Patch(nn.Module):
    def __init__(self, width: int, patch_px: int, bias: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 3, patch_px, patch_px))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None
        nn.init.trunc_normal_(self.weight, std=0.02)


class ImageTower(nn.Module):
    """Pixels to patch embeddings and one for the whole picture."""

    def __init__(self, config: ImageConfig):
        super().__init__()
        from .heads import make_head

        self.config = config
        self.recompute = False  # keep no activations of the blocks, and compute them again for the gradient
        width = config.width
        self.patch = Patch(width, config.patch_px, config.patch_bias)
        self.class_token = nn.Parameter(torch.zeros(width))
        self.positions = nn.Parameter(torch.zeros(1 + config.grid[0] * config.grid[1], width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        if config.pre_norm:
            self.ln_pre = nn.LayerNorm(width, config.norm_eps)
        self.blocks = nn.ModuleList(
            PreNormBlock(width, config.heads, config.mlp_width, config.norm_eps, config.activation) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width, config.norm_eps)
        self.head = make_head(config)
        if config.head.kind == "tcl" and config.whole == "class":
            self.projection = nn.Linear(width, config.embedding_dim, bias=False)

    def positions_for(self, rows: int, cols: int) -> Tensor:
        """Position embeddings for a grid, [1, 1 + rows*cols, width]; see docs/model-folder.md."""
        class_row, grid = self.positions[:1], self.positions[1:]
        if (rows, cols) != self.config.grid:
            grid = grid.T.reshape(1, -1, *self.config.grid).float()
            grid = F.interpolate(grid, size=(rows, cols), mode="bicubic", align_corners=False, antialias=False)
            grid = grid.flatten(2)[0].T
        return torch.cat([class_row, grid.to(class_row.dtype)]).unsqueeze(0)

    def embed(self, pixels: Tensor, positions: Tensor | None = None) -> tuple[Tensor, tuple[int, int]]:
        """What enters the first block, [batch, 1 + patches, width], and the grid. pixels [batch, 3, height, width_px]."""
        side = self.config.patch_px
        if pixels.shape[-2] % side or pixels.shape[-1] % side:
            raise TowerError(f"input of {tuple(pixels.shape[-2:])} px: expected multiples of {side}")
        x = F.conv2d(pixels, self.patch.weight, self.patch.bias, stride=side)
        grid = x.shape[-2], x.shape[-1]
        if positions is None:
            positions = self.positions_for(*grid)
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), 1, -1), x], dim=1) + positions
        if self.config.pre_norm:
            x = self.ln_pre(x)
        if torch.is_autocast_enabled(x.device.type):
            # The residual stream too: left in f32 it costs a CPU a third of the step in copies.
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return x, grid

    def run(self, block: nn.Module, x: Tensor) -> Tensor:
        if self.recompute and self.training and torch.is_grad_enabled():
            return checkpoint(block, x, use_reentrant=False)
        return block(x)

    def taps(self, pixels: Tensor, positions: Tensor | None = None) -> list[Tensor]:
        """The fusion head's inputs: one [batch, patches, width] a tap."""
        taps = self.config.head.taps
        x, _ = self.embed(pixels, positions)
        found: dict[str, Tensor] = {}
        for n, block in enumerate(self.blocks):
            if n + 1 == len(self.blocks) and "value" in taps:
                found["value"] = block.attn.value_path(block.norm1(x))
            x = self.run(block, x)
            found[f"block{n + 1}"] = x
        found["final"] = self.norm(x)
        return [found[tap][:, 1:] for tap in taps]

    def encode(self, pixels: Tensor, positions: Tensor | None = None, whole: bool = True) -> tuple[Tensor, Tensor | None]:
        """Patch embeddings [batch, patches, embedding_dim], row-major, and the picture's [batch, embedding_dim]; not normalised."""
        if self.config.head.kind == "fusion":
            patches = self.head(self.taps(pixels, positions))
            return patches, global_embedding(patches) if whole else None
        x, grid = self.embed(pixels, positions)
        for block in self.blocks[:-1]:
            x = self.run(block, x)
        patches = self.head(self, x, grid)
        if not whole or self.config.whole == "mean":
            return patches, global_embedding(patches) if whole else None
        projection = self.projection if self.config.head.kind == "tcl" else self.head.projection
        return patches, projection(self.norm(self.blocks[-1].of_class(x)[:, 0]))

    def forward(self, pixels: Tensor, positions: Tensor | None = None) -> Tensor:
        """The patch embeddings of `encode` alone."""
        return self.encode(pixels, positions, whole=False)[0]


def global_embedding(patches: Tensor) -> Tensor:
    """The mean of the unit-norm patches: [batch, patches, dim] to [batch, dim]."""
    return F.normalize(patches, dim=-1).mean(dim=1)


class TextTower(nn.Module):
    """Token ids to one embedding a text."""

    def __init__(self, config: TextConfig, embedding_dim: int):
        super().__init__()
        if config.arch not in ("bert", "clip"):
            raise TowerError(f"text.arch {config.arch!r}: expected bert or clip")
        self.config = config
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
            self.projection = nn.Linear(width, embedding_dim, bias=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask [batch, tokens] (mask 1 = real) to [batch, embedding_dim], not normalised."""
        x = self.word_embeddings[ids] + self.position_embeddings[: ids.shape[1]]
        bert = self.config.arch == "bert"
        if bert:
            x = self.embedding_norm(x + self.type_embedding)
        visible = mask.bool()[:, None, None, :] if bert else True  # `clip`: causal, so that nothing real sees the padding
        for block in self.blocks:
            if self.recompute and self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, visible, use_reentrant=False)
            else:
                x = block(x, visible)
        if bert:
            weight = mask.unsqueeze(-1).to(x.dtype)
            x = (x * weight).sum(1) / weight.sum(1).clamp(min=1)
        else:
            last = mask.sum(1).clamp(min=1) - 1
            x = self.norm(x[torch.arange(len(x), device=x.device), last])
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
    ):
        super().__init__()
        if not text.projection and image.embedding_dim != text.width:
            raise TowerError(f"embedding_dim {image.embedding_dim}: expected the text width, {text.width}, or a projection")
        self.preprocess = preprocess
        self.image = ImageTower(image)
        self.text = TextTower(text, image.embedding_dim)
        self.calibrated = logit_bias is not None  # word by word; otherwise scores are a softmax over the words
        self.logit_scale = nn.Parameter(torch.tensor(float(logit_scale)))
        self.logit_bias = nn.Parameter(torch.tensor(float(logit_bias or 0.0)))

    @property
    def device(self) -> torch.device:
        return self.logit_scale.device

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
