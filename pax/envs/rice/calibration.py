"""Parameters of the climate-economy games: their meaning, their published values, and checks of them."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from importlib import resources
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pax.envs.common import check_numbers
from pax.errors import ConfigError, nearest

CALIBRATIONS = (5, 27)
"""For how many regions there are numbers."""


@struct.dataclass
class EnvParams:
    """The world, all floats; `[N]` is one number per region. Symbols are those of the RICE-N report.

    Money is in 10^12 dollars (output, consumption and trade per year), labor in millions of people,
    carbon in gigatonnes, temperatures in degrees Celsius above those of 1900.
    """

    years_per_step: Any
    """Delta."""
    temperature_transition: Any
    """Phi_T, `[2, 2]`: atmosphere, lower ocean."""
    temperature_forcing: Any
    """B_T, `[2]`."""
    carbon_transition: Any
    """Phi_M, `[3, 3]`: atmosphere, upper ocean, lower ocean."""
    carbon_emission: Any
    """B_M, `[3]`: where emissions go."""
    initial_temperature: Any
    """T_AT and T_LO at the start, `[2]`."""
    initial_carbon: Any
    """M_AT, M_UP and M_LO at the start, `[3]`."""
    preindustrial_carbon: Any
    """M_AT in 1750."""
    forcing_per_doubling: Any
    """F_2x: radiative forcing of twice the preindustrial carbon."""
    initial_forcing: Any
    """f_0: exogenous forcing (other gases) at the start."""
    final_forcing: Any
    """f_1: exogenous forcing after `forcing_steps`, between which it changes linearly."""
    forcing_steps: Any
    """t_f."""
    initial_land_emissions: Any
    """E_L0, of all regions together."""
    land_emissions_decline: Any
    """delta_EL, per step."""
    abatement_exponent: Any
    """theta_2: how fast the cost of mitigation rises with its rate."""
    backstop_price: Any
    """p_b: price of replacing all carbon, dollars per tonne."""
    backstop_price_decline: Any
    """delta_pb, per step."""
    capital_depreciation: Any
    """delta_K, per year."""
    intensity_decline: Any
    """g_sigma, per year."""
    intensity_decline_slowdown: Any
    """delta_sigma, per year."""
    long_run_productivity_growth: Any
    """Per step, when each region's own growth has faded."""
    interest_rate: Any
    """r: of balances of trade, per step."""
    risk_aversion: Any
    """alpha: elasticity of marginal utility, any but 1."""
    time_preference: Any
    """rho, per year. No reward is discounted by it, only `social_welfare` is."""

    initial_productivity: Any
    """A_0, `[N]`."""
    initial_capital: Any
    """K_0, `[N]`."""
    initial_labor: Any
    """L_0, `[N]`."""
    long_run_labor: Any
    """L_a, `[N]`."""
    labor_convergence: Any
    """l_g, `[N]`."""
    productivity_growth: Any
    """g_A, `[N]`: per step, at the start."""
    productivity_growth_decline: Any
    """delta_A, `[N]`: per year."""
    initial_intensity: Any
    """sigma_0, `[N]`: carbon per output."""
    damage_linear: Any
    """a_1, `[N]`."""
    damage_coefficient: Any
    """a_2, `[N]`."""
    damage_exponent: Any
    """a_3, `[N]`."""
    capital_share: Any
    """gamma, `[N]`."""


GLOBALS: Mapping[str, Any] = {
    "years_per_step": 5.0,
    "temperature_transition": ((0.8718, 0.0088), (0.025, 0.975)),
    "temperature_forcing": (0.1005, 0.0),
    "carbon_transition": ((0.88, 0.196, 0.0), (0.12, 0.797, 0.001465), (0.0, 0.007, 0.99853488)),
    "carbon_emission": (1.36388, 0.0, 0.0),
    "initial_temperature": (0.85, 0.0068),
    "initial_carbon": (851.0, 460.0, 1740.0),
    "preindustrial_carbon": 588.0,
    "forcing_per_doubling": 3.6813,
    "initial_forcing": 0.5,
    "final_forcing": 1.0,
    "forcing_steps": 20.0,
    "initial_land_emissions": 2.6,
    "land_emissions_decline": 0.001,
    "abatement_exponent": 2.6,
    "backstop_price": 550.0,
    "backstop_price_decline": 0.001,
    "capital_depreciation": 0.1,
    "intensity_decline": 0.0025,
    "intensity_decline_slowdown": 0.1,
    "long_run_productivity_growth": 0.0033,
    "interest_rate": 0.1,
    "risk_aversion": 1.45,
    "time_preference": 0.015,
}

