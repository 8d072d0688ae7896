"""C-Rice-N: Rice-N with a climate club."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from pax.envs.rice.calibration import EnvParams
from pax.envs.rice.dynamics import Decisions, EnvState, Outcome
from pax.envs.rice.game import MITIGATION, TARIFFS, ClimateGame, observe, regional_decisions

JOIN = 0.5
"""Above this, a region's last number makes it a member."""
UTILITY_SCALE = 10
"""Divisor of mean utility in the mediator's reward, so that it is comparable to a change in temperature."""


@struct.dataclass
class ClubParams(EnvParams):
    """Parameters of the world, the club, and the reward of its mediator."""

    club_mitigation_rate: Any
    """Rate at which members mitigate, unless a mediator chooses it."""
    club_tariff_rate: Any
    """Least tariff of members on others, unless a mediator chooses it."""
    mediator_climate_weight: Any
    """w_c: weight of the rise in temperature."""
    mediator_utility_weight: Any
    """w_u: weight of the mean utility."""


class ClubRice(ClimateGame):
    """C-Rice-N: the game `Rice` with a climate club in the sense of Nordhaus (2015).

    An action is that of `Rice` and one more number at its end: above .5, the region is a member in this step.
    Members mitigate at the club's rate, whatever they chose, put at least the club's tariff on imports from
    others, and none on those from each other.

    With `has_mediator`, player 1 is a mediator, whose numbers 1 and 3 are the club's mitigation rate and
    tariff. Its reward is `-w_c (rise in temperature) + w_u (mean utility of the regions) / 10`.

    Observations are `[9 + 5N]`: the region (from 0; 0 for the mediator), steps played, the club's mitigation
    rate and tariff, temperatures (2), carbon (3); of all regions output, investment, abatement cost, tariff
    revenue, club membership. Before the first step, all that comes of steps is 0.
    """

    params_class = ClubParams
    params_defaults = {  # noqa: RUF012
        "club_mitigation_rate": 0.3,
        "club_tariff_rate": 0.1,
        "mediator_climate_weight": 0.0,
        "mediator_utility_weight": 1.0,
    }

    def __init__(self, num_regions: int = 5, has_mediator: bool = False, num_inner_steps: int = 20):
        super().__init__(num_inner_steps, num_regions, has_mediator)
        self.action_size = 4 + 2 * num_regions
        self.observation_size = 9 + 5 * num_regions

    def _club_rates(self, actions: jax.Array, params: ClubParams) -> jax.Array:
        """Returns the mitigation rate and the tariff of the club, `[2]`."""
        if self.has_mediator:
            return jnp.stack([actions[0, MITIGATION], actions[0, TARIFFS]])
        rates = jnp.stack([params.club_mitigation_rate, params.club_tariff_rate])
        return rates.astype(actions.dtype)

    def _decisions(self, actions: jax.Array, params: ClubParams) -> Decisions:
        mitigation_rate, tariff = self._club_rates(actions, params)
        actions = actions[int(self.has_mediator) :]
        chosen = regional_decisions(actions)
        member = actions[:, -1] > JOIN
        from_others = jnp.maximum(chosen.tariffs, tariff) * ~member
        return dataclasses.replace(
            chosen,
            mitigation_rate=jnp.where(member, mitigation_rate, chosen.mitigation_rate),
            tariffs=jnp.where(member[:, None], from_others, chosen.tariffs),
            club_membership=member.astype(actions.dtype),
        )

    def _observations(
        self, state: EnvState, outcome: Outcome, actions: jax.Array, params: ClubParams
    ) -> tuple[jax.Array, ...]:
        of_regions = ("gross_output", "investment", "abatement_cost", "tariff_revenue")
        names = ("temperature", "carbon", *of_regions, "club_membership")
        world, rates = observe(state, outcome, *names), self._club_rates(actions, params)
        shared = jnp.concatenate([world[:1], rates, world[1:]])
        index = jnp.arange(self.num_regions, dtype=actions.dtype)
        observations = tuple(jnp.concatenate([own[None], shared]) for own in index)
        return (observations[0], *observations) if self.has_mediator else observations

    def _rewards(
        self, before: EnvState, after: EnvState, outcome: Outcome, params: ClubParams
    ) -> tuple[jax.Array, ...]:
        rewards = tuple(outcome.utility)
        if not self.has_mediator:
            return rewards
        rise = after.temperature[0] - before.temperature[0]
        mediator = (
            params.mediator_utility_weight * outcome.utility.mean() / UTILITY_SCALE
            - params.mediator_climate_weight * rise
        )
        return (mediator, *rewards)
