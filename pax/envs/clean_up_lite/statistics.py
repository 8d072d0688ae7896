"""Statistics of clean-up lite: who eats, cleans and zaps, and how the grid looks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from pax.envs.common import per_player


@struct.dataclass
class Events:
    """Sums over steps and environments, int32; those of players are `[2]`."""

    steps: jax.Array
    taken: jax.Array
    """Apples that each player took."""
    cleaned: jax.Array
    """Pieces of dirt that each player removed."""
    zaps: jax.Array
    """Zaps of each player, whether they hit or not."""
    hits: jax.Array
    """Zaps of each player that froze the other."""
    frozen: jax.Array
    """Steps in which each player was frozen."""
    dirt: jax.Array
    """Pieces of dirt at the end of each step."""
    apples: jax.Array
    """Apples at the end of each step."""


def sum_events(infos: dict[str, Any]) -> Events:
    """Sums the infos of whole episodes, the fields of `Events` as (tuples of) arrays `[T, E]`."""
    sums = {name: jnp.array(jax.tree.map(jnp.sum, values)) for name, values in infos.items()}
    return Events(steps=jnp.int32(infos["dirt"].size), **sums)


def event_metrics(sums: Events) -> dict[str, jax.Array]:
    """Names the sums, all per step; P is `player_1` or `player_2`.

    `taken/P`: apples that P took; `cleaned/P`: dirt that it removed; `zaps/P`: zaps, whether they hit or not;
    `hits/P`: those that froze the other; `frozen/P`: the share of steps in which it was frozen; `dirt` and
    `apples`: how many lie on the grid.
    """
    names = ("taken", "cleaned", "zaps", "hits", "frozen")
    metrics = {"dirt": sums.dirt / sums.steps, "apples": sums.apples / sums.steps}
    for name in names:
        metrics |= per_player(name, getattr(sums, name) / sums.steps)
    return metrics
