"""Which curves a report shows, and how they are put together."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np

from pax.metrics.learning_curves import colours_of
from pax.report.charts import Line, line_chart
from pax.report.data import STEPS, Experiment
from pax.report.estimates import EVALUATION, curve

# No metrics of learning, or the same as another one in other units.
HIDDEN = ("iteration", "env_steps", "wall_time", "env_steps_per_second")
HIDDEN_PARTS = ("state_visitation",)
MAX_LINES = 10
MAX_CHARTS = 120
POINTS = 150
REWARDS, EVALUATIONS, STATISTICS, LEARNING = "Rewards", "Evaluations", "Statistics", "Learning"


@dataclasses.dataclass(frozen=True)
class Name:
    """Where a metric belongs: a section, a chart, and a line of it."""

    section: str
    chart: str
    line: str


def name_of(key: str) -> Name | None:
    """Returns where a metric belongs, None for what is not shown.

    `train/agent1/entropy` is the line `agent1` of the chart `entropy`, `state_probability/CC` the line `CC`
    of `state_probability`, and `evaluation/defect/reward_per_timestep/player_1` the line `defect`.
    """
    if key in HIDDEN or any(part in key.split("/") for part in HIDDEN_PARTS):
        return None
    if key.startswith(EVALUATION):
        evaluation, _, rest = key.removeprefix(EVALUATION).partition("/")
        return Name(EVALUATIONS, rest, evaluation) if rest.startswith("reward") else None
    bare = key.removeprefix("train/")
    head, _, tail = bare.rpartition("/")
    if bare.startswith("reward"):
        return Name(REWARDS, head or bare, tail.replace("_", " "))
    if "fitness" in bare.split("/"):
        return Name(LEARNING, head or bare, tail)
    if bare is not key and head:
        return Name(LEARNING, tail, head)
    return Name(STATISTICS, head or bare, tail if head else "")


def sections(experiments: Sequence[Experiment]) -> tuple[dict[str, list[str]], int]:
    """Charts by section, and how many more there would be.

    One experiment: the lines of a chart are its players, states or agents. Several: the lines are the
    experiments, and each metric has a chart.
    """
    keys = dict.fromkeys(key for experiment in experiments for key in experiment.metrics())
    charts: dict[tuple[str, str], list[tuple[str, str]]] = {}
    alone = len(experiments) == 1
    for key in keys:
        name = name_of(key)
        if name is not None:
            title = name.chart if alone else f"{name.chart} {name.line}".strip()
            if name.section == EVALUATIONS and not alone:
                title = f"{name.chart}: {name.line}"
            charts.setdefault((name.section, title), []).append((key, name.line))
    order = (REWARDS, EVALUATIONS, STATISTICS, LEARNING)
    ranked = sorted(charts, key=lambda chart: (order.index(chart[0]), _rank(chart[1])))
    total = sum(len(charts[chart]) for chart in ranked[:MAX_CHARTS]) * len(experiments)
    points = int(np.clip(POINTS * 300 / max(total, 1), 40, POINTS))
    colours = colours_of(charts.values())
    drawn: dict[str, list[str]] = {section: [] for section in order}
    for section, title in ranked[:MAX_CHARTS]:
        figure = _chart(section, title, charts[section, title], experiments, points, colours)
        if figure:
            drawn[section].append(figure)
    return drawn, max(0, len(ranked) - MAX_CHARTS)


def _rank(title: str) -> int:
    """Losses first, then entropies, then the rest in the order of the rows."""
    return next(
        (i for i, word in enumerate(("fitness", "loss", "entropy")) if title.startswith(word)), 9
    )


def axis_of(experiments: Sequence[Experiment]) -> str:
    """Iterations, unless one of them is not as many environment steps in all runs."""
    steps = {run.steps_per_iteration for experiment in experiments for run in experiment.runs}
    return "iteration" if len(steps) == 1 or not np.isfinite(list(steps)).all() else STEPS


def _chart(
    section: str,
    title: str,
    members: Sequence[tuple[str, str]],
    experiments: Sequence[Experiment],
    points: int,
    colours: Mapping[str, int],
) -> str | None:
    axis = axis_of(experiments)
    lines = []
    for index, experiment in enumerate(experiments):
        for key, name in members:
            x, estimate = curve(experiment, key, points)
            if not estimate.is_known or (section == EVALUATIONS and len(x) < 2):
                continue
            if axis == STEPS:
                x = x * experiment.runs[0].steps_per_iteration
            is_alone = len(experiments) == 1
            label = name if is_alone else experiment.label
            colour = colours[name] if is_alone else index
            lines.append(Line(label, x, estimate.middle, estimate.low, estimate.high, colour))
    if not lines:
        return None
    left_out = len(lines) - MAX_LINES
    note = f"{left_out} more lines are left out" if left_out > 0 else ""
    return line_chart(
        re.sub(r"[_ /]+", " ", title),
        lines[:MAX_LINES],
        axis.replace("_", " "),
        title.partition("/")[0].partition(" ")[0].replace("_", " "),
        note,
    )
