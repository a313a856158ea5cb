"""Follows one stage: its optimizer, its steps, what is kept of them."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from . import parallel, stop
from .kinds import make_stage
from .lamb import Lamb
from .loader import Loader
from .progress import Pace, Progress
from .recipe import StageRecipe
from .schema import RecipeError
from .stages import Part, Stage
from .towers import Model


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
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            learn(parameter, stage.text_rate or 1.0, False)
    if stage.learns != "lora":
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
            entry = [*image.stem.parameters(), *image.patch.parameters(), image.class_token, image.registers, image.positions]
            for parameter in entry + (list(image.ln_pre.parameters()) if image.config.pre_norm else []):
                if parameter is not None:
                    learn(parameter, stage.layer_decay ** (depth + 1), False)
    return [{"params": members, "share": share, "decays": decays} for (share, decays), members in groups.items()]


def rate_at(step: int, stage: StageRecipe) -> float:
    """Linear warm-up, then cosine, or constant, or constant and at last as a power of what is left."""
    ramp = max(1, round(stage.warmup * stage.steps))
    if step < ramp:
        return stage.rate * (step + 1) / ramp
    if stage.schedule == "cosine":
        share = (1 + math.cos(math.pi * (step - ramp) / max(1, stage.steps - ramp))) / 2
    else:
        fall = round(stage.cooldown * stage.steps) if stage.schedule == "constant-cooldown" else 0
        share = min(1.0, (stage.steps - step) / (fall + 1)) ** stage.cooldown_power
    return stage.rate * (stage.final_rate + (1 - stage.final_rate) * share)


def optimizer_of(stage: StageRecipe, groups: list[dict]) -> torch.optim.Optimizer:
    """The recipe's optimizer over parameter groups that hold their own weight decay."""
    if stage.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=stage.rate, momentum=stage.beta1, nesterov=stage.beta1 > 0, foreach=True)
    betas = (stage.beta1, stage.beta2)
    if stage.optimizer == "lamb":
        return Lamb(groups, lr=stage.rate, betas=betas, eps=stage.epsilon)
    return torch.optim.AdamW(groups, lr=stage.rate, betas=betas, eps=stage.epsilon, foreach=True)


class Wrapped(nn.Module):
    """A stage as a module whose forward gives the loss: what DistributedDataParallel can watch."""

    def __init__(self, model: Model, stage: Stage):
        super().__init__()
        self.model = model
        self.own = nn.ParameterList(stage.own_parameters())
        self._loss = stage.loss

    def forward(self, batch: dict) -> tuple[Tensor, dict[str, float]]:
        return self._loss(batch)


