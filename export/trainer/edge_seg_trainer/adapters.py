"""Low-rank adapters (peft) on the towers' linear layers."""

from __future__ import annotations

from pathlib import Path

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import save_file
from torch import nn

from .recipe import StageRecipe
from .towers import Model


def config_of(stage: StageRecipe) -> LoraConfig:
    """The recipe's target layers of the blocks."""
    targets = "|".join(stage.lora_targets)
    return LoraConfig(
        r=stage.lora_rank,
        lora_alpha=stage.lora_alpha,
        lora_dropout=stage.lora_dropout,
        target_modules=rf"(.*blocks\.\d+|head\.block|head\.pool)\.(attn|mlp)\.({targets})",
    )


def inject(model: Model, stage: StageRecipe) -> None:
    """Wraps the target layers; at first the adapters change nothing."""
    for tower in stage.adapted:
        inject_adapter_in_model(config_of(stage), getattr(model, tower))


def save(model: Model, stage: StageRecipe, place: Path) -> None:
    """Each tower's adapters as peft keeps them: TOWER/adapter_config.json and adapter_model.safetensors, for this project's towers."""
    for tower in stage.adapted:
        (place / tower).mkdir(parents=True, exist_ok=True)
        held = {
            f"base_model.model.{name.replace('.default.', '.')}": value.detach().float().cpu().contiguous()
            for name, value in getattr(model, tower).state_dict().items()
            if ".lora_" in name
        }
        config = config_of(stage)
        config.inference_mode = True
        config.save_pretrained(place / tower)
        save_file(held, place / tower / "adapter_model.safetensors", metadata={"format": "pt"})


def merge(model: nn.Module) -> None:
    """Adds every adapter's product to the weight it sits on and puts the plain layer back."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                child.merge(safe_merge=True)
                setattr(parent, name, child.get_base_layer())
