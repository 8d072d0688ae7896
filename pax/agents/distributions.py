"""Distributions over actions, and how the outputs of a network describe them."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import struct

from pax.envs.spaces import Box, Discrete, Space
from pax.errors import ConfigError

MIN_STD = 1e-3


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
        """One int32 draw per distribution, by inversion: one random number each, however many actions.

        `key` is one, or these numbers, `[...]`: see `draw`.
        """
        cumulative = jnp.cumsum(jnp.exp(self.log_probs[..., :-1]), axis=-1)
        uniform = key if is_drawn(key) else jax.random.uniform(key, self.log_probs.shape[:-1])
        return (uniform[..., None] >= cumulative).sum(axis=-1, dtype=jnp.int32)

    def log_prob(self, actions: jax.Array) -> jax.Array:
        # Not indexed: the gradient of that is a scatter, one number after the other.
        chosen = actions[..., None] == jnp.arange(self.log_probs.shape[-1])
        return jnp.where(chosen, self.log_probs, 0.0).sum(axis=-1)

    def entropy(self) -> jax.Array:
        return -(jnp.exp(self.log_probs) * self.log_probs).sum(axis=-1)


@struct.dataclass
class Gaussian:
    """Over vectors of independent numbers. A game clips what it cannot take."""

    mean: jax.Array
    """`[..., D]`."""
    std: jax.Array
    """`[..., D]`."""

    def sample(self, key: jax.Array) -> jax.Array:
        """One float32 draw `[..., D]` per distribution; `key` is one, or standard normal numbers."""
        normal = key if is_drawn(key) else jax.random.normal(key, self.mean.shape)
        return self.mean + self.std * normal

    def log_prob(self, actions: jax.Array) -> jax.Array:
        z = (actions - self.mean) / self.std
        return -(0.5 * jnp.square(z) + jnp.log(self.std) + 0.5 * jnp.log(2 * jnp.pi)).sum(axis=-1)

    def entropy(self) -> jax.Array:
        return (jnp.log(self.std) + 0.5 * jnp.log(2 * jnp.pi * jnp.e)).sum(axis=-1)


Distribution = Categorical | Gaussian


def draw(key: jax.Array, space: Space, batch: int) -> jax.Array:
    """The random numbers that `sample` takes for a key, for `batch` distributions over `space`."""
    if isinstance(space, Discrete):
        return jax.random.uniform(key, (batch,))
    assert isinstance(space, Box)
    return jax.random.normal(key, (batch, *space.shape))


def is_drawn(key: jax.Array) -> bool:
    """Whether these are random numbers that were drawn ahead, and no key."""
    return bool(jnp.issubdtype(key.dtype, jnp.floating))


def num_outputs(space: Space) -> int:
    """How many numbers a network has to give to describe a distribution over `space`.

    Raises:
        ConfigError: if no policy can act in this space.
    """
    if isinstance(space, Discrete):
        return space.n
    if isinstance(space, Box) and len(space.shape) == 1:
        return 2 * space.shape[0]
    raise ConfigError(f"actions are {space}: a policy needs Discrete ones, or a Box of one axis")


def make_distribution(outputs: jax.Array, space: Space, scale: float = 1.0) -> Distribution:
    """The distribution over `space` that the outputs `[..., num_outputs(space)]` of a network describe.

    Logits, or means and then what makes standard deviations. Where both bounds are finite, the mean lies
    between them. `scale` is the unit of an action without bounds.
    """
    if isinstance(space, Discrete):
        return Categorical.from_logits(outputs)
    assert isinstance(space, Box)
    mean, spread = jnp.split(outputs, 2, axis=-1)
    if math.isfinite(space.low) and math.isfinite(space.high):
        mean = space.low + (space.high - space.low) * jax.nn.sigmoid(mean)
        unit = (space.high - space.low) / 2
    else:
        mean, unit = scale * mean, scale
    # Added, not a maximum: that would have no gradient where it is most needed.
    return Gaussian(mean, unit * (softplus(spread) + MIN_STD))


@jax.custom_jvp
def softplus(x: jax.Array) -> jax.Array:
    """log(1 + exp(x)) to within 1e-7: with log1p, short rows of it took a quarter of learning in rice."""
    return jnp.maximum(x, 0.0) + jnp.log(1.0 + jnp.exp(-jnp.abs(x)))


# Written down, as the parts have no derivative at 0, where untrained policies are.
softplus.defjvps(lambda tangent, _, x: tangent * jax.nn.sigmoid(x))
