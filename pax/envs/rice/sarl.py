"""SarlRice-N: one planner acts for all regions of Rice-N."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from pax.envs.common import real_number
from pax.envs.rice.dynamics import Decisions, EnvState, Outcome
from pax.envs.rice.game import WORLD, ClimateGame, observe, regional_decisions
from pax.errors import ConfigError


class SarlRice(ClimateGame):
    """The game `Rice` for a single agent, who acts for all N regions and wants their utilities' sum.

    The action holds the N actions of `Rice`, one region after the other. Export limits in it are read as 1,
    tariffs as 0, and mitigation rates as `fixed_mitigation_rate` unless that is None.

    Observations are `[8 + 14N]`: steps played, temperatures (2), carbon (3), exogenous forcing, land
    emissions; of all regions labor, capital, output, consumption, investment, balance, productivity,
    intensity, mitigation cost, damages, abatement cost, production, utility, social welfare. Before the
    first step, all that comes of steps is 0.
    """

    def __init__(
        self,
        num_regions: int = 5,
        fixed_mitigation_rate: float | None = None,
        num_inner_steps: int = 20,
    ):
        """Makes the game.

        Args:
            num_inner_steps: steps of an episode.
            num_regions: 5 or 27, for which there are calibrations.
            fixed_mitigation_rate: what every region mitigates; None: the planner chooses.
        """
        super().__init__(num_inner_steps, num_regions, has_mediator=False)
        if fixed_mitigation_rate is not None:
            remedy = "give a rate from 0 to 1, or None to let the planner choose"
            if not 0 <= real_number("fixed_mitigation_rate", fixed_mitigation_rate, remedy) <= 1:
                raise ConfigError(f"fixed_mitigation_rate is {fixed_mitigation_rate}: {remedy}")
        self.fixed_mitigation_rate = fixed_mitigation_rate
        self.num_players = 1
        self.action_size = num_regions * (3 + 2 * num_regions)
        self.observation_size = 8 + 14 * num_regions

    def _decisions(self, actions: jax.Array, params: Any) -> Decisions:
        del params
        planned = regional_decisions(actions.reshape(self.num_regions, -1))
        rate = planned.mitigation_rate
        if self.fixed_mitigation_rate is not None:
            rate = jnp.full_like(rate, self.fixed_mitigation_rate)
        return dataclasses.replace(
            planned,
            mitigation_rate=rate,
            export_limit=jnp.ones_like(rate),
            tariffs=jnp.zeros_like(planned.tariffs),
        )

    def _observations(
        self, state: EnvState, outcome: Outcome, actions: jax.Array, params: Any
    ) -> tuple[jax.Array, ...]:
        del actions, params
        of_regions = ("productivity", "intensity", "mitigation_cost", "damages", "abatement_cost")
        results = ("production", "utility", "social_welfare")
        return (observe(state, outcome, *WORLD, *of_regions, *results),)

    def _rewards(
        self, before: EnvState, after: EnvState, outcome: Outcome, params: Any
    ) -> tuple[jax.Array, ...]:
        del before, after, params
        return (outcome.utility.sum(),)
