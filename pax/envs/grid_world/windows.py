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
from pax.envs.grid_world.side_by_side import store

EMPTY, APPLE, WALL, SELF, OTHER = range(5)
"""Codes of cells; others are `OTHER` + 0, 1, 2 or 3, by the right turns from the own facing to theirs."""
NUM_CODES = OTHER + 4
"""A game that tells more apart goes on from here, to 15 at most."""
MAX_SIZE = 15
"""Of a window: two rows of it fit into a word."""
CODE_BITS = 4
CODES = 32 // CODE_BITS
"""Cells whose codes fit into a word."""

Sets = jax.Array | np.ndarray


def observe(
    players: Players, floor: Sets, things: Mapping[int, Sets], width: int, size: int
) -> tuple[jax.Array, ...]:
    """Returns the window of each player, uint8 `[size, size, E]`.

    Players hide what they stand on, and who is out of the game sees nothing: zeros.

    Args:
        players: on the grid, `[N, E]`.
        floor: all cells that are no wall, as words `[H, E]`.
        things: by code, sets of cells on the floor, `[H, E]`. Where several have a cell, its code is their
            sum.
        width: of the grid.
        size: of the windows, odd.
    """
    is_floor, *grounds = _look_up(players, (floor, *things.values()), width, size)
    others = _others(players, size)
    # Of each player's own cell: in the row before the last, in the middle.
    own = np.zeros((size, size), np.uint32)
    own[size - 2, size // 2] = SELF
    packed = []
    for half, first in enumerate(range(0, size, CODES)):
        codes = WALL * _spread(~is_floor >> first)
        for code, ground in zip(things, grounds, strict=True):
            codes = codes + code * _spread(ground >> first)
        mine = _packed(own[:, first : first + CODES])
        shown = others[half] | mine
        codes = _without(codes, shown) | shown
        packed.append(jnp.where(players.plays[:, None], codes, 0))
    return _unpack(store(jnp.stack(packed)), size)


def _look_up(players: Players, sets: Sequence[Sets], width: int, size: int) -> list[jax.Array]:
    """Returns which cells of the windows are in each of the sets: a word per row, uint32 `[N, S, E]`."""
    last, middle, side = size - 2, size // 2, max(len(sets[0]), width)
    is_level = players.facing & 1 == 1
    along = jnp.where(is_level, players.column, players.row)
    across = jnp.where(is_level, players.row, players.column)
    # Up and left, rows and columns ahead have lower numbers; down and left, those to the right have.
    ahead = jnp.where((players.facing == 1) | (players.facing == 2), 1, -1)
    along, ahead = store((along, ahead))
    row = along[:, None] + ahead[:, None] * (last - words.along(size))
    up = jnp.maximum(middle - across, 0)[:, None].astype(jnp.uint32)
    down = jnp.maximum(across - middle, 0)[:, None].astype(jnp.uint32)
    mask = np.uint32((1 << size) - 1)
    tables = []
    for cells in sets:
        by_row, by_column = (
            jnp.pad(part, ((0, side - len(part)), (0, 0))).astype(jnp.uint32)
            for part in (jnp.asarray(cells), store(_transposed(cells, width)))
        )
        table = jnp.where(is_level[:, None], by_column, by_row)
        tables.append(table << up >> down & mask)
    found: list[jax.Array] = []
    # Two sets at a time, in the halves of a word.
    for first in range(0, len(sets), 2):
        pair = tables[first : first + 2]
        table = store(pair[0] | pair[-1] << 16)
        word = jnp.where(row[:, :, None] == words.along(side), table[:, None], 0)
        word = word.sum(axis=2, dtype=jnp.uint32)
        turned = _mirrored(word) >> 16 - size
        word = jnp.where((players.facing >= 2)[:, None], turned, word)
        found += [word & mask, word >> 16 & mask][: len(pair)]
    return found


def _transposed(cells: Sets, width: int) -> jax.Array:
    if isinstance(cells, np.ndarray):
        return jnp.asarray(words.pack((cells >> np.arange(width) & 1 == 1).T)[:, None])
    return words.transposed(cells, width)


def _mirrored(words: jax.Array) -> jax.Array:
    """Returns both halves of uint32 words with their bits in the opposite order."""
    for step, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF)):
        words = (words >> step & np.uint32(mask)) | (words & np.uint32(mask)) << step
    return words


def _others(players: Players, size: int) -> list[jax.Array]:
    """Returns the codes of the other players in the windows, of `CODES` columns each, `[N, S, E]`."""
    ahead, right = relative(players)
    row, column = size - 2 - ahead, size // 2 + right
    turns = players.facing - players.facing[:, None] & 3
    is_seen = players.plays & ~np.eye(len(players.row), dtype=bool)[..., None]
    found = []
    for first in range(0, size, CODES):
        at = column - first
        is_in = is_seen & (at >= 0) & (at < min(CODES, size - first))
        code = jnp.where(is_in, OTHER + turns << CODE_BITS * (at & CODES - 1), 0)
        row, code = store((row, code.astype(jnp.uint32)))
        of_rows = jnp.where(row[:, None] == words.along(size)[:, None], code[:, None], 0)
        found.append(of_rows.sum(axis=2, dtype=jnp.uint32))
    return found


def _spread(bits: jax.Array) -> jax.Array:
    """Returns words in which each of the lowest bits is the lowest of the bits of a code."""
    bits = bits & 0xFF
    bits = (bits | bits << 12) & 0x000F000F
    bits = (bits | bits << 6) & 0x03030303
    return (bits | bits << 3) & 0x11111111


def _without(codes: jax.Array, others: jax.Array) -> jax.Array:
    """Returns codes that are 0 where others are not."""
    bits = (others | others >> 1 | others >> 2) & 0x11111111
    return codes & ~(bits * (2**CODE_BITS - 1))


def _packed(codes: np.ndarray) -> np.ndarray:
    """Returns words `[S, 1]` of codes `[S, CODES]`."""
    places = CODE_BITS * np.arange(codes.shape[1], dtype=np.uint32)
    return (codes << places).sum(axis=1, dtype=np.uint32, keepdims=True)


def _unpack(packed: jax.Array, size: int) -> tuple[jax.Array, ...]:
    """Returns windows, uint8 `[S, S, E]` by player, of words with `CODES` codes each, `[parts, N, S, E]`."""
    # The words are brought into the order in which codes will lie in memory, and not each of these.
    packed = store(jnp.moveaxis(packed, (0, -1), (-1, 1)))
    columns = np.arange(size, dtype=np.uint32)
    widths = [min(CODES, size - first) for first in range(0, size, CODES)]

    def window(own: jax.Array) -> jax.Array:
        parts = [
            jnp.broadcast_to(own[..., half : half + 1], (*own.shape[:-1], width))
            for half, width in enumerate(widths)
        ]
        codes = jnp.concatenate(parts, axis=-1) >> CODE_BITS * (columns % CODES) & 15
        return jnp.moveaxis(codes.astype(jnp.uint8), 0, -1)

    return tuple(window(packed[player]) for player in range(len(packed)))


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
