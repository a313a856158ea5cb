"""Tiny random towers, and a tiny model folder with its reference outputs for tests in other languages.

python -m edge_seg_trainer.tiny FOLDER
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from .folder import write_folder
from .golden import golden
from .pretrained import bert_config, load_bert, load_timm_vit, vit_config
from .config import HeadConfig
from .towers import Model

SHADES = {"fire": (220, 60, 30), "sea": (30, 90, 220), "grass": (40, 180, 50), "snow": (240, 240, 245)}
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *SHADES, "a", "and", "the", "beside", "##s", "dog", "wet", ","]


def tiny_backbone(path: Path, width: int = 32, layers: int = 2, grid: int = 4, patch_px: int = 16) -> None:
    """A random ViT under timm's parameter names."""
    generator = np.random.default_rng(1)

    def random(*shape: int) -> np.ndarray:
        return (generator.standard_normal(shape) * 0.1).astype(np.float32)

    weights = {
        "cls_token": random(1, 1, width), "pos_embed": random(1, 1 + grid * grid, width),
        "patch_embed.proj.weight": random(width, 3, patch_px, patch_px), "patch_embed.proj.bias": random(width),
        "norm.weight": 1 + random(width), "norm.bias": random(width),
        "head.weight": random(10, width), "head.bias": random(10),
    }  # fmt: skip
    shapes = {"attn.qkv": (3 * width, width), "attn.proj": (width, width), "mlp.fc1": (2 * width, width), "mlp.fc2": (width, 2 * width)}
    for n in range(layers):
        for norm in ("norm1", "norm2"):
            weights |= {f"blocks.{n}.{norm}.weight": 1 + random(width), f"blocks.{n}.{norm}.bias": random(width)}
        for name, shape in shapes.items():
            weights |= {f"blocks.{n}.{name}.weight": random(*shape), f"blocks.{n}.{name}.bias": random(shape[0])}
    np.savez(path, **weights)


def tiny_text_folder(folder: Path, width: int = 32, layers: int = 1) -> None:
    """A random BERT as transformers saves it, with a WordPiece tokenizer of a few words."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "bert", "hidden_act": "gelu", "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": 2, "intermediate_size": 2 * width, "vocab_size": len(VOCABULARY),
        "max_position_embeddings": 40, "layer_norm_eps": 1e-12,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(2)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    weights = {
        "embeddings.word_embeddings.weight": random(len(VOCABULARY), width),
        "embeddings.position_embeddings.weight": random(40, width) * 0.1,
        "embeddings.token_type_embeddings.weight": random(2, width) * 0.1,
        "embeddings.LayerNorm.weight": 1 + random(width), "embeddings.LayerNorm.bias": random(width),
        "pooler.dense.weight": random(width, width), "pooler.dense.bias": random(width),
    }  # fmt: skip
    layer = {
        "attention.self.query": (width, width), "attention.self.key": (width, width), "attention.self.value": (width, width),
        "attention.output.dense": (width, width), "intermediate.dense": (2 * width, width), "output.dense": (width, 2 * width),
    }  # fmt: skip
    for n in range(layers):
        stem = f"encoder.layer.{n}."
        for name, shape in layer.items():
            weights |= {f"{stem}{name}.weight": random(*shape), f"{stem}{name}.bias": random(shape[0])}
        for norm in ("attention.output.LayerNorm", "output.LayerNorm"):
            weights |= {f"{stem}{norm}.weight": 1 + random(width), f"{stem}{norm}.bias": random(width)}
    save_file(weights, folder / "model.safetensors")
    tokenizer = Tokenizer(models.WordPiece({word: n for n, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def tiny_folder(target: Path) -> None:
    """A model folder of random weights that satisfies the contract, with golden.safetensors in it."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        tiny_backbone(place / "backbone.npz", patch_px=8)
        tiny_text_folder(place / "text")
        text = bert_config(place / "text" / "config.json")
        torch.manual_seed(3)
        image = vit_config(place / "backbone.npz", HeadConfig(taps=("block1", "value", "final"), hidden=24), text.width)
        model = Model(replace(image, heads=2), text)
        load_timm_vit(model.image, place / "backbone.npz")
        load_bert(model.text, place / "text" / "model.safetensors")
        settings = {
            "name": "tiny", "input_px": 32, "context": 24, "logit_scale": 20.0, "logit_bias": -6.0,
            "background": 0.5, "tag_threshold": 0.5,
            "card": {
                "title": "Random weights for tests", "licence": "Apache-2.0", "training_data": "none", "measured": "nothing",
                "limits": "its masks are noise",
            },
        }  # fmt: skip
        tokenizer = place / "text" / "tokenizer.json"
        write_folder(target, model, tokenizer, settings, {"golden.safetensors": golden(model, tokenizer, ((32, 32), (24, 40)))})


if __name__ == "__main__":
    tiny_folder(Path(sys.argv[1]))
