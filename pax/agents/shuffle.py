"""Random permutations without sorting."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

SMALL = 64
MIN_ROWS = 8
# Two elements of one row keep their distance through all rounds with probability rows ** (-NUM_ROUNDS / 2),
# in excess of 1 / size: with 8 rows or more, 10 rounds add less than 1 % to it, and 6 rounds up to 50 %.
NUM_ROUNDS = 10


def random_permutation(key: jax.Array, size: int) -> jax.Array:
    """Draws a random permutation of 0, ..., size - 1, int32 `[size]`.

    A Feistel network over the grid rows x columns >= size (Luby & Rackoff 1988: a few rounds of random round
    functions are indistinguishable from a random permutation), with "cycle walking" back into the range
    where the grid is larger. On a CPU, sorting random keys as `jax.random.permutation` does takes more than
    fifty times as long, and more than all gradient steps of a PPO update on a matrix game. A small range
    is sorted all the same: it has too few permutations for the theorem to mean anything.
    """
    if size < SMALL:
        return jax.random.permutation(key, size)
    rows, columns = _grid(size)
    constants = jax.random.bits(key, (NUM_ROUNDS, 2), jnp.uint32)

    def shuffle(index: jax.Array) -> jax.Array:
        row, column = index // columns, index % columns
        for round_ in range(NUM_ROUNDS):
            if round_ % 2:
                column = _add(column, _hash(row, constants[round_], columns), columns)
            else:
                row = _add(row, _hash(column, constants[round_], rows), rows)
        return row * columns + column

    permutation = shuffle(jnp.arange(size, dtype=jnp.uint32))
    if rows * columns > size:
        permutation = jax.lax.while_loop(
            lambda index: (index >= size).any(),
            lambda index: jnp.where(index >= size, shuffle(index), index),
            permutation,
        )
    return permutation.astype(jnp.int32)


def _grid(size: int) -> tuple[int, int]:
    """Returns the nearly square grid (rows, columns) with the fewest cells, at least `size` >= SMALL."""
    root = math.isqrt(size - 1) + 1
    candidates = [(rows, -(-size // rows)) for rows in range(max(MIN_ROWS, root // 2), root + 1)]
    return min(candidates, key=lambda grid: (grid[0] * grid[1], -grid[0]))


def _add(value: jax.Array, offset: jax.Array, modulus: int) -> jax.Array:
    total = value + offset
    return jnp.where(total >= modulus, total - modulus, total)


def _hash(value: jax.Array, constants: jax.Array, modulus: int) -> jax.Array:
    """Hashes uint32 `value` with a key into 0, ..., modulus - 1 (multiply and xor-shift mixing)."""
    value = (value + constants[0]) * jnp.uint32(0x9E3779B1)
    value = ((value ^ (value >> 15)) ^ constants[1]) * jnp.uint32(0x85EBCA77)
    value = value ^ (value >> 13)
    return ((value >> 16) * jnp.uint32(modulus)) >> 16
