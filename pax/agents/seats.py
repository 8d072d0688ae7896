"""Seats of one role in a batch: which rows belong to the same environment."""

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

    An action of one seat changes the rewards of every seat of its environment: only other environments are
    independent of it, as a baseline must be.
    """
    seats = by_environment(values, rollout)
    return by_row(jnp.broadcast_to(mean_of_other_environments(seats), seats.shape), rollout)


def mean_of_other_environments(values: jax.Array) -> jax.Array:
    """Returns the mean `[T, N, 1]` of values `[T, N, S]` over the other environments, 0 if there is none.

    Where all values are equal, so is their mean, to the last bit.
    """
    _, environments, seats = values.shape
    if environments == 1:
        return jnp.zeros_like(values[..., :1])
    some = values[:, :1, :1]
    own = (values - some).sum(axis=2, keepdims=True)
    return some + (own.sum(axis=1, keepdims=True) - own) / ((environments - 1) * seats)
