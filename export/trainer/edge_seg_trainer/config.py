"""What the two encoders are made of, as a model folder's config.json has it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields

ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "relu")
HEADS = ("fusion", "maskclip", "attention", "pooled", "tcl")
WHOLES = ("mean", "class", "pool-norm", "norm-pool", "attention")
TEXTS = ("bert", "clip", "mean", "padded")
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
    heads: int = 8  # pooled: of the pooling attention
    mlp_width: int = 768  # pooled: hidden width of its MLP
    projection: bool = False  # pooled: whether a projection into the words' space follows
    projection_bias: bool = False  # pooled: and whether that has a bias

    OWN = {
        "fusion": ("taps", "hidden"),
        "maskclip": (),
        "attention": ("similarity", "neighbour", "residual", "mlp"),
        "pooled": ("heads", "mlp_width", "projection", "projection_bias"),
        "tcl": ("layers",),
    }
    MAY_LACK = ("projection_bias",)

    def as_folder(self) -> dict:
        values = {name: getattr(self, name) for name in self.OWN[self.kind]}
        values = {name: value for name, value in values.items() if value or name not in self.MAY_LACK}
        return {"kind": self.kind} | {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_folder(cls, given: dict) -> HeadConfig:
        kind = given.get("kind")
        if kind not in HEADS:
            raise TowerError(f"head {kind!r}: expected one of {', '.join(HEADS)}")
        found, own = set(given) - {"kind"}, set(cls.OWN[kind])
        if found - own or own - found - set(cls.MAY_LACK):
            raise TowerError(f"head {kind!r}: expected the keys {', '.join(cls.OWN[kind]) or 'kind alone'}, found {sorted(given)}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


@dataclass(frozen=True)
class RotaryConfig:
    """How queries and keys are turned by where their patch stands (docs/model-folder.md, "Rotary positions")."""

    grid: tuple[int, int]
    offset: float
    columns_first: bool
    temperature: float


@dataclass(frozen=True)
class ImageConfig:
    """A pre-norm ViT."""

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
    whole: str = "mean"  # how the picture's own embedding is made: one of WHOLES
    embedding_dim: int = 384
    stem: tuple[tuple[int, int], ...] = ()  # channels and side of each convolution before the patch embedding
    class_token: bool = True
    registers: int = 0
    gated: bool = False  # EVA-02's blocks
    rotary: RotaryConfig | None = None
    projection: bool = True  # of the heads maskclip and attention
    projection_bias: bool = False

    @property
    def prefix(self) -> int:
        """Tokens before the patches."""
        return int(self.class_token) + self.registers

    @property
    def patch_kernel(self) -> tuple[int, int]:
        """Channels that the patch embedding reads, and its side."""
        return self.stem[-1][0] if self.stem else 3, self.patch_px // math.prod(side for _, side in self.stem)

    def as_folder(self) -> dict:
        """The `image` object of config.json. What few towers have is left out where this one has it not."""
        plain = ("width", "layers", "heads", "mlp_width", "patch_px")
        more = ("patch_bias", "pre_norm", "activation", "norm_eps")
        rare = ("stem", "class_token", "registers", "gated", "rotary", "projection", "projection_bias")
        usual = {entry.name: entry.default for entry in fields(self)}
        return (
            {"arch": "vit"}
            | {name: getattr(self, name) for name in plain}
            | {"grid": list(self.grid)}
            | {name: getattr(self, name) for name in more}
            | {name: _plain(getattr(self, name)) for name in rare if getattr(self, name) != usual[name]}
            | {"head": self.head.as_folder(), "global": self.whole}
        )

    @classmethod
    def from_folder(cls, given: dict, embedding_dim: int) -> ImageConfig:
        given = dict(given)
        if given.pop("arch") != "vit":
            raise TowerError("image.arch: expected vit")
        head, whole = HeadConfig.from_folder(given.pop("head")), given.pop("global")
        given |= {"grid": tuple(given["grid"]), "stem": tuple(tuple(one) for one in given.get("stem", ()))}
        if rotary := given.get("rotary"):
            given["rotary"] = RotaryConfig(**rotary | {"grid": tuple(rotary["grid"])})
        return cls(**given, head=head, whole=whole, embedding_dim=embedding_dim)


def _plain(value):
    """As JSON has it."""
    if isinstance(value, RotaryConfig):
        return asdict(value) | {"grid": list(value.grid)}
    return [list(one) for one in value] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class TextConfig:
    """`bert`: post-norm, mean of the real tokens. `clip`: pre-norm, causal, the last real token. `mean`: pre-norm, all real tokens seen,
    their mean. `padded`: pre-norm, filled to the whole context, all of it seen, the last place."""

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
    projection_bias: bool = False

    def as_folder(self) -> dict:
        """The `text` object of config.json."""
        return {name: value for name, value in asdict(self).items() if name != "projection_bias" or value}
