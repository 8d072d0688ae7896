"""Sets of cells as one int32 per row: bit c of word r is the cell in row r and column c.

So what is the same for every cell is a few integer instructions per row. Grids have up to 30 rows and
columns.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

MAX_SIDE = 30
"""Rows and columns of a grid at most: words have 32 bits, the highest of which is the sign."""


def pack(cells: np.ndarray) -> np.ndarray:
    """Returns the words `[H]` of cells that are known when a program is traced, bool `[H, W]`."""
    return (cells.astype(np.int64) << np.arange(cells.shape[1])).sum(axis=1).astype(np.int32)


def join(cells: jax.Array) -> jax.Array:
    """Returns the words `[H]` of cells, bool `[H, W]`."""
    return (cells.astype(jnp.int32) << jnp.arange(cells.shape[1])).sum(axis=1)


def split(words: jax.Array, width: int) -> jax.Array:
    """Returns the cells of words, int32 zeros and ones `[H, W]`."""
    return words[:, None] >> jnp.arange(width) & 1


def transposed(words: jax.Array, width: int) -> jax.Array:
    """Returns a word per column, `[W]`, of a word per row, `[H]`."""
    rows = jnp.arange(len(words))
    return ((words >> jnp.arange(width)[:, None] & 1) << rows).sum(axis=1)


def has(words: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """Returns whether cells are in a set, bool `[N]`; cells outside of the grid never are.

    Args:
        words: `[H]`.
        row: `[N]`.
        column: `[N]`, from -1 to 30.
    """
    rows = jnp.arange(len(words))
    # A comparison with every row is vectorised; a gather is not.
    word = jnp.where(row[:, None] == rows, words, 0).sum(axis=1)
    # Column -1 reads the sign, which no set has.
    return word >> (column & 31) & 1 == 1


def of_cells(row: jax.Array, column: jax.Array, which: jax.Array, height: int) -> jax.Array:
    """Returns the set of those cells `[N]` that `which` names, bool `[N]`, as words `[height]`.

    No two of them may be the same cell.
    """
    bits = jnp.where(which, 1 << column, 0)
    return jnp.where(row == jnp.arange(height)[:, None], bits, 0).sum(axis=1)


def count(words: jax.Array) -> jax.Array:
    """Returns how many cells a set has, int32."""
    return jax.lax.population_count(words).sum()


def union(sets: jax.Array) -> jax.Array:
    """Returns the cells that are in any of the sets `[N, H]`, as words `[H]`."""
    return jax.lax.reduce(sets, np.int32(0), jax.lax.bitwise_or, (0,))


def find(words: jax.Array, number: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the rows and columns of cells of a set, by their numbers in it, row by row.

    Args:
        words: the set, `[H]`.
        number: from 0, int32 `[N]`; of numbers that the set does not have, a cell that means nothing.
    """
    counts = jax.lax.population_count(words)
    rows = jnp.arange(len(words))
    before = jnp.where(rows < rows[:, None], counts, 0).sum(axis=1)
    chosen = number[:, None]
    is_here = (before <= chosen) & (chosen < before + counts)

    def of_row(values: jax.Array) -> jax.Array:
        return jnp.where(is_here, values, 0).sum(axis=1)

    word, rank = of_row(words)[:, None], (number - of_row(before))[:, None]
    columns = jnp.arange(MAX_SIDE)
    bits = 1 << columns
    found = (word & bits != 0) & (jax.lax.population_count(word & bits - 1) == rank)
    return of_row(rows), jnp.where(found, columns, 0).sum(axis=1)


def neighbours(words: jax.Array, offsets: tuple[tuple[int, int], ...]) -> tuple[jax.Array, ...]:
    """Counts, for every cell, how many cells of a set lie at the offsets (down, right), up to 3.

    Returns:
        The sets of cells of which it is 1, 2, and 3 or more, `[H]` each. Bits beyond the grid mean nothing.
    """
    height, reach = len(words), max(abs(down) for down, _ in offsets)
    padded = jnp.pad(words, reach)
    low, high = jnp.zeros_like(words), jnp.zeros_like(words)
    for down, right in offsets:
        word = padded[reach + down : reach + down + height]
        word = word >> right if right >= 0 else word << -right
        # A counter of two bits per cell, which stays at 3.
        carry = low & word
        low, high = (low ^ word) | (carry & high), high | carry
    return low & ~high, high & ~low, low & high
