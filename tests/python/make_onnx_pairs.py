"""Writes small encoders as ONNX files, as today's exporters write them.

usage: make_onnx_pairs.py tests/data/checkpoints tests/data/onnx [NAME...]

The models are those of make_checkpoints.py, so that their golden outputs hold for these files too. What only people read (stack traces, shapes
of inner values) is taken out, which makes the files a tenth as large. The committed files were made with torch 2.15.0, onnx 1.23.2,
onnxscript 0.7.2, onnxslim 0.1.98, transformers 5.24.0, open_clip_torch 3.3.0, timm 1.0.31.
"""

import sys
from pathlib import Path

import make_checkpoints as small
import onnx
import onnxslim
import torch
import transformers as tf

PIXELS = torch.randn(1, 3, small.SIDE, small.SIDE)
IDS = torch.tensor([[3, 4, 5, 6, 1, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 0, 0, 0]])
BATCH, SENTENCES = {0: "batch"}, {0: "batch", 1: "sequence"}
OLD = {"dynamo": False, "opset_version": 17}


class Part(torch.nn.Module):
    """What a function makes of a model, as a module that can be exported."""

    def __init__(self, model, run):
        super().__init__()
        self.model, self.run = model, run

    def forward(self, *inputs):
        return self.run(self.model, *inputs)


def image(model, pixels):
    seen = model.vision_model(pixel_values=pixels)
    return seen.last_hidden_state, model.visual_projection(seen.pooler_output)


def dense(model, pixels):
    return model.visual_projection(model.vision_model.post_layernorm(model.vision_model(pixel_values=pixels).last_hidden_state))


def text(model, ids, mask):
    return model.text_projection(model.text_model(input_ids=ids, attention_mask=mask).pooler_output)


def both(model, ids, pixels, mask):
    found = model(input_ids=ids, pixel_values=pixels, attention_mask=mask)
    return found.logits_per_image, found.logits_per_text, found.text_embeds, found.image_embeds


def write(path, model, run, inputs, outputs, half=False, **options):
    values = {"pixel_values": PIXELS.half() if half else PIXELS, "image": PIXELS, "input_ids": IDS, "text": IDS, "attention_mask": MASK}
    path.parent.mkdir(parents=True, exist_ok=True)
    arguments = tuple(values[name] for name in inputs)
    torch.onnx.export(Part(model, run).eval(), arguments, str(path), input_names=inputs, output_names=outputs, **options)
    strip(path)


def strip(path):
    model = onnx.load(str(path), load_external_data=False)
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for part in [*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output]:
        del part.metadata_props[:]
        part.doc_string = ""
    path.write_bytes(model.SerializeToString())


def hf(root, folder):
    model = tf.CLIPModel.from_pretrained(root / "hf").eval()
    write(folder / "image.onnx", model, image, ["pixel_values"], ["last_hidden_state", "image_embeds"], dynamo=True)
    write(folder / "dense.onnx", model, dense, ["pixel_values"], ["patch_embeds"], dynamo=True)
    write(folder / "text.onnx", model, text, ["input_ids", "attention_mask"], ["text_embeds"], dynamo=True)
    axes = {"input_ids": SENTENCES, "attention_mask": SENTENCES, "pixel_values": BATCH}
    outputs = ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"]
    write(folder / "both.onnx", model, both, ["input_ids", "pixel_values", "attention_mask"], outputs, dynamic_axes=axes, **OLD)
    names = ["input_ids", "attention_mask"]
    write(folder / "text-old.onnx", model, text, names, ["text_embeds"], dynamic_axes={name: SENTENCES for name in names}, **OLD)
    onnxslim.slim(str(folder / "text-old.onnx"), str(folder / "text-slim.onnx"))
    write(folder / "image-half.onnx", model.half(), image, ["pixel_values"], ["last_hidden_state", "image_embeds"], half=True, dynamo=True)


def open_clip(real):
    def make(_, folder):
        model = small.oc_model(real)[0]
        write(folder / "image.onnx", model, lambda m, x: m.encode_image(x), ["image"], ["embedding"], dynamo=True)
        write(folder / "text.onnx", model, lambda m, x: m.encode_text(x), ["text"], ["embedding"], dynamo=True)
        normed = lambda m, x: m.encode_image(x, normalize=True)  # noqa: E731
        write(folder / "image-old.onnx", model, normed, ["image"], ["embedding"], dynamic_axes={"image": BATCH}, **OLD)

    return make


def broken(_, folder):
    """An operator of onnxruntime's own, and weights in a file that is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = onnx.helper.make_tensor_value_info("pixels", 1, [1, 3, 32, 32])
    found = onnx.helper.make_tensor_value_info("found", 1, [1, 3, 32, 32])
    node = onnx.helper.make_node("QuickGelu", ["pixels"], ["found"], domain="com.microsoft")
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [pixels], [found]), opset_imports=opsets)
    (folder / "microsoft.onnx").write_bytes(model.SerializeToString())


CASES = {
    "hf": hf,
    "open-clip": open_clip("ViT-B-16"),
    "pe-core": open_clip("PE-Core-B-16"),
    "siglip-timm": open_clip("ViT-SO400M-16-SigLIP2-256"),
    "mobileclip": open_clip("MobileCLIP2-B"),
    "broken": broken,
}


def main(checkpoints, out, names):
    for name, make in CASES.items():
        if not names or name in names:
            make(Path(checkpoints), Path(out) / name)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
