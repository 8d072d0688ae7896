"""Strategies of the infinite matrix game that never learn: the same policy at every step."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from pax.agents.agent import Agent
from pax.envs.matrix_game_statistics import NUM_STATES
from pax.envs.spaces import Box
from pax.errors import ConfigError
from pax.types import MemoryState, PyTree, TrainingState


@dataclasses.dataclass
class FixedPolicy(Agent):
    """Plays the same logits of P(C | CC, CD, DC, DD, START) whatever it observes.

    Raises:
        ConfigError: if actions are not five logits.
    """

    logits = (0.0, 0.0, 0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.action_space != Box((NUM_STATES,)):
            raise ConfigError(
                f"{type(self).__name__} plays the infinite matrix game only, and this game has actions "
                f"{self.action_space}: choose another agent for this seat"
            )

    def act(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, drawn: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        del state, drawn
        batch = observations.shape[:-1]
        return jnp.broadcast_to(jnp.array(self.logits), (*batch, NUM_STATES)), memory


@dataclasses.dataclass
class HyperAltruistic(FixedPolicy):
    """Always C."""

    logits = (20.0, 20.0, 20.0, 20.0, 20.0)


@dataclasses.dataclass
class HyperDefect(FixedPolicy):
    """Always D."""

    logits = (-20.0, -20.0, -20.0, -20.0, -20.0)


@dataclasses.dataclass
class HyperTFT(FixedPolicy):
    """Tit-for-tat: starts with C, then copies the other player's last action."""

    logits = (20.0, -20.0, 20.0, -20.0, 20.0)
