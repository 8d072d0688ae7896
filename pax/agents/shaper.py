"""Agents whose memory lasts for a trial, so that they can observe and shape how others learn.

They act, and learn by PPO, like other agents. They become meta-learners by the learner of their role, which
improves them across trials: evolution (Shaper, M-FOS) or PPO over whole trials (MARL2, M-FOS by RL).
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from pax.agents.networks.actor_critic import Network, Torso
from pax.agents.networks.own import check_network
from pax.agents.networks.recurrent import MEMORIES, Context, MemoryNetwork, MFOSNetwork
from pax.agents.ppo import PPO
from pax.checks import check_choice
from pax.errors import ConfigError


@dataclasses.dataclass
class TrialMemory(PPO):
    """PPO with a recurrent network whose memory lasts for a trial, and which learns from whole trials.

    A `sequence_length` of fewer steps than a trial, but more than an episode, truncates back-propagation and
    takes less time: there are more sequences side by side, and fewer steps after one another.
    """

    network: str = "gru"
    sequence_length: int = 0
    remembers_trial = True

    def __post_init__(self) -> None:
        check_network(self.network, tuple(MEMORIES), type(self).__name__, memory_only=True)
        super().__post_init__()


@dataclasses.dataclass
class Shaper(TrialMemory):
    """Shaper (Khan et al. 2023, arxiv.org/abs/2312.12568): one memory, that lasts for a trial.

    It may be mixed over the environments of one opponent (`context`). Its learner is evolution, or PPO over
    whole trials.
    """

    context: Context = "none"
    """How the memory is mixed over environments: `none`, `avg` or `att`."""

    def __post_init__(self) -> None:
        check_choice("context", self.context, get_args(Context), "Shaper")
        super().__post_init__()

    def make_module(self, torso: Torso, num_outputs: int) -> Network:
        return MemoryNetwork(
            torso,
            num_outputs,
            self.hidden_size,
            self.network,
            self.head_init,
            outlives_episodes=True,
            context=self.context,
        )


@dataclasses.dataclass
class MFOS(TrialMemory):
    """Model-free opponent shaping (M-FOS, Lu et al. 2022, arxiv.org/abs/2205.01447).

    It has a memory of its own for each episode, and theta, which scales its features, for the trial. Its
    learner is evolution, or PPO over whole trials.
    """

    learns_between_episodes = True

    critic: bool = True
    """Whether it has one: PPO needs it, evolution does not and is a third faster without."""
    context: Literal["none", "avg"] = "none"
    """The way to mix the memories of an episode over environments: `none` or `avg`."""

    def __post_init__(self) -> None:
        check_choice("context", self.context, ("none", "avg"), "MFOS")
        super().__post_init__()

    def make_module(self, torso: Torso, num_outputs: int) -> Network:
        return MFOSNetwork(
            torso,
            num_outputs,
            self.hidden_size,
            self.network,
            self.head_init,
            critic=self.critic,
            context=self.context,
        )

    def check_rollout(
        self, num_steps: int, num_envs: int, num_opps: int = 1, num_episodes: int = 1
    ) -> None:
        if not self.critic:
            raise ConfigError("critic is False in MFOS, and PPO learns with one: use True")
        super().check_rollout(num_steps, num_envs, num_opps, num_episodes)
