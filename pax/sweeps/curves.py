"""One picture of a sweep: a metric of all runs over iterations."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from absl import logging

from pax.envs.figures import new_figure
from pax.errors import ConfigError
from pax.metrics.json_writer import STEP_KEY
from pax.metrics.learning_curves import marked
from pax.metrics.writers import METRICS_FILE, read_metrics
from pax.run.files import write_whole
from pax.sweeps.folder import SweepRun
from pax.sweeps.sweep import describe

PICTURE = "sweep.png"
NUM_NAMED = 8
"""Runs that are drawn in colour and named: the first of the table."""
MOST_LETTERS = 70
"""Of the name of a line."""


def draw_curves(runs: Sequence[SweepRun], metric: str, ascending: bool) -> None:
    """Draws `sweep.png` in the folder of a sweep: the best runs in colour, the others in grey.

    What goes wrong is told, and no error.

    Args:
        runs: all of them.
        metric: what is drawn.
        ascending: whether the smallest is best.
    """
    path = runs[0].folder / PICTURE
    try:
        lines = [(run, *_points(run, metric)) for run in runs]
        lines = [line for line in lines if line[1]]
        if not lines:
            return
        sign = 1 if ascending else -1
        lines.sort(key=lambda line: sign * line[2][-1])
        figure = new_figure((9.0, 5.0))
        axes = figure.add_subplot()
        others = lines[NUM_NAMED:]
        for _, iterations, values in others:
            style: dict[str, Any] = {"color": "#cccccc", "linewidth": 0.7, "zorder": 1}
            axes.plot(iterations, values, **style, **marked(len(values)))
        for run, iterations, values in lines[:NUM_NAMED]:
            name = f"{run.name} {describe(run.overrides)}"[:MOST_LETTERS]
            style = {"linewidth": 1.2, "zorder": 2, "label": name}
            axes.plot(iterations, values, **style, **marked(len(values)))
        if others:
            axes.plot([], [], color="#cccccc", label=f"{len(others)} others")
        axes.set_xlabel("iteration")
        axes.set_title(metric, loc="left", fontsize=10)
        axes.legend(fontsize=7, frameon=False)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=100)
        write_whole(path, picture.getvalue())
    except Exception as e:
        logging.warning("The picture %s was not drawn (%s: %s).", path, type(e).__name__, e)


def _points(run: SweepRun, metric: str) -> tuple[list[int], list[float]]:
    """Returns the iterations at which a run reported a metric, and what it was; none if unreadable."""
    path = run.workdir / METRICS_FILE
    try:
        rows = read_metrics(path) if path.exists() else []
    except ConfigError:
        # The table, which is written before, has told it.
        rows = []
    found = [
        (row[STEP_KEY], float(row[metric]))
        for row in rows
        if isinstance(row.get(metric), int | float) and math.isfinite(row[metric])
    ]
    return [step for step, _ in found], [value for _, value in found]
