"""Pictures of in-the-matrix games."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pax.envs.boards import Mark
from pax.envs.in_the_matrix import grid
from pax.envs.in_the_matrix.grid import Player

PIXELS = 32
"""Height and width of a cell."""
BACKGROUND, LINE, BEAM, ICE = (245, 245, 245), (205, 205, 205), (250, 230, 120), (150, 205, 240)
COIN_COLOURS = ((44, 160, 44), (214, 39, 40))
"""Of type 0 and of type 1."""
PLAYER_COLOURS = (
    *((245, 125, 15), (30, 110, 200), (225, 60, 130), (130, 90, 70)),
    *((110, 60, 170), (0, 140, 140), (120, 120, 20), (60, 60, 60)),
)


def legend(num_players: int) -> tuple[Mark, ...]:
    """Returns what pictures of a game of so many players show."""
    players = enumerate(PLAYER_COLOURS[:num_players], 1)
    return (
        *(Mark(f"player {number}", colour, "triangle") for number, colour in players),
        *(Mark(f"coin of type {kind}", COIN_COLOURS[kind], "disc") for kind in (0, 1)),
        Mark("beam", BEAM, "cell"),
        Mark("frozen", ICE, "cell"),
    )


def _coordinates(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the coordinates (x, y) of the pixels of a square, from -1 to 1."""
    middle = (size - 1) / 2
    pixels = (np.arange(size) - middle) / middle
    return pixels[None, :], pixels[:, None]


def _disc(size: int, radius: float) -> np.ndarray:
    """Returns the pixels of a disc, bool `[size, size]`."""
    x, y = _coordinates(size)
    return x**2 + y**2 <= radius**2


def _arrows() -> np.ndarray:
    """Returns triangles that point in each direction, bool `[4, PIXELS, PIXELS]`."""
    x, y = _coordinates(PIXELS)
    triangles = []
    for dx, dy in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        ahead, aside = x * dx + y * dy, np.abs(x * dy - y * dx)
        triangles.append((ahead >= -0.7) & (aside <= 0.4 * (0.8 - ahead)))
    return np.array(triangles)


COIN, SMALL_COIN, ARROWS = _disc(PIXELS, 0.55), _disc(PIXELS // 2, 0.75), _arrows()


def render(players: Sequence[Player], type_1: Any) -> np.ndarray:
    """Renders the grid, x to the right and y down, and under it what each player carries.

    Players are triangles that point ahead, on ice while they are frozen. Beams are seen for one step.

    Returns:
        RGB, uint8 `[(8 + n / 2) * PIXELS, 8 * PIXELS, 3]`.
    """
    types = int(type_1) >> np.arange(grid.NUM_COINS) & 1
    sets = np.array([int(player.coins) for player in players])
    carried = sets[:, None] >> np.arange(grid.NUM_COINS) & 1 == 1
    cells = _cells(players, types, carried)
    size = grid.GRID_SIZE * PIXELS
    picture = cells.transpose(0, 2, 1, 3, 4).reshape(size, size, 3)
    return np.concatenate([picture, _bars(types, carried)])


def _cells(players: Sequence[Player], types: np.ndarray, carried: np.ndarray) -> np.ndarray:
    """Renders the cells, `[y, x, row of pixels, column of pixels, 3]`."""
    size = grid.GRID_SIZE
    cells = np.empty((size, size, PIXELS, PIXELS, 3), np.uint8)
    cells[:] = BACKGROUND
    headings = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
    for player in players:
        if player.fires:
            dx, dy = headings[int(player.direction)]
            covered = np.array(
                [
                    (player.x + far * dx + wide * dy, player.y + far * dy - wide * dx)
                    for far, wide in grid.BEAM
                ]
            )
            x, y = covered[((covered >= 0) & (covered < size)).all(axis=1)].T
            cells[y, x] = BEAM
    for player in players:
        if player.frozen:
            cells[player.y, player.x] = ICE
    cells[:, :, 0, :] = LINE
    cells[:, :, :, 0] = LINE
    at_home = ~carried.any(axis=0)
    x, y = np.array(grid.COIN_CELLS)[at_home].T
    colours = np.array(COIN_COLOURS, np.uint8)[types[at_home]]
    cells[y, x] = np.where(COIN[..., None], colours[:, None, None], cells[y, x])
    for player, colour in zip(players, PLAYER_COLOURS, strict=False):
        cells[player.y, player.x][ARROWS[int(player.direction)]] = colour
    return cells


def _bars(types: np.ndarray, carried: np.ndarray) -> np.ndarray:
    """Renders for each player a bar of half a cell: its colour, then its coins, those of type 0 first."""
    half, slots = PIXELS // 2, 2 * grid.GRID_SIZE
    bars = np.empty((len(carried), slots, half, half, 3), np.uint8)
    bars[:] = BACKGROUND
    bars[:, 0] = np.array(PLAYER_COLOURS, np.uint8)[: len(carried), None, None]
    for bar, own in zip(bars, carried, strict=True):
        colours = np.array(COIN_COLOURS, np.uint8)[np.sort(types[own])]
        coins = bar[1 : 1 + len(colours)]
        coins[:] = np.where(SMALL_COIN[..., None], colours[:, None, None], coins)
    bars[:, :, 0] = LINE
    return bars.transpose(0, 2, 1, 3, 4).reshape(-1, slots * half, 3)
