"""Tit-for-tat among n players: strategies that never learn. Actions: 0 = C (cooperate), 1 = D (defect)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from pax.agents.agent import Agent
from pax.agents.fixed import count_players
from pax.envs.spaces import Discrete
from pax.types import MemoryState, PyTree, TrainingState


@dataclasses.dataclass
class NPlayerTitForTat(Agent):
    """Starts with C, then responds to the last actions of the others.

    With two players, all of them are tit-for-tat. Observations are those of `IteratedTensorGame`: integers
    `[B]` or one-hot vectors `[B, 2^n + 1]`.

    Raises:
        ConfigError: if the game is no n-player game with two actions.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        num_players = count_players(self.observation_space, self.action_space)
        if num_players is None:
            raise self.wrong_game("n-player games with two actions")
        self.num_players = num_players

    def act(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, drawn: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        del state, drawn
        if not isinstance(self.observation_space, Discrete):
            observations = observations.argmax(axis=-1)
        num_others = self.num_players - 1
        own = (observations >> num_others) & 1
        defectors = jax.lax.population_count(observations & ((1 << num_others) - 1))
        answer = self.answer(own, defectors, num_others)
        start = observations == 1 << self.num_players
        return jnp.where(start, 0, answer).astype(jnp.int32), memory

    def answer(self, own: jax.Array, defectors: jax.Array, num_others: int) -> jax.Array:
        """Returns the next action, after an own one and a number of others' defections, all `[B]`."""
        raise NotImplementedError


def unless_unanimous(
    otherwise: jax.Array | int, defectors: jax.Array, num_others: int
) -> jax.Array:
    """Returns what all others did if they all did the same, else `otherwise`."""
    return jnp.where(defectors == 0, 0, jnp.where(defectors == num_others, 1, otherwise))


@dataclasses.dataclass
class TitForTatStrictStay(NPlayerTitForTat):
    """Does what the others did if they all did the same, else what it did itself."""

    def answer(self, own: jax.Array, defectors: jax.Array, num_others: int) -> jax.Array:
        return unless_unanimous(own, defectors, num_others)


@dataclasses.dataclass
class TitForTatStrictSwitch(NPlayerTitForTat):
    """Does what the others did if they all did the same, else the opposite of what it did itself."""

    def answer(self, own: jax.Array, defectors: jax.Array, num_others: int) -> jax.Array:
        return unless_unanimous(1 - own, defectors, num_others)


@dataclasses.dataclass
class TitForTatCooperate(NPlayerTitForTat):
    """Does what the others did if they all did the same, else C."""

    def answer(self, own: jax.Array, defectors: jax.Array, num_others: int) -> jax.Array:
        return unless_unanimous(0, defectors, num_others)


@dataclasses.dataclass
class TitForTatDefect(NPlayerTitForTat):
    """Does what the others did if they all did the same, else D."""

    def answer(self, own: jax.Array, defectors: jax.Array, num_others: int) -> jax.Array:
        return unless_unanimous(1, defectors, num_others)


@dataclasses.dataclass
class TitForTatHarsh(TitForTatDefect):
    """Cooperates only if all the others did: `TitForTatDefect` by its second published name."""


@dataclasses.dataclass
class TitForTatSoft(NPlayerTitForTat):
    """Cooperates if at most half of the others defected."""

    def answer(self, own: jax.Array, defectors: jax.Array, num_others: int) -> jax.Array:
        return 2 * defectors > num_others
