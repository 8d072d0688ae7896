"""What happened in a matrix game: which states were visited, and what was done in them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

STATES = ("CC", "CD", "DC", "DD", "START")
NUM_STATES = len(STATES)
COOPERATE = 0


@struct.dataclass
class StateCounts:
    """How often player 1 was in each state, and how often it cooperated there; both `[5]` int32."""

    visits: jax.Array
    cooperations: jax.Array


def count_states(states: jax.Array, actions: jax.Array) -> StateCounts:
    """Counts over all axes.

    Args:
        states: int, any shape: the state (CC, CD, DC, DD, START as 0..4) an action was taken in.
        actions: int, same shape: that action, 0 = cooperate.
    """
    state = jnp.arange(NUM_STATES)
    in_state = states.reshape(-1, 1) == state
    cooperated = in_state & (actions.reshape(-1, 1) == COOPERATE)
    return StateCounts(
        visits=in_state.sum(axis=0, dtype=jnp.int32),
        cooperations=cooperated.sum(axis=0, dtype=jnp.int32),
    )


def state_metrics(counts: StateCounts) -> dict[str, jax.Array]:
    """Names the counts as users of matrix games know them.

    `state_visitation/X` is the number of actions taken in state X, `state_probability/X` its share of all,
    `cooperation_probability/X` the share of C among the actions taken in X: NaN if none was.
    """
    visits = counts.visits.astype(jnp.float32)
    probability = visits / visits.sum()
    cooperation = counts.cooperations / visits
    metrics = {}
    for index, state in enumerate(STATES):
        metrics[f"state_visitation/{state}"] = visits[index]
        metrics[f"state_probability/{state}"] = probability[index]
        metrics[f"cooperation_probability/{state}"] = cooperation[index]
    return metrics
