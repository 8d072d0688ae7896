"""Statistics of the coin game: which coins each player took, and in which state."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from pax.envs.common import per_part, per_player

CONVENTIONS = "SCD"
"""The last coin that a player took: S none yet, C of its own colour, D of the other's."""
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
    """Counts visits of states and coins over whole episodes.

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
    """Returns the convention of a player before each step, as an index into `CONVENTIONS`, `[T, E]`.

    A player that takes both coins at once counts as D.
    """
    number = jnp.where(other > 0, 2, own)
    step = jnp.arange(1, own.shape[0] + 1)[:, None]
    # The latest step with a coin has the highest number; its convention is the last digit.
    latest = jax.lax.cummax(jnp.where(number > 0, 4 * step + number, 0), axis=0)
    return jnp.concatenate([jnp.zeros_like(latest[:1]), latest[:-1]]) % 4


def coin_metrics(counts: CoinCounts) -> dict[str, jax.Array]:
    """Names the counts; P is `player_1` (red) or `player_2` (blue), XY one of `STATES`; NaN if undefined.

    `prob_coop/P`: the share of its own colour among the coins that P took; `prob_coop/P/XY`: among those that
    it took in that state. `coins_per_episode/P`, `coins_per_episode/P/red` and `.../blue`: how many it took.
    `total_coins/P`: how many in all. `state_visitation/XY`: steps that began in that state;
    `state_probability/XY`: their share of all. `cooperation_probability/P/XY`: the share of them in which P
    took a coin of its own colour.
    """
    visits = counts.visits.astype(jnp.float32)
    taken = counts.taken.astype(jnp.float32)
    players, by_colour = range(2), taken.sum(axis=-1)
    per_episode = [[coins / counts.episodes for coins in of_player] for of_player in by_colour]
    own = [taken[player, player] for player in players]
    both = [taken[player].sum(axis=0) for player in players]
    totals = [coins.sum() for coins in both]
    return {
        **per_player("prob_coop", [own[player].sum() / totals[player] for player in players]),
        **per_player("prob_coop", [own[player] / both[player] for player in players], STATES),
        **per_player("total_coins", totals),
        **per_player("coins_per_episode", [total / counts.episodes for total in totals]),
        **per_player("coins_per_episode", per_episode, COLOURS),
        **per_part("state_visitation", STATES, visits),
        **per_part("state_probability", STATES, [count / visits.sum() for count in visits]),
        **per_player("cooperation_probability", [coins / visits for coins in own], STATES),
    }
