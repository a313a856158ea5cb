"""Runs `edge-seg-export import` over checkpoints that the real libraries wrote: each is right or refused by name.

usage: check_checkpoints.py PROGRAM CASES

PROGRAM is edge-seg-export. CASES is a folder with cases.tsv (name, source and arguments of `import`, writer, what is right) and, for each case,
golden.safetensors of the real library: pixels, ids, and for them `global`, `patches` and `text`. What comes of an import is written as ONNX
(`bundle --weights f32`, `extract`) and run by onnxruntime on the golden's own pixels and ids. Checked with onnxruntime 1.31.1, numpy 2.4.6,
safetensors 0.8.0.

Prints a line a case. Exit codes: 0 none is wrong, 1 some are, 2 the folder does not fit.
"""

import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from safetensors.numpy import load_file

# Refused, and what the message must name.
REFUSED = {
    "hf-vision-alone": ["text tower is missing"],
    "hf-text-alone": ["image tower is missing"],
    "hf-vision-bare": ["text tower is missing"],
    "hf-peft-whole": ["unmerged LoRA", "--lora-alpha"],
    "hf-siglip2-naflex": ["SigLIP 2 NaFlex"],
    "oc-siglip": ["SigLIP", "--head-width"],
    "oc-siglip2": ["SigLIP", "--head-width"],
    "oc-pe-core": ["PE-Core", "-head"],
    "oc-mobileclip2-s0": ["FastViT"],
    "oc-rn50": ["ResNet"],
    "pt-fsdp2": ["DTensor", "full_state_dict=True"],
    "pt-dcp": ["dcp_to_torch_save"],
    "pt-whole-module": ["open_clip.model.CLIP", "state_dict()"],
    "pt-two-models": ["--key", "ema", "model"],
    "pt-exported": ["exported program"],
    "lora-init-pissa": ["init_lora_weights", "path_initial_model_for_weight_conversion"],
    "lora-init-pissa_niter_4": ["init_lora_weights", "path_initial_model_for_weight_conversion"],
    "lora-init-olora": ["init_lora_weights", "path_initial_model_for_weight_conversion"],
    "lora-init-lora_ga": ["init_lora_weights", "path_initial_model_for_weight_conversion"],
    "lora-kasa": ["kasa_config", "merge_and_unload"],
    "lora-other-LoHa": ["LOHA", "merge_and_unload"],
    "lora-other-LoKr": ["LOKR", "merge_and_unload"],
    "lora-other-AdaLora": ["ADALORA", "merge_and_unload"],
    "lora-other-IA3": ["IA3", "merge_and_unload"],
    "lora-other-Vera": ["VERA", "merge_and_unload"],
    "lora-other-OFT": ["OFT", "merge_and_unload"],
    "lora-minlora": ["--lora-alpha"],
    "lora-minlora-whole": ["--lora-alpha"],
    "lora-loralib": ["--lora-alpha"],
}
# Cases that the message helps on: run once more with what it asks for.
ANSWERED = {
    "hf-peft-whole": "--lora-alpha 8",
    "lora-minlora": "--lora-alpha 1",
    "lora-minlora-whole": "--lora-alpha 1",
    "lora-loralib": "--lora-alpha 8",
    "pt-two-models": "--key model",
    "pt-heads-differ": "--text-head-width 8",
    "oc-siglip": "--head-width 16",
    "oc-siglip2": "--head-width 16",
    "oc-pe-core": "--head-width 16 --pool-heads 2",
}
# Around PyTorch's own attention peft gives the base's weights to whoever asks for them, and so to what made this golden's dense outputs.
UNMERGED = {"lora-open-clip"}
# The golden is of the weights before they were rounded.
ROUNDED = {"pt-bfloat16": 3e-2}


def run(program, *arguments):
    ended = subprocess.run([program, *arguments], capture_output=True, text=True)
    return ended.returncode, ended.stderr.strip()


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def largest(found, expected):
    """The largest difference of the unit vectors."""
    unit = [x.reshape(-1, x.shape[-1]) / np.linalg.norm(x.reshape(-1, x.shape[-1]), axis=-1, keepdims=True) for x in (found, expected)]
    return float(np.abs(unit[0] - unit[1]).max())


def mask_of(golden, source, model):
    """1 up to the token at which the library pools."""
    ids = golden["ids"]
    if "mask" in golden:
        return golden["mask"].astype(np.int64)
    if model["text"]["arch"] == "padded":
        return np.ones_like(ids)
    config = source / "open_clip_config.json"
    text = json.loads(config.read_text())["model_cfg"]["text_cfg"] if config.is_file() else {}
    end = (ids == text["eos_id"]).argmax(1) if text.get("pool_type") == "eos" else ids.argmax(1)
    return (np.arange(ids.shape[1]) <= end[:, None]).astype(np.int64)


