"""What came of a sweep: a table of overrides and final metrics, as Markdown and CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from pax.errors import ConfigError, nearest
from pax.metrics.bootstrap import estimate_where_defined
from pax.metrics.json_writer import STEP_KEY
from pax.metrics.writers import METRICS_FILE, SEEDS_FILE, read_metrics, read_seed_metrics
from pax.run.files import write_rows, write_whole
from pax.sweeps.folder import SweepRun

NAME = "sweep"


def write_table(
    runs: Sequence[SweepRun], metric: str, ascending: bool, are_independent: bool = True
) -> str:
    """Writes `sweep.csv` and `sweep.md` to the folder of the sweep; returns the latter.

    Where settings were run with several seeds, of one run or one by one, a second table has an estimate from
    them, with a 95 % interval: see `pax.metrics.bootstrap.estimate_over_seeds`. It is in `sweep_seeds.csv`.

    Args:
        runs: all of them.
        metric: the key of the last column, by which rows are sorted; runs without it come last.
        ascending: whether the smallest comes first.
        are_independent: whether no run has taken over anything from another one; else there is no estimate.

    Raises:
        ConfigError: if runs report metrics, but none of them this one; the table is written all the same.
    """
    # Read once, so that what is wrong with a file is told once.
    rows_by_run = {run.index: _rows(run) for run in runs}
    reported = [final_metrics(rows_by_run[run.index]) for run in runs]
    values = [row.get(metric, math.nan) for row in reported]
    sign = 1 if ascending else -1
    order = sorted(
        range(len(runs)),
        key=lambda i: (math.isnan(values[i]), 0 if math.isnan(values[i]) else sign * values[i], i),
    )
    settings = list(dict.fromkeys(key for run in runs for key in run.overrides))
    header = ["run", *settings, "state", "iteration", metric]
    table = [
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
    text = markdown(header, table)
    over_seeds = seed_rows(runs, rows_by_run, metric, ascending) if are_independent else []
    if over_seeds:
        write_rows(folder / f"{NAME}_seeds.csv", over_seeds)
        text += "\n\nOver seeds:\n\n" + markdown(over_seeds[0], over_seeds[1:])
    write_whole(folder / f"{NAME}.md", text + "\n")
    write_rows(folder / f"{NAME}.csv", [header, *table])
    known = {key for row in reported for key in row}
    if known and metric not in known:
        raise ConfigError(f"no run reports --metric={metric}: {nearest(metric, known)}")
    return text


def final_metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns what a run reported last, by metric, from its rows; what is undefined is left out."""
    found: dict[str, Any] = {}
    for row in rows:
        # Evaluations are seldom: their last row is an earlier one.
        found |= {key: value for key, value in row.items() if isinstance(value, int | float)}
    return {key: float(value) for key, value in found.items() if not isinstance(value, bool)}


def seed_rows(
    runs: Sequence[SweepRun],
    rows_by_run: Mapping[int, Sequence[Mapping[str, Any]]],
    metric: str,
    ascending: bool,
) -> list[list[str]]:
    """Returns the table of settings over seeds, its header first; nothing if each has one seed.

    Of runs with the same settings, those count that are as far as any of them or that a callback ended: what
    others report, which failed or were left behind by a search, is of less training.
    """
    groups: dict[str, list[SweepRun]] = {}
    for run in runs:
        groups.setdefault(repr(sorted(_settings(run).items())), []).append(run)
    known = []
    for alike in groups.values():
        reached = {
            run.index: int(final_metrics(rows_by_run[run.index]).get(STEP_KEY, 0)) for run in alike
        }
        furthest = max(reached.values())
        samples: dict[int, float] = {}
        for run in alike:
            if reached[run.index] < furthest and not run.has_ended_early:
                continue
            for index, value in enumerate(final_of_seeds(run, rows_by_run[run.index], metric)):
                # Two runs of one seed are the same numbers twice.
                samples.setdefault(run.overrides.get("seed", 0) + index, value)
        if samples:
            estimate = estimate_where_defined(list(samples.values()))
            known.append((_settings(alike[0]), estimate, len(samples), furthest))
    if all(num == 1 for _, _, num, _ in known):
        return []
    sign = 1 if ascending else -1
    known.sort(key=lambda row: (not row[1].is_known, sign * np.nan_to_num(row[1].middle)))
    keys = list(dict.fromkeys(key for settings, *_ in known for key in settings))
    rows = [
        [
            *(str(settings.get(key, "")) for key in keys),
            str(num),
            str(furthest),
            *("" if np.isnan(part) else f"{part:.6g}" for part in found[:3]),
            found.method,
        ]
        for settings, found, num, furthest in known
    ]
    return [[*keys, "seeds", "iteration", metric, "low", "high", "estimate"], *rows]


def _settings(run: SweepRun) -> dict[str, Any]:
    return {key: value for key, value in run.overrides.items() if key != "seed"}


def final_of_seeds(run: SweepRun, rows: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    """Returns what a run reported last of a metric, of each seed; nothing if only their mean is known."""
    reported = [row for row in rows if row.get(metric) is not None]
    if not reported:
        return []
    file = run.workdir / SEEDS_FILE
    if not file.exists():
        # With several seeds, which an earlier version did not keep, there is a deviation.
        has_mean_only = f"{metric}/std" in reported[-1]
        return [] if has_mean_only else [float(reported[-1][metric])]
    at = reported[-1][STEP_KEY]
    try:
        found = read_seed_metrics(file)
    except ConfigError as e:
        logging.warning("Run %s has no part in the table over seeds: %s", run.name, e)
        return []
    values: list[float | None] = next(
        (row.get(metric, []) for row in found if row[STEP_KEY] == at), []
    )
    return [math.nan if value is None else float(value) for value in values]


def _rows(run: SweepRun) -> list[dict[str, Any]]:
    """Returns what a run reported; nothing, and says so, if its file cannot be read: others have a table."""
    path = run.workdir / METRICS_FILE
    try:
        return read_metrics(path) if path.exists() else []
    except ConfigError as e:
        logging.warning("Run %s has no metrics in the table: %s", run.name, e)
        return []


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
