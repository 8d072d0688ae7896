"""Several seats of one role in a batch: which rows are of the same environment."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pax.types import Sample


def by_environment(values: jax.Array, rollout: Sample) -> jax.Array:
    """Returns values `[T, B]` of a rollout by environment and seat, `[T, N, S]` with N = B / S."""
    steps = len(values)
    blocks = values.reshape(steps, -1, rollout.num_seats, rollout.num_envs)
    return jnp.moveaxis(blocks, 2, 3).reshape(steps, -1, rollout.num_seats)


def by_row(values: jax.Array, rollout: Sample) -> jax.Array:
    """Returns values `[T, N, S]` in the order of the rollout's batch, `[T, B]`."""
    steps = len(values)
    blocks = values.reshape(steps, -1, rollout.num_envs, rollout.num_seats)
    return jnp.moveaxis(blocks, 3, 2).reshape(steps, -1)


def mean_of_others(values: jax.Array, rollout: Sample) -> jax.Array:
    """Returns the mean `[T, B]` over all rows of *other* environments, 0 if there is none.

    What one seat does changes what every seat of the same environment gets: only other environments tell
    what would have come without it.
    """
    seats = by_environment(values, rollout)
    own = seats.sum(axis=2, keepdims=True)
    number = seats.shape[1] * seats.shape[2] - seats.shape[2]
    others = (own.sum(axis=1, keepdims=True) - own) / max(number, 1)
    return by_row(jnp.broadcast_to(others, seats.shape), rollout)
