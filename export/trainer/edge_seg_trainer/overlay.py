"""Draws what the model sees, to watch it learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from .data import grid_size, open_rgb
from .towers import Model
from .words import WordBank, class_bank

# Colours that differ in hue and in lightness, repeated where the words are more.
COLOURS = np.array(
    [(230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240), (128, 128, 0)]
)


@torch.no_grad()
def overlay(model: Model, bank: WordBank, path: Path, words: tuple[str, ...], short_px: int) -> Image.Image:
    """The picture under the colour of each pixel's best word, with a legend; each word's share of the pixels behind its name."""
    image = open_rgb(path)
    side = model.image.config.patch_px
    width, height = grid_size(*image.size, short_px, side, model.preprocess.fit)
    image = image.resize((width, height), model.preprocess.resampling())
    was = model.training
    model.eval()
    patches = F.normalize(model.image(model.preprocess.pixels([image]).to(model.device)).float()[0], dim=-1)
    texts = class_bank(bank, [[word] for word in words], fresh=True).rows
    model.train(was)
    maps = (patches @ texts.T).T.reshape(1, len(words), height // side, width // side)
    label = F.interpolate(maps, size=(height, width), mode="bilinear", align_corners=False)[0].argmax(0).cpu().numpy()
    drawn = (np.asarray(image) * 0.5 + COLOURS[label % len(COLOURS)] * 0.5).astype(np.uint8)
    page = Image.new("RGB", (width, height + 14 * len(words)), "white")
    page.paste(Image.fromarray(drawn))
    pen = ImageDraw.Draw(page)
    for n, word in enumerate(words):
        top = height + 14 * n
        pen.rectangle((2, top + 2, 12, top + 12), fill=tuple(int(value) for value in COLOURS[n % len(COLOURS)]))
        pen.text((18, top + 1), f"{word} {100 * (label == n).mean():.0f} %", fill="black")
    return page
