"""Images per second of a TTD step beside open_clip's own training step: the same shapes, batch and machine, turn about in one run.

python -m edge_seg_trainer bench [--model ViT-B-16] [--batch 256] [--rounds 20] [--pairs SET...] [--workers 8]

Random weights. open_clip's step is its ClipLoss over images and captions with every weight learning, as its training script has it; the TTD
step encodes the captions' distinct words as well and learns through LoRA. Both run under bfloat16 autocast with AdamW. `--pairs` also times
what the loader gives of real pairs, so that one sees how many workers keep the step fed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from . import parallel, ttd
from .adapters import inject
from .data import DataError, data_root
from .loader import Loader
from .pairs import SHARDS
from .recipe import StageRecipe
from .stages import Context, TtdStage
from .config import HeadConfig, ImageConfig, TextConfig
from .towers import Model

SHAPES = {
    "ViT-B-16": (ImageConfig(768, 12, 12, 3072, 16, (14, 14), 1e-5, False, True, "quick_gelu", HeadConfig("maskclip"), "class", 512),
                 TextConfig("clip", 512, 12, 8, 2048, 49408, 77, "quick_gelu", 1e-5, True)),
    "ViT-L-14": (ImageConfig(1024, 24, 16, 4096, 14, (16, 16), 1e-5, False, True, "quick_gelu", HeadConfig("maskclip"), "class", 768),
                 TextConfig("clip", 768, 12, 12, 3072, 49408, 77, "quick_gelu", 1e-5, True)),
    "tiny": (ImageConfig(64, 2, 2, 256, 16, (4, 4), 1e-5, False, True, "quick_gelu", HeadConfig("maskclip"), "class", 32),
             TextConfig("clip", 48, 2, 3, 192, 1000, 77, "quick_gelu", 1e-5, True)),
}  # fmt: skip
# bfloat16 peak without sparsity, in TFLOP/s, of the maker's data sheets.
PEAKS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L4": 121.0, "RTX 4090": 165.0}
TAGS = 6  # words of a caption
WORD_TOKENS, CAPTION_TOKENS = 4, 77


def transformer_flops(width: int, layers: int, mlp: int, tokens: int) -> float:
    """Of one sequence, forward: two for each weight and token, and the two products of attention."""
    return layers * (2 * tokens * (4 * width * width + 2 * width * mlp) + 4 * tokens * tokens * width)


def encoder_flops(image: ImageConfig, text: TextConfig, batch: int, captions: int, words: int, backward: float) -> float:
    """Of a step: `backward` is what the gradient costs in forwards, 2 with every weight learning, 1 with LoRA's frozen ones."""
    tokens = 1 + image.grid[0] * image.grid[1]
    of_image = transformer_flops(image.width, image.layers, image.mlp_width, tokens)
    of_caption = transformer_flops(text.width, text.layers, text.mlp_width, CAPTION_TOKENS)
    of_word = transformer_flops(text.width, text.layers, text.mlp_width, WORD_TOKENS)
    return (1 + backward) * (batch * of_image + captions * of_caption + words * of_word)


class Open:
    """open_clip's step."""

    def __init__(self, image: ImageConfig, text: TextConfig, device: torch.device, batch: int):
        try:
            import open_clip
        except ImportError as error:
            raise DataError(f"bench needs the Python package open_clip_torch, which is not there ({error})") from error
        vision = {
            "image_size": image.grid[0] * image.patch_px, "layers": image.layers, "width": image.width, "patch_size": image.patch_px,
            "head_width": image.width // image.heads,
        }  # fmt: skip
        words = {"context_length": text.positions, "vocab_size": text.vocab, "width": text.width, "heads": text.heads, "layers": text.layers}
        self.model = open_clip.CLIP(image.embedding_dim, vision, words, quick_gelu=True).to(device).train()
        self.loss = open_clip.ClipLoss()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=device.type == "cuda")
        self.pixels = torch.randn(batch, 3, vision["image_size"], vision["image_size"], device=device)
        self.ids = torch.randint(1, text.vocab, (batch, text.positions), device=device)
        self.device = device

    def step(self) -> None:
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16):
            image, text, scale = self.model(self.pixels, self.ids)
            loss = self.loss(image, text, scale)
        loss.backward()
        self.optimizer.step()


