"""Agents that remember across the episodes of a trial, and so can see, and shape, how others learn.

They act, and by PPO they learn, like any other agent. What makes a meta-learner of them is who improves
them across trials: evolution (Shaper, M-FOS) or PPO over whole trials (MARL2, M-FOS by RL).
"""

from __future__ import annotations

import dataclasses
from typing import get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from pax.agents.actor_critic import Network
from pax.agents.meta_networks import Context, ContextGRU, MFOSNetwork
from pax.agents.ppo import PPO
from pax.envs.spaces import Discrete
from pax.errors import ConfigError
from pax.types import PyTree


@dataclasses.dataclass
class Shaper(PPO):
    """A GRU whose memory lasts for a trial, optionally mixed over the environments of one opponent."""

    network: Network = "gru"
    remembers_trial = True
    context: Context = "none"
    """How the memory is mixed over environments: `none`, `avg` or `att`."""

    def __post_init__(self) -> None:
        if self.context not in get_args(Context):
            raise ConfigError(
                f"context is {self.context!r} in Shaper: choose one of {', '.join(get_args(Context))}"
            )
        super().__post_init__()

    @property
    def groups_environments(self) -> bool:  # type: ignore[override]
        return self.context != "none"

    def make_module(self, action_space: Discrete) -> nn.Module:
        return ContextGRU(self.observation_space, action_space.n, self.hidden_size, self.context)

    def between_episodes(self, params: PyTree, hidden: jax.Array) -> jax.Array:
        return hidden


@dataclasses.dataclass
class MFOS(PPO):
    """Model-free opponent shaping: a memory of its own for each episode, and theta for the trial."""

    network: Network = "gru"
    remembers_trial = True

    @property
    def hidden_size_in_memory(self) -> int:  # type: ignore[override]
        return 4 * self.hidden_size

    def initial_hidden(self, num_envs: int) -> jax.Array:
        zeros = jnp.zeros((num_envs, 3 * self.hidden_size))
        return jnp.concatenate([zeros, jnp.ones((num_envs, self.hidden_size))], axis=-1)

    def make_module(self, action_space: Discrete) -> nn.Module:
        return MFOSNetwork(self.observation_space, action_space.n, self.hidden_size)

    def between_episodes(self, params: PyTree, hidden: jax.Array) -> jax.Array:
        return self._apply(params, hidden, method=MFOSNetwork.next_theta)
