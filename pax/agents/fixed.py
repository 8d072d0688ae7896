"""Strategies of two-player matrix games that never learn. Actions: 0 = C (cooperate), 1 = D (defect)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from pax.agents.agent import Agent
from pax.envs.spaces import Discrete
from pax.errors import ConfigError
from pax.metrics.matrix_game import NUM_STATES
from pax.types import MemoryState, PyTree, TrainingState


@dataclasses.dataclass
class Reactive(Agent):
    """Cooperates with a fixed probability that depends on the last joint action.

    Observations may be state indices `[B]` or one-hot vectors `[B, 5]`.

    Raises:
        ConfigError: if the game is not a two-player, two-action matrix game.
    """

    cooperation = (0.5, 0.5, 0.5, 0.5, 0.5)
    """P(C | CC), P(C | CD), P(C | DC), P(C | DD), P(C | START); own action first."""

    def __post_init__(self) -> None:
        name = type(self).__name__
        actions, space = self.action_space, self.observation_space
        size = space.n if isinstance(space, Discrete) else (space.shape or (0,))[-1]
        if not isinstance(actions, Discrete) or actions.n != 2 or size != NUM_STATES:
            raise ConfigError(
                f"{name} plays two-player matrix games only, and this game has observations {space} and "
                f"actions {actions}: choose another agent for this seat"
            )

    def policy(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, key: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        del state
        if not isinstance(self.observation_space, Discrete):
            observations = observations.argmax(axis=-1)
        cooperation = jnp.array(self.cooperation)[observations]
        if set(self.cooperation) <= {0.0, 1.0}:
            actions = 1 - cooperation.astype(jnp.int32)
        else:
            uniform = jax.random.uniform(key, observations.shape)
            actions = (uniform >= cooperation).astype(jnp.int32)
        return actions, memory


@dataclasses.dataclass
class TitForTat(Reactive):
    """Starts with C, then copies the other player's last action."""

    cooperation = (1.0, 0.0, 1.0, 0.0, 1.0)


@dataclasses.dataclass
class Defect(Reactive):
    """Always D."""

    cooperation = (0.0, 0.0, 0.0, 0.0, 0.0)


@dataclasses.dataclass
class Altruistic(Reactive):
    """Always C."""

    cooperation = (1.0, 1.0, 1.0, 1.0, 1.0)


@dataclasses.dataclass
class Random(Reactive):
    """C or D, with equal probability, whatever happened."""


@dataclasses.dataclass
class Grim(Reactive):
    """C until anybody has played D, then D for the rest of the episode: its own D keeps it there."""

    cooperation = (1.0, 0.0, 0.0, 0.0, 1.0)
