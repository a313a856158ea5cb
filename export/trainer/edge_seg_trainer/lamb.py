"""LAMB (You et al., ICLR 2020): Adam's step of each tensor, scaled to the tensor's own norm, for large batches."""

from __future__ import annotations

import torch
from torch import Tensor


class Lamb(torch.optim.Optimizer):
    """Decay is decoupled from the gradient's means; a tensor without decay takes Adam's step as it is, as a tensor of zeros does."""

    def __init__(self, params, lr: float, betas: tuple[float, float], eps: float, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """One step from the parameters' gradients."""
        if closure is not None:
            raise NotImplementedError("Lamb takes no closure")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, group)

    def _step(self, parameter: Tensor, gradient: Tensor, group: dict) -> None:
        state = self.state[parameter]
        if not state:
            state |= {"step": 0, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
        state["step"] += 1
        beta1, beta2 = group["betas"]
        mean = state["mean"].lerp_(gradient, 1 - beta1)
        square = state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        root = (square / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
        update = (mean / (1 - beta1 ** state["step"])).div_(root)
        share = 1.0
        if group["weight_decay"]:
            update.add_(parameter, alpha=group["weight_decay"])
            own, of_update = parameter.norm(), update.norm()
            share = torch.where((own > 0) & (of_update > 0), own / of_update, 1.0)
        parameter.sub_(update * share, alpha=group["lr"])
