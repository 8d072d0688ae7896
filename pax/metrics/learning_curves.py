"""Learning curves of a trainer's history, with bands over its seeds, as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pax.checks import check_items
from pax.envs.figures import new_figure
from pax.errors import ConfigError, nearest
from pax.metrics.bootstrap import estimate_where_defined
from pax.metrics.history import SEED_KEY
from pax.metrics.json_writer import STEP_KEY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 2
"""Charts side by side."""
MOST_CHARTS = 40
MARKED = 12
"""Up to so many points are marked: a line between few would hide that there is nothing in between."""


def plot_history(
    table: Mapping[str, np.ndarray], metrics: str | Sequence[str] | None = None
) -> Figure:
    """Plots metrics over iterations: lines are estimates over seeds, bands their 95 % intervals.

    Args:
        table: see `History.table`.
        metrics: names of metrics, or of groups, as `train/agent1`; None: all rewards.

    Raises:
        ConfigError: if nothing was reported, or no such metric.
    """
    names = [name for name in table if name not in (STEP_KEY, SEED_KEY)]
    if not names:
        raise ConfigError("there is nothing to plot, as nothing was reported: call fit() first")
    charts = _charts(names, metrics)
    if len(charts) > MOST_CHARTS:
        raise ConfigError(
            f"metrics names {len(charts)} charts: give at most {MOST_CHARTS}, as in metrics='train/agent1'"
        )
    num_columns = min(COLUMNS, len(charts))
    num_rows = -(-len(charts) // num_columns)
    figure = new_figure((4.8 * num_columns, 3.0 * num_rows))
    all_axes = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for axes, (title, lines) in zip(all_axes, charts.items(), strict=False):
        _plot(axes, title, lines, table)
    for axes in all_axes[len(charts) :]:
        axes.remove()
    return figure


def _charts(
    names: Sequence[str], metrics: str | Sequence[str] | None
) -> dict[str, list[tuple[str, str]]]:
    """Returns by title the metrics of a chart, and what their lines are called."""
    if metrics is None:
        chosen = [name for name in names if _is_reward(name)] or list(names)
    else:
        given = [metrics] if isinstance(metrics, str) else metrics
        check_items("metrics", given, "the name of a metric, or a list of names")
        chosen = []
        for name in given:
            found = [each for each in names if each == name or each.startswith(f"{name}/")]
            if not found:
                groups = {each.rpartition("/")[0] for each in names} - {""}
                told = nearest(name, [*names, *groups]) if isinstance(name, str) else "give text"
                raise ConfigError(f"metrics names {name!r}, which was not reported: {told}")
            chosen += found
    charts: dict[str, list[tuple[str, str]]] = {}
    for name in dict.fromkeys(chosen):
        group, _, last = name.rpartition("/")
        # What an agent reports of learning is on different scales: a chart each.
        is_alone = group.startswith("train/") and not _is_reward(name)
        title = name if is_alone or not group else group
        charts.setdefault(title, []).append((name, "" if title == name else last.replace("_", " ")))
    return charts


def _is_reward(name: str) -> bool:
    return any(part.startswith("reward") for part in name.split("/")) and not name.endswith("/std")


def _plot(
    axes: Axes, title: str, lines: Sequence[tuple[str, str]], table: Mapping[str, np.ndarray]
) -> None:
    num_seeds = len(np.unique(table[SEED_KEY]))
    iterations = table[STEP_KEY].reshape(-1, num_seeds)[:, 0]
    for name, label in lines:
        values = table[name].reshape(-1, num_seeds)
        known = np.isfinite(values).any(axis=1)
        if not known.any():
            continue
        found = estimate_where_defined(values[known].T)
        style: dict[str, Any] = {"marker": "o", "markersize": 3} if known.sum() <= MARKED else {}
        (line,) = axes.plot(iterations[known], found.middle, label=label or None, **style)
        if np.isfinite(found.low).any():
            colour = line.get_color()
            axes.fill_between(
                iterations[known], found.low, found.high, alpha=0.2, color=colour, linewidth=0
            )
    axes.set_title(title.replace("_", " "), fontsize=10)
    axes.set_xlabel("iteration")
    axes.locator_params(axis="x", integer=True, nbins=6)
    if any(label for _, label in lines) and axes.lines:
        many = len(axes.lines) > 8
        axes.legend(fontsize="xx-small" if many else "small", ncols=1 + (len(axes.lines) - 1) // 8)
