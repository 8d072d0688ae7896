"""Learning curves of a whole run on one page: rewards first, then a choice of what else was reported."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pax.envs.figures import new_figure
from pax.errors import ConfigError
from pax.metrics.bootstrap import LEAST_SEEDS
from pax.metrics.history import SEED_KEY
from pax.metrics.json_writer import STEP_KEY
from pax.metrics.learning_curves import Lines, colours_of, group_by_chart, is_reward, plot_chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES_FILE = "curves.png"
WIDTH, MARGIN = 12.8, 0.62
"""Of the page and of what surrounds the charts, in inches."""
REWARD_COLUMNS, COLUMNS = 2, 4
MOST_REWARDS, MOST_OTHERS = 4, 16
MOST_OF_A_KIND = 6
"""Charts of one kind, as long as there are others."""
MOST_LINES = 16
"""Of a chart: of more, the first are drawn."""
LETTERS = 150
"""Of a line below the charts: as many as fit."""
MOST_POINTS = 100
"""Of a line: intervals of more take longer than a run should wait for."""
TOLD = 600
"""Letters that may be spent on what is left out."""

KINDS = (
    r"(.*/)?(fitness|episode_return)(/.*)?",
    r"(?!train/|evaluation/).*",
    r"train/(.*/)?(entropy|loss_policy|loss_value|gradient_norm)",
    r"train/(?!.*(learning_rate|_coeff|_clip)).*",
    r"evaluation/.*",
    r".*",
)
"""What is looked at first, by the title of a chart."""
COUNTERS = ("env_steps", "wall_time")
COUNTS, SHARES = "state_visitation", "state_probability"
"""The same, up to a constant."""
SPEED = "env_steps_per_second"


class Choice(NamedTuple):
    """What a page shows, by title, and what it does not."""

    rewards: dict[str, Lines]
    others: dict[str, Lines]
    left_out: list[str]
    undefined: list[str]
    """Metrics that are not defined anywhere."""


def plot_page(table: Mapping[str, np.ndarray], title: str) -> Figure:
    """Plots a run: rewards large, other metrics small, and below what is left out.

    Lines are estimates over seeds and bands their 95 % intervals, as `MetaTrainer.plot` draws them.

    Args:
        table: see `History.table`.
        title: of the page.

    Raises:
        ConfigError: if nothing was reported.
    """
    shown = choose(table)
    columns = max(min(REWARD_COLUMNS, len(shown.rewards)), 1)
    heights = [2.9] * -(-len(shown.rewards) // columns) + [1.95] * -(-len(shown.others) // COLUMNS)
    if not heights:
        raise ConfigError("there is nothing to plot, as nothing was reported: call fit() first")
    lines = [*_explanation(table), *_what_is_left_out(shown)]
    colours = colours_of([*shown.rewards.values(), *shown.others.values()])
    top, bottom = 0.6, 0.4 + 0.19 * len(lines)
    height = top + bottom + sum(heights)
    figure = new_figure((WIDTH, height))
    # Arranging this many charts by their labels takes a second.
    figure.set_layout_engine("none")
    figure.text(MARGIN / WIDTH, 1 - 0.2 / height, title, fontsize=14, weight="bold", va="top")
    for index, line in enumerate(lines):
        y = (0.12 + 0.19 * (len(lines) - 1 - index)) / height
        figure.text(MARGIN / WIDTH, y, line, fontsize=9, color="#444444", va="bottom")
    y = height - top
    for charts, num_columns, chart_height, size in (
        (shown.rewards, columns, 2.9, 9.0),
        (shown.others, COLUMNS, 1.95, 7.0),
    ):
        width = (WIDTH - MARGIN) / num_columns
        for index, (name, chart) in enumerate(charts.items()):
            column, row = index % num_columns, index // num_columns
            left, below = MARGIN + column * width, y - (row + 1) * chart_height
            letters = int((width - MARGIN) * 120 / (size + 1))
            across, above = _legend(chart[:MOST_LINES], letters, size)
            box = (left, below + 0.33, width - MARGIN, chart_height - 0.6 - above)
            axes = figure.add_axes(
                (box[0] / WIDTH, box[1] / height, box[2] / WIDTH, box[3] / height)
            )
            ticks = 8 if size > 8 else 4
            plot_chart(
                axes,
                chart[:MOST_LINES],
                table,
                colours,
                most_points=MOST_POINTS,
                columns_above=across,
                size=size,
                ticks=ticks,
            )
            pad = 4 if axes.get_legend() is None else 6 + 72 * above
            axes.set_title(_wrapped(name, letters), fontsize=size + 1, loc="left", pad=pad)
            axes.tick_params(labelsize=size, length=2)
            axes.grid(alpha=0.3, linewidth=0.5)
            axes.spines[["top", "right"]].set_visible(False)
            is_last = index + num_columns >= len(charts)
            axes.set_xlabel("iteration" if is_last else "", fontsize=size, labelpad=2)
            axes.set_xlim(*_range(table[STEP_KEY]))
        y -= chart_height * -(-len(charts) // num_columns)
    return figure


def choose(table: Mapping[str, np.ndarray]) -> Choice:
    """Chooses the charts of a page from the columns of a history: see `History.table`."""
    names = [name for name in table if name not in (STEP_KEY, SEED_KEY, *COUNTERS)]
    # What of a metric is told by its band, or by another metric.
    names = [name for name in names if not (name.endswith("/std") and name[:-4] in table)]
    groups = {name.rpartition("/")[0] for name in names}
    names = [
        name
        for name in names
        if COUNTS not in name or name.rpartition("/")[0].replace(COUNTS, SHARES) not in groups
    ]
    defined = [name for name in names if np.isfinite(table[name]).any()]
    undefined = [name for name in names if name not in defined]
    # Those of training first; sorting keeps the order otherwise.
    of_rewards = sorted(filter(is_reward, defined), key=lambda name: name.startswith("evaluation/"))
    rewards = group_by_chart(of_rewards)
    large = dict(list(rewards.items())[:MOST_REWARDS])
    others = group_by_chart(name for name in defined if not is_reward(name))
    small = {title: rewards[title] for title in rewards if title not in large} | others
    kinds = [list(rewards)[MOST_REWARDS:], *_by_kind(others)]
    first = [title for kind in kinds for title in kind[:MOST_OF_A_KIND]]
    more = [title for kind in kinds for title in kind[MOST_OF_A_KIND:]]
    chosen = {*[*first, *more][:MOST_OTHERS]}
    shown = {title: small[title] for kind in kinds for title in kind if title in chosen}
    left_out = [title for title in small if title not in chosen]
    for lines in (large | shown).values():
        left_out += [name for name, _ in lines[MOST_LINES:]]
    return Choice(large, shown, left_out, undefined)


def _by_kind(titles: Iterable[str]) -> list[list[str]]:
    """Returns the titles of each of `KINDS`, in order."""
    kinds: list[list[str]] = [[] for _ in KINDS]
    for title in titles:
        # The speed is of no game.
        at = len(KINDS) - 1 if title == SPEED else _kind(title)
        kinds[at].append(title)
    return kinds


def _kind(title: str) -> int:
    return next(index for index, kind in enumerate(KINDS) if re.fullmatch(kind, title))


def _range(iterations: np.ndarray) -> tuple[float, float]:
    """Returns the ends of the axis of iterations, somewhat beyond the first and the last."""
    first, last = float(iterations.min()), float(iterations.max())
    beyond = 0.02 * (last - first) or 0.5
    return first - beyond, last + beyond


def _legend(lines: Lines, letters: int, size: float) -> tuple[int, float]:
    """Returns the columns of the names of lines above a chart, and how high all are, in inches.

    Args:
        lines: of the chart.
        letters: as many as it is wide.
        size: of the letters, in points.
    """
    longest = max(len(label) for _, label in lines)
    # Of many lines, names are smaller: see `plot_chart`. The sample of a line takes the room of five letters.
    scale = 0.7 if len(lines) > 8 else 1.0
    across = max(int(letters / scale / (longest + 5)), 1)
    rows = -(-len(lines) // across) if longest else 0
    return across, rows * 1.2 * size * scale / 72


def _explanation(table: Mapping[str, np.ndarray]) -> list[str]:
    """Says what lines and bands are."""
    seeds, num_reports = np.unique(table[SEED_KEY]), len(np.unique(table[STEP_KEY]))
    if len(seeds) == 1:
        told = f"Seed {seeds[0]}."
    elif len(seeds) < LEAST_SEEDS:
        told = f"Lines are means over {len(seeds)} seeds, bands their 95 % intervals (Student's t)."
    else:
        told = (
            f"Lines are inter-quartile means over {len(seeds)} seeds, bands their 95 % intervals "
            "(bootstrap over seeds)."
        )
    each = -(-num_reports // MOST_POINTS)
    if each > 1:
        told += f" A point is the mean of up to {each} iterations."
    return textwrap.wrap(told, LETTERS)


def _what_is_left_out(shown: Choice) -> list[str]:
    told = []
    for what, names in (
        ("Not drawn, for lack of room", shown.left_out),
        ("Undefined in all reports", shown.undefined),
    ):
        if names:
            listed = textwrap.shorten(", ".join(names), TOLD, placeholder=" ...")
            told += textwrap.wrap(f"{what} ({len(names)}): {listed}", LETTERS)
    return told


def _wrapped(title: str, letters: int) -> str:
    """Returns a title in at most two lines, broken after a slash if it can be."""
    title = title.replace("_", " ")
    if len(title) <= letters:
        return title
    cut = title.rfind("/", 0, letters) + 1 or title.rfind(" ", 0, letters) + 1 or letters
    return f"{title[:cut]}\n{textwrap.shorten(title[cut:], letters, placeholder=' ...')}"
