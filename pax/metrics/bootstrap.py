"""What a few samples tell: means, inter-quartile means over seeds, and their intervals.

Source: Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice (rliable).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pax.checks import COUNT, COUNT_OR_NONE, Limit, check_number, short
from pax.errors import ConfigError

COVERAGE = 0.95
REPETITIONS = 2000
LEAST_SEEDS = 6
"""The fewest seeds of which the bootstrap interval is shown: its measured coverage is 91 % for normal samples
and at least 90 % for uniform, bimodal, Student's t (3 degrees of freedom) and log-normal ones."""
LARGEST = 1e150
"""Beyond it, squares of numbers do not fit into a float64."""
INTERQUARTILE_MEAN = "inter-quartile mean, bootstrap interval"
MEAN = "mean, t interval"


def interquartile_mean(values: ArrayLike, axis: int = -1) -> np.ndarray:
    """Computes the mean of what is left when a quarter of the values is cut off at either end.

    Of n values, `n // 4` are cut at each end: up to three values it is the plain mean. NaN if one of them is.

    Raises:
        ConfigError: if there are none, or something else than numbers.
    """
    array = _numbers("values", values)
    check_number("axis", axis, Limit(-array.ndim, array.ndim - 1, whole=True))
    array = np.sort(array, axis=axis)
    num = array.shape[axis]
    cut = num // 4
    kept = np.take(array, range(cut, num - cut), axis=axis)
    # NaN is sorted to the end, where it would be cut off.
    return np.where(np.isnan(array).any(axis=axis), np.nan, kept.mean(axis=axis))


