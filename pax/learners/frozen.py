"""Frozen policies: they play, and learn nothing across trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from pax.agents.agent import Agent
from pax.errors import ConfigError
from pax.learners.learner import Experience, Learner
from pax.types import Metrics, PyTree, TrainingState, take


class Frozen(Learner):
    """K policies that stay as they are, one candidate each; evaluation and cross-play are made of these.

    Raises:
        ConfigError: if a role has it in a config, and no `path` to a policy.
    """

    why_no_average = "frozen policies stay as they are"

    def __init__(self, num_candidates: int = 1, initial: TrainingState | None = None):
        """Takes the policies `[K, ...]` as `initial`, unless they are put into the state of the loop."""
        self.num_candidates = num_candidates
        self.initial = initial

    @classmethod
    def for_agent(
        cls, agent: Agent, initial: TrainingState | None = None, **settings: Any
    ) -> Frozen:
        if initial is None:
            raise ConfigError("a frozen role has no policy: give path, the file of an exported one")
        return cls.of(initial)

    @classmethod
    def of(cls, policy: TrainingState) -> Frozen:
        """Returns one policy, without a leading axis."""
        return cls(1, jax.tree.map(lambda leaf: leaf[None], policy))

    def starting_with(self, change: Callable[[PyTree], PyTree]) -> Learner:
        raise ConfigError("a frozen role plays a whole policy: give path, or let it learn")

    def init(self, key: jax.Array) -> TrainingState | None:
        del key
        return self.initial

    def propose(self, state: TrainingState, key: jax.Array) -> tuple[TrainingState, TrainingState]:
        del key
        return state, state

    def update(self, state: TrainingState, experience: Experience) -> tuple[PyTree, Metrics]:
        del experience
        return state, {}

    def deploy(self, state: TrainingState) -> TrainingState:
        return take(state, 0)
