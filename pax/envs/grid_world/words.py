"""Sets of cells as one int32 per row: bit c of word r is the cell in row r and column c.

So what is the same for every cell is a few integer instructions per row. Grids have up to 30 rows and
columns. The last axis of all arrays here are the games, `[..., E]` (`side_by_side`).
"""

from __future__ import annotations

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np

MAX_SIDE = 30
"""Rows and columns of a grid at most: words have 32 bits, the highest of which is the sign."""


def along(number: int) -> np.ndarray:
    """Returns 0, 1, ... along the last axis but that of the games, `[number, 1]`."""
    return np.arange(number, dtype=np.int32)[:, None]


def pack(cells: np.ndarray) -> np.ndarray:
    """Returns the words `[H]` of cells that are known when a program is traced, bool `[H, W]`."""
    return (cells.astype(np.int64) << np.arange(cells.shape[1])).sum(axis=1).astype(np.int32)


def join(cells: jax.Array) -> jax.Array:
    """Returns the words `[H, E]` of cells, bool `[H, W, E]`."""
    return (cells.astype(jnp.int32) << along(cells.shape[1])).sum(axis=1)


def split(words: jax.Array, width: int) -> jax.Array:
    """Returns the cells of words `[H, E]`, int32 zeros and ones `[H, W, E]`."""
    return words[:, None] >> along(width) & 1


def transposed(words: jax.Array, width: int) -> jax.Array:
    """Returns a word per column, `[W, E]`, of a word per row, `[H, E]`."""
    return ((words >> along(width)[:, None] & 1) << along(len(words))).sum(axis=1)


def has(words: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """Returns whether cells are in a set, bool `[N, E]`; cells outside of the grid never are.

    Args:
        words: `[H, E]`.
        row: `[N, E]`.
        column: `[N, E]`, from -1 to 30.
    """
    # A comparison with every row is vectorised; a gather is not.
    word = jnp.where(row[:, None] == along(len(words)), words, 0).sum(axis=1)
    # Column -1 reads the sign, which no set has.
    return word >> (column & 31) & 1 == 1


def of_cells(row: jax.Array, column: jax.Array, which: jax.Array, height: int) -> jax.Array:
    """Returns the set of those cells `[N, E]` that `which` names, bool `[N, E]`, as words `[height, E]`.

    No two of them may be the same cell.
    """
    bits = jnp.where(which, 1 << column, 0)
    return jnp.where(row == along(height)[:, None], bits, 0).sum(axis=1)


def count(words: jax.Array) -> jax.Array:
    """Returns how many cells a set `[H, E]` has, int32 `[E]`."""
    return jax.lax.population_count(words).sum(axis=0)


def union(sets: jax.Array) -> jax.Array:
    """Returns the cells that are in any of the sets `[N, H, E]`, as words `[H, E]`."""
    return functools.reduce(operator.or_, sets)


def find(words: jax.Array, number: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the rows and columns of cells of a set, by their numbers in it, row by row.

    Args:
        words: the set, `[H, E]`.
        number: from 0, int32 `[N, E]`; of numbers that the set does not have, a cell that means nothing.
    """
    counts = jax.lax.population_count(words)
    rows = along(len(words))
    before = jnp.where(rows < rows[:, None], counts, 0).sum(axis=1)
    chosen = number[:, None]
    is_here = (before <= chosen) & (chosen < before + counts)

    def of_row(values: jax.Array | np.ndarray) -> jax.Array:
        return jnp.where(is_here, values, 0).sum(axis=1)

    word, rank = of_row(words)[:, None], (number - of_row(before))[:, None]
    columns = along(MAX_SIDE)
    bits = 1 << columns
    found = (word & bits != 0) & (jax.lax.population_count(word & bits - 1) == rank)
    return of_row(rows), jnp.where(found, columns, 0).sum(axis=1)


def neighbours(words: jax.Array, offsets: tuple[tuple[int, int], ...]) -> tuple[jax.Array, ...]:
    """Counts, for every cell, how many cells of a set lie at the offsets (down, right), up to 3.

    Returns:
        The sets of cells of which it is 1, 2, and 3 or more, `[H, E]`. Bits beyond the grid mean nothing.
    """
    height, reach = len(words), max(abs(down) for down, _ in offsets)
    padded = jnp.pad(words, ((reach, reach), (0, 0)))
    low, high = jnp.zeros_like(words), jnp.zeros_like(words)
    for down, right in offsets:
        word = padded[reach + down : reach + down + height]
        word = word >> right if right >= 0 else word << -right
        # A counter of two bits per cell, which stays at 3.
        carry = low & word
        low, high = (low ^ word) | (carry & high), high | carry
    return low & ~high, high & ~low, low & high
