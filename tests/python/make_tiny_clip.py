"""Writes a small CLIP with random weights, as a model folder with a MaskCLIP head, and its golden outputs by Hugging Face transformers;
and the same weights as they are published: a Hugging Face folder, OpenAI's plain and TorchScript .pt, a LoRA of peft, and a hostile .pt.

usage: make_tiny_clip.py FOLDER SOURCES

The committed files were made with transformers 5.23.0 and torch 2.15.0. The tokenizer is a word-level stand-in: towers are what is compared.
"""

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

SIDE, PATCH, CONTEXT, WORDS = 32, 8, 12, "[PAD] [UNK] [BOS] [EOS] dog grass sky snow road tree".split()


def canonical(state):
    """Hugging Face's names to those of docs/model-folder.md."""
    weights = {}
    for tower, source in (("image", "vision_model"), ("text", "text_model")):
        layers = 1 + max(int(k.split(".")[3]) for k in state if k.startswith(f"{source}.encoder.layers."))
        for n in range(layers):
            old, new = f"{source}.encoder.layers.{n}", f"{tower}.blocks.{n}"
            for kind in ("weight", "bias"):
                weights[f"{new}.attn.qkv.{kind}"] = torch.cat([state[f"{old}.self_attn.{p}_proj.{kind}"] for p in "qkv"])
                weights[f"{new}.attn.proj.{kind}"] = state[f"{old}.self_attn.out_proj.{kind}"]
                for a, b in (("norm1", "layer_norm1"), ("norm2", "layer_norm2"), ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2")):
                    weights[f"{new}.{a}.{kind}"] = state[f"{old}.{b}.{kind}"]
    for kind in ("weight", "bias"):
        weights[f"image.ln_pre.{kind}"] = state[f"vision_model.pre_layrnorm.{kind}"]
        weights[f"image.norm.{kind}"] = state[f"vision_model.post_layernorm.{kind}"]
        weights[f"text.norm.{kind}"] = state[f"text_model.final_layer_norm.{kind}"]
    for new, old in (
        ("image.patch.weight", "vision_model.embeddings.patch_embedding.weight"),
        ("image.class_token", "vision_model.embeddings.class_embedding"),
        ("image.positions", "vision_model.embeddings.position_embedding.weight"),
        ("image.head.projection.weight", "visual_projection.weight"),
        ("text.word_embeddings", "text_model.embeddings.token_embedding.weight"),
        ("text.position_embeddings", "text_model.embeddings.position_embedding.weight"),
        ("text.projection.weight", "text_projection.weight"),
    ):
        weights[new] = state[old]
    return {name: tensor.detach().clone().contiguous() for name, tensor in weights.items()}


def dense(model, pixels):
    """The last block's value path through output projection, final norm and projection."""
    vision = model.vision_model
    stream = vision.pre_layrnorm(vision.embeddings(pixels))
    for layer in vision.encoder.layers[:-1]:
        out = layer(stream, attention_mask=None)
        stream = out[0] if isinstance(out, tuple) else out
    last = vision.encoder.layers[-1]
    values = last.self_attn.out_proj(last.self_attn.v_proj(last.layer_norm1(stream)))
    return model.visual_projection(vision.post_layernorm(values[:, 1:]))


def openai(weights):
    """The names of docs/model-folder.md to OpenAI's state dict."""
    state = {}
    for name, tensor in weights.items():
        for new, old in (
            ("image.patch.", "visual.conv1."), ("image.class_token", "visual.class_embedding"), ("image.positions", "visual.positional_embedding"),
            ("image.ln_pre.", "visual.ln_pre."), ("image.norm.", "visual.ln_post."), ("image.blocks.", "visual.transformer.resblocks."),
            ("text.blocks.", "transformer.resblocks."), ("text.norm.", "ln_final."), ("text.word_embeddings", "token_embedding.weight"),
            ("text.position_embeddings", "positional_embedding"), (".norm1.", ".ln_1."), (".norm2.", ".ln_2."), (".attn.qkv.", ".attn.in_proj_"),
            (".attn.proj.", ".attn.out_proj."), (".mlp.fc1.", ".mlp.c_fc."), (".mlp.fc2.", ".mlp.c_proj."),
        ):
            name = name.replace(new, old)
        if name == "image.head.projection.weight":
            name, tensor = "visual.proj", tensor.T
        if name == "text.projection.weight":
            name, tensor = "text_projection", tensor.T
        state[name] = tensor.clone()  # a transposed tensor keeps its strides
    state["logit_scale"] = torch.tensor(4.6052)
    return state


class Holder(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def as_module(state):
    """A module whose parameters have these names."""
    root = Holder()
    for name, tensor in state.items():
        *path, last = name.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, Holder())
            module = getattr(module, part)
        module.register_parameter(last, torch.nn.Parameter(tensor, requires_grad=False))
    return root


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hacked",)


def write_sources(folder, model, weights, tokenizer):
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder / "hf")
    (folder / "hf/tokenizer.json").write_text(json.dumps(tokenizer, indent=2) + "\n")
    CLIPImageProcessor(size={"shortest_edge": SIDE}, do_center_crop=False).save_pretrained(folder / "hf")
    # OpenAI's text tower pools at the vocabulary's last entry.
    vocab = tokenizer["model"]["vocab"]
    vocab["[EOS]"], vocab["tree"] = vocab["tree"], vocab["[EOS]"]
    tokenizer["post_processor"]["special_tokens"]["[EOS]"]["ids"] = [vocab["[EOS]"]]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, indent=2) + "\n")
    state = openai(weights)
    torch.save(state, folder / "openai.pt")
    torch.jit.script(as_module({**state, "context_length": torch.tensor(CONTEXT)})).save(str(folder / "script.pt"))
    torch.save({"state_dict": Hostile()}, folder / "hostile.pt")
    lora = folder / "lora"
    lora.mkdir(exist_ok=True)
    (lora / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 6}) + "\n")
    stem = "base_model.model.vision_model.encoder.layers.1.self_attn.v_proj"
    a, b = torch.randn(2, 32), torch.randn(32, 2)
    save_file({f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b}, lora / "adapter_model.safetensors")
    merged = model.vision_model.encoder.layers[1].self_attn.v_proj.weight + 3 * b @ a
    save_file({"merged": merged.detach().contiguous()}, lora / "merged.safetensors")


