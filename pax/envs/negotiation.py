"""A negotiation: two players divide items that one of them values more, round after round."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pax.checks import check_choice, check_kind
from pax.envs.common import check_steps, per_player
from pax.envs.environment import Environment
from pax.envs.spaces import Box, Space

NUM_ITEMS = 3
MAX_PROPOSAL = 5.0
"""The most that a player can ask of an item, and what may be asked of it in all without dividing it."""
MAX_VALUE = 5
MAX_QUANTITY = 5
"""The largest quantity of an item, where quantities are drawn."""
REWARD_UNIT = float(MAX_VALUE * NUM_ITEMS)
OBSERVATION_UNIT = 10.0
VALUES = ("high_contrast", "uniform")


@struct.dataclass
class Items:
    """The items of one round: quantities and values."""

    quantities: jax.Array
    """`[3]`, by item."""
    values: jax.Array
    """Of a unit of each item to each player, `[2, 3]`."""


@struct.dataclass
class EnvState:
    """Step of the episode, the items of the coming round, and the last proposals."""

    inner_t: jax.Array
    """Rounds played in this episode, int32."""
    items: Items
    proposals: jax.Array
    """Of the last round, by player and item, `[2, 3]`; 0 at the start."""


@struct.dataclass
class NegotiationStatistics:
    """Sums over rounds."""

    rounds: jax.Array
    """How many."""
    efficiency: jax.Array
    unclaimed: jax.Array
    asked: jax.Array
    """Proposals by player, `[2, 2]`: for items that it values more, and for those that the other does."""
    numbers: jax.Array
    """How many proposals these are, `[2, 2]`."""


class Negotiation(Environment):
    """In every round, both players ask at the same time for a part of each of three items.

    Actions are float32 `[3]`, from 0 to 5, and what is beyond counts as the nearest of these. Player i gets
    the share p_i / max(p_1 + p_2, 5) of an item, and as reward the sum over items of share x quantity x own
    value, divided by 15. After every round new items are drawn. By `high_contrast`, quantities are 1, and an
    item is worth 5 to one of the players, drawn by a fair coin, and 1 to the other; by `uniform`, quantities
    and values are uniform from 1 to 5. So it is best for both to leave to the other what that one values
    more, and best for each to ask for everything (Duque et al. 2024, arxiv.org/abs/2406.14662, after Cao et
    al. 2018, arxiv.org/abs/1804.03980).

    A player observes float32 `[15]`, all divided by 10: the quantities of the items, its own values, its last
    proposal, the other's values, and the other's last proposal; proposals are 0 before the first round.
    """

    render_mode = "figure"
    num_players = 2

    def __init__(
        self,
        num_inner_steps: int = 50,
        item_values: str = "high_contrast",
        proportional: bool = False,
    ):
        """Makes the game.

        Args:
            num_inner_steps: rounds of an episode.
            item_values: how items are drawn, `high_contrast` or `uniform`.
            proportional: whether shares are p_i / (p_1 + p_2) also where less than 5 is asked of an item.
        """
        check_steps(num_inner_steps)
        check_choice("item_values", item_values, VALUES, "Negotiation")
        check_kind("proportional", proportional, False, "Negotiation")
        self.num_inner_steps = num_inner_steps
        self.item_values = item_values
        self.proportional = proportional

    def draw(self, key: jax.Array, params: Any) -> Items:
        """Draws the items of the next round."""
        del params
        if self.item_values == "high_contrast":
            own = jnp.where(jax.random.bernoulli(key, shape=(NUM_ITEMS,)), float(MAX_VALUE), 1.0)
            return Items(jnp.ones(NUM_ITEMS), jnp.stack([own, MAX_VALUE + 1.0 - own]))
        quantity_key, value_key = jax.random.split(key)
        quantities = jax.random.randint(quantity_key, (NUM_ITEMS,), 1, MAX_QUANTITY + 1)
        values = jax.random.randint(value_key, (2, NUM_ITEMS), 1, MAX_VALUE + 1)
        return Items(quantities.astype(jnp.float32), values.astype(jnp.float32))

    def reset(self, key: jax.Array, params: Any) -> tuple[tuple[jax.Array, ...], EnvState]:
        state = EnvState(jnp.int32(0), self.draw(key, params), jnp.zeros((2, NUM_ITEMS)))
        return _observations(state), state

    def transition(
        self, drawn: Items, state: EnvState, actions: tuple[Any, ...], params: Any
    ) -> tuple[tuple[jax.Array, ...], EnvState, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        del params
        asked = jnp.stack([jnp.asarray(action, jnp.float32) for action in actions])
        proposals = jnp.clip(asked, 0.0, MAX_PROPOSAL)
        items, shares = state.items, self.shares(proposals)
        worth = items.quantities * items.values
        rewards = (shares * worth).sum(axis=-1) / REWARD_UNIT
        best = worth.max(axis=0).sum() / REWARD_UNIT
        info = {
            "values": items.values,
            "proposals": proposals,
            "efficiency": rewards.sum() / best,
            # Rounding must not make it negative.
            "unclaimed": jnp.maximum(1.0 - shares.sum(axis=0).mean(), 0.0),
        }
        state = EnvState(state.inner_t + 1, drawn, proposals)
        done = state.inner_t >= self.num_inner_steps
        return _observations(state), state, tuple(rewards), done, info

    def shares(self, proposals: jax.Array) -> jax.Array:
        """Returns which share of each item each player gets, `[..., 2, 3]` as the proposals."""
        total = proposals.sum(axis=-2, keepdims=True)
        if self.proportional:
            # Of what nobody asks for, nobody gets anything.
            return proposals / jnp.where(total > 0.0, total, 1.0)
        return proposals / jnp.maximum(total, MAX_PROPOSAL)

    def observation_space(self, player: int) -> Space:
        del player
        largest = max(MAX_PROPOSAL, MAX_VALUE, MAX_QUANTITY) / OBSERVATION_UNIT
        return Box((5 * NUM_ITEMS,), 0.0, largest)

    def action_space(self, player: int) -> Space:
        del player
        return Box((NUM_ITEMS,), 0.0, MAX_PROPOSAL)

    def episode_statistics(
        self,
        observations: tuple[jax.Array, ...],
        actions: tuple[jax.Array, ...],
        infos: dict[str, Any],
    ) -> NegotiationStatistics:
        del observations, actions
        kinds = kinds_of_items(infos["values"])
        return NegotiationStatistics(
            rounds=jnp.float32(infos["efficiency"].size),
            efficiency=infos["efficiency"].sum(),
            unclaimed=infos["unclaimed"].sum(),
            asked=(infos["proposals"] * kinds).sum(axis=(1, 2, 4)).T,
            numbers=kinds.sum(axis=(1, 2, 4), dtype=jnp.float32).T,
        )

    def statistics_metrics(self, statistics: NegotiationStatistics) -> dict[str, jax.Array]:
        """Returns means over rounds, and of what each player asks; NaN where there was no such item."""
        asked = statistics.asked / statistics.numbers
        metrics = {
            "negotiation/efficiency": statistics.efficiency / statistics.rounds,
            "negotiation/unclaimed": statistics.unclaimed / statistics.rounds,
        }
        metrics |= per_player("negotiation/asked_of_own", asked[:, 0])
        return metrics | per_player("negotiation/asked_of_others", asked[:, 1])

    def render_episode(self, states: EnvState, actions: tuple[Any, ...], params: Any) -> Any:
        """Plots what both asked for in each round, and their rewards, as a matplotlib figure."""
        del params
        from pax.envs.figures import Curves, plot_curves

        proposals = np.clip(np.stack([np.asarray(a) for a in actions], axis=1), 0.0, MAX_PROPOSAL)
        values = np.asarray(states.items.values)
        worth = np.asarray(states.items.quantities)[:, None] * values
        rewards = (np.asarray(self.shares(proposals)) * worth).sum(axis=-1) / REWARD_UNIT
        asked = [
            np.ma.masked_array(proposals, ~np.asarray(kind)).mean(axis=-1).filled(np.nan)
            for kind in kinds_of_items(jnp.asarray(values))
        ]
        panels = (("Asked of items of one's own", asked[0]), ("Asked of the other's", asked[1]))
        return plot_curves(
            [
                Curves(title, {f"player {player + 1}": of[:, player] for player in range(2)})
                for title, of in (*panels, ("Reward", rewards))
            ]
        )

    def render(self, state: EnvState, params: Any) -> Any:
        """Plots the values of the items of one round, or of the first of an episode."""
        del params
        from pax.envs.figures import HeatMap, plot_heat_maps

        values = np.asarray(state.items.values).reshape(-1, 2, NUM_ITEMS)[0]
        items = [str(item + 1) for item in range(NUM_ITEMS)]
        table = HeatMap("Value of a unit", values, ("1", "2"), items, "player", "item")
        return plot_heat_maps([table])


def kinds_of_items(values: jax.Array) -> jax.Array:
    """Tells whose each item is: `[2, ..., 2, 3]`, who values it more than the other, and who less.

    Args:
        values: of each item to each player, `[..., 2, 3]`.
    """
    others = jnp.flip(values, axis=-2)
    return jnp.stack([values > others, values < others])


def _observations(state: EnvState) -> tuple[jax.Array, ...]:
    items, proposals = state.items, state.proposals
    return tuple(
        jnp.concatenate(
            [
                items.quantities,
                items.values[own],
                proposals[own],
                items.values[other],
                proposals[other],
            ]
        )
        / OBSERVATION_UNIT
        for own, other in ((0, 1), (1, 0))
    )
