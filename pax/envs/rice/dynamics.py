"""One step of the economy and the climate, for all climate-economy games.

After Zhang et al. (2022), "AI for Global Climate Cooperation" (RICE-N), which adds trade to the RICE model of
Nordhaus. All arrays are of the float type of the parameters. N is the number of regions.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from pax.envs.rice.calibration import EnvParams

DOMESTIC_PREFERENCE = 0.5
"""Weight of domestic goods in consumption; the goods of all others share the rest equally."""
CREDIT_PER_CAPITAL = 0.1
"""A region imports nothing when its debt is this share of its initial capital."""
MIN_TRADE = 1e-5
"""Added to the divisor where goods are rationed, so that a demand of 0 does not give NaN."""
MAX_NUMBER = 1e12
"""Limit of productivity and balances, which grow exponentially, reached long after any relevant horizon."""


@struct.dataclass
class EnvState:
    """The world at the start of a step, and the last decisions, which only figures read."""

    inner_t: jax.Array
    """Steps played in this episode, int32."""
    temperature: jax.Array
    """T, `[2]`: atmosphere, lower ocean."""
    carbon: jax.Array
    """M, `[3]`: atmosphere, upper ocean, lower ocean."""
    labor: jax.Array
    """L, `[N]`."""
    capital: jax.Array
    """K, `[N]`."""
    productivity: jax.Array
    """A, `[N]`."""
    intensity: jax.Array
    """sigma, `[N]`."""
    balance: jax.Array
    """B, `[N]`: debt of the others to this region."""
    tariffs: jax.Array
    """tau, `[N importer, N exporter]`, in force in the next step."""
    gross_output: jax.Array
    """Q, `[N]`, of the last step, as are the following."""
    consumption: jax.Array
    """C, `[N]`."""
    savings_rate: jax.Array
    """s, `[N]`."""
    mitigation_rate: jax.Array
    """mu, `[N]`."""
    club_membership: jax.Array
    """1. for members of the climate club, else 0., `[N]`."""


@struct.dataclass
class Decisions:
    """Decisions of the regions in a step, all within [0, 1]."""

    savings_rate: jax.Array
    """s, `[N]`: share of output that is invested."""
    mitigation_rate: jax.Array
    """mu, `[N]`: share of emissions that is avoided."""
    export_limit: jax.Array
    """x, `[N]`: share of output that others may buy."""
    tariffs: jax.Array
    """`[N importer, N exporter]`, for the next step; the diagonal is ignored."""
    imports: jax.Array
    """W, `[N importer, N exporter]`: desired; the diagonal is ignored."""
    club_membership: jax.Array
    """`[N]`, 0. or 1.: recorded only, its consequences are in the other decisions."""


@struct.dataclass
class Outcome:
    """Results of a step besides the next state; all `[N]` but for the first two."""

    forcing: jax.Array
    """F_ex, `[]`."""
    land_emissions: jax.Array
    """Of each region, `[]`."""
    gross_output: jax.Array
    """Q."""
    consumption: jax.Array
    """C."""
    investment: jax.Array
    """I."""
    tariff_revenue: jax.Array
    """Paid to a fund that is not used."""
    carbon_price: jax.Array
    """Dollars per tonne / 1000."""
    mitigation_cost: jax.Array
    """theta_1."""
    damages: jax.Array
    """Omega: the share of production that the climate leaves."""
    abatement_cost: jax.Array
    """Lambda: the share of production that mitigation takes."""
    production: jax.Array
    """Y."""
    utility: jax.Array
    """U."""
    social_welfare: jax.Array
    """U, discounted to the start."""


def initial_state(params: EnvParams) -> EnvState:
    """Returns the world in 2015."""
    dtype = float_type(params)
    labor = jnp.asarray(params.initial_labor, dtype)
    none = jnp.zeros_like(labor)
    return EnvState(
        inner_t=jnp.int32(0),
        temperature=jnp.asarray(params.initial_temperature, dtype),
        carbon=jnp.asarray(params.initial_carbon, dtype),
        labor=labor,
        capital=jnp.asarray(params.initial_capital, dtype),
        productivity=jnp.asarray(params.initial_productivity, dtype),
        intensity=jnp.asarray(params.initial_intensity, dtype),
        balance=none,
        tariffs=jnp.zeros((labor.size, labor.size), dtype),
        gross_output=none,
        consumption=none,
        savings_rate=none,
        mitigation_rate=none,
        club_membership=none,
    )


def initial_outcome(params: EnvParams) -> Outcome:
    """Returns an outcome of zeros, before the first step."""
    one = jnp.zeros((), float_type(params))
    each = jnp.zeros_like(jnp.asarray(params.initial_labor, one.dtype))
    return Outcome(one, one, *[each] * 11)


def float_type(params: EnvParams) -> Any:
    """Returns the type of all floats: that of the parameters, at least float32."""
    return jnp.result_type(params.years_per_step, jnp.float32)


def advance(state: EnvState, decisions: Decisions, params: EnvParams) -> tuple[EnvState, Outcome]:
    """Plays one step; returns the next state and the other results."""
    p, years = params, params.years_per_step
    elapsed = state.inner_t.astype(float_type(params))
    mitigation = decisions.mitigation_rate

    # Production, its losses to mitigation and climate, and investment.
    mitigation_cost = (
        p.backstop_price
        / (1000 * p.abatement_exponent)
        * power(1 - p.backstop_price_decline, elapsed)
        * state.intensity
    )
    marginal_cost = mitigation_cost * power(mitigation, p.abatement_exponent - 1)
    abatement_cost = marginal_cost * mitigation
    warming = state.temperature[0]
    damages = 1 / (
        1 + p.damage_linear * warming + p.damage_coefficient * power(warming, p.damage_exponent)
    )
    workers = state.labor / 1000
    production = (
        state.productivity
        * power(state.capital, p.capital_share)
        * power(workers, 1 - p.capital_share)
    )
    output = damages * jnp.maximum(1 - abatement_cost, 0) * production
    investment = decisions.savings_rate * output

    # Trade, consumption and utility.
    balance = state.balance * (1 + p.interest_rate)
    debt = jnp.clip(balance / (CREDIT_PER_CAPITAL * p.initial_capital), -1, 0)
    shipped, domestic = trade(decisions, output, debt)
    balance = balance + years * (shipped.sum(axis=0) - shipped.sum(axis=1))
    foreign = square_root(shipped * (1 - state.tariffs)).sum(axis=1)
    others = max(output.size - 1, 1)
    consumption = jnp.square(
        DOMESTIC_PREFERENCE * square_root(domestic) + (1 - DOMESTIC_PREFERENCE) / others * foreign
    )
    # (x + 1)^(1 - alpha) - 1, for small x too.
    curvature = 1 - p.risk_aversion
    utility = workers * jnp.expm1(curvature * jnp.log1p(consumption / workers)) / curvature
    discount = power(1 + p.time_preference, -years * (elapsed + 1))

    # Climate.
    carbon, total_carbon = state.carbon, state.carbon[0]
    ramp = jnp.minimum(elapsed / p.forcing_steps, 1)
    forcing = p.initial_forcing + (p.final_forcing - p.initial_forcing) * ramp
    doublings = jnp.log2(total_carbon / p.preindustrial_carbon)
    heat = p.forcing_per_doubling * doublings + forcing
    land = p.initial_land_emissions * power(1 - p.land_emissions_decline, elapsed)
    emissions = (state.intensity * (1 - mitigation) * production).sum() + land

    # The next state.
    slowdown = power(1 - p.intensity_decline_slowdown, years * elapsed)
    intensity = state.intensity * jnp.exp(-p.intensity_decline * years * slowdown)
    own_growth = p.productivity_growth * jnp.exp(-p.productivity_growth_decline * years * elapsed)
    growth = jnp.exp(p.long_run_productivity_growth) + own_growth
    after = EnvState(
        inner_t=state.inner_t + 1,
        temperature=apply(p.temperature_transition, state.temperature)
        + p.temperature_forcing * heat,
        carbon=apply(p.carbon_transition, carbon) + p.carbon_emission * emissions,
        labor=state.labor * power((1 + p.long_run_labor) / (1 + state.labor), p.labor_convergence),
        capital=power(1 - p.capital_depreciation, years) * state.capital + years * investment,
        productivity=jnp.minimum(state.productivity * growth, MAX_NUMBER),
        intensity=intensity,
        balance=jnp.clip(balance, -MAX_NUMBER, MAX_NUMBER),
        tariffs=off_diagonal(decisions.tariffs),
        gross_output=output,
        consumption=consumption,
        savings_rate=decisions.savings_rate,
        mitigation_rate=mitigation,
        club_membership=decisions.club_membership,
    )
    outcome = Outcome(
        forcing=forcing,
        land_emissions=land / output.size,
        gross_output=output,
        consumption=consumption,
        investment=investment,
        tariff_revenue=(shipped * state.tariffs).sum(axis=1),
        carbon_price=p.abatement_exponent * damages * marginal_cost / intensity,
        mitigation_cost=mitigation_cost,
        damages=damages,
        abatement_cost=abatement_cost,
        production=production,
        utility=utility,
        social_welfare=utility * discount,
    )
    return after, outcome


def trade(decisions: Decisions, output: jax.Array, debt: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the goods that every region buys from every other.

    A region can buy no more than its own output, less in proportion to its debt (`[N]`, -1 = all of its
    credit, 0 = none). Demand for the goods of an exporter is scaled down to its limit and to what investment
    leaves.

    Returns:
        The goods shipped, `[N importer, N exporter]`, and what stays for consumption at home, `[N]`.
    """
    wanted = off_diagonal(decisions.imports)
    total = wanted.sum(axis=1)
    affordable = jnp.minimum(total, output) / (total + MIN_TRADE) * (1 + debt)
    wanted = wanted * affordable[:, None]
    total = wanted.sum(axis=0)
    limit, left = decisions.export_limit, 1 - decisions.savings_rate
    available = jnp.minimum(limit, left) * output
    sold = jnp.minimum(total, available)
    shipped = wanted * (sold / (total + MIN_TRADE))
    # Output less investment and exports, as a sum of the goods not sold: by the limit, for lack of demand,
    # and by the small addition to the divisor. A difference would lose most digits where nearly all is sold.
    kept = jnp.maximum(left - limit, 0) * output
    domestic = kept + (available - sold) + sold * (MIN_TRADE / (total + MIN_TRADE))
    return shipped, domestic


def off_diagonal(matrix: jax.Array) -> jax.Array:
    """Returns `matrix` with zeros on the diagonal."""
    return matrix * (1 - jnp.eye(matrix.shape[0], dtype=matrix.dtype))


def apply(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    """Multiplies a matrix and a vector at the full precision of the float type, without a matrix unit."""
    return (matrix * vector).sum(axis=1)


def power(base: jax.Array, exponent: jax.Array) -> jax.Array:
    """Computes `base ** exponent`, that of 0 for a base below 0, with finite gradients."""
    positive = base > 0
    return jnp.where(
        positive, jnp.exp(exponent * jnp.log(jnp.where(positive, base, 1))), exponent == 0
    )


def square_root(x: jax.Array) -> jax.Array:
    """Returns the square root, and 0 with a gradient of 0 for 0 or less, where the true one has none."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)
