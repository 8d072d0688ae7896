"""What a few seeds say of a method: inter-quartile means and intervals over seeds.

Source: Agarwal et al. 2021, Deep Reinforcement Learning at the Edge of the Statistical Precipice (rliable).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

COVERAGE = 0.95
REPETITIONS = 2000
# Quantiles at 97.5 % of Student's t distribution, for 1, 2, ... degrees of freedom.
_T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_NORMAL_QUANTILE = 1.959964


def interquartile_mean(values: ArrayLike, axis: int = -1) -> np.ndarray:
    """The mean of what is left when a quarter of the values is cut off at either end.

    Of n values, `n // 4` are cut at each end: up to three values it is the plain mean. NaN if one of them is.
    """
    array = np.sort(np.asarray(values, np.float64), axis=axis)
    num = array.shape[axis]
    if num == 0:
        raise ValueError("there is nothing to take the inter-quartile mean of")
    cut = num // 4
    kept = np.take(array, range(cut, num - cut), axis=axis)
    # NaN is sorted to the end, where it would be cut off.
    return np.where(np.isnan(array).any(axis=axis), np.nan, kept.mean(axis=axis))


def bootstrap_interval(
    scores: ArrayLike, *, repetitions: int = REPETITIONS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A 95 % interval of the inter-quartile mean by the stratified, percentile bootstrap.

    Seeds are drawn with replacement, for each task anew; then seeds and tasks are pooled. A drawn seed
    brings all of its points, so that an interval does not jitter along a curve.

    Args:
        scores: `[N, M, ...]`, of N seeds on M tasks; further axes (points of a curve) are kept.
        repetitions: how many times to draw.
        seed: of the draws, fixed, so that equal scores have equal intervals.

    Returns:
        The lower and the upper end, `[...]`; NaN at both with one seed, of which nothing can be drawn.
    """
    array = np.asarray(scores, np.float64)
    if array.ndim < 2 or 0 in array.shape:
        raise ValueError(f"scores have shape {array.shape}: expected seeds x tasks, none of them 0")
    num_seeds, num_tasks, *rest = array.shape
    if num_seeds == 1:
        nothing = np.full(rest, np.nan)
        return nothing, nothing.copy()
    rng = np.random.default_rng(seed)
    drawn = rng.integers(num_seeds, size=(repetitions, num_seeds, num_tasks))
    samples = array[drawn, np.arange(num_tasks)]
    means = interquartile_mean(samples.reshape(repetitions, num_seeds * num_tasks, *rest), axis=1)
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(means, (tail, 1 - tail), axis=0)
    return low, high


def t_interval(mean: ArrayLike, std: ArrayLike, num: int) -> tuple[np.ndarray, np.ndarray]:
    """A 95 % interval of the mean of `num` normally distributed values, by Student's t.

    Args:
        mean: theirs, `[...]`.
        std: their standard deviation with `num` - 1 in the denominator, `[...]`.
        num: how many there were.

    Returns:
        The lower and the upper end, `[...]`; NaN at both if `num` is 1.
    """
    mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    half = t_quantile(num - 1) * std / np.sqrt(num) if num > 1 else np.full(mean.shape, np.nan)
    return mean - half, mean + half


def t_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t, right to three digits after the point."""
    if degrees <= len(_T_QUANTILES):
        return _T_QUANTILES[degrees - 1]
    # Fisher's expansion in 1 / degrees, Abramowitz and Stegun 26.7.5.
    z = _NORMAL_QUANTILE
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3
