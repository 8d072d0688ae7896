"""What the seeds of an experiment say of a metric: one number, or a curve, with an interval."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from pax.metrics.bootstrap import (
    MEAN,
    Estimate,
    estimate_over_seeds,
    estimate_where_defined,
    t_interval,
)
from pax.report.data import Experiment, RecordedRun, is_deviation

EVALUATION = "evaluation/"


def of_means(means: np.ndarray, deviations: np.ndarray, sizes: Sequence[int]) -> Estimate:
    """Estimates the mean over all seeds of several runs, with a t interval, from what is known of each run.

    Args:
        means: over the seeds of each run, `[R, ...]`.
        deviations: over them, with n - 1 in the denominator, `[R, ...]`; ignored for a run of one seed.
        sizes: how many seeds each run has, all of them alike.
    """
    size, num = sizes[0], sum(sizes)
    if len(means) == 1:
        return Estimate(means[0], *t_interval(means[0], deviations[0], num), MEAN)
    mean = means.mean(axis=0)
    within = (size - 1) * np.square(deviations).sum(axis=0) if size > 1 else 0.0
    between = size * np.square(means - mean).sum(axis=0)
    return Estimate(mean, *t_interval(mean, np.sqrt((within + between) / (num - 1)), num), MEAN)


def estimate(experiment: Experiment, key: str, bins: Sequence[Sequence[Sequence[int]]]) -> Estimate:
    """Estimates averages of a metric over iterations.

    Args:
        experiment: whose.
        key: the metric.
        bins: by run, the iterations that each of T points is an average of.

    Returns:
        The estimate of each point, `[T]`.
    """
    runs = experiment.runs
    if not _has_means_only(runs, key):
        each = [
            np.array([_mean_of_seeds(run, part, key) for part in parts]).T
            for run, parts in zip(runs, bins, strict=True)
        ]
        return estimate_where_defined(np.concatenate(each))
    means, deviations = (
        np.array(
            [
                [_mean(run, part, name) for part in parts]
                for run, parts in zip(runs, bins, strict=True)
            ]
        )
        for name in (key, f"{key}/std")
    )
    return of_means(means, deviations, [run.num_seeds for run in runs])


def _has_means_only(runs: Sequence[RecordedRun], key: str) -> bool:
    """Whether some reports of a metric are means of seeds, and not each seed's own numbers."""
    return any(
        key in row and key not in run.seed_rows.get(at, {})
        for run in runs
        if run.num_seeds > 1
        for at, row in run.rows.items()
    )


def curve(experiment: Experiment, key: str, points: int) -> tuple[np.ndarray, Estimate]:
    """Estimates a metric over the iterations that have it, at most `points`: `[T]` iterations, and it there.

    Where there are more, neighbours are averaged, seed by seed. Where only means over seeds are known, the
    deviation over seeds of such an average is at most the average of deviations, which is taken for it.
    """
    iterations = sorted(
        {at for run in experiment.runs for at, row in run.rows.items() if key in row}
    )
    if not iterations:
        nothing = np.empty(0)
        return nothing, Estimate(nothing, nothing, nothing, MEAN)
    bins = np.array_split(np.array(iterations), min(points, len(iterations)))
    parts = [part.tolist() for part in bins]
    found = estimate(experiment, key, [parts] * len(experiment.runs))
    return np.array([part[-1] for part in bins]), found


def at_the_end(experiment: Experiment, key: str) -> Estimate:
    """Returns a metric averaged over the last tenth of each run."""
    ends = [[[at for at in run.rows if at > 0.9 * run.last]] for run in experiment.runs]
    found = estimate(experiment, key, ends)
    return found._replace(middle=found.middle[0], low=found.low[0], high=found.high[0])


def _mean_of_seeds(run: RecordedRun, iterations: Sequence[int], key: str) -> np.ndarray:
    """Returns the mean of what is defined, of each seed, `[S]`; NaN if nothing is."""
    if run.num_seeds == 1:
        return np.array([_mean(run, iterations, key)])
    values = np.array([run.of_seeds(at, key) for at in iterations if at in run.rows])
    if not len(values):
        return np.full(run.num_seeds, np.nan)
    known = np.isfinite(values)
    num = known.sum(axis=0)
    # Divided first, as sums of very large numbers may be infinite where the mean is not.
    means = (np.where(known, values, 0.0) / np.maximum(num, 1)).sum(axis=0)
    return np.where(num > 0, means, np.nan)


