"""Uniform play, in any game."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from pax.agents.agent import Agent
from pax.envs.masks import choose_legal, mask_of
from pax.envs.spaces import Box, Discrete
from pax.types import MemoryState, PyTree, TrainingState


@dataclasses.dataclass
class Random(Agent):
    """Plays every legal action with equal probability, whatever else it observes.

    Numbers of a continuous action are uniform within their bounds; those that lack one are standard normal,
    cut off at the bound that there is.
    """

    def draw(self, key: jax.Array, batch: tuple[int, ...]) -> jax.Array:
        space = self.action_space
        assert isinstance(space, Discrete | Box)
        shape = (*batch, *space.shape)
        if isinstance(space, Discrete):
            return jax.random.uniform(key, shape)
        is_bounded = np.isfinite(space.bounds).all(axis=0)
        if is_bounded.all():
            return jax.random.uniform(key, shape)
        if not is_bounded.any():
            return jax.random.normal(key, shape)
        uniform_key, normal_key = jax.random.split(key)
        uniform, normal = (
            jax.random.uniform(uniform_key, shape),
            jax.random.normal(normal_key, shape),
        )
        return jnp.where(is_bounded, uniform, normal)

    def act(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, drawn: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        del state
        space = self.action_space
        mask = mask_of(self.observation_space, observations)
        if mask is not None:
            return choose_legal(drawn, mask), memory
        if isinstance(space, Discrete):
            # The product may round up to n.
            return jnp.minimum((drawn * space.n).astype(jnp.int32), space.n - 1), memory
        assert isinstance(space, Box)
        low, high = space.bounds
        is_bounded = np.isfinite(space.bounds).all(axis=0)
        within = np.where(is_bounded, low, 0) + drawn * np.where(is_bounded, high - low, 1)
        return space.clip(jnp.asarray(within)), memory
