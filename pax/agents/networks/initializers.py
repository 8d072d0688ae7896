"""Initial weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Initializer = Callable[..., jax.Array]


def orthogonal(scale: float | jax.Array = 1.0) -> Initializer:
    """Draws uniformly distributed matrices `[..., D]` with orthogonal columns, or rows if these are fewer.

    These are the numbers of `jax.nn.initializers.orthogonal` up to rounding, by Gram-Schmidt instead of
    LAPACK: with several devices on a CPU, concurrent LAPACK decompositions wait for each other's threads and
    may deadlock.

    Args:
        scale: the length of the columns, or rows.
    """

    def init(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
        rows, columns = math.prod(shape[:-1]), shape[-1]
        normal = jax.random.normal(key, (max(rows, columns), min(rows, columns)), dtype)
        basis = _orthonormal(normal)
        return (scale * (basis if rows >= columns else basis.T)).reshape(shape)

    return init


def _orthonormal(matrix: jax.Array) -> jax.Array:
    """Returns the columns of `[N, M]`, N >= M, orthonormalised from left to right."""

    def next_column(index: jax.Array, basis: jax.Array) -> jax.Array:
        column = matrix[:, index]
        for _ in range(2):  # Once is not enough in float32.
            column -= basis @ (basis.T @ column)
        return basis.at[:, index].set(column / jnp.linalg.norm(column))

    return jax.lax.fori_loop(0, matrix.shape[1], next_column, jnp.zeros_like(matrix))
