"""Writes small models with random weights as their own libraries write them, each with golden outputs of the library.

usage: make_checkpoints.py tests/data/checkpoints

Each folder NAME holds the published form and golden.safetensors: `pixels`, `ids` and `mask`, and for them `global`, `text` and `patches` (the
dense embeddings that the importer promises: the value path of the last block, or, where a learned query pools, the pooling attention's value
through all that follows it). The committed files were made with transformers 5.24.0, open_clip_torch 3.3.0, timm 1.0.31, peft 0.21.2,
torch 2.15.0, tokenizers 0.23.3, numpy 2.4.6.
"""

import argparse
import functools
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import peft
import timm
import torch
import transformers as tf
from open_clip.push_to_hf_hub import save_for_hf
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn import functional as F

SIDE, PATCH, CONTEXT, WIDTH, TEXT, OUT = 32, 8, 8, 16, 8, 8
WORDS = "<pad> </s> <unk> a photo of dog road snow tree".split()
TEXTS = ["a photo of a dog", "snow", "a tree of snow"]
os.environ["HF_HUB_OFFLINE"] = "1"


def shaken(model, by=0.15, only_trained=False):
    for p in model.parameters():
        if p.ndim and (p.requires_grad or not only_trained):
            p.data.add_(by * torch.randn_like(p))
    return model.eval()


def tokenizer(end="</s>"):
    words = WORDS if end == "</s>" else [w for w in WORDS if w != "</s>"] + [end]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.add_special_tokens(["<pad>", end, "<unk>"])
    inner.post_processor = processors.TemplateProcessing(single=f"$A {end}", special_tokens=[(end, words.index(end))])
    return tf.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token=end, unk_token="<unk>", model_max_length=CONTEXT)


