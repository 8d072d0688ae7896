"""Searches: which runs of a sweep are trained, and for how long."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from pax.errors import ConfigError
from pax.metrics.json_writer import STEP_KEY
from pax.metrics.writers import METRICS_FILE, read_metrics
from pax.sweeps.folder import SweepRun
from pax.sweeps.sweep import Overrides

SEARCHES = ("grid", "random", "halving", "pbt", "optuna")
SEED = "seed"
"""The setting in which runs that are otherwise alike may differ."""


def draw_runs(sweep: Sequence[Overrides], num_runs: int, seed: int) -> list[Overrides]:
    """Returns some runs of a sweep, drawn without repetition; more are drawn after the same first ones.

    Raises:
        ConfigError: if there are not so many.
    """
    if not 1 <= num_runs <= len(sweep):
        raise ConfigError(
            f"--num_runs is {num_runs}, and --search=random draws runs of those of the sweep: give 1 to "
            f"{len(sweep)}"
        )
    order = np.random.default_rng(seed).permutation(len(sweep))
    return [sweep[index] for index in order[:num_runs]]


def rungs_of(num_runs: int, num_iters: int, chunk: int, factor: int) -> list[tuple[int, int]]:
    """Returns the rungs of successive halving (Jamieson & Talwalkar 2016, arxiv.org/abs/1502.07943).

    The best 1 / `factor` of the runs of a rung go on to the next one, which is `factor` times as long. There
    are as many rungs as there are runs for, and the first has at least a chunk.

    Returns:
        By rung, until which iteration it trains (a multiple of the chunk but for the last one), and how many
        runs.
    """
    numbers = [num_runs]
    while numbers[-1] >= factor and num_iters // factor ** len(numbers) >= chunk:
        numbers.append(numbers[-1] // factor)
    lengths = [num_iters / factor**rung for rung in reversed(range(len(numbers)))]
    iterations = [min(num_iters, math.ceil(length / chunk) * chunk) for length in lengths]
    return list(zip(iterations, numbers, strict=True))


def check_same_length(search: str, num_iters: Iterable[int]) -> None:
    """Checks that the runs that a search compares are to train equally long.

    Raises:
        ConfigError: if they are not, as it is the search that decides which of them train on.
    """
    lengths = sorted({*num_iters})
    if len(lengths) > 1:
        raise ConfigError(
            f"--search={search} decides how long each run trains, and the sweep sets num_iters to "
            f"{' and '.join(map(str, lengths))}: give all runs the same"
        )


def best_of(
    runs: Sequence[SweepRun], metric: str, ascending: bool, at: int, num: int
) -> list[SweepRun]:
    """Returns the runs that were best at an iteration, in their order; those without the metric are last."""
    sign = 1 if ascending else -1
    values = {run.index: value_at(run, metric, at) for run in runs}
    ranked = sorted(
        runs,
        key=lambda run: (
            math.isnan(values[run.index]),
            sign * np.nan_to_num(values[run.index]),
            run.index,
        ),
    )
    return sorted(ranked[:num], key=lambda run: run.index)


def value_at(run: SweepRun, metric: str, at: int) -> float:
    """Returns what a run had reported last of a metric at an iteration; NaN if it had not."""
    path = run.workdir / METRICS_FILE
    rows = read_metrics(path) if path.exists() else []
    found = [row[metric] for row in rows if row[STEP_KEY] <= at and row.get(metric) is not None]
    return float(found[-1]) if found else math.nan