def _mean(run: RecordedRun, iterations: Sequence[int], key: str) -> float:
    """Returns the mean of what is defined; NaN if nothing is."""
    values = [run.rows[at].get(key, math.nan) for at in iterations if at in run.rows]
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return math.nan
    total = sum(known)
    # Of very large numbers, the sum may be infinite where the mean is not.
    return (
        total / len(known) if math.isfinite(total) else sum(value / len(known) for value in known)
    )


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """The last results of an evaluation."""

    iterations: tuple[int, ...]
    """Of the states that were evaluated, one per run."""
    metrics: Mapping[str, Estimate]
    per_seed: Mapping[str, np.ndarray]
    """Each seed's own, `[N]`, where they are known."""


def evaluations(experiment: Experiment) -> dict[str, Evaluated]:
    """Returns evaluations by name. `--mode=evaluate` counts unless training has evaluated a later state."""
    names = dict.fromkeys(
        key.removeprefix(EVALUATION).partition("/")[0]
        for key in experiment.metrics()
        if key.startswith(EVALUATION)
    )
    names |= dict.fromkeys(name for run in experiment.runs for name in run.evaluations)
    return {name: _evaluated(experiment.runs, name) for name in names}


@dataclasses.dataclass(frozen=True)
class _Result:
    """An evaluation of one run."""

    iteration: int
    size: int
    means: Mapping[str, float]
    deviations: Mapping[str, float]
    per_seed: Mapping[str, tuple[float, ...]] | None


def _evaluated(runs: Sequence[RecordedRun], name: str) -> Evaluated:
    results = [result for run in runs if (result := _result(run, name)) is not None]
    keys = list(dict.fromkeys(key for result in results for key in result.means))
    iterations = tuple(result.iteration for result in results)
    own = [result.per_seed for result in results if result.per_seed is not None]
    if len(own) == len(results):
        per_seed = {
            key: np.concatenate(
                [
                    values.get(key, (math.nan,) * result.size)
                    for values, result in zip(own, results, strict=True)
                ]
            )
            for key in keys
        }
        return Evaluated(
            iterations, {key: estimate_where_defined(per_seed[key]) for key in keys}, per_seed
        )
    means, deviations = (
        {key: np.array([table.get(key, math.nan) for table in tables]) for key in keys}
        for tables in (
            [result.means for result in results],
            [result.deviations for result in results],
        )
    )
    sizes = [result.size for result in results]
    return Evaluated(
        iterations, {key: of_means(means[key], deviations[key], sizes) for key in keys}, {}
    )


def _result(run: RecordedRun, name: str) -> _Result | None:
    """Returns the newer one of what training and `--mode=evaluate` found."""
    prefix = f"{EVALUATION}{name}/"
    trained_at = max(
        (at for at, row in run.rows.items() if any(key.startswith(prefix) for key in row)),
        default=None,
    )
    if name in run.evaluations:
        at, per_seed = run.evaluations[name]
        if trained_at is None or at >= trained_at:
            with warnings.catch_warnings():
                # What is undefined in all seeds, or in all but one, stays so.
                warnings.simplefilter("ignore", RuntimeWarning)
                means = {key: float(np.nanmean(values)) for key, values in per_seed.items()}
                spread = {key: float(np.nanstd(values, ddof=1)) for key, values in per_seed.items()}
            # Of a run without run.json it is not known otherwise how many seeds there are.
            size = len(next(iter(per_seed.values()), ()))
            return _Result(at, size, means, spread, per_seed)
    if trained_at is None:
        return None
    found = {
        key.removeprefix(prefix): value
        for key, value in run.rows[trained_at].items()
        if key.startswith(prefix)
    }
    means = {key: value for key, value in found.items() if not is_deviation(key, found)}
    spread = {key: found.get(f"{key}/std", math.nan) for key in means}
    own: dict[str, tuple[float, ...]] | None = {key: (value,) for key, value in means.items()}
    if run.num_seeds > 1:
        known = run.seed_rows.get(trained_at, {})
        own = {key: tuple(known[prefix + key].tolist()) for key in means if prefix + key in known}
        own = own if len(own) == len(means) else None
    return _Result(trained_at, run.num_seeds, means, spread, own)


def over_all(found: Mapping[str, Evaluated], key: str) -> Estimate | None:
    """Estimates the mean over evaluations; None unless each seed has each of them.

    A seed's results in different evaluations are those of one policy, and depend on each other: its mean over
    evaluations is one sample.
    """
    columns = [evaluated.per_seed.get(key) for evaluated in found.values()]
    known = [column for column in columns if column is not None and np.isfinite(column).all()]
    if len(known) < 2 or len(known) < len(columns) or len({len(column) for column in known}) > 1:
        return None
    return estimate_over_seeds(np.mean(known, axis=0))
