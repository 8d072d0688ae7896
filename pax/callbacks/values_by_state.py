"""Reports what trained players expect in every state of a matrix game."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from pax.agents.agent import Agent
from pax.agents.ppo import PPO
from pax.callbacks.callback import Callback
from pax.envs.spaces import Discrete
from pax.errors import ConfigError
from pax.learners.gradient import Gradient
from pax.learners.lola_dice import LOLADiCE
from pax.metrics.seeds import over_seeds
from pax.roles import Role
from pax.types import TrainingState

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer


class ValuesByState(Callback):
    """Reports `value/player_1/CC` and so on: the value that a trained player's critic gives each state.

    Players with a memory are asked before they remember anything. Only critics that are trained are asked: of
    PPO and its kin, by their own updates, also with other advantages, but not by evolution or LOLA-DiCE.

    Args:
        every: iterations between reports.
    """

    def __init__(self, every: int = 100):
        self.every = every

    def check(self, trainer: MetaTrainer) -> None:
        names = trainer.env.state_names
        if not names or trainer.env.observation_space(0) != Discrete(len(names)):
            remedy = "have one_hot False" if names else "leave it out"
            raise ConfigError(
                f"ValuesByState names the states of a matrix game, and {type(trainer.env).__name__} does not "
                f"show its players the numbers of named states: {remedy}"
            )
        if not any(map(_has_critic, trainer.roles)):
            raise ConfigError(
                "ValuesByState reports what critics say, and no role here trains one: leave it out"
            )

    def on_chunk_end(
        self, trainer: MetaTrainer, state: Any, step: int, metrics: Mapping[str, Any]
    ) -> None:
        names = trainer.env.state_names
        values: dict[str, np.ndarray] = {}
        for role in trainer.roles:
            if not _has_critic(role):
                continue
            players = [trainer.agent(role.name, seed) for seed in range(trainer.num_seeds)]
            by_seed = np.stack([_values(each.agent, each.state, len(names)) for each in players])
            for index, name in enumerate(names):
                values[f"value/player_{role.seats[0] + 1}/{name}"] = by_seed[:, index]
        trainer.writer.write_scalars(step, over_seeds(values))
        if trainer.num_seeds > 1:
            trainer.writer.write_seeds(step, values)


def _has_critic(role: Role) -> bool:
    """Returns whether a role trains a critic from one iteration to the next."""
    if not role.seats or not isinstance(role.agent, PPO) or role.agent.value_coeff == 0:
        return False
    if role.learner is None:
        return role.carried
    return isinstance(role.learner, Gradient) and not isinstance(role.learner, LOLADiCE)


def _values(agent: Agent, state: TrainingState, num_states: int) -> np.ndarray:
    """Returns the values that an agent gives the states that it can observe, `[num_states]`."""
    states = jnp.arange(num_states, dtype=jnp.int32)
    memory = agent.initial_memory(agent.initial_hidden(len(states)))
    _, after = agent.policy(state, states, memory, jax.random.key(0))
    return np.asarray(after.extras["values"])
