"""Reference outputs of a model, for other implementations to agree with.

python -m edge_seg_trainer.golden FOLDER     writes FOLDER/golden.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save
from tokenizers import Tokenizer

from .folder import read_folder
from .towers import Model

TEXTS = ["dog", "a photo of two red fire hydrants on wet grass, near the sea", "Straße"]


@torch.no_grad()
def golden(model: Model, tokenizer: Path, sizes: tuple[tuple[int, int], ...], seed: int = 7) -> bytes:
    """Inputs and outputs of both towers in float32, as the bytes of a safetensors file."""
    generator = torch.Generator().manual_seed(seed)
    model = model.float().eval()
    out: dict[str, torch.Tensor] = {}
    side = model.image.config.patch_px
    for height, width in sizes:
        tag = f"{height}x{width}"
        pixels = torch.randn(1, 3, height, width, generator=generator)
        positions = model.image.positions_for(height // side, width // side)
        patches, whole = model.image.encode(pixels, positions)
        out |= {
            f"{tag}.pixels": pixels,
            f"{tag}.positions": positions.contiguous(),
            f"{tag}.patches": patches.contiguous(),
            f"{tag}.global": whole.contiguous(),
        }
    reader = Tokenizer.from_file(str(tokenizer))
    reader.no_padding()
    reader.no_truncation()
    encoded = [reader.encode(text).ids for text in TEXTS]
    longest = max(map(len, encoded))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in encoded])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in encoded])
    out |= {"text.ids": ids, "text.mask": mask, "text.text": model.text(ids, mask)}
    return save(out, metadata={"texts": "\n".join(TEXTS)})


if __name__ == "__main__":
    place = Path(sys.argv[1])
    loaded, _ = read_folder(place)
    (place / "golden.safetensors").write_bytes(golden(loaded, place / "tokenizer.json", ((224, 224), (448, 320))))