def bootstrap_interval(
    samples: ArrayLike, *, repetitions: int = REPETITIONS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Computes a 95 % interval of the inter-quartile mean over seeds by the percentile bootstrap.

    It is too narrow with few seeds: see `LEAST_SEEDS`. A drawn seed brings all of its points, so that an
    interval does not jitter along a curve.

    Args:
        samples: `[N, ...]`, of N seeds; further axes (points of a curve) are kept.
        repetitions: how many times to draw N seeds with replacement.
        seed: of the draws, fixed, so that equal samples have equal intervals.

    Returns:
        The lower and the upper end, `[...]`; NaN at both with one seed, of which nothing can be drawn, and
        where a seed is NaN.

    Raises:
        ConfigError: if there are no samples, not as many of each seed, or something else than numbers.
    """
    array = _numbers("samples", samples)
    check_number("repetitions", repetitions, COUNT)
    check_number("seed", seed, COUNT_OR_NONE)
    num_seeds, *rest = array.shape
    if num_seeds == 1:
        nothing = np.full(rest, np.nan)
        return nothing, nothing.copy()
    drawn = np.random.default_rng(seed).integers(num_seeds, size=(repetitions, num_seeds))
    means = interquartile_mean(array[drawn], axis=1)
    low, high = _percentiles(means)
    return low, high


def _percentiles(means: np.ndarray) -> np.ndarray:
    """Returns both ends of the percentile interval along the first axis, `[2, ...]`."""
    tail = (1 - COVERAGE) / 2
    return np.quantile(means, (tail, 1 - tail), axis=0)


def _numbers(name: str, values: ArrayLike, least: int = 1) -> np.ndarray:
    """Returns numbers as float64, with at least `least` axes.

    Raises:
        ConfigError: if they are anything else, ragged or empty.
    """
    try:
        array = np.asarray(values)
    except ValueError as e:
        raise ConfigError(f"{name} is {short(values)}: give as many numbers for each seed") from e
    if array.size == 0:
        raise ConfigError(f"{name} is {short(values)}, which is empty: give at least one number")
    if array.dtype.kind not in "biuf" or array.ndim < least:
        what = "numbers, one or more per seed" if least else "numbers"
        raise ConfigError(f"{name} is {short(values)}: give {what}")
    return array.astype(np.float64)


class Estimate(NamedTuple):
    """What some seeds tell about a quantity, `[...]`; NaN where nothing is known."""

    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    method: str
    """Which estimate it is: `MEAN` or `INTERQUARTILE_MEAN`."""

    @property
    def is_known(self) -> bool:
        """Whether any point of it is known."""
        return bool(np.isfinite(self.middle).any())


def estimate_over_seeds(samples: ArrayLike) -> Estimate:
    """Estimates a quantity from one sample per seed, with a 95 % interval.

    From `LEAST_SEEDS` on, it is the inter-quartile mean with its bootstrap interval. With fewer, such
    intervals cover far less than they say (two seeds: 50 %, three: 73 %, five: 89 %), so it is the mean with
    Student's t interval.

    Args:
        samples: `[N, ...]`, one per seed. Where one is NaN, so is the estimate.

    Raises:
        ConfigError: if there are no samples, not as many of each seed, or something else than numbers.
    """
    array = _numbers("samples", samples)
    largest = np.max(np.abs(array), initial=0.0, where=np.isfinite(array))
    if largest > LARGEST:
        # Their sums and squares would not fit into a float64.
        found = estimate_over_seeds(array / largest)
        middle, low, high = (part * largest for part in found[:3])
        return Estimate(middle, low, high, found.method)
    if len(array) >= LEAST_SEEDS:
        low, high = bootstrap_interval(array)
        return Estimate(interquartile_mean(array, axis=0), low, high, INTERQUARTILE_MEAN)
    mean, half = mean_interval(array, axis=0)
    return Estimate(mean, mean - half, mean + half, MEAN)


def estimate_where_defined(samples: ArrayLike) -> Estimate:
    """Estimates each point of `[N, ...]` from the seeds in which it is defined.

    Points of a curve that are defined in fewer than `LEAST_SEEDS` seeds are means, also where the others, and
    so the method of the curve, are not.

    Args:
        samples: one per seed; NaN where it is undefined.

    Raises:
        ConfigError: if there are no samples, not as many of each seed, or something else than numbers.
    """
    values = _numbers("samples", samples)
    columns = values.reshape(len(values), -1)
    parts, methods = np.full((3, columns.shape[1]), np.nan), {MEAN}
    is_defined = np.isfinite(columns)
    for pattern in np.unique(is_defined, axis=1).T:
        if not pattern.any():
            continue
        at = (is_defined == pattern[:, None]).all(axis=0)
        found = estimate_over_seeds(columns[np.ix_(pattern, at)])
        parts[:, at] = found.middle, found.low, found.high
        methods.add(found.method)
    method = INTERQUARTILE_MEAN if INTERQUARTILE_MEAN in methods else MEAN
    middle, low, high = parts.reshape(3, *values.shape[1:])
    return Estimate(middle, low, high, method)


def estimate_over_tasks(
    scores: ArrayLike, *, repetitions: int = REPETITIONS, seed: int = 0
) -> Estimate:
    """Estimates one number for several games from scores of independent runs, as rliable does.

    The inter-quartile mean of all runs of all tasks together, with a 95 % interval by the stratified
    percentile bootstrap: the runs of each task are drawn anew, independently of those of other tasks.
    Scores of one policy in several evaluations depend on each other: average them first.

    Args:
        scores: `[N, M]`, of N runs of each of M tasks, on a common scale.
        repetitions: how many times to draw.
        seed: of the draws.

    Raises:
        ConfigError: if `scores` is no table of numbers.
    """
    array = _numbers("scores", scores)
    if array.ndim != 2:
        raise ConfigError(f"scores has shape {array.shape}: give a table [runs, tasks]")
    check_number("repetitions", repetitions, COUNT)
    check_number("seed", seed, COUNT_OR_NONE)
    middle = interquartile_mean(array.ravel())
    if len(array) == 1:
        nothing = np.full((), np.nan)
        return Estimate(middle, nothing, nothing, INTERQUARTILE_MEAN)
    drawn = np.random.default_rng(seed).integers(len(array), size=(repetitions, *array.shape))
    means = interquartile_mean(array[drawn, np.arange(array.shape[1])].reshape(repetitions, -1))
    low, high = _percentiles(means)
    return Estimate(middle, low, high, INTERQUARTILE_MEAN)


class MeanInterval(NamedTuple):
    """Means, and half the width of their 95 % intervals, `[...]`; NaN where there is none."""

    mean: np.ndarray
    half: np.ndarray


def mean_interval(samples: np.ndarray, axis: int = -1) -> MeanInterval:
    """Estimates the mean of independent samples along an axis, with a 95 % interval by Student's t.

    The interval is NaN with one sample, of which nothing is known.
    """
    num = samples.shape[axis]
    mean, error = samples.mean(axis=axis, dtype=np.float64), standard_error(samples, axis)
    return MeanInterval(mean, error * t_quantile(num - 1) if num > 1 else error)


def standard_error(samples: np.ndarray, axis: int = -1) -> np.ndarray:
    """Computes the standard error of the mean of samples along an axis; NaN with one sample."""
    num = samples.shape[axis]
    if num < 2:
        return np.full(samples.mean(axis=axis).shape, np.nan)
    return samples.std(axis=axis, ddof=1, dtype=np.float64) / np.sqrt(num)


def t_interval(mean: ArrayLike, std: ArrayLike, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Computes a 95 % interval of the mean of `num` normally distributed values, by Student's t.

    Args:
        mean: theirs, `[...]`.
        std: their standard deviation with `num` - 1 in the denominator, `[...]`.
        num: how many there were.

    Returns:
        The lower and the upper end, `[...]`; NaN at both if `num` is 1.

    Raises:
        ConfigError: if `num` is no number of values, a standard deviation is negative, or shapes differ.
    """
    check_number("num", num, COUNT)
    mean, std = _numbers("mean", mean, least=0), _numbers("std", std, least=0)
    if mean.shape != std.shape:
        raise ConfigError(
            f"std has shape {std.shape}, and mean has {mean.shape}: give one standard deviation per mean"
        )
    if (std < 0).any():
        raise ConfigError(f"std is {short(std)}: give standard deviations, 0 or more")
    half = t_quantile(num - 1) * std / np.sqrt(num) if num > 1 else np.full(mean.shape, np.nan)
    return mean - half, mean + half


def t_quantile(degrees: ArrayLike) -> np.ndarray:
    """Returns the 97.5 % quantile of Student's t, `[...]`: half of an interval, in standard errors.

    Args:
        degrees: of freedom, `[...]`, at least 1, as of the mean of two values; not necessarily whole.

    Raises:
        ConfigError: if they are anything else.
    """
    array = _numbers("degrees", degrees, least=0)
    if not (array >= 1).all():
        raise ConfigError(f"degrees is {short(degrees)}: give at least 1")
    # Importing it takes a tenth of a second, which every run would begin with.
    from scipy.special import stdtrit

    return stdtrit(array, (1 + COVERAGE) / 2)
