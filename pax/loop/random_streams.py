"""Streams of random numbers: what must draw different numbers starts from keys that differ by construction.

`jax.random.split(key, n)[i]` is the key that `jax.random.fold_in(key, i)` gives. So a key is either split
once, or folded with numbers that are all different; a key that is used in both ways, or twice, draws the same
numbers for two purposes.
"""

from __future__ import annotations

import enum

import jax


class Stream(enum.IntEnum):
    """Purposes that numbers are drawn for; a new one is a new member, and the others keep their numbers."""

    INITIAL_STATE = 0
    ITERATIONS = 1
    EVALUATION = 2
    SINGLE_TRIALS = 3
    """Trials that are recorded or drawn, outside of evaluations."""
    CROSS_PLAY = 4


def stream(key: jax.Array, purpose: Stream) -> jax.Array:
    """Returns the key of a stream, from the key of a seed or of an evaluation, which nothing else may use."""
    return jax.random.fold_in(key, purpose)
