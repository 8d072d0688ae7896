"""What came of a sweep: a table of overrides and final metrics, as Markdown and CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pax.errors import ConfigError, nearest
from pax.metrics.writers import METRICS_FILE, read_metrics
from pax.run.files import write_rows, write_whole
from pax.sweeps.folder import SweepRun

NAME = "sweep"


def write_table(runs: Sequence[SweepRun], metric: str, ascending: bool) -> str:
    """Writes `sweep.csv` and `sweep.md` to the folder of the sweep; returns the latter.

    Args:
        runs: all of them.
        metric: the key of the last column, by which rows are sorted; runs without it come last.
        ascending: whether the smallest comes first.

    Raises:
        ConfigError: if runs report metrics, but none of them this one; the table is written all the same.
    """
    reported = [final_metrics(run) for run in runs]
    values = [row.get(metric, math.nan) for row in reported]
    sign = 1 if ascending else -1
    order = sorted(
        range(len(runs)),
        key=lambda i: (math.isnan(values[i]), 0 if math.isnan(values[i]) else sign * values[i], i),
    )
    settings = list(dict.fromkeys(key for run in runs for key in run.overrides))
    header = ["run", *settings, "state", "iteration", metric]
    rows = [
        [
            runs[i].name,
            *(str(runs[i].overrides.get(key, "")) for key in settings),
            runs[i].state,
            str(int(reported[i].get("iteration", 0))),
            "" if math.isnan(values[i]) else f"{values[i]:.6g}",
        ]
        for i in order
    ]
    folder = runs[0].folder
    text = markdown(header, rows)
    write_whole(folder / f"{NAME}.md", text + "\n")
    write_rows(folder / f"{NAME}.csv", [header, *rows])
    known = {key for row in reported for key in row}
    if known and metric not in known:
        raise ConfigError(f"no run reports --metric={metric}: {nearest(metric, known)}")
    return text


def final_metrics(run: SweepRun) -> dict[str, float]:
    """Returns what a run reported last, by metric; what is undefined is left out."""
    path = run.workdir / METRICS_FILE
    found: dict[str, Any] = {}
    for row in read_metrics(path) if path.exists() else []:
        # Evaluations are seldom: their last row is an earlier one.
        found |= {key: value for key, value in row.items() if isinstance(value, int | float)}
    return {key: float(value) for key, value in found.items() if not isinstance(value, bool)}


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table whose columns line up."""
    escaped = [
        [" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in [header, *rows]
    ]
    widths = [max(3, *(len(row[column]) for row in escaped)) for column in range(len(header))]
    lines = [
        "| " + " | ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) + " |"
        for row in escaped
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
