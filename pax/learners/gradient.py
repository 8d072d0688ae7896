"""Gradient learning across trials: the agent's own `update`, fed with whole trials."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pax.agents.agent import Agent
from pax.checks import check_instance
from pax.errors import ConfigError
from pax.learners.learner import Experience, Learner
from pax.types import MemoryState, Metrics, PyTree, Sample, TrainingState, Trial


class Gradient(Learner):
    """One policy, updated once per iteration from the experience against all opponents.

    The rollouts `[O, K, T, B]` become one batch `[K T, O B]`: the opponents side by side, the episodes of a
    trial end to end. An agent that groups environments gets it as `[K T, O, B]`.
    """

    reads_rollouts = True

    def __init__(self, agent: Agent, initial: TrainingState | None = None):
        """Takes as `initial` the state to start from, instead of fresh parameters.

        Raises:
            ConfigError: if `agent` is none, or `initial` no state that it can go on from.
        """
        name = type(self).__name__
        remedy = "an agent, such as Tabular.for_env(env)"
        check_instance(f"the agent of {name}", agent, Agent, remedy)
        if initial is not None:
            remedy = "a TrainingState, such as trainer.agent('agent1').state"
            check_instance(f"initial of {name}", initial, TrainingState, remedy)
            _check_goes_on(agent, initial, name)
        self.agent = agent
        self.initial = initial

    @classmethod
    def for_agent(
        cls, agent: Agent, initial: TrainingState | None = None, **settings: Any
    ) -> Learner:
        learner = super().for_agent(agent, initial, **settings)
        if not agent.learns:
            raise ConfigError(f"{type(agent).__name__} does not learn: use 'none'")
        return learner

    def init(self, key: jax.Array) -> TrainingState:
        return self.agent.init(key) if self.initial is None else self.initial

    def propose(self, state: TrainingState, key: jax.Array) -> tuple[TrainingState, TrainingState]:
        del key
        return jax.tree.map(lambda leaf: leaf[None], state), state

    def update(self, state: TrainingState, experience: Experience) -> tuple[TrainingState, Metrics]:
        rollout, last_observations, memory = join_trials(
            experience.trial, experience.role, self.agent
        )
        state, _, metrics = self.agent.update(
            rollout, last_observations, state, memory, experience.key
        )
        return state, metrics

    def deploy(self, state: TrainingState) -> TrainingState:
        return state

    def check(self, num_opps: int, num_outer_steps: int, num_steps: int, num_envs: int) -> None:
        self.agent.check_rollout(num_outer_steps * num_steps, num_envs, num_opps, num_outer_steps)


def _check_goes_on(agent: Agent, initial: TrainingState, learner: str) -> None:
    """Raises ConfigError unless an agent can go on from a state."""
    fresh = jax.eval_shape(agent.init, jax.random.key(0))
    for part in ("params", "opt_state"):
        given, needed = (str(jax.tree.structure(getattr(each, part))) for each in (initial, fresh))
        if given != needed:
            raise ConfigError(
                f"initial of {learner} has {part} that {type(agent).__name__} does not learn with: give "
                "dataclasses.replace(agent.init(key), params=...), with parameters of the same network"
            )


def check_takes(agent: Agent, method: str, names: Sequence[str], learner: str) -> None:
    """Raises ConfigError unless a method of an agent takes the arguments that a learner calls it with.

    Args:
        agent: one that learns by PPO, of Pax or of the user's own.
        method: its name.
        names: of the arguments.
        learner: who calls it.
    """
    parameters = inspect.signature(getattr(agent, method)).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    missing = [name for name in names if name not in parameters]
    if missing:
        raise ConfigError(
            f"{method} of {type(agent).__name__} takes ({', '.join(parameters)}), and {learner} calls it "
            f"with {' and '.join(missing)} besides: let it take what PPO.{method} takes"
        )


def join_trials(trial: Trial, role: str, agent: Agent) -> tuple[Sample, PyTree, MemoryState]:
    """Returns the rollout `[K T, O B]` of a role, what followed its last step, and the memory then.

    An agent that groups environments gets `[K T, O, B]`.
    """
    rollout, last_observations, memory = (
        # Beside a role with several candidates, each of them is one more set of opponents.
        jax.tree.map(lambda leaf: jax.lax.collapse(leaf, 0, 2), part[role])
        for part in (trial.rollouts, trial.last_observations, trial.last_memories)
    )
    # [O, K, T, B, ...] -> [K T, O, B, ...]
    rollout = jax.tree.map(lambda leaf: jax.lax.collapse(jnp.moveaxis(leaf, 0, 2), 0, 2), rollout)
    last_observations = jax.tree.map(lambda leaf: leaf[:, -1], last_observations)
    if not agent.groups_environments:
        rollout = jax.tree.map(lambda leaf: jax.lax.collapse(leaf, 1, 3), rollout)
        last_observations, memory = jax.tree.map(
            lambda leaf: jax.lax.collapse(leaf, 0, 2), (last_observations, memory)
        )
    return rollout, last_observations, memory
