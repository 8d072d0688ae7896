"""What an observation or an action may be."""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Discrete:
    """The integers 0, ..., n - 1, as int32 scalars."""

    n: int

    shape = ()
    dtype = jnp.int32


@dataclasses.dataclass(frozen=True)
class Box:
    """float32 arrays of one shape, each entry within [low, high]."""

    shape: tuple[int, ...]
    low: float = -math.inf
    high: float = math.inf

    dtype = jnp.float32


Space = Discrete | Box
