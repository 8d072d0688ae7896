"""Rice-N: regions that trade and share one climate."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from pax.envs.rice.dynamics import Decisions, EnvState, Outcome
from pax.envs.rice.game import WORLD, ClimateGame, observe, regional_decisions


class Rice(ClimateGame):
    """The climate-economy game RICE-N of N regions: 20 steps of 5 years, from 2015.

    An action holds, each number within [0, 1] (clipped): savings rate, mitigation rate, export limit, N
    import tariffs on each region (from the next step on), N desired imports from each region. The reward is
    the utility of the region's consumption in this step. After Zhang et al. (2022), "AI for Global Climate
    Cooperation", https://arxiv.org/abs/2208.07004.

    With `has_mediator`, player 1 is a mediator: it sees all and acts as a region does, but its actions are
    only seen by others, and its reward is the sum of the regions' utilities.

    Observations are `[12 + 9N + num_players (3 + 2N)]`: the region (from 0), steps played, temperatures (2),
    carbon (3), exogenous forcing, land emissions; of all regions labor, capital, output, consumption,
    investment, balance, tariff revenue, carbon price, club membership; of its own damages, abatement cost
    and production; the last actions of all players. Before the first step, all that comes of steps is 0.
    The mediator sees 0 for region, damages, abatement cost and production.
    """

    def __init__(self, num_regions: int = 5, has_mediator: bool = False, num_inner_steps: int = 20):
        super().__init__(num_inner_steps, num_regions, has_mediator)
        self.action_size = 3 + 2 * num_regions
        self.observation_size = 12 + 9 * num_regions + self.num_players * self.action_size

    def _decisions(self, actions: jax.Array, params: Any) -> Decisions:
        del params
        return regional_decisions(actions[int(self.has_mediator) :])

    def _observations(
        self, state: EnvState, outcome: Outcome, actions: jax.Array, params: Any
    ) -> tuple[jax.Array, ...]:
        del params
        names = (*WORLD, "tariff_revenue", "carbon_price", "club_membership")
        shared = observe(state, outcome, *names)
        index = jnp.arange(self.num_regions, dtype=actions.dtype)
        own = jnp.stack([outcome.damages, outcome.abatement_cost, outcome.production], axis=1)
        seen = actions.ravel()
        observations = tuple(
            jnp.concatenate([index[region, None], shared, own[region], seen])
            for region in range(self.num_regions)
        )
        if self.has_mediator:
            nothing = jnp.zeros(3, actions.dtype)
            mediator = jnp.concatenate([nothing[:1], shared, nothing, seen])
            observations = (mediator, *observations)
        return observations

    def _rewards(
        self, before: EnvState, after: EnvState, outcome: Outcome, params: Any
    ) -> tuple[jax.Array, ...]:
        del before, after, params
        rewards = tuple(outcome.utility)
        return (outcome.utility.sum(), *rewards) if self.has_mediator else rewards
