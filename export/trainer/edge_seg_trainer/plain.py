"""A TTD step beside a plain loop of timm, transformers and peft: the same weights, pictures, captions and batch, step by step in turn. And shards
read by this loader beside webdataset's.

python -m edge_seg_trainer bench --plain [--batch 32] [--rounds 10] [--photos FOLDER]
python -m edge_seg_trainer bench --loader

Both read JPEGs, tokenise, encode pictures, captions and words, take TTD's two losses, and step AdamW over LoRA on both towers. The plain loop is
what one would write with the libraries at hand: Pillow, the tokenizer's own padding, `forward_features`, BertModel, peft's wrapper. At the first
step both have the same loss. Processor time is told beside the wall's: on a machine that others use it is the one that says something.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tarfile
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from . import ttd
from .adapters import inject
from .bench import SHAPES
from .data import DataError, split_words
from .kinds import make_stage
from .loader import Loader
from .loop import StageLoop
from .pairs import draws
from .recipe import StageRecipe, parse
from .stages import Context, TtdStage
from .towers import Model
from .train import Run, text_source

SUBJECTS = ("dog", "cat", "child", "woman", "horse", "boat", "car", "bird", "cup", "train")
PLACES = ("grass", "beach", "street", "kitchen", "river", "snow", "table", "field", "wall", "bridge")
TAPS = {"taps": ["final"], "hidden": 768}


def made_photos(folder: Path, count: int) -> None:
    """JPEGs of 500×375, smooth with noise, and a caption of five words beside each."""
    rng = np.random.default_rng(0)
    for n in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8)).resize((500, 375), Image.Resampling.BICUBIC)
        noise = rng.integers(-12, 12, (375, 500, 3))
        Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)).save(folder / f"{n:03d}.jpg", quality=90)
        words = [SUBJECTS[n % 10], PLACES[n // 3 % 10], SUBJECTS[(n * 7 + 3) % 10]]
        (folder / f"{n:03d}.txt").write_text(f"a {words[0]} on the {words[1]} beside a small {words[2]} in the evening")


class Plain:
    """The plain loop, over the same photos in the same order."""

    def __init__(self, run: Run, stage, text: Path):
        try:
            import timm
            from peft import LoraConfig, get_peft_model
            from transformers import AutoTokenizer, BertModel
        except ImportError as error:
            raise DataError(
                f"bench --plain needs the Python packages timm, transformers and peft, not all of which are there ({error})"
            ) from error
        self.stage = stage
        vit = timm.create_model("vit_tiny_patch16_224", num_classes=0)
        with np.load(run.root / run.recipe.backbone) as stored:
            vit.load_state_dict({name: torch.from_numpy(stored[name]) for name in stored.files})
        bert = BertModel.from_pretrained(text, add_pooling_layer=False, attn_implementation="sdpa")
        self.tokenizer = AutoTokenizer.from_pretrained(text)
        adapters = {"r": stage.lora_rank, "lora_alpha": stage.lora_alpha, "lora_dropout": stage.lora_dropout}
        self.vit = get_peft_model(
            vit, LoraConfig(target_modules=["qkv", "proj", "fc1", "fc2"], exclude_modules=["patch_embed.proj"], **adapters)
        )
        self.bert = get_peft_model(bert, LoraConfig(target_modules=["query", "key", "value", "dense"], **adapters))
        # The head is the recipe's: neither library has one.
        self.head = torch.nn.Sequential(*(torch.nn.Linear(*size) for size in ((192, TAPS["hidden"]), (TAPS["hidden"], 384))))
        self.norm = torch.nn.LayerNorm(192, eps=1e-6)
        own = run.model.image.head
        for mine, theirs in ((self.head[0], own.fc1), (self.head[1], own.fc2), (self.norm, own.norms[0])):
            mine.load_state_dict(theirs.state_dict())
            mine.requires_grad_(False)
        self.scale = run.model.logit_scale.item()
        pre = run.model.preprocess
        self.mean, self.std = (np.array(part, np.float32)[:, None, None] for part in (pre.mean, pre.std))
        self.learned = [parameter for model in (self.vit, self.bert) for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.learned, lr=stage.rate, betas=(stage.beta1, stage.beta2), eps=stage.epsilon, weight_decay=0.0
        )
        self.autocast = run.around.autocast

    def text(self, texts: list[str]) -> torch.Tensor:
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")
        found = self.bert(**tokens).last_hidden_state.float()
        mask = tokens["attention_mask"][..., None]
        return F.normalize((found * mask).sum(1) / mask.sum(1), dim=-1)

    def step(self, paths: list[Path], captions: list[str], flips: np.ndarray) -> float:
        side = self.stage.side_px
        pictures = []
        for path, flip in zip(paths, flips):
            image = Image.open(path).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image
            pictures.append((np.asarray(image, np.float32).transpose(2, 0, 1) / 255 - self.mean) / self.std)
        pixels = torch.from_numpy(np.stack(pictures))
        tags = [split_words(caption) for caption in captions]
        distinct = sorted({tag for some in tags for tag in some})
        self.optimizer.zero_grad()
        with self.autocast():
            patches = self.vit.base_model.model.forward_features(pixels)[:, 1:]
            patches = self.head[1](F.gelu(self.head[0](self.norm(patches))))
            caption, words = self.text(captions), self.text(distinct)
        patches = F.normalize(patches.float(), dim=-1)
        longest = max(map(len, tags))
        index = torch.tensor([[distinct.index(tag) for tag in some] + [0] * (longest - len(some)) for some in tags])
        real = torch.tensor([[True] * len(some) + [False] * (longest - len(some)) for some in tags])
        with torch.no_grad():
            selected = ttd.select(ttd.pixel_scores(patches, words[index], real, self.scale), real, self.stage.threshold)
        distill, tag = ttd.losses(patches, caption, words[index], real, selected)
        loss = distill + tag
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learned, self.stage.clip)
        self.optimizer.step()
        return loss.item()


def same_batch(source: TtdStage, step: int) -> tuple[list[Path], list[str], np.ndarray]:
    """What the stage draws for a step: files, captions, which are mirrored."""
    rng = draws(source.around.seed, source.stage.name, step)
    (photos,) = source.photos
    chosen = [photos.captioned.pairs[photos.rows[place]] for _, place in source._rows(step, rng)]
    rng.random(len(chosen))
    return [pair.path for pair in chosen], [pair.captions[0] for pair in chosen], rng.random(len(chosen)) < 0.5


def recipe_of(place: Path, photos: str, batch: int, steps: int, threads: int, precision: str):
    """A TTD stage on a random ViT-Tiny and the published MiniLM."""
    return parse(
        {
            "name": "bench", "data": str(place), "work": str(place / "work"), "output": str(place / "models"), "backbone": "vit.npz", "calibrate": True,
            "final_report": [], "held_out": str(place / "none.txt"), "threads": threads, "precision": precision, "device": "cpu", "save_every": steps + 1, "head": TAPS,
            "card": {"title": "bench", "licence": "none", "training_data": "none", "limits": "none"},
            "stage": [{"name": "ttd", "kind": "ttd", "learns": "lora", "pairs": [photos], "steps": steps, "batch": batch, "warmup": 0.0, "rate": 1e-4}],
        },
        "bench",
    )  # fmt: skip


def compared(place: Path, photos: str, batch: int, rounds: int, threads: int, precision: str) -> dict:
    """Medians over the rounds, and the ratio round by round; two more warm up."""
    try:
        import timm
    except ImportError as error:
        raise DataError(f"bench --plain needs the Python package timm, which is not there ({error})") from error
    torch.manual_seed(0)
    state = timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict()
    np.savez(place / "vit.npz", **{name: value.numpy() for name, value in state.items()})
    (place / "none.txt").write_text("")
    recipe = recipe_of(place, photos, batch, rounds + 2, threads, precision)
    stage = recipe.stages[0]
    run = Run(recipe, Path(), lambda text: None)
    plain = Plain(run, stage, text_source(recipe.text))
    source = make_stage(stage, run.around)
    inject(run.model, stage)
    loop = StageLoop(run, 0, stage, source)
    loader = Loader(source, 0, 0)
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "plain": []}
    first: dict[str, float] = {}
    for step in range(rounds + 2):
        drawn = same_batch(source, step)
        run.model.train()
        for name, call in (
            ("ours", lambda: loop._step(step, loader)[0]),
            ("plain", lambda: plain.step(*drawn)),
        ):
            began = time.perf_counter(), time.process_time()
            loss = call()
            first.setdefault(name, loss)
            found[name].append((time.perf_counter() - began[0], time.process_time() - began[1]))
    rows = {name: each[2:] for name, each in found.items()}
    return {
        "batch": batch,
        "first_loss": first,
        **{
            f"{name}_{kind}_s": statistics.median(row[at] for row in rows[name])
            for name in rows
            for at, kind in enumerate(("wall", "processor"))
        },
        "ratio_wall": statistics.median(a[0] / b[0] for a, b in zip(rows["ours"], rows["plain"])),
        "ratio_processor": statistics.median(a[1] / b[1] for a, b in zip(rows["ours"], rows["plain"])),
    }


def made_shard(path: Path, count: int, side: int) -> None:
    """A shard of square JPEGs as img2dataset writes them."""
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as archive:
        for n in range(count):
            coarse = Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
            held = io.BytesIO()
            Image.fromarray(np.clip(np.asarray(coarse) + rng.integers(-12, 12, (side, side, 3)), 0, 255).astype(np.uint8)).save(
                held, "JPEG", quality=90
            )
            caption = f"a {SUBJECTS[n % 10]} on the {PLACES[n // 3 % 10]}"
            parts = {"jpg": held.getvalue(), "txt": caption.encode(), "json": json.dumps({"caption": caption, "key": f"{n:09d}"}).encode()}
            for end, content in parts.items():
                entry = tarfile.TarInfo(f"{n:09d}.{end}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


def webdataset_batches(path: Path, side: int, batch: int, draft: bool):
    """Endless batches of webdataset, of pictures [batch, 3, side, side] u8 and captions; `draft` decodes JPEGs no larger than is needed."""
    try:
        import webdataset
    except ImportError as error:
        raise DataError(f"bench --loader needs the Python package webdataset, which is not there ({error})") from error

    def decoded(key: str, data: bytes):
        if key.rpartition(".")[2] not in ("jpg", "jpeg", "png"):
            return None
        image = Image.open(io.BytesIO(data))
        if draft:
            image.draft("RGB", (side, side))
        return image.convert("RGB")

    def sized(sample: tuple) -> tuple:
        return np.asarray(sample[0].resize((side, side), Image.Resampling.BICUBIC)), sample[1]

    read = (
        webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False)
        .shuffle(64)
        .decode(decoded)
        .to_tuple("jpg", "txt")
        .map(sized)
        .repeat()
    )
    pictures, captions = [], []
    for picture, caption in read:
        pictures.append(picture)
        captions.append(caption)
        if len(captions) == batch:
            yield torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2), captions
            pictures, captions = [], []


def loaders(place: Path, stored: int, side: int, batch: int, rounds: int) -> dict:
    """Processor milliseconds a picture: this loader, webdataset's as it is, webdataset's with draft; batch by batch in turn, medians."""
    made_shard(place / "0.tar", 4 * batch, stored)
    stage = StageRecipe(
        name="ttd", kind="ttd", pairs=("shards:0.tar",), learns="lora", steps=rounds + 2, batch=batch, side_px=side, shuffle=64
    )
    own = Loader(TtdStage(stage, Context(Model(*SHAPES["tiny"], 100.0, None), None, place, place, 0)), 0, 0)
    calls = {"ours": own.next}
    for name, draft in (("webdataset", False), ("webdataset_draft", True)):
        calls[name] = partial(next, webdataset_batches(place / "0.tar", side, batch, draft))
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 2):
        for name, call in calls.items():
            began = time.process_time()
            call()
            found[name].append(1000 * (time.process_time() - began) / batch)
    each = {name: statistics.median(times[2:]) for name, times in found.items()}
    return {
        "stored_px": stored,
        "side_px": side,
        "ms_a_picture": each,
        "faster_than": {name: each[name] / each["ours"] for name in each if name != "ours"},
    }


def main(given: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if given.loader:
            torch.set_num_threads(given.threads)
            print(json.dumps([loaders(place, stored, 224, given.batch, given.rounds) for stored in (256, 512)], indent=2))
            return 0
        if given.photos:
            photos = f"folder:{given.photos.absolute()}"
        else:
            (place / "photos").mkdir()
            made_photos(place / "photos", 2 * given.batch)
            photos = "folder:photos"
        print(json.dumps(compared(place, photos, given.batch, given.rounds, given.threads, given.precision), indent=2))
    return 0
