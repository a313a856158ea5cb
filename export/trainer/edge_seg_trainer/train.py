"""The training loop: stage after stage, resumable."""

from __future__ import annotations

import json
import math
import time
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from . import checkpoint, evaluate
from .adapters import inject, merge
from .calibrate import calibrate
from .data import DataError, data_root, read_held_out
from .folder import write_folder
from .plot import plot
from .recipe import Recipe, StageRecipe
from .stages import make_stage
from .towers import Model, bert_config, load_bert, load_timm_vit, vit_config
from .words import WordBank


def text_source(package: str) -> Path:
    """A folder as transformers saves a BERT, or the model/ folder inside an installed Python package."""
    if (Path(package) / "model.safetensors").is_file():
        return Path(package)
    spec = find_spec(package) if package.isidentifier() else None
    places = [Path(place) / "model" for place in (spec.submodule_search_locations or [])] if spec else []
    for place in places:
        if (place / "model.safetensors").is_file():
            return place
    raise DataError(f"text model: expected a folder or an installed Python package {package!r} with model.safetensors")


def plain_tokenizer(source: Path, work: Path) -> Path:
    """The tokenizer without the padding and cutting that its package asks for: the runtime does both itself."""
    content = json.loads((source / "tokenizer.json").read_text())
    content["padding"] = content["truncation"] = None
    work.mkdir(parents=True, exist_ok=True)
    path = work / "tokenizer.json"
    path.write_text(json.dumps(content, ensure_ascii=False))
    return path