POSITIVE = (
    "years_per_step",
    "initial_carbon",
    "preindustrial_carbon",
    "forcing_steps",
    "initial_productivity",
    "initial_capital",
    "initial_labor",
    "long_run_labor",
    "damage_exponent",
)
SIGNED = ("initial_forcing", "final_forcing", "labor_convergence", "productivity_growth")
FRACTIONS = (
    "land_emissions_decline",
    "backstop_price_decline",
    "capital_depreciation",
    "intensity_decline_slowdown",
    "capital_share",
    "club_mitigation_rate",
    "club_tariff_rate",
)
"""The range of a parameter; those in none of these are 0 or more."""


def load_regions(num_regions: int) -> dict[str, tuple[float, ...]]:
    """Loads the published numbers of every region, by the name of the parameter."""
    path = resources.files(__package__).joinpath(f"calibration_{num_regions}.csv")
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    return {name: tuple(float(row[name]) for row in rows) for name in rows[0] if name != "region"}


def default_settings(num_regions: int, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Returns every parameter by name, as published, and those of `defaults`."""
    return {**GLOBALS, **load_regions(num_regions), **defaults}


def make_params(
    cls: type[EnvParams], num_regions: int, defaults: Mapping[str, Any], settings: Mapping[str, Any]
) -> EnvParams:
    """Returns parameters of class `cls` from `defaults` and `settings` together.

    A single number for a parameter per region stands for all regions, also as `(number,)`. Floats are of
    JAX's default type: float32, or float64 if `jax_enable_x64` is set.

    Raises:
        ConfigError: if there is no such setting, or it does not make a valid game.
    """
    values = default_settings(num_regions, defaults)
    for name, value in settings.items():
        if name not in values:
            raise ConfigError(f"{name} is no parameter of this game: {nearest(name, values)}")
        by_region = np.shape(values[name]) == (num_regions,)
        if by_region and isinstance(value, int | float):
            value = (value,)
        one_for_all = by_region and isinstance(value, tuple | list) and len(value) == 1
        values[name] = tuple(value) * num_regions if one_for_all else value
    params = cls(**values)
    check_params(params, num_regions)
    return jax.tree.map(
        lambda value: jnp.asarray(value, float), params, is_leaf=lambda x: not isinstance(x, cls)
    )


def check_params(params: EnvParams, num_regions: int) -> None:
    """Raises ConfigError, naming the field, unless `params` (concrete numbers) make a valid game."""
    regions = load_regions(num_regions)
    for field in dataclasses.fields(params):
        name, value = field.name, getattr(params, field.name)
        shape = (num_regions,) if name in regions else np.shape(GLOBALS.get(name, 0.0))
        size = " x ".join(map(str, shape))
        check_numbers(name, value, shape, f"give {size} numbers" if size else "give one number")
        numbers = np.asarray(value, np.float64)
        if name in POSITIVE and (numbers <= 0).any():
            raise ConfigError(f"{name} is {value}: give positive numbers only")
        if name in FRACTIONS and ((numbers < 0) | (numbers > 1)).any():
            raise ConfigError(f"{name} is {value}: give numbers from 0 to 1")
        if name not in SIGNED and (numbers < 0).any():
            raise ConfigError(f"{name} is {value}: give no negative numbers")
    if float(params.abatement_exponent) <= 1:
        raise ConfigError(
            f"abatement_exponent is {params.abatement_exponent}: give a number above 1, so that more "
            "mitigation costs more"
        )
    if float(params.risk_aversion) == 1:
        raise ConfigError(
            f"risk_aversion is {params.risk_aversion}: give any other number, for which utility is defined"
        )
