"""Pictures of games on a grid of cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pax.envs.boards import Mark
from pax.envs.grid_world.windows import APPLE, EMPTY, NUM_CODES, WALL

PIXELS = 16
"""Height and width of a cell."""
LINE = (225, 222, 212)
GROUND = {EMPTY: (245, 243, 235), APPLE: (245, 243, 235), WALL: (110, 110, 110)}
"""Colours of cells by code; water is that of the codes of a game's own."""
WATER = ((160, 205, 240), (160, 205, 240))
APPLE_COLOUR, DIRT = (205, 40, 40), (110, 85, 45)
PLAYERS = (
    *((30, 90, 200), (245, 125, 15), (150, 60, 170), (0, 140, 140), (225, 60, 130), (110, 80, 60)),
    *((60, 60, 60), (120, 130, 20), (90, 160, 250), (190, 150, 20), (80, 40, 120), (0, 90, 60)),
    *((250, 120, 120), (40, 40, 110), (160, 160, 160), (130, 0, 60)),
)


def legend(num_players: int, code_names: Sequence[str]) -> tuple[Mark, ...]:
    """Returns what pictures of a game with these codes show."""
    own = {"river": Mark("river", WATER[0], "cell"), "dirt": Mark("dirt", DIRT, "disc")}
    return (
        *(
            Mark(str(number), PLAYERS[number - 1], "triangle")
            for number in range(1, num_players + 1)
        ),
        Mark("apple", APPLE_COLOUR, "disc"),
        Mark("wall", GROUND[WALL], "cell"),
        *(own[name] for name in code_names[NUM_CODES:]),
    )


def draw_grid(codes: np.ndarray, players: Sequence[tuple[int, int, int] | None]) -> np.ndarray:
    """Draws a grid.

    Args:
        codes: of cells `[H, W]`, without players.
        players: row, column and facing of each, None of who is out.

    Returns:
        RGB, uint8 `[H * PIXELS, W * PIXELS, 3]`.
    """
    height, width = codes.shape
    colours = np.array([*(GROUND.get(code, GROUND[EMPTY]) for code in range(NUM_CODES)), *WATER])
    cells = np.empty((height, width, PIXELS, PIXELS, 3), np.uint8)
    cells[:] = colours[codes][:, :, None, None]
    cells[:, :, 0] = cells[:, :, :, 0] = LINE
    for code, colour in ((APPLE, APPLE_COLOUR), (NUM_CODES + 1, DIRT)):
        where = codes == code
        cells[where] = np.where(DISC[..., None], np.array(colour, np.uint8), cells[where])
    for player, colour in zip(players, PLAYERS, strict=False):
        if player is not None:
            row, column, facing = player
            cells[row, column][ARROWS[facing]] = colour
    return cells.transpose(0, 2, 1, 3, 4).reshape(height * PIXELS, width * PIXELS, 3)


def _shapes() -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels of a disc, bool `[PIXELS, PIXELS]`, and of triangles by facing, `[4, ...]`."""
    middle = (PIXELS - 1) / 2
    places = (np.arange(PIXELS) - middle) / middle
    x, y = places[None, :], places[:, None]
    disc = x**2 + y**2 <= 0.6**2
    ahead = ((0, -1), (1, 0), (0, 1), (-1, 0))
    arrows = [
        (x * dx + y * dy >= -0.75) & (np.abs(x * dy - y * dx) <= 0.45 * (0.9 - (x * dx + y * dy)))
        for dx, dy in ahead
    ]
    return disc, np.array(arrows)


DISC, ARROWS = _shapes()
