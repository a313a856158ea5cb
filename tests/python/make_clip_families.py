"""Writes one small random CLIP as open_clip, OpenAI, TinyCLIP and TCL publish theirs, and what the reference implementations make of it.

usage: make_clip_families.py tests/data/clip-families

Reference: open_clip's model, tokenizer (OpenAI's) and transform, and transformers' image processor; TCL's masker is written out below with
PyTorch's own attention under a diagonal mask, as its authors describe it. The committed files were made with open_clip_torch 3.3.0, omegaconf 2,
transformers 5.23.0, torch 2.15.0, pillow 13.0.0.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import open_clip
import torch
from omegaconf import OmegaConf
from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode
from open_clip.transform import image_transform
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from transformers import CLIPImageProcessor

SIDE, PATCH, CONTEXT, WIDTH, OUT = 32, 8, 16, 32, 16
CORPUS = "a photo of a dog on wet grass a photo of the snow and the road the dogs run on the road in the snow itap of a tree"
TEXTS = ["a photo of a dog.", "Wet  GRASS & snow", "Straße, 3 dogs' run", "the tree's road\n!?"]


def learn_merges(corpus, count):
    """Byte-pair encoding, most frequent pair first."""
    letters = bytes_to_unicode()
    words = Counter(tuple([*(letters[b] for b in word.encode())][:-1] + [letters[word.encode()[-1]] + "</w>"]) for word in corpus.split())
    merges = []
    for _ in range(count):
        pairs = Counter()
        for word, times in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += times
        if not pairs:
            break
        best = max(sorted(pairs), key=pairs.get)
        merges.append(best)
        joined = Counter()
        for word, times in words.items():
            parts, at = [], 0
            while at < len(word):
                if word[at : at + 2] == best:
                    parts.append("".join(best))
                    at += 2
                else:
                    parts.append(word[at])
                    at += 1
            joined[tuple(parts)] += times
        words = joined
    return merges


def stream_before_last(visual, pixels):
    """What enters the last block, [1, 1 + patches, width]."""
    x = visual.conv1(pixels).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], 1) + visual.positional_embedding
    x = visual.ln_pre(x)
    for block in visual.transformer.resblocks[:-1]:
        x = block(x)
    return x


def self_alone(block, x):
    """A block whose tokens attend to themselves alone: its attention, before residual and MLP."""
    tokens = x.shape[1]
    mask = torch.full((tokens, tokens), float("-inf")).fill_diagonal_(0)
    y = block.ln_1(x)
    return block.attn(y, y, y, need_weights=False, attn_mask=mask)[0]


class Conv(nn.Module):
    """One of TCL's gated convolutions, with the names of its parameters."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.gate = nn.Module()
        self.gate.gate = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        y = self.conv(F.gelu(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)))
        return x + torch.tanh(self.gate.gate) * y


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.conv2 = Conv(), Conv()

    def forward(self, x):
        return self.conv2(self.conv(F.interpolate(x, scale_factor=2)))


def tcl_state(model, block, layers, image_ln, image_proj):
    """The state dict that TCL's training script stores under `model`."""
    state = {}
    for name, value in model.state_dict().items():
        if name == "logit_scale" or "attn_mask" in name:
            continue
        if name.startswith("visual.ln_post."):
            state[f"clip_image_encoder.clip_proj.ln.{name.removeprefix('visual.ln_post.')}"] = value
        elif name == "visual.proj":
            state["clip_image_encoder.clip_proj.proj"] = value
        elif name.startswith("visual."):
            state[f"clip_image_encoder.clip_visual.{name.removeprefix('visual.')}"] = value
        else:
            state[f"clip_text_encoder.{name}"] = value
    stem = "masker.image_encoder"
    state |= {f"{stem}.backbone.transformer.resblocks.0.{name}": value for name, value in block.state_dict().items()}
    for n, layer in enumerate(layers):
        state |= {f"{stem}.decoder.decoder.net.{n}.{name}": value for name, value in layer.state_dict().items()}
    state |= {f"{stem}.decoder.image_proj.ln.{name}": value for name, value in image_ln.state_dict().items()}
    state[f"{stem}.decoder.image_proj.proj"] = image_proj
    return state | {"masker.sim2mask.w": torch.tensor(11.5), "masker.sim2mask.b": torch.tensor(-2.25)}


