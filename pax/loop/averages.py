"""Exponential moving averages of the policies that learners train."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from pax.roles import Role
from pax.types import PyTree


def first_averages(roles: Sequence[Role], learners: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Returns the averages before the first update, the parameters to start from, by role that keeps one.

    Args:
        roles: all of them.
        learners: the learners' states by role, `[S, ...]`.
    """
    return {role.name: _params(role, learners) for role in roles if role.ema_decay}


def update_averages(
    roles: Sequence[Role],
    averages: Mapping[str, PyTree],
    learners: Mapping[str, PyTree],
    updates: jax.Array,
) -> dict[str, PyTree]:
    """Returns the averages after an update, with the correction for bias of Adam and `optax.ema`.

    With the decay d and parameters p_1, ..., p_t after t updates, the average is

        a_t = (1 - d) / (1 - d^t) sum_i d^(t - i) p_i,

    a mean with weights that sum to one, in which the parameters to start from have no part. It is computed as
    a_t = a_(t-1) + (1 - d) / (1 - d^t) (p_t - a_(t-1)), so that what is kept is the average itself.

    Args:
        roles: all of them.
        averages: those before the update, by role, `[S, ...]`.
        learners: the learners' states after it, by role, `[S, ...]`.
        updates: t, the number of updates so far, this one included.
    """
    new = {}
    for role in roles:
        if role.ema_decay:
            # 1 - d^t by way of expm1: d is often so close to 1 that float32 would lose most of the digits.
            weight = (1 - role.ema_decay) / -jnp.expm1(updates * math.log(role.ema_decay))
            new[role.name] = jax.tree.map(
                lambda old, params, weight=weight: _step(old, params, weight),
                averages[role.name],
                _params(role, learners),
            )
    return new


def _params(role: Role, learners: Mapping[str, PyTree]) -> PyTree:
    assert role.learner is not None
    return jax.vmap(role.learner.deploy)(learners[role.name]).params


def _step(old: jax.Array, new: jax.Array, weight: jax.Array) -> jax.Array:
    """Moves `old` towards `new`; counters and other whole numbers have no mean and are taken as they are."""
    if not jnp.issubdtype(new.dtype, jnp.inexact):
        return new
    return (old + weight * (new - old)).astype(new.dtype)