def main(folder, sources):
    torch.manual_seed(7)
    text = dict(
        vocab_size=len(WORDS), hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=3,
        max_position_embeddings=CONTEXT, hidden_act="quick_gelu", bos_token_id=2, eos_token_id=3, pad_token_id=0,
    )
    vision = dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE, patch_size=PATCH, hidden_act="quick_gelu",
    )
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    ids = torch.tensor([[2, 4, 3, 0, 0], [2, 5, 6, 9, 3], [2, 7, 8, 3, 0]])
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    pixels = torch.randn(1, 3, SIDE, SIDE)
    weights = canonical(model.state_dict())
    with torch.no_grad():
        embeddings = model(input_ids=ids, attention_mask=mask, pixel_values=pixels)
        whole = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
        texts = model.text_projection(model.text_model(input_ids=ids, attention_mask=mask).pooler_output)
        # Checks the parts against the whole model's own answer.
        torch.testing.assert_close(torch.nn.functional.normalize(texts, dim=-1), embeddings.text_embeds)
        torch.testing.assert_close(torch.nn.functional.normalize(whole, dim=-1), embeddings.image_embeds)
        golden = {
            f"{SIDE}x{SIDE}.pixels": pixels,
            f"{SIDE}x{SIDE}.positions": weights["image.positions"][None].clone(),
            f"{SIDE}x{SIDE}.patches": dense(model, pixels),
            f"{SIDE}x{SIDE}.global": whole,
            "text.ids": ids,
            "text.mask": mask,
            "text.text": texts,
        }
    config = {
        "format": 1,
        "name": "tiny-clip",
        "image": {
            "arch": "vit", "width": 32, "layers": 2, "heads": 2, "mlp_width": 64, "patch_px": PATCH, "grid": [SIDE // PATCH] * 2,
            "patch_bias": False, "pre_norm": True, "activation": "quick_gelu", "norm_eps": 1e-5, "head": {"kind": "maskclip"}, "global": "class",
        },
        "text": {
            "arch": "clip", "width": 24, "layers": 2, "heads": 3, "mlp_width": 48, "vocab": len(WORDS), "positions": CONTEXT,
            "activation": "quick_gelu", "norm_eps": 1e-5, "projection": True,
        },
        "embedding_dim": 16,
        "context": CONTEXT,
        "pad_token": 0,
        "preprocess": {
            "mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711],
            "interpolation": "bicubic", "input_px": SIDE, "fit": "grid",
        },
        "logit_scale": 100.0,
        "logit_bias": None,
        "templates": ["{}"],
        "background": 0.5,
        "tag_threshold": 0.5,
        "card": {
            "title": "Random weights for tests", "licence": "Apache-2.0", "training_data": "none", "measured": "nothing", "limits": "its masks are noise",
        },
    }
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[BOS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[EOS]", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {t: {"id": t, "ids": [WORDS.index(t)], "tokens": [t]} for t in ("[BOS]", "[EOS]")},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(WORDS)}, "unk_token": "[UNK]"},
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors")
    save_file({k: v.contiguous() for k, v in golden.items()}, folder / "golden.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, indent=2) + "\n")
    write_sources(Path(sources), model, weights, tokenizer)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    main(*sys.argv[1:])
