"""An open-access fishery: players share the harvest of a renewable stock in proportion to their effort."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from pax.checks import COUNT, check_number
from pax.envs.common import check_steps, nonnegative, per_player, real_number
from pax.envs.environment import Environment
from pax.envs.moments import Moments, episode_moments, mean_and_std
from pax.envs.spaces import Box, Space
from pax.errors import ConfigError

MAX_GROWTH = 3.0
"""Rate above which the growth law can make a large stock negative."""


@struct.dataclass
class EnvState:
    """Step of the episode, stock and last efforts."""

    inner_t: jax.Array
    """Steps played in this episode, int32."""
    stock: jax.Array
    """Fish in the sea."""
    efforts: jax.Array
    """Of the last step, `[num_players]`; 0 at the start."""


@struct.dataclass
class EnvParams:
    """Biology and market, named as in the literature."""

    g: Any
    """Growth rate of a small stock per step, 0 to 3."""
    e: Any
    """Share of the stock that one unit of effort catches, above 0."""
    P: Any
    """Price of a unit of fish, above 0."""
    w: Any
    """Cost of a unit of effort, at least 0."""
    s_0: Any
    """Stock at the start, 0 to `s_max`."""
    s_max: Any
    """Stock that no longer grows, above 0."""


@struct.dataclass
class FisheryStatistics:
    """Sums over episodes."""

    final_stock: jax.Array
    stock: Moments
    harvest: Moments
    total_effort: Moments
    efforts: Moments
    """By player, `[num_players]`."""


class Fishery(Environment):
    """`num_players` fishers simultaneously choose an effort each, in each of `num_inner_steps` steps.

    Actions are float32 `[1]` (or scalars): efforts, of which negative ones count as 0. With their sum E
    and the stock s, the growth is G = g s (1 - s / s_max), the harvest H = min(e E s, s + G), and the stock
    becomes s + G - H; a fisher with effort x earns P (x / E) H - w x. Perman et al., Natural Resource and
    Environmental Economics (3rd edition, 2003), chapter 17.

    Player i (from 0) observes float32 `[num_players + 2]`: the last efforts by player, the stock, and i.
    """

    render_mode = "figure"

    def __init__(self, num_players: int = 2, num_inner_steps: int = 300):
        """Makes the game.

        Args:
            num_inner_steps: steps of an episode.
            num_players: how many fish.
        """
        check_steps(num_inner_steps)
        check_number("num_players", num_players, COUNT)
        self.num_inner_steps = num_inner_steps
        self.num_players = num_players

    def make_params(  # type: ignore[override]
        self,
        g: float = 0.15,
        e: float = 0.009,
        P: float = 200.0,  # noqa: N803 - its name in the literature
        w: float = 0.9,
        s_0: float = 0.5,
        s_max: float = 1.0,
    ) -> EnvParams:
        """Makes the parameters.

        Args:
            g: growth rate of the stock.
            e: share of the stock that a unit of effort catches.
            P: price of the harvest.
            w: cost of a unit of effort.
            s_0: stock at the start.
            s_max: stock at which nothing grows.
        """
        params = EnvParams(g=g, e=e, P=P, w=w, s_0=s_0, s_max=s_max)
        self.check_params(params)
        return jax.tree.map(lambda number: jnp.array(number, jnp.float32), params)

    def check_params(self, params: EnvParams) -> None:
        for name in ("w", "s_0"):
            value, remedy = getattr(params, name), "give a number of at least 0"
            if real_number(name, value, remedy) < 0.0:
                raise ConfigError(f"{name} is {value}: {remedy}")
        for name in ("e", "P", "s_max"):
            value, remedy = getattr(params, name), "give a number above 0"
            if real_number(name, value, remedy) <= 0.0:
                raise ConfigError(f"{name} is {value}: {remedy}")
        remedy = f"give a number from 0 to {MAX_GROWTH:g}"
        if not 0.0 <= real_number("g", params.g, remedy) <= MAX_GROWTH:
            raise ConfigError(f"g is {params.g}: {remedy}")
        remedy = f"give a stock up to s_max ({params.s_max})"
        s_max = real_number("s_max", params.s_max, remedy)
        if real_number("s_0", params.s_0, remedy) > s_max:
            raise ConfigError(f"s_0 is {params.s_0}: {remedy}")

    def reset(self, key: jax.Array, params: EnvParams) -> tuple[tuple[jax.Array, ...], EnvState]:
        del key
        state = EnvState(
            inner_t=jnp.int32(0),
            stock=jnp.asarray(params.s_0, jnp.float32),
            efforts=jnp.zeros(self.num_players),
        )
        return self._observations(state), state

    def transition(
        self, drawn: Any, state: EnvState, actions: tuple[Any, ...], params: EnvParams
    ) -> tuple[tuple[jax.Array, ...], EnvState, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        del drawn
        efforts = nonnegative(actions)
        total = efforts.sum()
        available = state.stock + params.g * state.stock * (1.0 - state.stock / params.s_max)
        harvest = jnp.minimum(params.e * total * state.stock, available)
        # Without effort there is nothing to share.
        shares = efforts / jnp.where(total > 0.0, total, 1.0)
        rewards = params.P * harvest * shares - params.w * efforts
        state = EnvState(inner_t=state.inner_t + 1, stock=available - harvest, efforts=efforts)
        info = {"stock": state.stock, "harvest": harvest, "efforts": efforts}
        done = state.inner_t >= self.num_inner_steps
        return self._observations(state), state, tuple(rewards), done, info

    def observation_space(self, player: int) -> Space:
        del player
        return Box((self.num_players + 2,), 0.0)

    def action_space(self, player: int) -> Space:
        del player
        return Box((1,), 0.0)

    def episode_statistics(
        self,
        observations: tuple[jax.Array, ...],
        actions: tuple[jax.Array, ...],
        infos: dict[str, Any],
    ) -> FisheryStatistics:
        del observations, actions
        efforts = infos["efforts"]
        return FisheryStatistics(
            final_stock=infos["stock"][-1].sum(),
            stock=episode_moments(infos["stock"]),
            harvest=episode_moments(infos["harvest"]),
            total_effort=episode_moments(efforts.sum(axis=-1)),
            efforts=episode_moments(efforts),
        )

    def statistics_metrics(self, statistics: FisheryStatistics) -> dict[str, jax.Array]:
        """Returns mean and standard deviation over all steps, with the stock at the end of each step."""
        metrics = {"fishery/final_stock": statistics.final_stock / statistics.stock.episodes}
        for name in ("stock", "harvest", "total_effort"):
            mean, std = mean_and_std(getattr(statistics, name))
            metrics |= {f"fishery/{name}": mean, f"fishery/{name}_std": std}
        means, stds = mean_and_std(statistics.efforts)
        metrics["fishery/effort_mean"] = means.mean()
        metrics["fishery/effort_std"] = jnp.sqrt(jnp.square(stds).mean() + means.var())
        metrics |= per_player("fishery/effort", means)
        return metrics | per_player("fishery/effort_std", stds)

    def render(self, state: EnvState, params: EnvParams) -> Any:
        """Plots stock and efforts of an episode, with those of open access, as a matplotlib figure."""
        from pax.envs.figures import Curves, plot_curves

        stock, effort = open_access(params)
        efforts = state.efforts.reshape(-1, self.num_players)
        lines = {f"player {index + 1}": efforts[:, index] for index in range(self.num_players)}
        return plot_curves(
            [
                Curves("Stock", {"stock": state.stock.reshape(-1)}, {"open access": stock}),
                Curves("Effort", {**lines, "total": efforts.sum(axis=1)}, {"open access": effort}),
            ]
        )

    def _observations(self, state: EnvState) -> tuple[jax.Array, ...]:
        shared = jnp.append(state.efforts, state.stock)
        return tuple(jnp.append(shared, float(player)) for player in range(self.num_players))


def open_access(params: EnvParams) -> tuple[jax.Array, jax.Array]:
    """Returns stock and total effort of the open-access equilibrium, in which profit is zero.

    S* = w / (P e) and E* = (g / e) (1 - S* / s_max); if S* is not below `s_max`, effort is 0.
    """
    stock = jnp.minimum(params.w / (params.P * params.e), params.s_max)
    return stock, params.g / params.e * (1.0 - stock / params.s_max)
