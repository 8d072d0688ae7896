"""Statistics of matrix games: visits of states, and cooperation in them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct

from pax.envs.common import per_part

ACTIONS = ("C", "D")
COOPERATE = ACTIONS.index("C")


def joint_states(num_players: int) -> tuple[str, ...]:
    """Returns the states of a player of an iterated game: the last joint action, own first, or START."""
    joint = itertools.product(ACTIONS, repeat=num_players)
    return (*("".join(actions) for actions in joint), "START")


STATES = joint_states(2)
"""CC, CD, DC, DD and START."""
NUM_STATES = len(STATES)


@struct.dataclass
class StateCounts:
    """How often player 1 was in each of S states, and how often it cooperated there; both `[S]` int32."""

    visits: jax.Array
    cooperations: jax.Array


def count_states(
    states: jax.Array, actions: jax.Array, num_states: int = NUM_STATES
) -> StateCounts:
    """Counts visits of states, and cooperation in them, over all axes.

    Args:
        states: int, any shape: the state an action was taken in, such as CC, CD, DC, DD, START as 0..4.
        actions: int, same shape: that action, 0 = cooperate.
        num_states: how many states there are.
    """
    state = jnp.arange(num_states)
    in_state = states.reshape(-1, 1) == state
    cooperated = in_state & (actions.reshape(-1, 1) == COOPERATE)
    return StateCounts(
        visits=in_state.sum(axis=0, dtype=jnp.int32),
        cooperations=cooperated.sum(axis=0, dtype=jnp.int32),
    )


def count_by_player(actions: Sequence[jax.Array]) -> StateCounts:
    """Counts what each player did after what was played the step before, in a game of n players.

    Args:
        actions: by player, `[T, ...]`, 0 = cooperate; of whole episodes.

    Returns:
        Leaves `[n, 2 n + 1]`, by player and state: own last action C and 0 to n - 1 of the others defected,
        own D and as many, and the start. With two players these are CC, CD, DC, DD and START.
    """
    chosen = jnp.stack([jnp.asarray(action) for action in actions]).astype(jnp.int32)
    num_players = len(chosen)
    others = chosen.sum(axis=0) - chosen
    start = jnp.full_like(chosen[:, :1], 2 * num_players)
    states = jnp.concatenate([start, (num_players * chosen + others)[:, :-1]], axis=1)
    return jax.vmap(lambda s, a: count_states(s, a, 2 * num_players + 1))(states, chosen)


def state_metrics(counts: StateCounts, states: Sequence[str] = STATES) -> dict[str, jax.Array]:
    """Computes the metrics of matrix games, by state.

    `state_visitation/X` is the number of actions taken in state X, `state_probability/X` its share of all,
    `cooperation_probability/X` the share of C among the actions taken in X: NaN if none was.
    """
    visits = counts.visits.astype(jnp.float32)
    return {
        **per_part("state_visitation", states, visits),
        **per_part("state_probability", states, visits / visits.sum()),
        **per_part("cooperation_probability", states, counts.cooperations / visits),
    }