def grey(kind=tf.CLIPImageProcessor):
    return kind(size={"shortest_edge": SIDE}, crop_size=SIDE, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def encoded(fast):
    return fast(TEXTS, padding="max_length", truncation=True, max_length=CONTEXT, return_tensors="pt")


def pieces(*marks):
    """SentencePiece's scored pieces: the marks first, words, then characters."""
    words = [f"▁{word}" for word in WORDS[3:] if word != "a"] + ["▁", "▁A", "▁Dog", "s", *"abcdefghijklmnopqrtuvwxyz", *"DANT'’\"&!-_ｘ", "'s", "’s"]
    return [(mark, 0.0) for mark in marks] + [(word, -1.0 - 0.5 * n) for n, word in enumerate(words)]


# What a person's keyboard, a web page and a label tool write.
TYPED = ["A photo of  a Dog!", "don’t", "tree's snow", "dog &amp; snow", "road_snow", "ｘ"]


def put(folder, tensors, texts=TEXTS):
    plain = {k: (v.detach().float() if v.is_floating_point() else v).contiguous().clone() for k, v in tensors.items()}
    save_file(plain, folder / "golden.safetensors", metadata={"texts": json.dumps(texts)})


def hf(kind="CLIP", text=(), vision=(), **rest):
    torch.manual_seed(5)
    both = {"num_hidden_layers": 2, "num_attention_heads": 2}
    text = both | {
        "vocab_size": len(WORDS), "hidden_size": TEXT, "intermediate_size": 16, "max_position_embeddings": CONTEXT,
        "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0,
    } | dict(text)  # fmt: skip
    vision = both | {"hidden_size": WIDTH, "intermediate_size": 32, "image_size": SIDE, "patch_size": PATCH} | dict(vision)
    return shaken(getattr(tf, kind + "Model")(getattr(tf, kind + "Config")(text_config=text, vision_config=vision, **rest)))


def seen(module, run):
    """What the module puts out during the run."""
    kept = []
    hook = module.register_forward_hook(lambda m, i, o: kept.append(o))
    run()
    hook.remove()
    return kept[0]


def pooled_patches(values, out, norm, mlp, projection=lambda x: x):
    hidden = out(values)
    return projection(hidden + mlp(norm(hidden)))


@torch.no_grad()
def hf_golden(model, fast, masked=True):
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    inputs = encoded(fast)
    mask = {"attention_mask": inputs.attention_mask} if masked else {}
    found = model(input_ids=inputs.input_ids, pixel_values=pixels, **mask)
    vision = model.vision_model
    if hasattr(vision, "head"):
        tokens, head = vision(pixel_values=pixels).last_hidden_state, vision.head
        width = tokens.shape[-1]
        values = F.linear(tokens, head.attention.in_proj_weight[2 * width :], head.attention.in_proj_bias[2 * width :])
        patches = pooled_patches(values, head.attention.out_proj, head.layernorm, head.mlp)
    elif hasattr(vision, "pre_layrnorm"):
        last = vision.encoder.layers[-1]
        values = last.self_attn.v_proj(seen(last.layer_norm1, lambda: vision(pixel_values=pixels)))
        patches = model.visual_projection(vision.post_layernorm(last.self_attn.out_proj(values)[:, 1:]))
    else:
        last = vision.encoder.layer[-1]
        values = last.attention.v_proj(seen(last.norm1, lambda: vision(pixel_values=pixels)))
        dense = last.layer_scale1(last.attention.o_proj(values))
        patches = vision.layernorm(dense)[:, 1 + model.config.vision_config.num_register_tokens :]
    outputs = {"global": found.image_embeds, "text": found.text_embeds, "patches": patches}
    return outputs | {"pixels": pixels, "ids": inputs.input_ids, "mask": inputs.attention_mask}


def write_hf(folder, model, whole=False, masked=True, **options):
    fast = tokenizer()
    model.save_pretrained(folder, **options)
    for part in [tf.CLIPProcessor(grey(), fast)] if whole else [grey(), fast]:
        part.save_pretrained(folder)
    put(folder, hf_golden(model, fast, masked))


# open_clip, with the towers that it takes from timm made small under their real names.
REGISTRY = timm.models._registry._model_entrypoints
VIT = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": 2, "num_heads": 2}
for name, sizes in {
    "vit_so400m_patch16_siglip_256": VIT | {"mlp_ratio": 2},
    "vit_pe_core_base_patch16_224": VIT | {"mlp_ratio": 2, "attn_pool_num_heads": 4, "attn_pool_mlp_ratio": 2.0, "ref_feat_shape": (4, 4)},
    "eva02_base_patch16_clip_224": VIT | {"mlp_ratio": 4 / 3},
}.items():  # fmt: skip
    REGISTRY[name] = functools.partial(REGISTRY[name], **sizes)


def small_mci(pretrained=False, **kwargs):
    """timm's vit_base_mci_224 with other numbers."""
    from timm.models import vision_transformer_hybrid as hybrid

    stem = hybrid.ConvStem(channels=(4, 4, WIDTH), stride=(2, 2, 2), kernel_size=(2, 2, 2), padding=0, act_layer=torch.nn.GELU)
    sizes = VIT | {"patch_size": 1, "no_embed_class": True, "mlp_ratio": 2}
    return hybrid._create_vision_transformer_hybrid("vit_base_mci_224", backbone=stem, embed_args={"proj": False}, **sizes | kwargs)


REGISTRY["vit_base_mci_224"] = small_mci


def oc_model(real, fast=None):
    torch.manual_seed(5)
    config = json.loads(json.dumps(open_clip.get_model_config(real)))
    fast = fast or tokenizer("</s>" if "hf_tokenizer_name" in config["text_cfg"] else "<end>")
    siglip, plain = "SigLIP" in real, "timm_model_name" not in config["vision_cfg"]
    config["embed_dim"] = WIDTH if siglip else OUT
    config["vision_cfg"] |= {"image_size": SIDE} | ({"layers": 2, "width": WIDTH, "patch_size": PATCH, "head_width": 8, "mlp_ratio": 2} if plain else {})
    config["text_cfg"] |= {"context_length": CONTEXT, "vocab_size": len(fast), "width": TEXT, "heads": 2, "layers": 2, "mlp_ratio": 2}
    build = dict(config)
    model = (open_clip.CustomTextCLIP if build.pop("custom_text", False) else open_clip.CLIP)(**build)
    model.visual.image_mean = model.visual.image_std = (0.5, 0.5, 0.5)
    model.visual.preprocess_cfg = {"interpolation": "bicubic", "resize_mode": "squash" if siglip else "shortest"}
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
    return shaken(model), config, fast


@torch.no_grad()
def oc_golden(model, inputs):
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    visual = model.visual
    if hasattr(visual, "trunk") and visual.trunk.attn_pool is None:
        trunk, last = visual.trunk, visual.trunk.blocks[-1]
        normed = seen(last.norm1, lambda: model.encode_image(pixels))[:, 1:]
        eva = hasattr(last.attn, "v_proj")
        values = last.attn.norm(last.attn.v_proj(normed)) if eva else last.attn.qkv(normed)[..., -WIDTH:]
        patches = trunk.head(trunk.norm(last.attn.proj(values)))
    elif hasattr(visual, "trunk"):
        trunk = visual.trunk
        tokens, pool = trunk.forward_features(pixels)[:, trunk.num_prefix_tokens :], trunk.attn_pool
        values = pool.kv(tokens)[..., tokens.shape[-1] :]
        patches = pooled_patches(values, pool.proj, pool.norm, pool.mlp, trunk.head)
    else:
        last = visual.transformer.resblocks[-1]
        values = F.linear(seen(last.ln_1, lambda: model.encode_image(pixels)), last.attn.in_proj_weight[-WIDTH:], last.attn.in_proj_bias[-WIDTH:])
        patches = visual.ln_post(last.attn.out_proj(values)[:, 1:]) @ visual.proj
    outputs = {"global": model.encode_image(pixels), "text": model.encode_text(inputs.input_ids), "patches": patches}
    return outputs | {"pixels": pixels, "ids": inputs.input_ids, "mask": inputs.attention_mask}


def write_oc(folder, real):
    model, config, fast = oc_model(real)
    save_for_hf(model, fast, config, folder, safe_serialization=True)
    put(folder, oc_golden(model, encoded(fast)))


def write_worldwide(folder, real, fast):
    """MetaCLIP 2, whose texts go through open_clip's own cleaning and a tokenizer of another family."""
    model, config, fast = oc_model(real, fast)
    save_for_hf(model, fast, config, folder, safe_serialization=True)
    reader = open_clip.tokenizer.HFTokenizer(str(folder), CONTEXT, **config["text_cfg"].get("tokenizer_kwargs", {}))
    ids = reader(TYPED)
    put(folder, oc_golden(model, SimpleNamespace(input_ids=ids, attention_mask=(ids != fast.pad_token_id).long())), TYPED)


def write_lora(folder, base, adapter="default", options=None, **settings):
    """An adapter of peft with what peft makes of it."""
    new = (lambda: oc_model(base)[0]) if base else (lambda: hf(projection_dim=OUT))
    golden = (lambda m: oc_golden(m, encoded(oc_model(base)[2]))) if base else (lambda m: hf_golden(m, tokenizer()))
    config = peft.LoraConfig(**{"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj", "fc1"]} | settings)
    shaken(peft.get_peft_model(new(), config, adapter_name=adapter), 0.1, True).save_pretrained(folder, **options or {})
    at = folder / adapter if adapter != "default" else folder
    loaded = peft.PeftModel.from_pretrained(new(), at).eval()
    # Around PyTorch's own attention peft gives the base's weights to whoever asks for them, so the dense outputs need them merged.
    put(folder, golden(loaded.merge_and_unload() if base else loaded.base_model.model))
    for path in folder.rglob("README.md"):
        path.unlink()


