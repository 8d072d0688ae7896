"""Strategies of the negotiation that never learn: who leaves the other what it values, and who does not."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from pax.agents.agent import Agent
from pax.envs.negotiation import MAX_PROPOSAL, NUM_ITEMS, Negotiation
from pax.types import MemoryState, PyTree, TrainingState

OWN_VALUES = slice(NUM_ITEMS, 2 * NUM_ITEMS)
OTHERS_VALUES = slice(3 * NUM_ITEMS, 4 * NUM_ITEMS)
"""Where they are in an observation."""


@dataclasses.dataclass
class NegotiationPlayer(Agent):
    """Asks for each item by what it is worth to both.

    Raises:
        ConfigError: if the game is another one than `Negotiation`.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.observation_space, self.action_space) != Negotiation().spaces(0):
            raise self.wrong_game("the negotiation")

    def act(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, drawn: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        del state, drawn
        own, others = observations[..., OWN_VALUES], observations[..., OTHERS_VALUES]
        return self.proposals(own, others), memory

    def proposals(self, own: jax.Array, others: jax.Array) -> jax.Array:
        """Returns what it asks, `[..., 3]`, where units of items are worth `own` and `others`, `[..., 3]`."""
        raise NotImplementedError


@dataclasses.dataclass
class NegotiationCooperator(NegotiationPlayer):
    """Asks for all of what it values more, half of what both value alike, and nothing else."""

    def proposals(self, own: jax.Array, others: jax.Array) -> jax.Array:
        return 0.5 * MAX_PROPOSAL * (1.0 + jnp.sign(own - others))


@dataclasses.dataclass
class NegotiationDefector(NegotiationPlayer):
    """Asks for all of every item."""

    def proposals(self, own: jax.Array, others: jax.Array) -> jax.Array:
        del others
        return jnp.full(own.shape, MAX_PROPOSAL)
