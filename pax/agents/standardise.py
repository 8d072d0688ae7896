"""Standardisation of values that treats differences due to rounding as none."""

from __future__ import annotations

import jax
import jax.numpy as jnp

RELATIVE_ROUNDING = 3e-6
"""Relative error that sums of float32 numbers may have: fifty units of the last place."""
LARGE = 1e12
"""Size above which the square of a single value, which may be a million times as large, overflows float32."""


def standardise(values: jax.Array, size: jax.Array) -> jax.Array:
    """Returns (values - mean) / (standard deviation + 1e-8), and zeros if nothing differs.

    Args:
        values: of any shape, all of them together.
        size: magnitude of the numbers that the values are differences of. Values that deviate by less than
            `RELATIVE_ROUNDING` of it count as equal, as they would otherwise be scaled-up rounding errors.
    """
    deviation = values.std()
    # Squares of large numbers overflow. Scaling by a power of two is exact.
    small = 2.0**-80
    deviation = jnp.where(size > LARGE, (values * small).std() / small, deviation)
    standard = (values - values.mean()) / (deviation + 1e-8)
    return jnp.where(deviation > RELATIVE_ROUNDING * size, standard, 0.0)
