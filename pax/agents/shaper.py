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
from pax.agents.networks.actor_critic import Torso
from pax.agents.networks.meta import Context, ContextGRU, MFOSNetwork
from pax.agents.ppo import PPO
from pax.checks import check_choice
from pax.errors import ConfigError


@dataclasses.dataclass
class TrialMemory(PPO):
    """PPO with a recurrent network whose memory lasts for a trial, and which learns from whole trials.

    A `sequence_length` of fewer steps than a trial, but more than an episode, truncates back-propagation and
    takes less time: there are more sequences side by side, and fewer steps after one another.
    """

    network: Network = "gru"
    sequence_length: int = 0
    remembers_trial = True

    def __post_init__(self) -> None:
        if self.network != "gru":
            raise ConfigError(
                f"network is {self.network!r} in {type(self).__name__}, which has one of its own: use gru"
            )
        super().__post_init__()


@dataclasses.dataclass
class Shaper(TrialMemory):
    """A GRU whose memory lasts for a trial, optionally mixed over the environments of one opponent."""

    context: Context = "none"
    """How the memory is mixed over environments: `none`, `avg` or `att`."""

    def __post_init__(self) -> None:
        check_choice("context", self.context, get_args(Context), "Shaper")
        super().__post_init__()

    @property
    def groups_environments(self) -> bool:  # type: ignore[override]
        return self.context != "none"

    def make_module(self, torso: Torso, num_outputs: int) -> nn.Module:
        return ContextGRU(torso, num_outputs, self.hidden_size, self.head_init, self.context)


@dataclasses.dataclass
class MFOS(TrialMemory):
    """Model-free opponent shaping: a memory of its own for each episode, and theta for the trial."""

    learns_between_episodes = True

    critic: bool = True
    """Whether it has one: PPO needs it, evolution does not and is a third faster without."""

    @property
    def hidden_size_in_memory(self) -> int:  # type: ignore[override]
        return (4 if self.critic else 3) * self.hidden_size

    def initial_hidden(self, num_envs: int) -> jax.Array:
        states = jnp.zeros((num_envs, self.hidden_size_in_memory - self.hidden_size))
        # A theta of ones changes nothing in the first episode.
        return jnp.concatenate([states, jnp.ones((num_envs, self.hidden_size))], axis=-1)

    def make_module(self, torso: Torso, num_outputs: int) -> nn.Module:
        return MFOSNetwork(torso, num_outputs, self.hidden_size, self.head_init, self.critic)

    def check_rollout(
        self, num_steps: int, num_envs: int, num_opps: int = 1, num_episodes: int = 1
    ) -> None:
        if not self.critic:
            raise ConfigError("critic is False in MFOS, and PPO learns with one: use True")
        super().check_rollout(num_steps, num_envs, num_opps, num_episodes)
