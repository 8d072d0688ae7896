"""Distributions over actions, and how the outputs of a network describe them."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pax.checks import MAX_FLOAT, Limit
from pax.envs.spaces import Box, Discrete, Space
from pax.errors import ConfigError

MIN_STD = 1e-3
UNITS = Limit(1e-13, 1e16)
"""Units in which squares of standard deviations neither underflow nor overflow float32."""
HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)
ERFCC = (
    -1.26551223,
    1.00002368,
    0.37409196,
    0.09678418,
    -0.18628806,
    0.27886807,
    -1.13520398,
    1.48851587,
    -0.82215223,
    0.17087277,
)
"""Coefficients of t^k in log(erfc(x) / t) + x^2, with t = 1 / (1 + x / 2)."""


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
        """Draws one int32 per distribution, `[...]`."""
        return self.transform(jax.random.uniform(key, self.log_probs.shape[:-1]))

    def transform(self, uniform: jax.Array) -> jax.Array:
        """Maps uniform numbers `[...]` of `draw` to actions `[...]`, by inversion of the distribution."""
        cumulative = jnp.cumsum(jnp.exp(self.log_probs[..., :-1]), axis=-1)
        return (uniform[..., None] >= cumulative).sum(axis=-1, dtype=jnp.int32)

    def log_prob(self, actions: jax.Array) -> jax.Array:
        # Not indexed, as the gradient of indexing is a scatter, which is sequential on a CPU.
        chosen = actions[..., None] == jnp.arange(self.log_probs.shape[-1])
        return jnp.where(chosen, self.log_probs, 0.0).sum(axis=-1)

    def divergence_from(self, other: Categorical) -> jax.Array:
        """Returns KL(self || other), `[...]`; what neither of them ever draws counts nothing."""
        possible = self.log_probs > -jnp.inf
        own, others = (jnp.where(possible, each.log_probs, 0.0) for each in (self, other))
        return (jnp.where(possible, jnp.exp(own), 0.0) * (own - others)).sum(axis=-1)

    def entropy(self) -> jax.Array:
        # Actions with a logit of -inf contribute 0, where 0 times -inf would be NaN.
        log_probs = jnp.maximum(self.log_probs, -MAX_FLOAT)
        return -(jnp.exp(log_probs) * log_probs).sum(axis=-1)


@struct.dataclass
class MaskedCategorical(Categorical):
    """Over the legal ones among the integers 0, ..., A - 1: others have no probability, and are never drawn.

    Where none is legal, everything is NaN.
    """

    @classmethod
    def from_masked(cls, logits: jax.Array, mask: jax.Array) -> MaskedCategorical:
        """Returns the distribution of logits `[..., A]` where the mask `[..., A]` is true."""
        return cls(jax.nn.log_softmax(jnp.where(mask, logits, -jnp.inf)))

    def transform(self, uniform: jax.Array) -> jax.Array:
        cumulative = jnp.cumsum(jnp.exp(self.log_probs), axis=-1)
        # Probabilities may sum up to a little less than 1: what is left over belongs to no action.
        reached = uniform * cumulative[..., -1]
        return (reached[..., None] >= cumulative[..., :-1]).sum(axis=-1, dtype=jnp.int32)


@struct.dataclass
class Gaussian:
    """Over arrays of independent normal numbers, each clipped to the bounds of a space.

    A sample beyond a bound is the bound itself, which therefore has a probability of its own, that of the
    normal tail behind it; between the bounds there is the normal density (Fujita and Maeda 2018, "Clipped
    action policy gradient", arxiv.org/abs/1802.07564). So log-probabilities are those of the actions that
    the game gets. Without bounds this is the normal distribution.
    """

    mean: jax.Array
    """Before clipping, `[..., *space.shape]`."""
    std: jax.Array
    """Before clipping, `[..., *space.shape]`."""
    space: Box = struct.field(pytree_node=False)

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws one array per distribution, `[..., *space.shape]`."""
        return self.transform(jax.random.normal(key, self.mean.shape))

    def transform(self, normal: jax.Array) -> jax.Array:
        """Maps normal numbers `[..., *space.shape]` of `draw` to actions."""
        return self.space.clip(self.mean + self.std * normal)

    def log_prob(self, actions: jax.Array) -> jax.Array:
        """Returns the log-probability `[...]` of actions within the bounds."""
        z = (actions - self.mean) / self.std
        log_probs = -(0.5 * jnp.square(z) + jnp.log(self.std) + HALF_LOG_2_PI)
        low, high = _bounds(self.space)
        if np.isfinite([low, high]).any():
            at_low = np.isfinite(low) & (actions <= low)
            at_high = np.isfinite(high) & (actions >= high)
            # At most one tail is computed, and none inside the bounds, where it has no finite gradient.
            tail = log_normal_cdf(jnp.where(at_low, z, jnp.where(at_high, -z, 0.0)))
            log_probs = jnp.where(at_low | at_high, tail, log_probs)
        return log_probs.sum(axis=self._entries)

    def entropy(self) -> jax.Array:
        """Returns the mean of -log_prob, `[...]`: densities between the bounds, probabilities at them."""
        inside, entropy = jnp.ones_like(self.mean), jnp.zeros_like(self.mean)
        # The integral of z^2 times the normal density is the probability inside, and this.
        edges = jnp.zeros_like(self.mean)
        for bound, sign in zip(_bounds(self.space), (1.0, -1.0), strict=True):
            exists = np.isfinite(bound)
            if not exists.any():
                continue
            # Tails below 1e-23 are negligible, and CPUs are slow with denormal numbers.
            edge = np.where(exists, bound, np.float32(0.0))
            z = jnp.clip(sign * (edge - self.mean) / self.std, -10.0, 10.0)
            log_tail = log_normal_cdf(z)
            tail = jnp.exp(log_tail)
            inside -= jnp.where(exists, tail, 0.0)
            entropy -= jnp.where(exists, tail * log_tail, 0.0)
            edges += jnp.where(exists, z * jnp.exp(-0.5 * jnp.square(z) - HALF_LOG_2_PI), 0.0)
        entropy += inside * (jnp.log(self.std) + HALF_LOG_2_PI) + 0.5 * (inside + edges)
        return entropy.sum(axis=self._entries)

    @property
    def _entries(self) -> tuple[int, ...]:
        """Returns the axes of an action."""
        return tuple(range(-len(self.space.shape), 0))


Distribution = Categorical | Gaussian


def draw(key: jax.Array, space: Space, batch: tuple[int, ...]) -> jax.Array:
    """Draws the random numbers that `transform` takes, for a `batch` of distributions over `space`."""
    if isinstance(space, Discrete):
        return jax.random.uniform(key, batch)
    assert isinstance(space, Box)
    return jax.random.normal(key, (*batch, *space.shape))


def num_outputs(space: Space) -> int:
    """Returns the number of network outputs that describe a distribution over `space`.

    Raises:
        ConfigError: if no policy can act in this space.
    """
    if isinstance(space, Discrete):
        return space.n
    if isinstance(space, Box):
        low, high = space.bounds
        if not (low < high).all():
            raise ConfigError(f"actions are {space}: a policy needs bounds that differ, low < high")
        half = (high / 2 - low / 2)[np.isfinite(low) & np.isfinite(high)]
        if (half > UNITS.high).any():
            raise ConfigError(
                f"actions are {space}, whose bounds are too far apart for float32: leave them out"
            )
        if (half < UNITS.low).any():
            raise ConfigError(
                f"actions are {space}, whose bounds are too close for float32: count actions in smaller units"
            )
        return 2 * low.size
    raise ConfigError(f"actions are {space}: a policy needs Discrete ones, or a Box")


def make_distribution(
    outputs: jax.Array, space: Space, scale: float = 1.0, mask: jax.Array | None = None
) -> Distribution:
    """Makes the distribution over `space` that outputs `[..., num_outputs(space)]` of a network describe.

    Only actions where `mask`, bool `[..., n]`, is true are in it.

    Outputs are logits, or means followed by inputs of the standard deviations. Between two finite bounds, the
    mean lies between them, and half their distance is the unit of the standard deviation. Elsewhere `scale`
    is the unit, and means count from the finite bound, if there is one.
    """
    if mask is not None:
        return MaskedCategorical.from_masked(outputs, mask)
    if isinstance(space, Discrete):
        return Categorical.from_logits(outputs)
    assert isinstance(space, Box)
    low, high = _bounds(space)
    mean, spread = (
        part.reshape(*part.shape[:-1], *space.shape) for part in jnp.split(outputs, 2, axis=-1)
    )
    bounded = np.isfinite(low) & np.isfinite(high)
    origin = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, np.float32(0.0)))
    width = np.where(bounded, high, 0.0) - np.where(bounded, low, 0.0)
    within, beyond = origin + width * jax.nn.sigmoid(mean), origin + scale * mean
    unit = jnp.where(bounded, width / 2, scale)
    # Added, as a maximum would have no gradient where the deviation is smallest.
    std = unit * (softplus(spread) + MIN_STD)
    return Gaussian(jnp.where(bounded, within, beyond), std, space)


