"""Distributions over actions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Categorical:
    """Over the integers 0, ..., A - 1.

    The log-probabilities are stored, so that those of a few distinct observations can be computed once and
    looked up for many samples.
    """

    log_probs: jax.Array
    """Normalised, `[..., A]`."""

    @classmethod
    def from_logits(cls, logits: jax.Array) -> Categorical:
        return cls(jax.nn.log_softmax(logits))

    def sample(self, key: jax.Array) -> jax.Array:
        """One int32 draw per distribution, by inversion: one random number each, however many actions."""
        cumulative = jnp.cumsum(jnp.exp(self.log_probs[..., :-1]), axis=-1)
        uniform = jax.random.uniform(key, (*self.log_probs.shape[:-1], 1))
        return (uniform >= cumulative).sum(axis=-1, dtype=jnp.int32)

    def log_prob(self, actions: jax.Array) -> jax.Array:
        return jnp.take_along_axis(self.log_probs, actions[..., None], axis=-1)[..., 0]

    def entropy(self) -> jax.Array:
        return -(jnp.exp(self.log_probs) * self.log_probs).sum(axis=-1)
