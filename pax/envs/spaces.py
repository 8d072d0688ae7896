"""What an observation or an action may be."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Discrete:
    """The integers 0, ..., n - 1, as int32 scalars."""

    n: int

    shape = ()
    dtype = jnp.int32

    def zeros(self, *batch: int) -> jax.Array:
        """Zeros with the axes `batch` in front."""
        return jnp.zeros(batch, self.dtype)


@dataclasses.dataclass(frozen=True)
class Box:
    """float32 arrays of one shape, each entry within [low, high]."""

    shape: tuple[int, ...]
    low: float = -math.inf
    high: float = math.inf

    dtype = jnp.float32

    def zeros(self, *batch: int) -> jax.Array:
        """Zeros with the axes `batch` in front."""
        return jnp.zeros((*batch, *self.shape), self.dtype)


@dataclasses.dataclass(frozen=True)
class Dict:
    """Named parts: values are dicts of what each part's space holds."""

    parts: tuple[tuple[str, Discrete | Box], ...]

    def zeros(self, *batch: int) -> dict[str, jax.Array]:
        """Zeros with the axes `batch` in front."""
        return {name: space.zeros(*batch) for name, space in self.parts}


Space = Discrete | Box | Dict
