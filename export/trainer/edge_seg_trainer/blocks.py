"""Layers that both encoders and the heads are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def activate(x: Tensor, kind: str) -> Tensor:
    if kind == "quick_gelu":
        return x * torch.sigmoid(1.702 * x)
    if kind == "relu":
        return F.relu(x)
    return F.gelu(x, approximate="tanh" if kind == "gelu_tanh" else "none")


Turn = tuple[Tensor, Tensor]  # cosine and sine of each token's angles, [tokens, d / 2]


def turned(x: Tensor, turn: Turn | None) -> Tensor:
    """Queries or keys [batch, heads, tokens, d] with each pair of neighbouring numbers turned by its token's angle."""
    if turn is None:
        return x
    cos, sin = turn
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2).to(x.dtype)


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

    def __init__(self, width: int, heads: int, norm_eps: float | None = None):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.norm = nn.LayerNorm(width, norm_eps) if norm_eps else nn.Identity()
        self.proj = nn.Linear(width, width)

    def parts(self, x: Tensor, turn: Turn | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key, value, each [batch, heads, tokens, width / heads]; the first two turned."""
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return turned(q, turn), turned(k, turn), v

    def mix(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        plain = mask is None and not causal and torch.is_grad_enabled()
        if plain and q.device.type == "cpu" and q.dtype == torch.bfloat16:
            out = WholeAttention.apply(q, k, v)
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.proj(self.norm(out.transpose(1, 2).flatten(2)))

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False, turn: Turn | None = None) -> Tensor:
        """x [batch, tokens, width]; mask broadcastable to [batch, heads, tokens, tokens], true = visible."""
        return self.mix(*self.parts(x, turn), mask, causal)

    def value_path(self, x: Tensor) -> Tensor:
        """proj(v(x)): what each token would pass on if it attended to itself alone."""
        # Through the module, not by slicing its weight: an adapter around `qkv` must count here too.
        return self.proj(self.norm(self.qkv(x)[..., -(self.qkv.out_features // 3) :]))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int, out: int | None = None, activation: str = "gelu"):
        super().__init__()
        self.activation = activation
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(activate(self.fc1(x), self.activation))


class GatedMlp(nn.Module):
    """EVA-02's: the product of two branches, one through SiLU, is normed before the last layer."""

    def __init__(self, width: int, hidden: int, eps: float):
        super().__init__()
        self.gate = nn.Linear(width, hidden)
        self.fc1 = nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden, eps)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.norm(F.silu(self.gate(x)) * self.fc1(x)))


class PreNormBlock(nn.Module):
    def __init__(self, width: int, heads: int, mlp_width: int, eps: float, activation: str = "gelu", gated: bool = False):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps)
        self.attn = Attention(width, heads, eps if gated else None)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = GatedMlp(width, mlp_width, eps) if gated else Mlp(width, mlp_width, activation=activation)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False, turn: Turn | None = None) -> Tensor:
        x = x + self.attn(self.norm1(x), mask, causal, turn)
        return x + self.mlp(self.norm2(x))

    def of_class(self, x: Tensor, turn: Turn | None = None) -> Tensor:
        """The class token after the block, [batch, 1, width]; the other tokens are only looked at."""
        q, k, v = self.attn.parts(self.norm1(x), turn)
        x = x[:, :1] + self.attn.mix(q[:, :, :1], k, v)
        return x + self.mlp(self.norm2(x))


class PostNormBlock(PreNormBlock):
    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        x = self.norm1(x + self.attn(x, mask, causal))
        return self.norm2(x + self.mlp(x))
