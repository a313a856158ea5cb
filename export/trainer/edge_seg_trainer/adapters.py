"""Low-rank adapters (peft) on the towers' linear layers."""

from __future__ import annotations

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from .recipe import StageRecipe
from .towers import Model


def inject(model: Model, stage: StageRecipe) -> None:
    """Wraps the recipe's target layers of the blocks; at first the adapters change nothing."""
    targets = "|".join(stage.lora_targets)
    config = LoraConfig(
        r=stage.lora_rank,
        lora_alpha=stage.lora_alpha,
        lora_dropout=stage.lora_dropout,
        target_modules=rf"(.*blocks\.\d+|head\.block)\.(attn|mlp)\.({targets})",
    )
    for tower in stage.adapted:
        inject_adapter_in_model(config, getattr(model, tower))


def merge(model: nn.Module) -> None:
    """Adds every adapter's product to the weight it sits on and puts the plain layer back."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                child.merge(safe_merge=True)
                setattr(parent, name, child.get_base_layer())