def write_files(folder):
    """What training scripts save: a state dict among other things, in today's format and in that before PyTorch 1.6."""
    torch.manual_seed(5)
    model = oc_model("ViT-B-16")[0]
    state, extras = model.state_dict(), {
        "epoch": 3, "args": argparse.Namespace(lr=1e-4), "path": Path("/data"), "dtype": torch.bfloat16, "size": torch.Size([2, 3]), "set": {1, 2},
        "bytes": b"x", "large": 2**70, "complex": 1j, "numpy": np.float64(0.71), "array": np.arange(3), "step": torch.tensor(7),
    }  # fmt: skip
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}} | extras, folder / "extras.pt")
    torch.save({"model": state}, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"model": model}, folder / "module.pt")
    put(folder, oc_golden(model, encoded(oc_model("ViT-B-16")[2])))
    oc_model("ViT-B-16")[2].save_pretrained(folder)
    (folder / "tokenizer_config.json").unlink()


CASES = {
    "hf": lambda d: write_hf(d, hf(projection_dim=OUT, text={"hidden_act": "gelu"}), whole=True),
    "hf-shards": lambda d: write_hf(d, hf(projection_dim=OUT), max_shard_size="12KB"),
    "siglip": lambda d: write_hf(d, hf("Siglip", {"projection_size": WIDTH}), masked=False),
    "tips": lambda d: write_hf(d, hf("Tipsv2", {"hidden_size": WIDTH}, {"mlp_ratio": 2})),
    "clipa": lambda d: write_oc(d, "ViT-L-14-CLIPA"),
    "siglip-timm": lambda d: write_oc(d, "ViT-SO400M-16-SigLIP2-256"),
    "pe-core": lambda d: write_oc(d, "PE-Core-B-16"),
    "eva02": lambda d: write_oc(d, "EVA02-B-16"),
    "mobileclip": lambda d: write_oc(d, "MobileCLIP2-B"),
    "open-clip": lambda d: write_oc(d, "ViT-B-16"),
    "metaclip2": lambda d: write_worldwide(d, "ViT-H-14-worldwide-quickgelu", tf.XLMRobertaTokenizer(pieces("<s>", "<pad>", "</s>", "<unk>", "<mask>"))),
    "metaclip2-mt5": lambda d: write_worldwide(d, "ViT-L-14-worldwide", tf.T5Tokenizer(pieces("<pad>", "</s>", "<unk>"), extra_ids=0)),
    "files": write_files,
    "lora-dora": lambda d: write_lora(d, None, use_dora=True, rank_pattern={"q_proj": 1, "vision_model.*fc1": 3}, alpha_pattern={"layers.1.*v_proj": 3}),
    "lora-whole": lambda d: write_lora(d, None, bias="all", modules_to_save=["visual_projection"], trainable_token_indices={"token_embedding": [4, 6]}),
    "lora-tables": lambda d: write_lora(d, None, adapter="ttd", target_modules=["patch_embedding", "token_embedding", "q_proj"], lora_bias=False),
    "lora-bin": lambda d: write_lora(d, None, options={"safe_serialization": False}, use_rslora=True),
    "lora-attention": lambda d: write_lora(d, "ViT-B-16", target_modules=["attn", "c_fc"]),
}


def main(root, names):
    for name, make in CASES.items():
        if not names or name in names:
            folder = Path(root) / name
            folder.mkdir(parents=True, exist_ok=True)
            make(folder)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    main(sys.argv[1], sys.argv[2:])
