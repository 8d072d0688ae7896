"""Mean and standard deviation of a quantity, from sums that can be added up."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Moments:
    """Sums over episodes of equal length, float32, of any one shape.

    Variances within and between episodes are kept apart: a variance from plain sums of squares over all steps
    is a difference of two large numbers, which loses most digits. This way a standard deviation is right to
    about 4e-4 of the mean, and never NaN.
    """

    episodes: jax.Array
    """How many."""
    means: jax.Array
    """Of the mean within each."""
    squared_means: jax.Array
    """Of the squares of these."""
    variances: jax.Array
    """Of the variance within each."""


def episode_moments(values: jax.Array) -> Moments:
    """Returns the moments of `[T, E, ...]`, T steps of E episodes; its fields are `[...]`."""
    means = values.mean(axis=0)
    return Moments(
        episodes=jnp.full(means.shape[1:], values.shape[1], jnp.float32),
        means=means.sum(axis=0),
        squared_means=jnp.square(means).sum(axis=0),
        variances=jnp.square(values - means).mean(axis=0).sum(axis=0),
    )


def mean_and_std(moments: Moments) -> tuple[jax.Array, jax.Array]:
    """Returns mean and standard deviation (of a population) over all steps of all episodes."""
    mean = moments.means / moments.episodes
    between = moments.squared_means / moments.episodes - jnp.square(mean)
    variance = moments.variances / moments.episodes + jnp.maximum(between, 0.0)
    return mean, jnp.sqrt(variance)
