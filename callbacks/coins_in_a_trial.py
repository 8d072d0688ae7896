"""Reports which coins the players of the coin game take at the start and at the end of a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from pax.callbacks.callback import Callback
from pax.checks import COUNT
from pax.envs import CoinGame
from pax.envs.common import per_player
from pax.errors import ConfigError

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer

PART = 5
"""The first and the last episodes are each this part of a trial, at least one."""


class CoinsInATrial(Callback):
    """Reports which coins players take in the first and in the last fifth of a trial's episodes.

    `first_fifth/own_coins/P` and `first_fifth/others_coins/P`: the coins of its own and of the other's colour
    that player P took per episode. `first_fifth/own_share/P`: the share of its own colour among all that it
    took, 0 if it took none. `last_fifth/...`: the same at the end of the trial. An opponent that is shaped
    takes a larger share of its own coins at the end than at the start.
    """

    limits: ClassVar = {"size": COUNT}

    def __init__(self, size: int = 3):
        """Takes the number of rows of the grid."""
        self.size = size

    def check(self, trainer: MetaTrainer) -> None:
        if not isinstance(trainer.env, CoinGame) or trainer.env.size != self.size:
            raise ConfigError(
                f"size is {self.size} in CoinsInATrial, which counts the coins of a coin game of that size, "
                "and this is another game: leave the callback out, or set its size"
            )

    def probe(self, trial: Any) -> dict[str, jax.Array]:
        """Counts the coins of one trial, from its states and actions `[K, T, E]`."""
        move = CoinGame(size=self.size).move
        for _ in range(3):
            move = jax.vmap(move)
        _, taken = move(trial.env_states, trial.actions)
        num_episodes, _, num_envs = trial.env_states.red.shape
        # Per episode, by player and colour, [2, 2, K].
        coins = jnp.array([[colour.sum(axis=(1, 2)) for colour in by] for by in taken]) / num_envs
        part = max(num_episodes // PART, 1)
        metrics: dict[str, jax.Array] = {}
        for name, episodes in (
            ("first_fifth", coins[..., :part]),
            ("last_fifth", coins[..., -part:]),
        ):
            means = episodes.mean(axis=-1)
            own, others = [means[0, 0], means[1, 1]], [means[0, 1], means[1, 0]]
            shares = [
                jnp.where(mine > 0, mine / (mine + theirs), 0.0)
                for mine, theirs in zip(own, others, strict=True)
            ]
            metrics |= per_player(f"{name}/own_coins", own)
            metrics |= per_player(f"{name}/others_coins", others)
            metrics |= per_player(f"{name}/own_share", shares)
        return metrics