@torch.no_grad()
def main(folder):
    folder = Path(folder)
    (folder / "open_clip").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    merges = learn_merges(CORPUS, 40)
    vocabulary = folder / "bpe.txt"
    vocabulary.write_text('"bpe_simple_vocab_tiny.txt#version: 0.2\n' + "\n".join(" ".join(pair) for pair in merges))  # open_clip takes an end of line for one merge more
    import gzip

    packed = folder / ".bpe.txt.gz"
    packed.write_bytes(gzip.compress(vocabulary.read_bytes()))
    tokenizer = SimpleTokenizer(str(packed), context_length=CONTEXT)
    packed.unlink()

    config = {
        "embed_dim": OUT, "quick_gelu": True,
        "vision_cfg": {"image_size": SIDE, "layers": 2, "width": WIDTH, "patch_size": PATCH, "head_width": 16},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": tokenizer.vocab_size, "width": 16, "heads": 1, "layers": 2},
    }  # fmt: skip
    model = open_clip.CLIP(OUT, config["vision_cfg"], config["text_cfg"], quick_gelu=True).eval()
    for parameter in model.parameters():
        parameter.add_(0.15 * torch.randn_like(parameter))
    model.logit_scale.fill_(4.6052)
    state = {name: value.half().contiguous() for name, value in model.state_dict().items() if "attn_mask" not in name}
    model.load_state_dict({name: value.float() for name, value in state.items()}, strict=False)
    save_file(state, folder / "open_clip/open_clip_model.safetensors")
    pre = {"mean": list(open_clip.OPENAI_DATASET_MEAN), "std": list(open_clip.OPENAI_DATASET_STD), "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip/open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": pre}, indent=2) + "\n")
    sizes = {"input_resolution": torch.tensor(SIDE), "context_length": torch.tensor(CONTEXT), "vocab_size": torch.tensor(tokenizer.vocab_size)}
    torch.save(state | sizes, folder / "openai.pt")
    wrapped = {f"module.{'_image_encoder' if n.startswith('visual') else '_logit_scale' if n == 'logit_scale' else '_text_encoder'}.{n}": v for n, v in state.items()}
    torch.save({"epoch": 3, "name": "tiny", "state_dict": wrapped}, folder / "tinyclip.pt")

    block = open_clip.transformer.ResidualAttentionBlock(WIDTH, 2, 4.0, act_layer=open_clip.transformer.QuickGELU).eval()
    layers = nn.ModuleList([Layer(), Layer()]).eval()
    image_ln, image_proj = nn.LayerNorm(WIDTH), torch.randn(WIDTH, OUT) * 0.2
    for parameter in (*block.parameters(), *layers.parameters(), *image_ln.parameters()):
        parameter.copy_((parameter + 0.1 * torch.randn_like(parameter)).half().float())
    image_proj = image_proj.half().float()
    whole = tcl_state(model, block, layers, image_ln, image_proj)
    step = {"model": {name: value.half() for name, value in whole.items()}, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}, "step": 80000}
    # Its training script stores its settings as an object of omegaconf.
    step["config"] = OmegaConf.create({"model": {"type": "TCL", "ie_freeze": 11}, "train": {"base_lr": 3e-4, "ust": True}, "data": ["gcc3m"]})
    torch.save(step, folder / "tcl.pth")
    lean = {name: value for name, value in step["model"].items() if not name.startswith("clip_")}
    torch.save({"model": lean}, folder / "tcl-without-clip.pth")

    rng = np.random.default_rng(3)
    small = Image.fromarray(rng.integers(0, 256, (7, 7, 3), np.uint8)).resize((48, 48), Image.Resampling.BICUBIC)
    small.save(folder / "picture.png")
    pixels = image_transform(SIDE, is_train=False)(small)[None]
    processor = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    of_transformers = torch.from_numpy(np.asarray(processor(small, return_tensors="np")["pixel_values"]))

    stream = stream_before_last(model.visual, pixels)
    last = model.visual.transformer.resblocks[-1]
    dense = model.visual.ln_post(self_alone(last, stream)[:, 1:]) @ model.visual.proj
    y = stream + self_alone(block, stream)
    y = (y + block.mlp(block.ln_2(y)))[:, 1:]
    grid = SIDE // PATCH
    y = y.transpose(1, 2).reshape(1, WIDTH, grid, grid)
    for layer in layers:
        y = layer(y)
    fine = F.normalize(image_ln(y.permute(0, 2, 3, 1)) @ image_proj, dim=-1)
    coarse = fine.view(1, grid, 4, grid, 4, OUT).mean((2, 4)).reshape(1, grid * grid, OUT)
    ids = tokenizer(TEXTS)
    image, text = model.encode_image(pixels), model.encode_text(ids)
    logits = model.logit_scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    golden = {
        f"{SIDE}x{SIDE}.pixels": pixels, "transformers.pixels": of_transformers, "ids": ids, "text": text, "logits": logits,
        f"{SIDE}x{SIDE}.global": image, f"{SIDE}x{SIDE}.patches": dense, f"tcl.{SIDE}x{SIDE}.patches": coarse,
    }  # fmt: skip
    save_file({name: value.contiguous() for name, value in golden.items()}, folder / "golden.safetensors", metadata={"texts": json.dumps(TEXTS)})


if __name__ == "__main__":
    main(*sys.argv[1:])
