"""What happened in a coin game: who took whose coins, and after what."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

CONVENTIONS = "SCD"
"""What a player did with its last coin: S none taken yet, C it was of its own colour, D of the other's."""
STATES = tuple(red + blue for red in CONVENTIONS for blue in CONVENTIONS)
"""The conventions of both players before a step, red's first: SS, SC, SD, CS, ..., DD."""
COLOURS = ("red", "blue")

Taken = tuple[jax.Array, jax.Array]


@struct.dataclass
class CoinCounts:
    """Counts over steps and environments, int32."""

    episodes: jax.Array
    visits: jax.Array
    """Steps that began in each of `STATES`, `[9]`."""
    taken: jax.Array
    """Coins taken in them, by player and colour, `[2, 2, 9]`."""


def count_coins(red: Taken, blue: Taken) -> CoinCounts:
    """Counts those of whole episodes.

    Args:
        red: of each step, 1 if the red player took a red coin, and 1 if it took a blue one, both `[T, E]`.
        blue: the same of the blue player.
    """
    red_convention = _conventions(own=red[0], other=red[1])
    blue_convention = _conventions(own=blue[1], other=blue[0])
    state = len(CONVENTIONS) * red_convention + blue_convention
    in_state = (state[..., None] == jnp.arange(len(STATES))).astype(jnp.int32)
    taken = [[(coins[..., None] * in_state).sum(axis=(0, 1)) for coins in by] for by in (red, blue)]
    return CoinCounts(
        episodes=jnp.int32(state.shape[1]),
        visits=in_state.sum(axis=(0, 1)),
        taken=jnp.array(taken),
    )


def _conventions(own: jax.Array, other: jax.Array) -> jax.Array:
    """What was known of a player before each step, as an index into `CONVENTIONS`, `[T, E]`.

    Whoever takes both coins at once has taken one of the other's.
    """
    number = jnp.where(other > 0, 2, own)
    step = jnp.arange(1, own.shape[0] + 1)[:, None]
    # The latest step with a coin has the highest number; its convention is the last digit.
    latest = jax.lax.cummax(jnp.where(number > 0, 4 * step + number, 0), axis=0)
    return jnp.concatenate([jnp.zeros_like(latest[:1]), latest[:-1]]) % 4


def coin_metrics(counts: CoinCounts) -> dict[str, jax.Array]:
    """Names the counts; P is 1 (red) or 2 (blue), XY one of `STATES`; NaN where nothing can be said.

    `prob_coop/P`: the share of its own colour among the coins that P took; `prob_coop/P/XY`: among those that
    it took in that state. `coins_per_episode/P`, `coins_per_episode/P/red` and `.../blue`: how many it took.
    `total_coins/P`: how many in all. `state_visitation/XY`: steps that began in that state;
    `state_probability/XY`: their share of all. `cooperation_probability/P/XY`: the share of them in which P
    took a coin of its own colour.
    """
    visits = counts.visits.astype(jnp.float32)
    taken = counts.taken.astype(jnp.float32)
    by_colour = taken.sum(axis=-1)
    metrics = {}
    for player in range(2):
        name = player + 1
        own, both = taken[player, player], taken[player].sum(axis=0)
        metrics[f"prob_coop/{name}"] = own.sum() / both.sum()
        metrics[f"total_coins/{name}"] = both.sum()
        metrics[f"coins_per_episode/{name}"] = both.sum() / counts.episodes
        for index, colour in enumerate(COLOURS):
            per_episode = by_colour[player, index] / counts.episodes
            metrics[f"coins_per_episode/{name}/{colour}"] = per_episode
        shares, probabilities = own / both, own / visits
        for index, state in enumerate(STATES):
            metrics[f"prob_coop/{name}/{state}"] = shares[index]
            metrics[f"cooperation_probability/{name}/{state}"] = probabilities[index]
    for index, state in enumerate(STATES):
        metrics[f"state_visitation/{state}"] = visits[index]
        metrics[f"state_probability/{state}"] = visits[index] / visits.sum()
    return metrics
