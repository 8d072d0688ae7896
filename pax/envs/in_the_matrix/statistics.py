"""Statistics of in-the-matrix games: coins taken, beams, interactions and their rewards."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from pax.envs.common import per_player


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
    """Sums the infos of whole episodes.

    Args:
        infos: of each step, the fields of `Interactions`, as tuples (of tuples) of arrays `[T, E]`.
    """
    episodes = infos["beams"][0].shape[1]
    sums = {name: jnp.array(jax.tree.map(jnp.sum, values)) for name, values in infos.items()}
    return Interactions(episodes=jnp.int32(episodes), **sums)


def interaction_metrics(sums: Interactions) -> dict[str, jax.Array]:
    """Names the sums; P is `player_1`, `player_2`, ...; NaN if undefined, as without interactions.

    Per episode: `interactions/P` that P was part of; `beams/P` that it fired, whether they hit or not;
    `collected_coop_coin/P` and `collected_defect_coin/P` that it picked up, coins of type 0 and 1;
    `num_soft_resets`, the mean over players. Per interaction: `coop_coin/P`, `defect_coin/P` and
    `total_coin/P` in its inventory; `interaction_reward/P`. `ratio/P`: the share of type 0 in all the
    inventories that it played with.
    """

    def per_episode(totals: jax.Array) -> list[jax.Array]:
        return [total / sums.episodes for total in totals]

    def per_interaction(totals: jax.Array) -> list[jax.Array]:
        return [total / num for total, num in zip(totals, sums.interactions, strict=True)]

    collected, inventories = per_episode(sums.collected), per_interaction(sums.inventories)
    coins = [inventory.sum() for inventory in inventories]
    shares = [own[0] / total for own, total in zip(inventories, coins, strict=True)]
    return {
        "num_soft_resets": (sums.soft_resets / sums.episodes).mean(),
        **per_player("interactions", per_episode(sums.interactions)),
        **per_player("beams", per_episode(sums.beams)),
        **per_player("collected_coop_coin", [own[0] for own in collected]),
        **per_player("collected_defect_coin", [own[1] for own in collected]),
        **per_player("coop_coin", [own[0] for own in inventories]),
        **per_player("defect_coin", [own[1] for own in inventories]),
        **per_player("total_coin", coins),
        **per_player("ratio", shares),
        **per_player("interaction_reward", per_interaction(sums.rewards)),
    }
