"""Writes and reads model folders (docs/model-folder.md)."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from .config import HeadConfig, ImageConfig, TextConfig, TowerError
from .towers import Model, Preprocess, with_head


class FolderError(ValueError):
    """A model folder that breaks the contract."""


KEYS = (
    "image", "text", "embedding_dim", "context", "pad_token", "preprocess", "logit_scale", "logit_bias", "templates", "background",
    "tag_threshold",
)  # fmt: skip


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def config_of(model: Model, settings: dict) -> dict:
    """The config.json of a model; `settings` holds what the weights do not know (name, templates, card, ...)."""
    pre = model.preprocess
    return {
        "format": 1,
        "name": settings["name"],
        "image": model.image.config.as_folder(),
        "text": model.text.config.as_folder(),
        "embedding_dim": model.image.config.embedding_dim,
        "context": settings.get("context", 64),
        "pad_token": settings.get("pad_token", 0),
        "preprocess": {
            "mean": list(pre.mean),
            "std": list(pre.std),
            "interpolation": pre.interpolation,
            "input_px": settings["input_px"],
            "fit": pre.fit,
        },
        "logit_scale": round(settings["logit_scale"], 6),
        "logit_bias": None if settings["logit_bias"] is None else round(settings["logit_bias"], 6),
        "templates": settings.get("templates", ["{}"]),
        "background": settings["background"],
        "tag_threshold": settings["tag_threshold"],
        "card": settings["card"],
    }


def weights_of(model: Model) -> dict[str, torch.Tensor]:
    """Every weight of both towers, float32, contiguous, under the contract's names."""
    return {
        name: value.detach().float().cpu().contiguous().clone()
        for name, value in model.state_dict().items()
        if name.startswith(("image.", "text."))
    }


def write_folder(target: Path, model: Model, tokenizer: Path, settings: dict, extra: dict[str, bytes] | None = None) -> None:
    """Writes the folder whole or not at all: beside the target first, synced, then renamed over it."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        _fill(fresh, model, tokenizer, settings, extra or {})
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise FolderError(f"{target}: cannot be written: {error.strerror or error}; make room, and the same command goes on there") from error
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    if target.exists():
        os.rename(target, old)
    os.rename(fresh, target)
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _fill(fresh: Path, model: Model, tokenizer: Path, settings: dict, extra: dict[str, bytes]) -> None:
    fresh.mkdir()
    try:
        save_file(weights_of(model), fresh / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from error
    os.chmod(fresh / "model.safetensors", 0o644)
    (fresh / "config.json").write_text(json.dumps(config_of(model, settings), indent=2, ensure_ascii=False) + "\n")
    shutil.copyfile(tokenizer, fresh / "tokenizer.json")
    for name, content in extra.items():
        (fresh / name).write_bytes(content)
    for path in (*fresh.iterdir(), fresh):
        _sync(path)


def recover(target: Path) -> None:
    """Puts back the folder that a killed run had moved away to write the next one, and removes what it left beside."""
    for old in sorted(target.parent.glob(f".{target.name}.*.old")):
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)
    for fresh in target.parent.glob(f".{target.name}.*.new"):
        shutil.rmtree(fresh, ignore_errors=True)


def _elsewhere(folder: Path) -> str:
    """A word where the same path, taken from the current folder, would be there: recipes' paths are taken from their own folder."""
    for start in range(1, len(folder.parts)):
        other = Path(*folder.parts[start:])
        if len(other.parts) > 1 and (other / "config.json").is_file():
            return f"; a recipe's paths are taken from its own folder, and {other} lies in the current one: {other.absolute()}"
    return ""


def read_folder(folder: Path, head: HeadConfig | None = None) -> tuple[Model, dict]:
    """Loads a model folder; returns model and config. `head` takes the place of the folder's own where both use the same weights."""
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text())
    except FileNotFoundError as error:
        raise FolderError(f"{folder}: expected a model folder with config.json{_elsewhere(folder)}") from error
    except (OSError, ValueError) as error:
        raise FolderError(f"{folder / 'config.json'}: expected JSON, found {error}") from error
    if lacking := [name for name in KEYS if not isinstance(config, dict) or name not in config]:
        raise FolderError(f"{folder / 'config.json'}: expected the keys of docs/model-folder.md, found none of the name {', '.join(lacking)}")
    try:
        image = ImageConfig.from_folder(config["image"], config["embedding_dim"])
        text = TextConfig(**config["text"])
        given = config["preprocess"]
        pre = Preprocess(**given | {"mean": tuple(given["mean"]), "std": tuple(given["std"])})
        model = Model(
            with_head(image, head) if head else image, text, config["logit_scale"], config["logit_bias"], pre,
            config["context"], config["pad_token"],
        )  # fmt: skip
    except (KeyError, TypeError, TowerError) as error:
        raise FolderError(f"{folder / 'config.json'}: {error}") from error
    try:
        weights = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
    except (OSError, SafetensorError) as error:
        raise FolderError(f"{folder / 'model.safetensors'}: expected the model's weights, found {error}") from error
    own = weights_of(model)
    if set(own) != set(weights):
        raise FolderError(f"{folder}: missing {sorted(set(own) - set(weights))[:5]}, unused {sorted(set(weights) - set(own))[:5]}")
    wrong = [
        f"{name}: expected {tuple(own[name].shape)}, found {tuple(weights[name].shape)}"
        for name in own
        if own[name].shape != weights[name].shape
    ]
    if wrong:
        raise FolderError(f"{folder}: {wrong[:5]}")
    model.load_state_dict(weights, strict=False)
    return model, config
