"""Generalised advantage estimation."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Carried = tuple[jax.Array, jax.Array]


def generalised_advantage_estimation(
    rewards: jax.Array,
    values: jax.Array,
    dones: jax.Array,
    last_value: jax.Array,
    discount: float,
    gae_lambda: float,
) -> tuple[jax.Array, jax.Array]:
    """Computes advantages and value targets of a rollout (Schulman et al. 2016, arxiv.org/abs/1506.02438).

    delta_t = r_t + gamma (1 - d_t) V_{t+1} - V_t
    A_t = delta_t + gamma lambda (1 - d_t) A_{t+1};  target_t = V_t + A_t

    Args:
        rewards: `[T, ...]`.
        values: V_t `[T, ...]`.
        dones: d_t `[T, ...]`, true where nothing that follows step t counts towards it.
        last_value: V_T `[...]`.
        discount: gamma.
        gae_lambda: lambda.

    Returns:
        (advantages `[T, ...]`, targets `[T, ...]`).
    """
    next_values = jnp.concatenate([values[1:], last_value[None]])
    discounts = discount * (1.0 - dones.astype(rewards.dtype))
    deltas = rewards + discounts * next_values - values

    def backwards(advantage: jax.Array, inputs: Carried) -> Carried:
        delta, discount_t = inputs
        advantage = delta + gae_lambda * discount_t * advantage
        return advantage, advantage

    _, advantages = jax.lax.scan(
        backwards, jnp.zeros_like(last_value), (deltas, discounts), reverse=True
    )
    return advantages, values + advantages
