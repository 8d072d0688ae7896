"""Frames of games on a grid as they are shown: large enough, over a legend and the number of the step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

LEAST_WIDTH = 256
"""Pixels: smaller frames are enlarged, by a whole number."""
ROW, SYMBOL, TEXT = 18, 12, 12
"""Pixels of a row of the legend, of its symbols, and of letters."""
BACKGROUND, INK, EDGE = (255, 255, 255), (30, 30, 30), (150, 150, 150)


@dataclasses.dataclass(frozen=True)
class Mark:
    """What a colour and a shape stand for."""

    label: str
    colour: tuple[int, int, int]
    shape: Literal["square", "disc", "triangle", "cell"]


def framed(frames: np.ndarray, legend: Sequence[Mark], first_step: int = 1) -> np.ndarray:
    """Enlarges frames of an episode, and puts the number of the step and a legend under each.

    Args:
        frames: RGB, uint8 `[T, h, w, 3]`.
        legend: what is to be seen; without any, frames stay as they are.
        first_step: the number of the first frame.

    Returns:
        uint8 `[T, H, W, 3]`.
    """
    if not legend:
        return frames
    from PIL import ImageDraw, ImageFont

    factor = -(-LEAST_WIDTH // frames.shape[2])
    frames = frames.repeat(factor, axis=1).repeat(factor, axis=2)
    width = frames.shape[2]
    font = ImageFont.load_default(TEXT)
    strip = _strip(width, legend, font.getlength(f"step {first_step + len(frames) - 1}") + ROW)
    shown = np.empty((len(frames), frames.shape[1] + strip.height, width, 3), np.uint8)
    shown[:, : frames.shape[1]] = frames
    for step in range(len(frames)):
        numbered = strip.copy()
        ImageDraw.Draw(numbered).text((4, 2), f"step {first_step + step}", INK, font)
        shown[step, frames.shape[1] :] = np.asarray(numbered)
    return shown


def _strip(width: int, legend: Sequence[Mark], first: float) -> Image.Image:
    """Returns a picture of the legend, with room for the number of the step at its beginning."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(TEXT)
    places, x, row = [], first, 0
    for mark in legend:
        needed = SYMBOL + 5 + font.getlength(mark.label)
        if x + needed > width and x > 4:
            x, row = 4, row + 1
        places.append((x, row * ROW))
        x += needed + 10
    strip = Image.new("RGB", (width, (row + 1) * ROW + 2), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    for mark, (left, top) in zip(legend, places, strict=True):
        box = (left, top + 3, left + SYMBOL, top + 3 + SYMBOL)
        middle = left + SYMBOL / 2
        if mark.shape == "disc":
            draw.ellipse(box, mark.colour)
        elif mark.shape == "triangle":
            draw.polygon([(box[0], box[3]), (box[2], box[3]), (middle, box[1])], mark.colour)
        else:
            draw.rectangle(box, mark.colour, EDGE if mark.shape == "cell" else None)
        draw.text((left + SYMBOL + 5, top + 2), mark.label, INK, font)
    return strip