def text_of_siglip(source, golden):
    """SigLIP reads its padding; the golden of transformers was made with a mask, which SigLIP's own processor does not make."""
    import torch
    import transformers

    model = transformers.AutoModel.from_pretrained(source).eval()
    with torch.no_grad():
        found = model.get_text_features(input_ids=torch.from_numpy(golden["ids"]))
    return getattr(found, "pooler_output", found).numpy()


def compare(program, folder, source, case):
    model = json.loads((folder / "model/config.json").read_text())
    for arguments in (["bundle", "model", "-o", "x.esb", "--weights", "f32"], ["extract", "x.esb", "-o", "onnx"]):
        code, error = run_in(folder, program, *arguments)
        if code:
            return f"{arguments[0]}: {error}"
    golden = load_file(case / "golden.safetensors")
    grid = model["image"]["grid"]
    positions = np.fromfile(folder / "onnx/positions.f32", np.float32).reshape(1, 1 + grid[0] * grid[1], -1)
    patches, whole = session(folder / "onnx/image.onnx").run(["patches", "global"], {"pixels": golden["pixels"], "positions": positions})
    text = session(folder / "onnx/text.onnx").run(["text"], {"ids": golden["ids"], "mask": mask_of(golden, source, model)})[0]
    expected_text = golden["text"]
    if "mask" in golden and model["text"]["arch"] == "padded":
        expected_text = text_of_siglip(source, golden)
    checks = {"global": largest(whole, golden["global"]), "text": largest(text, expected_text)}
    if "patches" in golden and case.name not in UNMERGED:
        checks["patches"] = largest(patches, golden["patches"])
    allowed = ROUNDED.get(case.name, 3e-2 if "float16" in case.name or case.name == "hf-variant" else 1e-4)
    said = " ".join(f"{name} {value:.1e}" for name, value in checks.items())
    if (source / "processor_config.json").is_file() or (source / "preprocessor_config.json").is_file() or (source / "open_clip_config.json").is_file():
        if model["preprocess"]["mean"] != [0.5] * 3 or model["preprocess"]["std"] != [0.5] * 3:
            return f"mean {model['preprocess']['mean']} for 0.5"
    return said if max(checks.values()) <= allowed else f"WRONG {said}"


def run_in(folder, program, *arguments):
    ended = subprocess.run([program, *arguments], capture_output=True, text=True, cwd=folder)
    return ended.returncode, ended.stderr.strip()


def main(program, cases):
    program, root = str(Path(program).absolute()), Path(cases).absolute()
    rows = [line.split("\t") for line in (root / "cases.tsv").read_text().splitlines()[1:]]
    counts, wrong = {"right": 0, "refused by name": 0}, []
    for name, source, arguments, _, right in rows:
        # Where one width of heads for both towers is a wrong answer, the right one is given for each.
        tries = [arguments] if name != "pt-heads-differ" else [f"{arguments} {ANSWERED[name]}"]
        tries += [f"{arguments} {ANSWERED[name]}"] if name in REFUSED and name in ANSWERED else []
        for given in tries:
            asked = name in REFUSED and given == arguments
            with tempfile.TemporaryDirectory() as place:
                place = Path(place)
                code, error = run_in(place, program, "import", str(root / source), "-o", "model", *shlex.split(given.replace("{root}", str(root))))
                if code and asked:
                    absent = [word for word in REFUSED[name] if word not in error]
                    verdict = f"WRONG: {absent} not in: {error}" if absent else f"refused by name: {error}"
                elif code:
                    verdict = f"refused by name: {error}" if "or refuse" in right and "not imported yet" in error else f"WRONG: refused: {error}"
                elif asked:
                    verdict = "WRONG: imported, where it should be refused"
                else:
                    found = compare(program, place, root / source, root / name)
                    verdict = f"WRONG: {found}" if not found.startswith(("global", "WRONG")) else found
            kind = "wrong" if verdict.startswith("WRONG") else "refused by name" if verdict.startswith("refused") else "right"
            if kind == "wrong":
                wrong.append(name)
            else:
                counts[kind] += 1
            print(f"{name}\t{given}\t{verdict.splitlines()[0] if kind != 'wrong' else verdict}", flush=True)
    print(f"{len(rows)} cases: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()) + f", {len(wrong)} wrong {' '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