def learning(model: Model, stage: StageRecipe) -> list[dict]:
    """Parameter groups of a stage; everything else is frozen. Each holds its share of the stage's rate."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    scored = [model.logit_scale, model.logit_bias] if stage.kind != "ttd" else []
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}

    def learn(parameter: nn.Parameter, share: float, decays: bool) -> None:
        parameter.requires_grad_(True)
        groups.setdefault((share, decays), []).append(parameter)

    for parameter in scored:
        learn(parameter, 1.0, False)
    image = model.image
    if stage.learns == "lora":
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                learn(parameter, 1.0, False)
    else:
        for parameter in image.head.parameters():
            learn(parameter, 1.0, parameter.dim() > 1)
    if stage.learns == "all":
        depth = len(image.blocks)
        for parameter in image.norm.parameters():
            learn(parameter, stage.layer_decay, False)
        for number in range(stage.frozen_blocks, depth):
            for parameter in image.blocks[number].parameters():
                learn(parameter, stage.layer_decay ** (depth - number), parameter.dim() > 1)
        if stage.frozen_blocks == 0:
            for parameter in (image.patch.weight, image.patch.bias, image.class_token, image.positions):
                learn(parameter, stage.layer_decay ** (depth + 1), False)
    return [{"params": members, "share": share, "decays": decays} for (share, decays), members in groups.items()]


def rate_at(step: int, stage: StageRecipe) -> float:
    """Linear warm-up, then cosine to a hundredth."""
    ramp = max(1, round(stage.warmup * stage.steps))
    if step < ramp:
        return stage.rate * (step + 1) / ramp
    done = (step - ramp) / max(1, stage.steps - ramp)
    return stage.rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


class Run:
    """One recipe being followed."""

    def __init__(self, recipe: Recipe, base: Path, say=print):
        self.recipe, self.say = recipe, say
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self.root = data_root(recipe.data or None)
        self.work = Path(recipe.work) / recipe.name
        self.held_out = read_held_out(base / recipe.held_out)
        source = text_source(recipe.text)
        self.tokenizer = plain_tokenizer(source, self.work)
        weights = self.root / recipe.backbone
        if not weights.is_file():
            raise DataError(f"{weights} is missing: expected the backbone's weights (`backbone` in the recipe)")
        text = bert_config(source / "config.json")
        self.model = Model(vit_config(weights, recipe.head.taps, recipe.head.hidden, text.width), text)
        load_timm_vit(self.model.image, weights)
        load_bert(self.model.text, source / "model.safetensors")
        self.bank = WordBank(self.model.text, self.tokenizer, recipe.context)
        self.metrics = self.work / "metrics.jsonl"
        self.figures: dict[str, dict] = {}

    def log(self, entry: dict) -> None:
        with self.metrics.open("a") as handle:
            handle.write(json.dumps(entry) + "\n")

    def report(self, name: str, only: tuple[str, ...] | None = None, thin: int = 1) -> dict:
        """Measures the model as it stands; all figures asked for are kept under the stage's name."""
        wanted = evaluate.tasks(self.root, self.held_out, only or self.recipe.final_report)
        found = evaluate.report(self.model, self.bank, wanted, self.recipe.input_px, 4 if only else 2, thin)
        self.say(f"[{name}] {evaluate.one_line(found)}")
        if only is None:
            self.figures[name] = found
        self.log({"stage": name, "figures": found})
        return found

    def follow(self, until: int | None = None) -> None:
        """Runs all stages, from the last checkpoint where there is one; `until` stops after that many steps."""
        place = self.work / "checkpoint.pt"
        state = checkpoint.load(place)
        first = state["stage"] if state else 0
        if state:
            self.figures = state["figures"]
            self.model.load_state_dict(state["start"])
            self.say(f"going on at stage {self.recipe.stages[first].name if first < len(self.recipe.stages) else 'end'}")
        elif self.recipe.final_report:
            self.report("start", thin=self.recipe.report_thin)
        for number in range(first, len(self.recipe.stages)):
            stage = self.recipe.stages[number]
            inner = state if state and state["stage"] == number and "optimizer" in state else None
            before = inner["start"] if inner else {name: value.clone() for name, value in self.model.state_dict().items()}
            if not self._stage(number, stage, place, inner, before, until):
                return
            state = None
            self._settle(stage, before)
            if stage.folder:
                self.write(stage.folder)
            plot(self.metrics, self.work / "metrics.png")
            checkpoint.save(place, {"stage": number + 1, "start": self.model.state_dict(), "figures": self.figures})

    def _settle(self, stage: StageRecipe, before: dict[str, Tensor]) -> None:
        """Measures what a stage made, and undoes it where the recipe says so."""
        if self.recipe.final_report:
            self.report(stage.name, thin=self.recipe.report_thin)
        if stage.keep == "always":
            return
        gain = self._held_out_score(stage.name)
        after = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(before)
        self.bank.forget()
        gain -= self._held_out_score(f"{stage.name}.before")
        kept = stage.keep == "better" and gain > 0
        self.say(f"{stage.name}: {gain:+.2f} on the held-out photos, {'kept' if kept else 'undone'}")
        self.log({"stage": stage.name, "gain": gain, "kept": kept})
        if kept:
            self.model.load_state_dict(after)
            self.bank.forget()

    def _held_out_score(self, name: str) -> float:
        """Sum of the mIoU of the held-out photos' three measures."""
        return sum(row["miou"] for row in self.report(f"{name}.check", ("idx133", "present", "voc21")).values())

    def _stage(self, number: int, stage: StageRecipe, place: Path, state: dict | None, before: dict, until: int | None) -> bool:
        torch.manual_seed(self.recipe.seed * 1000 + number)
        source = make_stage(stage, self.model, self.bank, self.root, self.work.parent, self.recipe.seed, self.say, self.held_out)
        adapted = stage.learns == "lora"
        if adapted:
            inject(self.model, stage)
        groups = learning(self.model, stage)
        own = source.own_parameters()
        groups += [{"params": own, "share": 1.0, "decays": False}] if own else []
        for group in groups:
            group["weight_decay"] = stage.weight_decay if group["decays"] else 0.0
        optimizer = torch.optim.AdamW(groups, lr=stage.rate, betas=(0.9, 0.98), foreach=True)
        learned = [parameter for group in groups for parameter in group["params"]]
        average = [parameter.detach().clone() for parameter in learned] if stage.ema else []
        best: tuple[float, list[Tensor]] | None = None
        first = 0
        if state:
            self.model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            with torch.no_grad():
                for parameter, value in zip(own, state["own"]):
                    parameter.copy_(value)
            average, first, best = state["average"], state["step"], state["best"]
        began, seen = time.monotonic(), first
        for step in range(first, stage.steps):
            if until is not None and step >= until:
                return False
            self.model.train()
            rate = rate_at(step, stage)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]
            loss, parts = source.loss(step)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"stage {stage.name}, step {step}: the loss is {loss.item()}; lower `rate`")
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(learned, stage.clip)
            optimizer.step()
            with torch.no_grad():
                self.model.logit_scale.clamp_(1.0, 100.0)
                if average:
                    keep = min(stage.ema, (1 + step) / (10 + step))
                    torch._foreach_mul_(average, keep)
                    torch._foreach_add_(average, [parameter.detach() for parameter in learned], alpha=1 - keep)
            if step % self.recipe.log_every == 0 or step + 1 == stage.steps:
                pace = (time.monotonic() - began) / (step + 1 - seen)
                self.log({"stage": stage.name, "step": step, "loss": loss.item(), "norm": norm.item(), "rate": rate, **parts})
                shown = " ".join(f"{name} {value:.3f}" for name, value in parts.items())
                self.say(f"{stage.name} {step + 1}/{stage.steps} loss {loss.item():.3f} {shown} {pace:.2f} s/step")
            last = step + 1 == stage.steps
            if stage.evaluate_every and ((step + 1) % stage.evaluate_every == 0 or last):
                best = self._keep_best(stage, learned, average, best)
            if (step + 1) % self.recipe.save_every == 0 and not last:
                checkpoint.save(
                    place,
                    {
                        "stage": number, "step": step + 1, "start": before, "model": self.model.state_dict(),
                        "optimizer": optimizer.state_dict(), "own": [parameter.detach() for parameter in own],
                        "average": average, "best": best, "figures": self.figures,
                    },
                )  # fmt: skip
        final = best[1] if best else average
        with torch.no_grad():
            for parameter, value in zip(learned, final):
                parameter.copy_(value)
        if adapted:
            merge(self.model)
            self.bank.forget()
        return True

    def _keep_best(self, stage: StageRecipe, learned: list, average: list, best):
        """Measures the (averaged) weights on the held-out photos; the best so far stay."""
        now = [parameter.detach().clone() for parameter in learned]
        with torch.no_grad():
            for parameter, value in zip(learned, average):
                parameter.copy_(value)
            kept = [parameter.detach().clone() for parameter in learned]
        score = self._held_out_score(stage.name)
        with torch.no_grad():
            for parameter, value in zip(learned, now):
                parameter.copy_(value)
        return (score, kept) if best is None or score > best[0] else best

    def write(self, name: str) -> Path:
        """Calibrates on the held-out photos and writes the model folder."""
        settings = calibrate(self.model, self.bank, self.root, self.held_out, self.recipe.input_px)
        self.log({"folder": name, "calibration": dict(settings)})
        self.say(f"calibrated: {settings}")
        figures = next(reversed(self.figures.values()), {})
        card = dict(self.recipe.card)
        card["measured"] = measured_text(figures, self.recipe.input_px)
        settings |= {
            "name": name, "input_px": self.recipe.input_px, "context": self.recipe.context,
            "templates": list(self.recipe.templates), "card": card,
        }  # fmt: skip
        target = Path(self.recipe.output) / name
        write_folder(target, self.model, self.tokenizer, settings)
        self.say(f"wrote {target}")
        return target


def measured_text(figures: dict[str, dict], input_px: int) -> str:
    """The model card's figures."""
    if not figures:
        return "not measured"
    names = {
        "idx133": "COCO, all 133 names",
        "present": "COCO, only the classes present",
        "voc21": "VOC's 20 names with background",
        "camvid": "CamVid, 11 names",
        "ade150": "ADE20K, 150 names",
    }
    shown = [f"{names[key]}: {row['miou']:.1f} mIoU, {row['accuracy']:.1f} % of pixels" for key, row in figures.items()]
    return f"At {input_px} px short side, percent, on photos never trained on. " + "; ".join(shown) + "."
