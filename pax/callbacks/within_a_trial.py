"""Reports how a trial begins and how it ends: what becomes of those who learn in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

from pax.callbacks.callback import Callback
from pax.envs.common import per_player

if TYPE_CHECKING:
    from pax.envs import Environment
    from pax.trainer import MetaTrainer
    from pax.types import Trial

PART = 5
"""The first and the last episodes are each this part of a trial, at least one."""


class WithinATrial(Callback):
    """Reports rewards and the game's statistics in the first and in the last fifth of a trial's episodes.

    `first_fifth/reward_per_timestep/player_2` is the mean reward per step of player 2 in the first fifth, and
    `last_fifth/prob_coop/player_2` what `prob_coop/player_2` of the coin game is in the last one. Means over
    trials; what is undefined in one of them is undefined.
    """

    env: Environment

    def setup(self, trainer: MetaTrainer) -> None:
        self.env = trainer.env

    def probe(self, trial: Trial) -> dict[str, jax.Array]:
        """Reads one trial: its `episode_rewards` `[K, num_players]` and `episode_statistics` `[K, ...]`."""
        part = max(len(trial.episode_rewards) // PART, 1)
        metrics: dict[str, jax.Array] = {}
        for name, episodes in (("first_fifth", slice(part)), ("last_fifth", slice(-part, None))):
            metrics |= per_player(
                f"{name}/reward_per_timestep", trial.episode_rewards[episodes].mean(axis=0)
            )
            counts = jax.tree.map(
                lambda leaf, at=episodes: leaf[at].sum(0), trial.episode_statistics
            )
            metrics |= {
                f"{name}/{key}": value for key, value in self.env.statistics_metrics(counts).items()
            }
        return metrics
