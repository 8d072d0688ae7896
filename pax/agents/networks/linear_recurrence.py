"""A gated linear recurrence with a gated MLP, whose sequences need no matrix product per step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from pax.agents.networks.memory import Memory

SHORTEST, LONGEST = 2.0, 200.0
"""Numbers of steps over which the initial gates average, the smallest and the largest."""


class LinearRecurrence(Memory):
    """A recurrent block: the linear recurrence of minGRU, and a gated MLP.

    With v, f and x linear in the features,

    h <- a h + (1 - a) v,  a = sigmoid(f),    y = x + h,    norm(y + W (silu(V y) * U y)),

    in which `*` is elementwise and norm divides by the root mean square. The last of these terms is the
    reading; h and x, side by side, are the state, `[..., 2 H]`. The gate depends on the input only, so that
    the recurrence is linear in h, and all that is sequential is one product and one sum per unit.
    (Feng et al. 2024, Were RNNs All We Needed?, arxiv.org/abs/2410.01201.)

    The recurrence of Hawk (De et al. 2024, arxiv.org/abs/2402.19427) has an exponential, a root and a second
    gate in the place of one sigmoid, and takes longer on CPUs, where these cost more than the products.
    """

    @property
    def state_size(self) -> int:
        return 2 * self.hidden_size

    def setup(self) -> None:
        self.input = nn.Dense(3 * self.hidden_size, bias_init=_long_memories)
        self.widen, self.narrow = nn.Dense(2 * self.hidden_size), nn.Dense(self.hidden_size)
        self.norm = nn.RMSNorm()

    def encode(self, features: jax.Array) -> jax.Array:
        """Returns a, (1 - a) v and x, side by side, `[..., 3 H]`."""
        forget, value, x = jnp.split(self.input(features), 3, axis=-1)
        decay = nn.sigmoid(forget)
        return jnp.concatenate([decay, (1.0 - decay) * value, x], axis=-1)

    def step(self, state: jax.Array, encoded: jax.Array) -> jax.Array:
        hidden, _ = jnp.split(state, 2, axis=-1)
        decay, added, x = jnp.split(encoded, 3, axis=-1)
        return jnp.concatenate([decay * hidden + added, x], axis=-1)

    def read(self, state: jax.Array) -> jax.Array:
        hidden, x = jnp.split(state, 2, axis=-1)
        return self._read(x + hidden)

    def unroll(self, state: jax.Array, encoded: jax.Array, dones: jax.Array) -> jax.Array:
        hidden, _ = jnp.split(state, 2, axis=-1)
        decay, added, x = jnp.split(encoded, 3, axis=-1)
        joined = x + linear_recurrence(decay, added, hidden, dones)
        # One batch axis: the gradients of products over several are slow.
        return self._read(jax.lax.collapse(joined, 0, dones.ndim)).reshape(x.shape)

    def _read(self, joined: jax.Array) -> jax.Array:
        """Returns the reading `[..., H]`, given x + h."""
        gate, value = jnp.split(self.widen(joined), 2, axis=-1)
        return self.norm(joined + self.narrow(nn.silu(gate) * value))


def linear_recurrence(
    decay: jax.Array, added: jax.Array, hidden: jax.Array, dones: jax.Array
) -> jax.Array:
    """Returns h_t = decay_t h_{t-1} + added_t for L steps, `[L, ..., H]`.

    An associative scan returns the same, and takes 2 to 6 times as long on CPUs (docs/performance.md).

    Args:
        decay: `[L, ..., H]`.
        added: `[L, ..., H]`.
        hidden: before the first step, `[..., H]`.
        dones: `[L, ...]`, whether the state after a step is forgotten.
    """
    # The first step remembers what came before the sequence.
    forgotten = jnp.concatenate([jnp.zeros_like(dones[:1]), dones[:-1]])
    decay = jnp.where(forgotten[..., None], 0.0, decay)

    def step(hidden: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        decay, added = inputs
        hidden = decay * hidden + added
        return hidden, hidden

    return jax.lax.scan(step, hidden, (decay, added))[1]


def _long_memories(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
    """Draws biases with which gates average over numbers of steps that are spread evenly on a log scale."""
    size = shape[0] // 3
    ends = (math.log(SHORTEST), math.log(LONGEST))
    steps = jnp.exp(jax.random.uniform(key, (size,), dtype, *ends))
    # sigmoid(log(n - 1)) = 1 - 1 / n.
    return jnp.concatenate([jnp.log(steps - 1.0), jnp.zeros(2 * size, dtype)])
