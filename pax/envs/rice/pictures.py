"""Pictures of episodes of the climate-economy games."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pax.envs.figures import new_figure
from pax.envs.rice.calibration import EnvParams
from pax.envs.rice.dynamics import EnvState

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIRST_YEAR = 2015

CLIMATE = (
    ("temperature", "Temperature (°C above 1900)", ("atmosphere", "lower ocean")),
    ("carbon", "Carbon (Gt)", ("atmosphere", "upper ocean", "lower ocean")),
)
OF_REGIONS = (
    ("gross_output", "Output (10¹² $ a year)"),
    ("consumption", "Consumption (10¹² $ a year)"),
    ("mitigation_rate", "Mitigation rate"),
    ("savings_rate", "Savings rate"),
)


def plot(state: EnvState, params: EnvParams) -> Figure:
    """Plots six panels over the years: climate; output, consumption, mitigation and savings by region.

    Args:
        state: of one episode, every leaf with a leading time axis `[T, ...]`, or a single one.
        params: of that episode.
    """
    figure = new_figure((11.0, 9.0))
    played = np.reshape(state.inner_t, -1)
    num_regions = np.shape(state.labor)[-1]
    colours = figure_colours(num_regions)
    years = FIRST_YEAR + float(params.years_per_step) * played
    axes = figure.subplots(3, 2, sharex=True).ravel()
    for panel, (name, title, parts) in zip(axes, CLIMATE, strict=False):
        values = np.reshape(getattr(state, name), (-1, len(parts)))
        for part, line in zip(parts, values.T, strict=True):
            panel.plot(years, line, marker=".", label=part)
        panel.set_title(title)
        panel.legend(fontsize="small")
    # States of a reset hold no decisions.
    acted = played > 0
    for panel, (name, title) in zip(axes[len(CLIMATE) :], OF_REGIONS, strict=True):
        values = np.reshape(getattr(state, name), (-1, num_regions))[acted]
        for region, line in enumerate(values.T):
            label = f"region {region + 1}"
            panel.plot(years[acted], line, marker=".", color=colours[region], label=label)
        panel.set_title(title)
    for panel in axes[-2:]:
        panel.set_xlabel("year")
    handles, labels = axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize="small")
    return figure


def figure_colours(num: int) -> np.ndarray:
    """Returns `num` distinguishable colours, `[num, 4]`."""
    from matplotlib import colormaps

    return colormaps["turbo"](np.linspace(0.05, 0.95, num))
