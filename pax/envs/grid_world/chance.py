"""Random numbers of a step, all made from two words that are drawn for it.

A step of such a game wants hundreds of numbers, one per cell. The words are drawn by JAX; what is made of
them is a hash of a counter (lowbias32, github.com/skeeto/hash-prospector), a few integer instructions per
number. Calls with other streams give other numbers.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

STREAM = 0x9E3779B9
"""The counters of two streams lie this far apart, modulo 2^32."""


def draw_words(key: jax.Array) -> jax.Array:
    """Draws what the numbers of a step are made from, uint32 `[2]`."""
    return jax.random.bits(key, (2,), jnp.uint32)


def random_bits(words: jax.Array, stream: int, shape: tuple[int, ...]) -> jax.Array:
    """Returns 32 random bits each, uint32 of a shape and the games `[..., E]`, given words `[2, E]`."""
    counter = np.arange(math.prod(shape), dtype=np.uint32).reshape(*shape, 1)
    first = np.uint32(stream * STREAM % 2**32)
    return _mix(_mix(jnp.asarray(counter + first) + words[0]) ^ words[1])


def uniform(words: jax.Array, stream: int, shape: tuple[int, ...]) -> jax.Array:
    """Returns numbers in [0, 1), float32 of a shape and the games `[..., E]`: multiples of 2^-24."""
    bits = random_bits(words, stream, shape) >> 8
    return bits.astype(jnp.int32).astype(jnp.float32) * 2.0**-24


def _mix(bits: jax.Array) -> jax.Array:
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x846CA68B)
    return bits ^ (bits >> 16)
