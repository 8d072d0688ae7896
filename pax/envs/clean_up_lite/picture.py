"""Pictures of clean-up lite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pax.envs.boards import Mark

PIXELS = 32
"""Height and width of a cell."""
BACKGROUND, LINE = (245, 245, 245), (200, 200, 200)
ORCHARD, RIVER, ICE = (222, 240, 215), (205, 228, 247), (120, 190, 245)
APPLE, DIRT = (210, 40, 40), (120, 90, 50)
PLAYERS = ((245, 125, 15), (30, 80, 190))
"""Of player 1 and of player 2."""
LEGEND = (
    *(Mark(f"player {number}", colour, "square") for number, colour in enumerate(PLAYERS, 1)),
    Mark("apple", APPLE, "disc"),
    Mark("dirt", DIRT, "disc"),
    Mark("orchard", ORCHARD, "cell"),
    Mark("river", RIVER, "cell"),
    Mark("frozen", ICE, "cell"),
)
CENTRES = ((9, 9), (9, 23))
"""Row and column of the players' squares in a cell, so that none hides another, or the object below."""


def _squares() -> np.ndarray:
    """Returns the pixels of a cell that each player covers, bool `[2, PIXELS, PIXELS]`."""
    pixels = np.arange(PIXELS)
    return np.array(
        [
            (np.abs(pixels[:, None] - row) <= 6) & (np.abs(pixels - column) <= 6)
            for row, column in CENTRES
        ]
    )


def _disc() -> np.ndarray:
    """Returns the pixels of a cell that an apple or dirt covers, bool `[PIXELS, PIXELS]`."""
    pixels = np.arange(PIXELS)
    return (pixels[:, None] - 23) ** 2 + (pixels - 16) ** 2 <= 6.5**2


SQUARES, DISC = _squares(), _disc()


def render(
    shape: tuple[int, int],
    players: Sequence[tuple[int, int]],
    frozen: Sequence[bool],
    apples: np.ndarray,
    dirt: np.ndarray,
) -> np.ndarray:
    """Renders a grid with the orchard on the left and the river on the right.

    Args:
        shape: rows and columns.
        players: row and column of each.
        frozen: whether each is.
        apples: bool, by row.
        dirt: bool, by row.

    Returns:
        RGB, uint8 `[rows * PIXELS, columns * PIXELS, 3]`.
    """
    cells = np.empty((*shape, PIXELS, PIXELS, 3), np.uint8)
    cells[:] = BACKGROUND
    cells[:, 0] = ORCHARD
    cells[:, -1] = RIVER
    for cell, is_frozen in zip(players, frozen, strict=True):
        if is_frozen:
            cells[cell] = ICE
    for column, held, colour in ((0, apples, APPLE), (-1, dirt, DIRT)):
        for row in np.flatnonzero(held):
            cells[row, column][DISC] = colour
    for cell, square, colour in zip(players, SQUARES, PLAYERS, strict=True):
        cells[cell][square] = colour
    cells[:, :, 0, :] = LINE
    cells[:, :, :, 0] = LINE
    return cells.transpose(0, 2, 1, 3, 4).reshape(shape[0] * PIXELS, shape[1] * PIXELS, 3)
