"""Pictures of the coin game."""

from __future__ import annotations

import numpy as np

from pax.envs.boards import Mark

PIXELS = 32
"""Height and width of a cell."""
PLAYER, COIN = 12, 11
"""Width of a player's square, and of a coin's disc."""
BACKGROUND, LINE = (245, 245, 245), (200, 200, 200)
COLOURS = ((200, 30, 30), (30, 60, 200), (245, 120, 105), (115, 150, 250))
"""Of the red player, the blue player, the red coin and the blue coin."""
LEGEND = (
    Mark("player 1", COLOURS[0], "square"),
    Mark("player 2", COLOURS[1], "square"),
    Mark("coin of 1", COLOURS[2], "disc"),
    Mark("coin of 2", COLOURS[3], "disc"),
)
CENTRES = ((9, 9), (9, 23), (23, 9), (23, 23))
"""Their rows and columns in a cell: each has its own corner, so that none hides another."""


def _shapes() -> np.ndarray:
    """Returns the pixels of a cell that each of the four covers, bool `[4, PIXELS, PIXELS]`."""
    centres = np.array(CENTRES)
    pixels = np.arange(PIXELS)
    rows = np.abs(pixels - centres[:, :1])[:, :, None]
    columns = np.abs(pixels - centres[:, 1:])[:, None, :]
    squares = np.maximum(rows, columns) <= PLAYER / 2
    discs = rows**2 + columns**2 <= (COIN / 2) ** 2
    return np.concatenate([squares[:2], discs[2:]])


SHAPES = _shapes()


def render(cells: np.ndarray, size: int) -> np.ndarray:
    """Renders a grid with red, blue, red coin and blue coin on `cells` `[4]`; none where that is negative.

    Returns:
        RGB, uint8 `[size * PIXELS, size * PIXELS, 3]`.
    """
    width = size * PIXELS
    here = (np.arange(size * size) == np.asarray(cells)[:, None]).reshape(4, size, 1, size, 1)
    covered = (here & SHAPES[:, None, :, None, :]).reshape(4, width, width)
    edge = np.arange(width) % PIXELS == 0
    line = edge[:, None] | edge
    conditions = [*covered, line]
    colours = [np.array(colour, np.uint8) for colour in (*COLOURS, LINE)]
    return np.select(
        [condition[..., None] for condition in conditions], colours, np.array(BACKGROUND, np.uint8)
    )
