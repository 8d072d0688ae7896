"""What players see: a window of codes ahead of each, turned with it.

A window of side S shows S - 2 cells ahead, the player's own row and the one behind it, and (S - 1) / 2 cells
to either side. Its first axis leads from the farthest row to the nearest, its second from left to right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from pax.envs.grid_world import words
from pax.envs.grid_world.players import Players, relative

EMPTY, APPLE, WALL, SELF, OTHER = range(5)
"""Codes of cells; others are `OTHER` + 0, 1, 2 or 3, by the right turns from the own facing to theirs."""
NUM_CODES = OTHER + 4
"""A game that tells more apart goes on from here."""
MAX_SIZE = 15
"""Of a window: two bits for each cell of a row fit into a word."""

Sets = jax.Array | np.ndarray


def observe(
    players: Players, floor: Sets, things: Mapping[int, Sets], width: int, size: int
) -> jax.Array:
    """Returns the windows of all players, uint8 `[N, size, size]`.

    Players hide what they stand on, and who is out of the game sees nothing: zeros.

    Args:
        players: on the grid.
        floor: all cells that are no wall, as words `[H]`.
        things: by code, sets of cells, `[H]`. Where several have a cell, its code is their sum.
        width: of the grid.
        size: of the windows, odd.
    """
    middle, last = size // 2, size - 2
    sets = [_look_up(players, each, width, size) for each in (floor, *things.values())]
    ground = sum(code * part for code, part in zip(things, sets[1:], strict=True))
    codes = jnp.where(sets[0] == 1, ground, WALL)
    seen, looks = _others(players, size)
    column = jnp.arange(size)
    is_seen = seen[..., None] >> column & 1 == 1
    codes = jnp.where(is_seen, OTHER + (looks[..., None] >> 2 * column & 3), codes)
    own = np.zeros((size, size), bool)
    own[last, middle] = True
    codes = jnp.where(own, SELF, codes)
    return jnp.where(players.plays[:, None, None], codes, EMPTY).astype(jnp.uint8)


def _look_up(players: Players, cells: Sets, width: int, size: int) -> jax.Array:
    """Returns which cells of the windows are in a set, int32 zeros and ones `[N, size, size]`."""
    last, side = size - 2, max(len(cells), width)
    room = side + 2 * last
    by_row, by_column = jnp.asarray(cells), _transposed(cells, width)
    table = jnp.concatenate(
        [jnp.pad(part, (last, room - last - len(part))) for part in (by_row, by_column)]
    )
    level = players.facing & 1
    along = jnp.where(level == 1, players.column, players.row)
    across = jnp.where(level == 1, players.row, players.column)
    # Up and left, rows and columns ahead have lower numbers; down and left, those to the right have.
    ahead = jnp.where((players.facing == 1) | (players.facing == 2), 1, -1)
    right = jnp.where(players.facing < 2, 1, -1)
    steps = last - jnp.arange(size)
    row = (level * room + last + along)[:, None] + ahead[:, None] * steps
    word = table.at[row].get(mode="promise_in_bounds")
    column = across[:, None] + right[:, None] * (jnp.arange(size) - size // 2)
    return jnp.where(
        (column >= 0)[:, None, :],
        word[..., None] >> jnp.clip(column, 0, 31)[:, None, :] & 1,
        0,
    )


def _transposed(cells: Sets, width: int) -> jax.Array:
    if isinstance(cells, np.ndarray):
        return jnp.asarray(words.pack((cells[:, None] >> np.arange(width) & 1 == 1).T))
    return words.transposed(cells, width)


def _others(players: Players, size: int) -> tuple[jax.Array, jax.Array]:
    """Returns where in its window, and how, each player sees others.

    Returns:
        Words `[N, size]`, a bit for every cell with another player, and two bits for every cell with how many
        right turns from the own facing that looks.
    """
    middle, last = size // 2, size - 2
    ahead, right = relative(players)
    row, column = last - ahead, right + middle
    is_in = (row >= 0) & (row < size) & (column >= 0) & (column < size) & players.plays
    is_in &= ~np.eye(len(players.row), dtype=bool)
    turn = players.facing - players.facing[:, None] & 3
    column = jnp.clip(column, 0, size - 1)
    here = (row[:, None, :] == jnp.arange(size)[:, None]) & is_in[:, None, :]

    def of_rows(bits: jax.Array) -> jax.Array:
        return jnp.where(here, bits[:, None, :], 0).sum(axis=2)

    return of_rows(1 << column), of_rows(turn << 2 * column)


def names_of(codes: Sequence[str]) -> tuple[str, ...]:
    """Returns what the codes of a game mean, those of its own last."""
    looks = ("as itself", "to its right", "back at it", "to its left")
    return (
        "empty",
        "apple",
        "wall",
        "itself",
        *(f"other, looking {look}" for look in looks),
        *codes,
    )
