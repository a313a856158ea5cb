"""What the two encoders are made of, as a model folder's config.json has it."""

from __future__ import annotations

from dataclasses import dataclass, field

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