class StageLoop:
    """The steps of one stage, from the first or from a checkpoint's state on."""

    def __init__(self, run, number: int, stage: StageRecipe, source: Stage):
        self.run, self.number, self.stage, self.source = run, number, stage, source
        self.model: Model = run.model
        world = parallel.world()
        if stage.batch % (stage.accumulate * world):
            raise RecipeError(f"stage {stage.name}: batch {stage.batch} cannot be dealt to {world} ranks in {stage.accumulate} parts each")
        groups = learning(self.model, stage)
        self.own = source.own_parameters()
        groups += [{"params": self.own, "share": 1.0, "decays": False}] if self.own else []
        for group in groups:
            group["weight_decay"] = stage.weight_decay if group["decays"] else 0.0
        self.optimizer = optimizer_of(stage, groups)
        # Without f16 it multiplies by one.
        self.scaler = torch.amp.GradScaler(self.model.device.type, enabled=run.recipe.precision == "f16")
        self.learned = [parameter for group in groups for parameter in group["params"]]
        self.average = [parameter.detach().clone() for parameter in self.learned] if stage.ema else []
        self.best: tuple[float, list[Tensor]] | None = None
        self.stale = 0  # validations since the best
        source.averaged(self.learned, self.average)
        self.first = 0
        self.stopping = False  # a signal asks to end after the step
        self.places: dict[int, list[int]] = {}
        self.validation = None
        if stage.validate_every:
            told = replace(stage, pairs=stage.validation, prune=0.0, word_min_count=1, name=f"{stage.name}.validation")
            self.validation = make_stage(told, source.around, "val")
            # In the loop's own process, and the same batches every time.
            self.validation.open(parallel.rank(), world, [])
            part = Part(0, 0, 1, parallel.rank(), world)
            self.batches = [self.validation.load(part._replace(step=step)) for step in range(stage.validation_steps)]
        wrapped = Wrapped(self.model, source)
        if world > 1:
            ids = [self.model.device.index] if self.model.device.type == "cuda" else None
            wrapped = DistributedDataParallel(wrapped, device_ids=ids, find_unused_parameters=True)
        self.wrapped = wrapped

    def restore(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        device = self.model.device
        with torch.no_grad():
            for parameter, value in zip(self.own, state["own"]):
                parameter.copy_(value)
        self.average = [value.to(device) for value in state["average"]]
        self.source.averaged(self.learned, self.average)
        self.best = (state["best"][0], [value.to(device) for value in state["best"][1]]) if state["best"] else None
        self.first, self.stale, self.places = state["step"], state["stale"], state["places"]

    def state(self, step: int, before: dict) -> dict:
        """All that going on exactly needs. Random numbers are drawn from the step's number, so none are kept."""
        return {
            "stage": self.number, "step": step, "start": before, "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(), "own": [parameter.detach() for parameter in self.own],
            "average": self.average, "best": self.best, "stale": self.stale, "figures": self.run.figures,
            "to_blend": self.run.to_blend, "places": self.places,
        }  # fmt: skip

    def _step(self, step: int, loader: Loader) -> tuple[float, float, dict[str, float]]:
        """One step of the optimizer: mean loss, norm of the gradient, mean parts."""
        stage, micros = self.stage, self.stage.accumulate
        # Dropout must differ between the ranks and be the same after a resume.
        torch.manual_seed((((self.run.recipe.seed * 1000 + self.number) * 1_000_003 + step) * 4096 + parallel.rank()) % 2**63)
        self.optimizer.zero_grad()
        sums: dict[str, float] = {}
        for micro in range(micros):
            last = micro + 1 == micros
            if not last and isinstance(self.wrapped, DistributedDataParallel):
                with self.wrapped.no_sync():
                    loss, parts = self._part(loader, micros)
            else:
                loss, parts = self._part(loader, micros)
            for name, value in (parts | {"loss": loss}).items():
                sums[name] = sums.get(name, 0.0) + value / micros
        sums = parallel.mean(sums | {"stop": float(stop.asked())})
        self.stopping = stop.agreed(sums.pop("stop"))
        loss = sums.pop("loss")
        if not math.isfinite(loss):
            raise FloatingPointError(f"stage {stage.name}, step {step}: the loss is {loss}; lower `rate`")
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.learned, stage.clip).item()
        if not (math.isfinite(norm) or self.scaler.is_enabled()):
            raise FloatingPointError(f"stage {stage.name}, step {step}: the gradient's norm is {norm}; lower `rate`")
        self.scaler.step(self.optimizer)  # passes over a step whose gradient overflowed
        self.scaler.update()
        with torch.no_grad():
            if self.model.logit_scale.requires_grad:
                self.model.logit_scale.clamp_(1.0, 100.0)
            if self.average:
                keep = min(stage.ema, (1 + step) / (10 + step))
                torch._foreach_mul_(self.average, keep)
                torch._foreach_add_(self.average, [parameter.detach() for parameter in self.learned], alpha=1 - keep)
                self.source.averaged(self.learned, self.average)
        return loss, norm, sums

    def _part(self, loader: Loader, micros: int) -> tuple[float, dict[str, float]]:
        loss, parts = self.wrapped(loader.next())
        self.scaler.scale(loss / micros).backward()
        return loss.item(), parts

    def follow(self, before: dict, until: int | None) -> bool:
        """False if `until` stopped it."""
        stage, run = self.stage, self.run
        self.loader = loader = Loader(self.source, self.first, run.recipe.workers, self.places)
        progress = Progress(run.metrics_log, stage.name, stage.steps, self.first, run.recipe.log_every)
        pace = self.pace = Pace(stage.batch + stage.taught, stage.steps, self.model.device)
        told = self.source.listed.total()
        try:
            for step in range(self.first, stage.steps):
                if until is not None and step >= until:
                    return False
                self.model.train()
                rate = rate_at(step, stage)
                for group in self.optimizer.param_groups:
                    group["lr"] = rate * group["share"]
                with pace:
                    loss, norm, parts = self._step(step, loader)
                last = step + 1 == stage.steps
                due = step % run.recipe.log_every == 0 or last
                if due:
                    entry = {
                        "stage": stage.name,
                        "step": step,
                        "loss": loss,
                        "norm": norm if math.isfinite(norm) else None,
                        "rate": rate,
                        **parts,
                    }
                    run.metrics_log.log(entry | pace.figures(step + 1) | {"waited": loader.waited / max(pace.seconds, 1e-9)})
                    if (skipped := self.source.passed_over()).total() > 2 * told:
                        told = skipped.total()
                        run.say(f"{stage.name}: passed over {skipped.told()}")
                shown = " ".join(f"{name} {value:.3f}" for name, value in parts.items())
                progress.step(step, f"loss {loss:.3f} {shown} {pace.told(step + 1)}", due)
                if stage.evaluate_every and ((step + 1) % stage.evaluate_every == 0 or last):
                    self._evaluated(step, before)
                ended = stage.validate_every and ((step + 1) % stage.validate_every == 0 or last) and self._validated(step, before)
                if run.recipe.overlay_every and ((step + 1) % run.recipe.overlay_every == 0 or last):
                    run.draw(f"{stage.name}-{step + 1:06d}", step)
                if ended:
                    break
                stops = self.stopping and not last
                if ((step + 1) % run.recipe.save_every == 0 and not last) or stops:
                    self.places = parallel.joined(loader.places)
                    if parallel.rank() == 0:
                        run.save(self.state(step + 1, before), stage.name, step + 1)
                    parallel.barrier()
                if stops:
                    run.say(f"{stage.name}: stopped after step {step + 1} of {stage.steps}, kept in {run.checkpoints.last}")
                    return False
        finally:
            progress.close()
        final = self.best[1] if self.best else self.average
        with torch.no_grad():
            for parameter, value in zip(self.learned, final):
                parameter.copy_(value)
        return True

    def told(self) -> dict[str, float]:
        """The pace without its first step, and what the stage keeps of how many pictures."""
        cache = getattr(self.source, "cache", None)
        found = {"step_s": self.pace.steady(), "to_cache": self.source.to_cache}
        return found | ({"cache_s": cache.seconds_each, "cache_bytes": cache.bytes_each} if cache else {})

    def _copies(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.learned]

    def _evaluated(self, step: int, before: dict) -> None:
        """Measures the (averaged) weights on the held-out photos; the best so far stay."""
        now = self._copies()
        with torch.no_grad():
            for parameter, value in zip(self.learned, self.average):
                parameter.copy_(value)
            kept = self._copies()
        self.bank_forgets()
        score = self.run.held_out_score(self.stage.name)
        self.bank_forgets()
        with torch.no_grad():
            for parameter, value in zip(self.learned, now):
                parameter.copy_(value)
        if self.best is None or score > self.best[0]:
            self.best = score, kept
            self._keep_best(step, before)

    def _keep_best(self, step: int, before: dict) -> None:
        self.places = parallel.joined(self.loader.places)
        if parallel.rank() == 0:
            self.run.checkpoints.save_best(self.state(step + 1, before) | {"made_by": self.run.made_by}, self.stage.name)

    def _validated(self, step: int, before: dict) -> bool:
        """The mean loss of the validation batches; the state of the least stays. True if patience has run out."""
        self.model.eval()
        self.bank_forgets()
        losses = []
        with torch.no_grad():
            for batch in self.batches:
                losses.append(self.validation.loss(batch)[0].item())
        self.bank_forgets()
        self.model.train()
        loss = parallel.mean({"loss": sum(losses) / len(losses)})["loss"]
        gained = self.best is None or -loss > self.best[0]
        if gained:
            self.best = -loss, self._copies()
            self._keep_best(step, before)
        self.stale = 0 if gained else self.stale + 1
        self.run.metrics_log.log({"stage": self.stage.name, "step": step, "validation": loss})
        self.run.say(f"{self.stage.name} {step + 1}/{self.stage.steps} validation {loss:.4f}{' (best)' if gained else ''}")
        if self.stage.patience and self.stale >= self.stage.patience:
            self.run.say(f"{self.stage.name}: no gain in {self.stale} validations, ended")
            return True
        return False

    def bank_forgets(self) -> None:
        """Cached embeddings are of weights that have moved since, where the text tower learns."""
        if "text" in self.stage.adapted:
            self.source.bank.forget()