def _bounds(space: Box) -> tuple[np.ndarray, np.ndarray]:
    """Returns the bounds of every entry, as scalars if all are equal, which XLA compiles to faster code."""
    return np.asarray(space.low, np.float32), np.asarray(space.high, np.float32)


@jax.custom_jvp
def softplus(x: jax.Array) -> jax.Array:
    """Computes log(1 + exp(x)) to 1e-7, faster than by log1p, which took a quarter of learning in Rice."""
    return jnp.maximum(x, 0.0) + jnp.log(1.0 + jnp.exp(-jnp.abs(x)))


# Given explicitly, as abs and maximum have no derivative at 0, where untrained policies are.
softplus.defjvps(lambda tangent, _, x: tangent * jax.nn.sigmoid(x))


@jax.custom_jvp
def log_normal_cdf(z: jax.Array) -> jax.Array:
    """Computes log P(x <= z) of a standard normal x; its gradient is right however far z is from 0.

    By the Chebyshev fit of erfcc in Press et al. (Numerical Recipes, 1992, section 6.2), where z^2 is a
    separate term of the exponent, which cancels in the gradient: that of `jax.scipy.special.log_ndtr` is
    wrong in float32 below -3000, and costs several times as much.
    """
    return _log_normal_cdf(z)[0]


def _log_normal_cdf(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns log P(x <= z) and its derivative."""
    square = 0.5 * jnp.square(z)
    t = 1.0 / (1.0 + math.sqrt(0.125) * jnp.abs(z))
    fit = jnp.full_like(t, ERFCC[-1])
    for coefficient in reversed(ERFCC[:-1]):
        fit = fit * t + coefficient
    # P(x <= -|z|) is scaled * exp(-square), and the density exp(-square) / sqrt(2 pi).
    log_scaled = jnp.log(0.5 * t) + fit
    tail = jnp.exp(log_scaled - square)
    below = z < 0.0
    value = jnp.where(below, log_scaled - square, jnp.log(1.0 - tail))
    slope = jnp.exp(-HALF_LOG_2_PI - log_scaled) * jnp.where(below, 1.0, tail / (1.0 - tail))
    return value, slope


@log_normal_cdf.defjvp
def _log_normal_cdf_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> Any:
    value, slope = _log_normal_cdf(primals[0])
    return value, slope * tangents[0]
