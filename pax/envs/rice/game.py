"""The base of the climate-economy games: parameters, steps, statistics, pictures."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from pax.checks import WHOLE, check_kind, check_number
from pax.envs.common import check_steps, per_part
from pax.envs.environment import Environment
from pax.envs.rice import calibration
from pax.envs.rice.calibration import CALIBRATIONS, EnvParams
from pax.envs.rice.dynamics import (
    Decisions,
    EnvState,
    Outcome,
    advance,
    float_type,
    initial_outcome,
    initial_state,
)
from pax.envs.rice.pictures import plot
from pax.envs.spaces import Box, Space
from pax.errors import ConfigError

SAVINGS, MITIGATION, EXPORT_LIMIT, TARIFFS = range(4)
"""Entries of an action; desired imports follow the tariffs, one per region."""

WORLD = (
    *("temperature", "carbon", "forcing", "land_emissions", "labor", "capital"),
    *("gross_output", "consumption", "investment", "balance"),
)
"""Numbers that all players observe in the games without a club, in this order."""

OF_REGIONS = (
    "labor",
    "capital",
    "gross_output",
    "consumption",
    "investment",
    "balance",
    "savings_rate",
    "mitigation_rate",
    "tariff_revenue",
    "carbon_price",
    "club_membership",
    "utility",
)
"""Statistics per region."""


class ClimateGame(Environment):
    """Regions that invest, mitigate and trade while the climate warms; made concrete by its subclasses."""

    params_class: type[EnvParams] = EnvParams
    params_defaults: dict[str, float] = {}  # noqa: RUF012
    """Those of `params_class` that `EnvParams` does not have."""
    action_size: int
    observation_size: int

    render_mode = "figure"

    def __init__(self, num_inner_steps: int, num_regions: int, has_mediator: bool):
        """Makes the game.

        Args:
            num_inner_steps: steps of an episode.
            num_regions: 5 or 27, for which there are calibrations.
            has_mediator: whether player 1 is a mediator, and no region.
        """
        check_steps(num_inner_steps)
        check_number("num_regions", num_regions, WHOLE)
        check_kind("has_mediator", has_mediator, False)
        if num_regions not in CALIBRATIONS:
            known = " or ".join(map(str, CALIBRATIONS))
            raise ConfigError(f"num_regions is {num_regions}: there are numbers for {known} only")
        self.num_inner_steps = num_inner_steps
        self.num_regions = num_regions
        self.has_mediator = has_mediator
        self.num_players = num_regions + int(has_mediator)

    def make_params(self, **settings: Any) -> Any:
        return calibration.make_params(
            self.params_class, self.num_regions, self.params_defaults, settings
        )

    def param_settings(self) -> dict[str, Any]:
        return calibration.default_settings(self.num_regions, self.params_defaults)

    def check_params(self, params: Any) -> None:
        calibration.check_params(params, self.num_regions)

    def reset(self, key: jax.Array, params: Any) -> tuple[tuple[jax.Array, ...], EnvState]:
        del key
        state = initial_state(params)
        actions = jnp.zeros((self.num_players, self.action_size), float_type(params))
        return self._observations(state, initial_outcome(params), actions, params), state

    def transition(
        self, drawn: Any, state: EnvState, actions: tuple[Any, ...], params: Any
    ) -> tuple[tuple[jax.Array, ...], EnvState, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        del drawn
        joint = jnp.clip(jnp.stack(actions).astype(float_type(params)), 0, 1)
        decisions = self._decisions(joint, params)
        after, outcome = advance(state, decisions, params)
        observations = self._observations(after, outcome, joint, params)
        rewards = self._rewards(state, after, outcome, params)
        reported = ("temperature", "carbon", *OF_REGIONS)
        info = {name: _look_up(name, after, outcome) for name in reported}
        return observations, after, rewards, after.inner_t >= self.num_inner_steps, info

    def observation_space(self, player: int) -> Space:
        del player
        return Box((self.observation_size,))

    def action_space(self, player: int) -> Space:
        del player
        return Box((self.action_size,), 0.0, 1.0)

    def episode_statistics(
        self,
        observations: tuple[jax.Array, ...],
        actions: tuple[jax.Array, ...],
        infos: dict[str, Any],
    ) -> dict[str, Any]:
        del observations, actions
        num_steps, num_envs = infos["temperature"].shape[:2]
        return {
            "sums": {name: value.sum(axis=(0, 1)) for name, value in infos.items()},
            "finals": {name: infos[name][-1].sum(axis=0) for name in ("temperature", "carbon")},
            "steps": jnp.int32(num_steps * num_envs),
            "episodes": jnp.int32(num_envs),
        }

    def statistics_metrics(self, statistics: dict[str, Any]) -> dict[str, jax.Array]:
        means = {name: total / statistics["steps"] for name, total in statistics["sums"].items()}
        finals = {
            name: total / statistics["episodes"] for name, total in statistics["finals"].items()
        }
        atmosphere, ocean = means.pop("temperature")
        in_air, in_upper_ocean, in_lower_ocean = means.pop("carbon")
        metrics = {
            "temperature": atmosphere,
            "ocean_temperature": ocean,
            "carbon_atmosphere": in_air,
            "carbon_upper_ocean": in_upper_ocean,
            "carbon_lower_ocean": in_lower_ocean,
            "final_temperature": finals["temperature"][0],
            "final_carbon_atmosphere": finals["carbon"][0],
        }
        regions = [f"region_{region + 1}" for region in range(self.num_regions)]
        for name, of_regions in means.items():
            metrics |= {name: of_regions.mean(), **per_part(name, regions, of_regions)}
        return metrics

    def render(self, state: EnvState, params: Any) -> Any:
        """Plots an episode: climate, output, consumption, mitigation and savings by year."""
        return plot(state, params)

    def _decisions(self, actions: jax.Array, params: Any) -> Decisions:
        """Returns the decisions that the clipped `actions` `[num_players, action_size]` stand for."""
        raise NotImplementedError

    def _observations(
        self, state: EnvState, outcome: Outcome, actions: jax.Array, params: Any
    ) -> tuple[jax.Array, ...]:
        """Returns the observation of each player after a step in which `actions` were taken."""
        raise NotImplementedError

    def _rewards(
        self, before: EnvState, after: EnvState, outcome: Outcome, params: Any
    ) -> tuple[jax.Array, ...]:
        """Returns the reward of each player for a step."""
        raise NotImplementedError


def observe(state: EnvState, outcome: Outcome, *names: str) -> jax.Array:
    """Returns the steps played, and then the named numbers of a state or an outcome, in one vector."""
    numbers = [jnp.atleast_1d(_look_up(name, state, outcome)) for name in names]
    return jnp.concatenate([state.inner_t.astype(numbers[0].dtype)[None], *numbers])


def _look_up(name: str, state: EnvState, outcome: Outcome) -> jax.Array:
    return getattr(outcome if hasattr(outcome, name) else state, name)


def regional_decisions(actions: jax.Array) -> Decisions:
    """Reads the decisions of N regions from an action `[3 + 2N, ...]` of each, `[N, 3 + 2N or more]`."""
    num_regions = actions.shape[0]
    imports = TARIFFS + num_regions
    return Decisions(
        savings_rate=actions[:, SAVINGS],
        mitigation_rate=actions[:, MITIGATION],
        export_limit=actions[:, EXPORT_LIMIT],
        tariffs=actions[:, TARIFFS:imports],
        imports=actions[:, imports : imports + num_regions],
        club_membership=jnp.zeros_like(actions[:, SAVINGS]),
    )
