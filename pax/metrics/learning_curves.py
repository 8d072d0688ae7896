"""Learning curves of a trainer's history, with bands over its seeds, as a figure."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Mapping, Sequence
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
    from matplotlib.ticker import Formatter

FITNESS = re.compile(r"/fitness/\w+$")
OF_A_ROLE = re.compile(r"train/([^/]+)/(.+)")
OF_AN_EVALUATION = re.compile(r"evaluation/[^/]+/[^/]+")
COLUMNS = 2
"""Charts side by side."""
MOST_CHARTS = 40
MARKED = 12
"""Up to so many points are marked: a line between few would hide that there is nothing in between."""
NUM_COLOURS = 10
STYLES = ("-", "--", ":", "-.")
"""Of lines beyond the colours that there are."""
MOST_INSIDE = 5
"""Lines whose names fit into a chart; those of more would lie on the lines."""
LEAST_RANGE = 1e-4
"""What an axis spans at least, as a share of its numbers: float32 has seven digits."""


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
    charts = group_by_chart(_chosen(names, metrics))
    if len(charts) > MOST_CHARTS:
        raise ConfigError(
            f"metrics names {len(charts)} charts: give at most {MOST_CHARTS}, as in metrics='train/agent1'"
        )
    num_columns = min(COLUMNS, len(charts))
    num_rows = -(-len(charts) // num_columns)
    figure = new_figure((4.8 * num_columns, 3.0 * num_rows))
    all_axes = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    colours = colours_of(charts.values())
    for axes, (title, lines) in zip(all_axes, charts.items(), strict=False):
        plot_chart(axes, lines, table, colours)
        axes.set_title(title.replace("_", " "), fontsize=10)
        axes.set_xlabel("iteration")
    for axes in all_axes[len(charts) :]:
        axes.remove()
    return figure


def _chosen(names: Sequence[str], metrics: str | Sequence[str] | None) -> list[str]:
    """Returns the names of the metrics that a caller asks for."""
    if metrics is None:
        return [name for name in names if is_reward(name)] or list(names)
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
    return chosen


Lines = list[tuple[str, str]]
"""The metrics of a chart, and what their lines are called; "" where the title says it."""


def group_by_chart(names: Iterable[str]) -> dict[str, Lines]:
    """Returns by title which metrics share a chart: those of one group, and one of several agents."""
    names = list(dict.fromkeys(names))
    roles = collections.defaultdict(list)
    for name in filter(_is_alone, names):
        if match := OF_A_ROLE.fullmatch(name):
            roles[match[2]].append(match[1])
    charts: dict[str, Lines] = {}
    for name in names:
        group, _, last = name.rpartition("/")
        match = OF_A_ROLE.fullmatch(name)
        if _is_alone(name) and match and len(roles[match[2]]) > 1:
            title, label = f"train/{match[2]}", match[1]
        elif _is_alone(name) or not group:
            title, label = name, ""
        else:
            title, label = group, last
        charts.setdefault(title, []).append((name, label.replace("_", " ")))
    return charts


def _is_alone(name: str) -> bool:
    """Returns whether what lies beside a metric is on other scales, so that they share no chart."""
    if is_reward(name) or FITNESS.search(name):
        return False
    # What an agent reports of learning, and what an evaluation reports beside its groups.
    return name.startswith("train/") or bool(OF_AN_EVALUATION.fullmatch(name))


def is_reward(name: str) -> bool:
    """Returns whether a metric is a reward, and no deviation of one."""
    return any(part.startswith("reward") for part in name.split("/")) and not name.endswith("/std")


def colours_of(charts: Iterable[Lines]) -> dict[str, int]:
    """Returns numbers of colours by label: one label has one colour in all charts, whatever else is there.

    Charts that share a label are a family, within which each label has a colour of its own.
    """
    families: list[dict[str, None]] = []
    for lines in charts:
        own = dict.fromkeys(label for _, label in lines)
        shared = [family for family in families if own.keys() & family.keys()]
        merged = {label: None for family in [*shared, own] for label in family}
        families = [*(family for family in families if family not in shared), merged]
    return {label: number for family in families for number, label in enumerate(family)}


def marked(num_points: int) -> dict[str, Any]:
    """Returns the style of a line of so many points: marks if they are few, as one alone has no line."""
    return {"marker": "o", "markersize": 3} if num_points <= MARKED else {}


def plot_chart(
    axes: Axes,
    lines: Lines,
    table: Mapping[str, np.ndarray],
    colours: Mapping[str, int],
    *,
    most_points: int | None = None,
    columns_above: int = 0,
    size: float = 8.0,
    ticks: int = 6,
) -> None:
    """Plots metrics over iterations: lines are estimates over seeds, bands their 95 % intervals.

    Args:
        axes: where to put it.
        lines: the metrics, and what they are called.
        table: see `History.table`.
        colours: of the lines, see `colours_of`.
        most_points: of a line; of more, as many in a row are averaged as it takes. None: any number.
        columns_above: of a legend above the chart; 0: it stands in it, or beside it if it is long.
        size: of the legend, in points.
        ticks: on the axis of iterations, about.
    """
    num_seeds = len(np.unique(table[SEED_KEY]))
    iterations = table[STEP_KEY].reshape(-1, num_seeds)[:, 0]
    for index, (name, label) in enumerate(lines):
        values = table[name].reshape(-1, num_seeds)
        known = np.isfinite(values).any(axis=1)
        if not known.any():
            continue
        at, values = _thinned(iterations[known], values[known], most_points or len(iterations))
        found = estimate_where_defined(values.T)
        style = marked(len(at))
        if 1 < len(lines) <= 3:
            # One that lies under another is seen beside it.
            style["linewidth"] = 2.6 - 0.7 * index
        colour = f"C{colours[label] % NUM_COLOURS}"
        style |= {"color": colour, "linestyle": STYLES[colours[label] // NUM_COLOURS % len(STYLES)]}
        axes.plot(at, found.middle, label=label or None, **style)
        if len(at) == 1:
            axes.vlines(at, found.low, found.high, color=colour, linewidth=1)
        elif np.isfinite(found.low).any():
            axes.fill_between(at, found.low, found.high, alpha=0.2, color=colour, linewidth=0)
    _set_range(axes)
    axes.yaxis.set_major_formatter(_formatter())
    axes.locator_params(axis="x", integer=True, nbins=ticks)
    if any(label for _, label in lines) and axes.lines:
        num = len(axes.lines)
        if columns_above:
            place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderpad": 0}
            place |= {"frameon": False, "handlelength": 1, "columnspacing": 1, "labelspacing": 0.2}
            place["ncols"] = min(num, columns_above)
        elif num > MOST_INSIDE:
            place = {"loc": "upper left", "bbox_to_anchor": (1, 1), "ncols": 1 + (num - 1) // 16}
        else:
            # The best place is looked for among all points, which takes long.
            place = {"loc": "best" if num * len(iterations) < 2000 else "upper left"}
        axes.legend(fontsize=size * (0.7 if num > 8 else 1), **place)


def _thinned(at: np.ndarray, values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns at most `most` of the iterations `[n]` and values `[n, S]`: means of as many in a row."""
    size = -(-len(at) // most)
    if size <= 1:
        return at, values
    starts = np.arange(0, len(at), size)
    is_known = np.isfinite(values)
    counts = np.add.reduceat(is_known, starts, axis=0, dtype=float)
    sums = np.add.reduceat(np.where(is_known, values, 0.0), starts, axis=0)
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return np.add.reduceat(at, starts) / np.diff([*starts, len(at)]), means


def _set_range(axes: Axes) -> None:
    """Widens the axis of numbers that are all but the same: labels would be those of rounding errors."""
    low, high = axes.dataLim.intervaly
    largest = max(abs(low), abs(high))
    if np.isfinite(largest) and high - low <= LEAST_RANGE * largest:
        middle, half = (low + high) / 2, 0.1 * largest or 0.5
        axes.set_ylim(middle - half, middle + half)


def _formatter() -> Formatter:
    """Returns what writes the labels of an axis: see `tick_labels`."""
    from matplotlib.ticker import Formatter

    class Labels(Formatter):
        def __call__(self, value: float, pos: int | None = None) -> str:
            return _label(value, 4)

        def format_ticks(self, values: Sequence[float]) -> list[str]:
            return tick_labels(values)

    return Labels()


def tick_labels(values: Sequence[float]) -> list[str]:
    """Returns numbers in as few digits, four or more, as tell them apart; 10 k, 2 M for many thousands."""
    found: list[str] = []
    for digits in range(4, 12):
        found = [_label(value, digits) for value in values]
        if len(set(found)) == len(found):
            break
    return found


def _label(value: float, digits: int) -> str:
    if 1e4 <= abs(value) < 1e15:
        unit = min(int(np.log10(abs(value)) // 3), 4)
        return f"{value / 1000**unit:.{digits}g} {' kMGT'[unit]}"
    return f"{value:z.{digits}g}"
