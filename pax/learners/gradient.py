"""Gradient learning across trials: the agent's own `update`, fed with whole trials."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pax.agents.agent import Agent
from pax.learners.learner import Learner, World
from pax.types import Metrics, TrainingState, Trial


class Gradient(Learner):
    """One policy, updated once per iteration from the experience against all opponents.

    The rollouts `[O, K, T, B]` become one batch `[K T, O B]`: the opponents side by side, the episodes of a
    trial end to end.
    """

    reads_rollouts = True

    def __init__(self, agent: Agent, initial: TrainingState | None = None):
        """`initial`: where to start, instead of fresh parameters."""
        self.agent = agent
        self.initial = initial

    def init(self, key: jax.Array) -> TrainingState:
        return self.agent.init(key) if self.initial is None else self.initial

    def propose(self, state: TrainingState, key: jax.Array) -> TrainingState:
        del key
        return jax.tree.map(lambda leaf: leaf[None], state)

    def update(
        self,
        state: TrainingState,
        candidates: TrainingState,
        trial: Trial,
        world: World,
        role: str,
        key: jax.Array,
    ) -> tuple[TrainingState, Metrics]:
        del candidates, world

        def join(leaf: jax.Array) -> jax.Array:
            _, opponents, episodes, steps, batch, *rest = leaf.shape  # C is 1
            leaf = jnp.moveaxis(leaf[0], 0, 2)
            return leaf.reshape(episodes * steps, opponents * batch, *rest)

        rollout = jax.tree.map(join, trial.rollouts[role])
        last_observations = jax.tree.map(
            lambda leaf: jax.lax.collapse(leaf[0, :, -1], 0, 2),
            trial.last_observations[role],
        )
        memory = jax.tree.map(
            lambda leaf: jax.lax.collapse(leaf[0], 0, 2), trial.last_memories[role]
        )
        state, _, metrics = self.agent.update(rollout, last_observations, state, memory, key)
        return state, metrics

    def deploy(self, state: TrainingState) -> TrainingState:
        return state

    def check(self, num_opps: int, num_outer_steps: int, num_steps: int, batch_size: int) -> None:
        self.agent.check_rollout(num_outer_steps * num_steps, num_opps * batch_size)
