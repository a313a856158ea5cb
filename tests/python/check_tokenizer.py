"""Holds the tokenizers that `edge-seg-export import` makes of CLIP's whole vocabulary against open_clip's ids.

usage: check_tokenizer.py PROGRAM

PROGRAM is edge-seg-export. The vocabulary is the one that open_clip_torch ships; a small CLIP with random weights and 49,408 words stands for the
model. Both forms are made: from OpenAI's file of merges, and from Hugging Face's vocab.json and merges.txt. Every word of the vocabulary that
is ASCII goes through, sentences of them, and what a phone's keyboard writes. Checked with open_clip_torch 3.3.0, torch 2.15.0, tokenizers 0.23.3.

Exit codes: 0 all ids are the same, 1 some differ, 2 an import failed.
"""

import gzip
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import open_clip
from open_clip.push_to_hf_hub import save_for_hf
from open_clip.tokenizer import SimpleTokenizer
from tokenizers import Tokenizer

KEYBOARD = [
    "don’t walk", "“a red barn”", "the ﬁnal ﬂoor", "ＡＢＣ　ｄｅｆ", "salt &amp; pepper", "AT&amp;amp;T", "a&lt;b&gt;c", "it&#39;s", "rock‘n’roll",
    "Straße, 3 dogs' run", "naïve café", "\tthe tree's\nroad!?", "ǆungla", "日本の城", "octagon spool stormtrooper", "  spaces   ", "1,234.5 m²",
]  # fmt: skip


def main(program):
    own = SimpleTokenizer()
    words = sorted({key.removesuffix("</w>") for key in own.encoder if key.isascii() and "<|" not in key and "<" not in key.removesuffix("</w>")})
    rng = random.Random(5)
    sentences = [" ".join(rng.sample(words, rng.randint(1, 8))) for _ in range(3000)]
    texts = words + sentences + KEYBOARD
    config = {
        "embed_dim": 8, "vision_cfg": {"image_size": 32, "layers": 1, "width": 8, "patch_size": 16, "head_width": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
    }  # fmt: skip
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        model = open_clip.CLIP(**config)
        model.visual.image_mean = model.visual.image_std = (0.5, 0.5, 0.5)
        model.visual.preprocess_cfg = {"interpolation": "bicubic", "resize_mode": "shortest"}
        (place / "model").mkdir()
        save_for_hf(model, SimpleNamespace(save_pretrained=lambda folder: None), config, place / "model", safe_serialization=True)
        packed = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
        (place / "bpe_simple_vocab_16e6.txt").write_bytes(gzip.decompress(packed.read_bytes()))
        marks = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
        (place / "model/vocab.json").write_text(json.dumps({marks.get(k, k): v for k, v in own.encoder.items()}))
        (place / "model/merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in own.bpe_ranks) + "\n")
        for name, more in (("merges", ["--tokenizer", "bpe_simple_vocab_16e6.txt"]), ("vocab.json and merges.txt", [])):
            ended = subprocess.run([program, "import", "model", "-o", "out", *more], cwd=place, capture_output=True, text=True)
            if ended.returncode:
                print(f"{name}: {ended.stderr}", file=sys.stderr)
                return 2
            made = Tokenizer.from_file(str(place / "out/tokenizer.json"))
            different = []
            for text in texts:
                expected = [own.sot_token_id, *own.encode(text), own.eot_token_id]
                found = made.encode(text).ids
                if found != expected:
                    different.append((text, expected, found))
            print(f"{name}: {len(texts)} texts, {len(different)} differ")
            for text, expected, found in different[:10]:
                print(f"  {text!r}: expected {expected}, found {found}")
            wrong += len(different)
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(str(Path(sys.argv[1]).absolute())))
