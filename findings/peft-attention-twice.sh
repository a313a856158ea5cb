#!/usr/bin/env bash
# A LoRA by peft on torch's MultiheadAttention counts the output projection's update twice.
#
# Expected: merging an adapter adds B·A·alpha/r to each weight once (LoRA, Hu et al. 2021), so a merged out_proj is W + B·A here.
# Real (peft 0.21.2, torch 2.15.0): it is W + 2·B·A, in training, inference and merging alike, since the layer that wraps the attention and the
#   one that wraps its out_proj both merge. in_proj gets its update once. So whoever merges the saved file by the formula gets another model
#   than the one that was trained, and nothing in adapter_config.json tells. open_clip's CLIPs have such attention, transformers' have not.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check torch==2.15.0 peft==0.21.2
cat > merge.py <<'PYTHON'
import peft
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


torch.manual_seed(0)
block = Block()
before = {name: weight.detach().clone() for name, weight in block.attention.named_parameters()}
model = peft.get_peft_model(block, peft.LoraConfig(r=2, lora_alpha=2, target_modules=["attention"]))
for weight in model.parameters():
    if weight.requires_grad:
        nn.init.normal_(weight)
saved = peft.get_peft_model_state_dict(model)
x = torch.randn(1, 5, 8)
model.eval()
with torch.no_grad():
    live = model(x)
    merged = model.merge_and_unload()
    assert torch.allclose(live, merged(x), atol=1e-5)
after = dict(merged.attention.named_parameters())
print("peft", peft.__version__, "torch", torch.__version__.split("+")[0])
prefix = "base_model.model.attention."
for name, key in (("in_proj_weight", prefix), ("out_proj.weight", prefix + "base_layer.out_proj.")):
    update = saved[key + "lora_B.weight"] @ saved[key + "lora_A.weight"]
    times = ((after[name] - before[name]) * update).sum() / (update * update).sum()
    print(f"{name}: the update is added {times.item():.3f} times")
PYTHON
venv/bin/python merge.py 2>/dev/null | tee merge.txt
grep -qx 'in_proj_weight: the update is added 1.000 times' merge.txt && grep -qx 'out_proj.weight: the update is added 2.000 times' merge.txt || {
    echo "this has changed"
    exit 1
}
