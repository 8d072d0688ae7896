"""Strategies of matrix games that never learn. Actions: 0 = C (cooperate), 1 = D (defect)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from pax.agents.agent import Agent
from pax.envs.iterated_tensor_game import MAX_PLAYERS
from pax.envs.spaces import Box, Discrete, Space
from pax.types import MemoryState, PyTree, TrainingState


def count_players(observations: Space, actions: Space) -> int | None:
    """Returns the number of players of a game in which all observe the last joint action of two actions.

    It has 2^n + 1 observations: one per joint action, and the start. None for any other game.
    """
    if isinstance(observations, Discrete):
        size = observations.n
    elif isinstance(observations, Box) and len(observations.shape) == 1:
        size = observations.shape[0]
        if observations != Box((size,), 0.0, 1.0):
            return None
    else:
        return None
    num_players = (size - 1).bit_length() - 1
    fits = 2 <= num_players <= MAX_PLAYERS and size == 2**num_players + 1
    return num_players if fits and actions == Discrete(2) else None


@dataclasses.dataclass
class Reactive(Agent):
    """Cooperates with a fixed probability that depends on the last joint action.

    Observations may be state indices `[B]` or one-hot vectors `[B, 5]`.

    Raises:
        ConfigError: if the game is no matrix game with two actions, or of more players than it is for.
    """

    cooperation = (0.5, 0.5, 0.5, 0.5, 0.5)
    """P(C | CC), P(C | CD), P(C | DC), P(C | DD), P(C | START); own action first."""

    max_players = 2
    """Players that a game may have at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        num_players = count_players(self.observation_space, self.action_space)
        if num_players is None or num_players > self.max_players:
            others = " and n-player ones" if self.max_players > 2 else ""
            raise self.wrong_game(f"two-player matrix games{others}")

    @property
    def _draws(self) -> bool:
        return not set(self.cooperation) <= {0.0, 1.0}

    def draw(self, key: jax.Array, batch: tuple[int, ...]) -> jax.Array:
        return jax.random.uniform(key, batch) if self._draws else key

    def act(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, drawn: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        if not isinstance(self.observation_space, Discrete):
            observations = observations.argmax(axis=-1)
        cooperation = self.cooperation_after(observations, state)
        if not self._draws:
            actions = 1 - cooperation.astype(jnp.int32)
        else:
            actions = (drawn >= cooperation).astype(jnp.int32)
        return actions, memory

    def cooperation_after(self, observations: jax.Array, state: TrainingState) -> jax.Array:
        """Returns the probability of C `[B]` after the situations `[B]`, by their numbers."""
        del state
        if len(set(self.cooperation)) == 1:
            return jnp.full(observations.shape, self.cooperation[0])
        return jnp.array(self.cooperation)[observations]


@dataclasses.dataclass
class TitForTat(Reactive):
    """Starts with C, then copies the other player's last action."""

    cooperation = (1.0, 0.0, 1.0, 0.0, 1.0)


@dataclasses.dataclass
class Unconditional(Reactive):
    """Cooperates with a constant probability, among any number of players."""

    max_players = MAX_PLAYERS


@dataclasses.dataclass
class Defect(Unconditional):
    """Always defects."""

    cooperation = (0.0, 0.0, 0.0, 0.0, 0.0)


@dataclasses.dataclass
class Altruistic(Unconditional):
    """Always cooperates."""

    cooperation = (1.0, 1.0, 1.0, 1.0, 1.0)


@dataclasses.dataclass
class Grim(Reactive):
    """Plays C until anybody has played D, then D for the rest of the episode (as its own D is a D)."""

    cooperation = (1.0, 0.0, 0.0, 0.0, 1.0)
