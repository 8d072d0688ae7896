"""Policy networks: what maps an observation, and a memory, to a policy and a value."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Initializer

from pax.envs.spaces import Discrete, Space

orthogonal = nn.initializers.orthogonal
# Matrix-game heads start from a constant: every action is equally likely, whatever is observed.
CONSTANT_HALF = nn.initializers.constant(0.5)


def encode(observations: jax.Array, space: Space) -> jax.Array:
    """Observations as float32 vectors `[..., D]`: one-hot if discrete, flattened if not."""
    if isinstance(space, Discrete):
        return jax.nn.one_hot(observations, space.n)
    return observations.reshape(*observations.shape[: observations.ndim - len(space.shape)], -1)


class Heads(nn.Module):
    """Logits `[..., A]` and value `[...]`, linear in the features."""

    num_actions: int
    kernel_init: Initializer = CONSTANT_HALF

    @nn.compact
    def __call__(self, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = nn.Dense(self.num_actions, kernel_init=self.kernel_init, name="policy")(features)
        value = nn.Dense(1, kernel_init=self.kernel_init, name="value")(features)
        return logits, value[..., 0]


class Table(nn.Module):
    """A row of logits and a value for every possible (discrete) observation, all zero at first."""

    num_observations: int
    num_actions: int

    @nn.compact
    def __call__(self, observations: jax.Array) -> tuple[jax.Array, jax.Array]:
        table = self.param(
            "table", nn.initializers.zeros, (self.num_observations, self.num_actions + 1)
        )
        rows = table[observations]
        return rows[..., :-1], rows[..., -1]


class MLP(nn.Module):
    """Two tanh layers shared by the policy and the value."""

    observation_space: Space
    num_actions: int
    hidden_size: int

    @nn.compact
    def __call__(self, observations: jax.Array) -> tuple[jax.Array, jax.Array]:
        features = encode(observations, self.observation_space)
        for _ in range(2):
            features = nn.Dense(self.hidden_size, kernel_init=orthogonal(jnp.sqrt(2)))(features)
            features = nn.tanh(features)
        return Heads(self.num_actions)(features)


class GRU(nn.Module):
    """A gated recurrent unit on the observation; policy and value are linear in its state."""

    observation_space: Space
    num_actions: int
    hidden_size: int

    @nn.compact
    def __call__(
        self, hidden: jax.Array, observations: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        features = encode(observations, self.observation_space)
        hidden, outputs = nn.GRUCell(self.hidden_size)(hidden, features)
        return hidden, Heads(self.num_actions)(outputs)
