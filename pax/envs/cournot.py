"""Cournot competition: firms choose quantities, and the market sets one price for all."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from pax.checks import COUNT, check_number
from pax.envs.common import check_steps, nonnegative, per_player, real_number
from pax.envs.environment import Environment
from pax.envs.spaces import Box, Space
from pax.errors import ConfigError


@struct.dataclass
class EnvState:
    """Step of the episode, and the last quantities and price."""

    inner_t: jax.Array
    """Steps played in this episode, int32."""
    quantities: jax.Array
    """`[num_players]`, 0 at the start."""
    price: jax.Array
    """Of the last step; `a`, that of an empty market, at the start."""


@struct.dataclass
class EnvParams:
    """A market, with the price a - b (sum of all quantities)."""

    a: Any
    """Price at which nothing is bought, more than the cost of making it."""
    b: Any
    """Fall of the price per unit sold, above 0."""
    marginal_cost: Any
    """Cost of making one unit, at least 0."""


@struct.dataclass
class MarketTotals:
    """Sums over steps."""

    steps: jax.Array
    """How many, int32."""
    quantities: jax.Array
    """`[num_players]`."""
    price: jax.Array
    distance: jax.Array
    """Of the total quantity from that of the Nash equilibrium, without sign."""


class Cournot(Environment):
    """`num_players` firms simultaneously choose a quantity each, in each of `num_inner_steps` steps.

    Actions are float32 `[1]` (or scalars): quantities, of which negative ones count as 0. The price is
    a - b (sum of all quantities), and may be negative; a firm earns (price - marginal_cost) x its quantity.
    Everybody observes float32 `[num_players + 1]`: the last quantities by player, and the last price.
    """

    render_mode = "figure"

    def __init__(self, num_players: int = 2, num_inner_steps: int = 1):
        """Makes the game.

        Args:
            num_inner_steps: steps of an episode.
            num_players: how many firms there are.
        """
        check_steps(num_inner_steps)
        check_number("num_players", num_players, COUNT)
        self.num_inner_steps = num_inner_steps
        self.num_players = num_players

    def make_params(  # type: ignore[override]
        self, a: float = 100.0, b: float = 1.0, marginal_cost: float = 10.0
    ) -> EnvParams:
        """Makes the parameters.

        Args:
            a: price at which nothing is sold.
            b: fall of the price per unit that is sold.
            marginal_cost: cost of making a unit.
        """
        params = EnvParams(a=a, b=b, marginal_cost=marginal_cost)
        self.check_params(params)
        return jax.tree.map(lambda number: jnp.array(number, jnp.float32), params)

    def check_params(self, params: EnvParams) -> None:
        at_least_0, above_0 = "give a number of at least 0", "give a number above 0"
        cost = real_number("marginal_cost", params.marginal_cost, at_least_0)
        if cost < 0.0:
            raise ConfigError(f"marginal_cost is {params.marginal_cost}: {at_least_0}")
        if real_number("b", params.b, above_0) <= 0.0:
            raise ConfigError(f"b is {params.b}: {above_0}")
        remedy = f"give a number above marginal_cost ({params.marginal_cost}), or nothing is sold"
        if real_number("a", params.a, remedy) <= cost:
            raise ConfigError(f"a is {params.a}: {remedy}")

    def reset(self, key: jax.Array, params: EnvParams) -> tuple[tuple[jax.Array, ...], EnvState]:
        del key
        state = EnvState(
            inner_t=jnp.int32(0),
            quantities=jnp.zeros(self.num_players),
            price=jnp.asarray(params.a, jnp.float32),
        )
        return self._observations(state), state

    def transition(
        self, drawn: Any, state: EnvState, actions: tuple[Any, ...], params: EnvParams
    ) -> tuple[tuple[jax.Array, ...], EnvState, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        del drawn
        quantities = nonnegative(actions)
        price = params.a - params.b * quantities.sum()
        profits = (price - params.marginal_cost) * quantities
        distance = jnp.abs(quantities.sum() - nash_total(params, self.num_players))
        state = EnvState(inner_t=state.inner_t + 1, quantities=quantities, price=price)
        done = state.inner_t >= self.num_inner_steps
        info = {"quantities": quantities, "price": price, "distance": distance}
        return self._observations(state), state, tuple(profits), done, info

    def observation_space(self, player: int) -> Space:
        del player
        return Box((self.num_players + 1,))

    def action_space(self, player: int) -> Space:
        del player
        return Box((1,), 0.0)

    def episode_statistics(
        self,
        observations: tuple[jax.Array, ...],
        actions: tuple[jax.Array, ...],
        infos: dict[str, Any],
    ) -> MarketTotals:
        del observations, actions
        totals = {name: values.sum(axis=(0, 1)) for name, values in infos.items()}
        return MarketTotals(steps=jnp.int32(infos["price"].size), **totals)

    def statistics_metrics(self, statistics: MarketTotals) -> dict[str, jax.Array]:
        """Returns means over steps; the average quantity is that of one firm."""
        quantities = statistics.quantities / statistics.steps
        return {
            "cournot/average_quantity": quantities.mean(),
            "cournot/total_quantity": quantities.sum(),
            "cournot/price": statistics.price / statistics.steps,
            "cournot/distance_to_nash": statistics.distance / statistics.steps,
            **per_player("cournot/quantity", quantities),
        }

    def render(self, state: EnvState, params: EnvParams) -> Any:
        """Plots quantities and prices of an episode, with equilibrium and cartel, as a matplotlib figure."""
        from pax.envs.figures import Curves, plot_curves

        quantities = state.quantities.reshape(-1, self.num_players)
        lines = {f"player {index + 1}": quantities[:, index] for index in range(self.num_players)}
        references = {
            "Nash": nash_total(params, self.num_players),
            "collusion": collusive_total(params),
        }
        prices = {name: params.a - params.b * quantity for name, quantity in references.items()}
        return plot_curves(
            [
                Curves("Quantity", {**lines, "total": quantities.sum(axis=1)}, references),
                Curves("Price", {"price": state.price.reshape(-1)}, prices),
            ]
        )

    def _observations(self, state: EnvState) -> tuple[jax.Array, ...]:
        observation = jnp.append(state.quantities, state.price)
        return (observation,) * self.num_players


def nash_total(params: EnvParams, num_players: int = 2) -> jax.Array:
    """Returns the total quantity in the Nash equilibrium: n (a - c) / ((n + 1) b)."""
    return num_players * (params.a - params.marginal_cost) / ((num_players + 1) * params.b)


def collusive_total(params: EnvParams) -> jax.Array:
    """Returns the total quantity that maximises joint profit, as a monopoly would: (a - c) / (2 b)."""
    return (params.a - params.marginal_cost) / (2 * params.b)
