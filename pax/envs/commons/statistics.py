"""Statistics of commons: what there was per head, how evenly, when, and in what peace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from pax.envs.common import per_player


@struct.dataclass
class Commons:
    """Sums over episodes, n players; float32."""

    episodes: jax.Array
    taken: jax.Array
    """Apples by player, `[n]`."""
    gini: jax.Array
    """Of the apples of an episode, where there were any."""
    shared: jax.Array
    """Episodes in which there were."""
    time: jax.Array
    """Of every apple that was taken, the step, from 1."""
    present: jax.Array
    """Share of players who were not out, mean over the steps of an episode."""
    left: jax.Array
    """Apples at the end."""
    zaps: jax.Array
    """By player, `[n]`."""
    own: Mapping[str, jax.Array]
    """What a game adds, by the name of its metric: per episode, and by player where it is `[n]`."""


def sum_commons(infos: Mapping[str, Any], own: Mapping[str, jax.Array]) -> Commons:
    """Sums the infos of whole episodes.

    Args:
        infos: of each step, `taken`, `out` and `zaps` `[T, E, n]`, and `apples` `[T, E]`.
        own: sums over episodes that the game adds.
    """
    taken = infos["taken"].astype(jnp.float32)
    steps = jnp.arange(1.0, len(taken) + 1)
    by_episode = taken.sum(axis=0)
    total = by_episode.sum(axis=-1)
    number = taken.shape[-1]
    apart = jnp.abs(by_episode[..., :, None] - by_episode[..., None, :]).sum(axis=(-2, -1))
    return Commons(
        episodes=jnp.float32(taken.shape[1]),
        taken=by_episode.sum(axis=0),
        gini=jnp.where(total > 0, apart / (2 * number * jnp.maximum(total, 1)), 0.0).sum(),
        shared=(total > 0).sum(dtype=jnp.float32),
        time=(taken.sum(axis=-1).T @ steps).sum(),
        present=1.0 * taken.shape[1] - infos["out"].astype(jnp.float32).mean(axis=(0, 2)).sum(),
        left=infos["apples"][-1].sum(dtype=jnp.float32),
        zaps=infos["zaps"].sum(axis=(0, 1), dtype=jnp.float32),
        own=own,
    )


def commons_metrics(sums: Commons) -> dict[str, jax.Array]:
    """Names the sums; P is `player_1`, `player_2`, ...; NaN if undefined, as where nobody took an apple.

    `per_capita_return`: apples per player and episode. `equality`: 1 - the Gini coefficient of the apples of
    an episode. `sustainability`: the mean step, from 1, in which apples are taken. `peace`: the share of
    players who are not out. `apples_left`: at the end of an episode. Per episode: `zaps/P` that P fired,
    whether they hit or not. (Perolat et al. 2017, arxiv.org/abs/1707.06600.)
    """
    metrics = {
        "per_capita_return": sums.taken.mean() / sums.episodes,
        "equality": 1.0 - sums.gini / sums.shared,
        "sustainability": sums.time / sums.taken.sum(),
        "peace": sums.present / sums.episodes,
        "apples_left": sums.left / sums.episodes,
        **per_player("zaps", sums.zaps / sums.episodes),
    }
    for name, value in sums.own.items():
        mean = value / sums.episodes
        metrics |= per_player(name, mean) if mean.ndim else {name: mean}
    return metrics
