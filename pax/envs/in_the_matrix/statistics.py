"""What happened in the matrix: who took which coins, and what they were played for."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Interactions:
    """Sums over steps and environments, n players; int32 but for the rewards."""

    episodes: jax.Array
    beams: jax.Array
    """Beams fired, `[n]`."""
    interactions: jax.Array
    """Interactions that each player was part of, `[n]`."""
    soft_resets: jax.Array
    """How often each returned to play after an interaction, `[n]`."""
    collected: jax.Array
    """Coins picked up, by type, `[n, 2]`."""
    inventories: jax.Array
    """Inventories that interactions were played with, `[n, 2]`."""
    rewards: jax.Array
    """What interactions paid, float32 `[n]`."""


def sum_interactions(infos: dict[str, Any]) -> Interactions:
    """Sums those of whole episodes.

    Args:
        infos: of each step, what `Interactions` sums, as tuples (of tuples) of arrays `[T, E]`.
    """
    episodes = infos["beams"][0].shape[1]
    sums = {name: jnp.array(jax.tree.map(jnp.sum, values)) for name, values in infos.items()}
    return Interactions(episodes=jnp.int32(episodes), **sums)


def interaction_metrics(sums: Interactions) -> dict[str, jax.Array]:
    """Names the sums; P is a player, counted from 1. NaN where nothing can be said, as without interactions.

    Per episode: `interactions/P` that P was part of; `beams/P` that it fired, whether they hit or not;
    `collected_coop_coin/P` and `collected_defect_coin/P` that it picked up, coins of type 0 and 1;
    `num_soft_resets`, the mean over players. Per interaction: `coop_coin/P`, `defect_coin/P` and
    `total_coin/P` in its inventory; `interaction_reward/P`. `ratio/P`: the share of type 0 in all the
    inventories that it played with.
    """
    metrics = {"num_soft_resets": (sums.soft_resets / sums.episodes).mean()}
    for player in range(len(sums.beams)):
        name = player + 1
        inventory = sums.inventories[player] / sums.interactions[player]
        collected = sums.collected[player] / sums.episodes
        metrics |= {
            f"interactions/{name}": sums.interactions[player] / sums.episodes,
            f"beams/{name}": sums.beams[player] / sums.episodes,
            f"collected_coop_coin/{name}": collected[0],
            f"collected_defect_coin/{name}": collected[1],
            f"coop_coin/{name}": inventory[0],
            f"defect_coin/{name}": inventory[1],
            f"total_coin/{name}": inventory.sum(),
            f"ratio/{name}": inventory[0] / inventory.sum(),
            f"interaction_reward/{name}": sums.rewards[player] / sums.interactions[player],
        }
    return metrics