class Ttd:
    """This trainer's step, from pixels and token ids on."""

    def __init__(self, image: ImageConfig, text: TextConfig, device: torch.device, batch: int, words: int, compiled: bool, recompute: bool):
        self.model = Model(image, text, 100.0, None)
        inject(self.model, StageRecipe(name="ttd", kind="ttd", learns="lora", steps=1))
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_("lora_" in name)
        self.model.to(device).train()
        self.model.recompute(recompute)
        if compiled:
            self.model.compile_blocks()
        learned = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(learned, lr=1e-4, foreach=True)
        side = image.grid[0] * image.patch_px
        self.pixels = torch.randn(batch, 3, side, side, device=device)
        self.captions = torch.randint(1, text.vocab, (batch, CAPTION_TOKENS), device=device)
        self.words = torch.randint(1, text.vocab, (words, WORD_TOKENS), device=device)
        self.index = torch.from_numpy(np.random.default_rng(0).integers(0, words, (batch, TAGS))).to(device)
        self.device = device

    def step(self) -> None:
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16):
            patches = self.model.image(self.pixels)
            caption = self.model.text(self.captions, torch.ones_like(self.captions))
            words = self.model.text(self.words, torch.ones_like(self.words))
        patches, caption, words = (F.normalize(part.float(), dim=-1) for part in (patches, caption, words))
        tags = words[self.index]
        real = torch.ones(self.index.shape, dtype=torch.bool, device=self.device)
        with torch.no_grad():
            selected = ttd.select(ttd.pixel_scores(patches, tags, real, 100.0), real, 0.5)
        distill, tag = ttd.losses(patches, caption, tags, real, selected)
        (distill + tag).backward()
        self.optimizer.step()


def timed(step, device: torch.device) -> float:
    began = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def loaded(pairs: list[str], workers: int, batch: int, side: int, steps: int) -> float:
    """Images per second that a TTD stage's loader gives of these sets, where nothing is done with them."""
    stage = StageRecipe(name="ttd", kind="ttd", pairs=tuple(pairs), learns="lora", steps=1 + workers + steps, batch=batch, side_px=side)
    root = Path().absolute() if all(name.startswith(SHARDS) for name in pairs) else data_root(None)
    around = Context(Model(*SHAPES["tiny"], 100.0, None), None, root, Path(), 0)
    loader = Loader(TtdStage(stage, around), 0, workers)
    for _ in range(1 + workers):  # until every worker has begun
        loader.next()
    began = time.perf_counter()
    for _ in range(steps):
        loader.next()
    return steps * batch / (time.perf_counter() - began)


def run(name: str, batch: int, rounds: int, device: torch.device, compiled: bool = False, recompute: bool = False) -> dict:
    """Medians over the rounds; the first three of each are for warming up."""
    image, text = SHAPES[name]
    words = min(batch * TAGS, 3 * batch)  # words repeat within a batch
    ours, theirs = Ttd(image, text, device, batch, words, compiled, recompute), Open(image, text, device, batch)
    memory = {}
    if device.type == "cuda":
        for label, one in (("ttd", ours), ("open_clip", theirs)):
            torch.cuda.reset_peak_memory_stats()
            one.step()
            memory[label] = torch.cuda.max_memory_allocated() / 2**30
    for _ in range(3):
        timed(ours.step, device)
        timed(theirs.step, device)
    times = [(timed(ours.step, device), timed(theirs.step, device)) for _ in range(rounds)]
    of_ours, of_theirs = (statistics.median(column) for column in zip(*times))
    flops = encoder_flops(image, text, batch, batch, words, 1.0)
    machine = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    peak = next((value for known, value in PEAKS.items() if known in machine), None)
    return {
        "machine": machine,
        "model": name,
        "batch": batch,
        "distinct_words": words,
        "ttd_images_per_s": batch / of_ours,
        "open_clip_images_per_s": batch / of_theirs,
        "ratio": statistics.median(theirs / ours for ours, theirs in times),
        "encoder_tflops_per_s": flops / of_ours / 1e12,
        "share_of_peak": flops / of_ours / 1e12 / peak if peak else None,
        "peak_memory_gib": memory or None,
        "compiled": compiled,
        "recompute": recompute,
    }


def main(arguments: argparse.Namespace, say) -> int:
    device = parallel.start(arguments.device)
    say(f"{arguments.model}, batch {arguments.batch}, on {device}")
    found = run(arguments.model, arguments.batch, arguments.rounds, device, arguments.compile, arguments.recompute)
    if arguments.pairs:
        image, _ = SHAPES[arguments.model]
        side = image.grid[0] * image.patch_px
        steps = max(arguments.rounds, 4 * arguments.workers)
        found["loader_workers"] = arguments.workers
        found["loader_images_per_s"] = loaded(arguments.pairs, arguments.workers, arguments.batch, side, steps)
    if device.type == "cpu":
        say("no GPU: what a GPU does is not measured")
    print(json.dumps(found, indent=2))
    return 0
