"""What methods get from each other, with seeds as the sample: tables, scores and ranks, with intervals.

A method has several seeds, each of which plays many others, so that the pairs of two methods are no
independent samples: all pairs of a seed share what is peculiar to it. The delete-one-seed jackknife (Miller
1974, 10.1093/biomet/61.1.1) tells how far any mean over pairs depends on each seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pax.metrics.bootstrap import MeanInterval, mean_interval, t_quantile

LEAST_SEEDS = 3
"""The fewest seeds of which there are intervals: of two, one pair alone tells how a method plays itself.
Those of a method with fewer are taken as they are, and tell nothing of others."""
DRAWS = 10_000
"""Of the scores, for the probabilities of ranks."""


@dataclasses.dataclass(frozen=True)
class Method:
    """Players who differ in their seed only."""

    name: str
    places: tuple[int, ...]
    """Which of all players they are."""
    is_fixed: bool = False
    """Whether it is one known strategy, which has no seeds and nothing to estimate."""


class Standing(NamedTuple):
    """What methods get from each other, and how they stand.

    Half widths, and the ranks of a method, are NaN where it has too few seeds to tell.
    """

    payoffs: MeanInterval
    """`[M, M]`: what a method gets from another, from itself with other seeds."""
    scores: MeanInterval
    """`[M]`: mean over all methods, itself among them."""
    ranks: np.ndarray
    """`[M, M]`: the probability that a method (row) has a rank (column, the first one first)."""


def standing(rewards: np.ndarray, methods: Sequence[Method], seed: int = 0) -> Standing:
    """Estimates who gets what from whom, and how sure the ranking is.

    Intervals are Student's t. The variance of a mean is the sum over methods of the jackknife's variances
    over their seeds, with degrees of freedom of Welch and Satterthwaite. In a table entry of two methods,
    what is peculiar to a pair of seeds counts in both sums, and is taken off once, but never more than leaves
    the larger sum. Of strategies without seeds only what they met varies:
    against each other they have no interval.

    Ranks are of scores that are drawn: to each score, a method's seeds contribute their influences times
    normal numbers, over the root of a chi-squared number per method that stands for the uncertainty of its
    variance. So the spread of a score that depends on one method is that of its t interval, and scores that
    depend on the same seeds vary together.

    Args:
        rewards: of player (row) against player (column), `[N, N]`; NaN where they did not play.
        methods: M of them, which take all places between them. Of places that met nobody nothing is known.
        seed: of the draws.
    """
    played = np.isfinite(rewards).any(axis=0) | np.isfinite(rewards).any(axis=1)
    methods = [
        dataclasses.replace(each, places=tuple(at for at in each.places if played[at]))
        for each in methods
    ]
    member = np.zeros((len(methods), len(rewards)))
    for row, method in enumerate(methods):
        member[row, list(method.places)] = 1.0
    payoffs = _payoffs(rewards, member)
    scores = payoffs.mean(axis=1)
    payoff_parts, score_parts, influences = [], [], []
    for method in methods:
        num = len(method.places)
        if method.is_fixed or num < LEAST_SEEDS:
            continue
        without = []
        for place in method.places:
            left = member.copy()
            left[:, place] = 0.0
            without.append(_payoffs(rewards, left))
        influence = (num - 1) * (np.mean(without, axis=0) - without)
        of_scores = influence.mean(axis=2)
        payoff_parts.append((_variance(influence), num - 1))
        score_parts.append((_variance(of_scores), num - 1))
        influences.append(of_scores)
    half = _half_width(payoff_parts, payoffs.shape, _interactions(rewards, methods))
    half_of_scores = _half_width(score_parts, scores.shape)
    ranks = _rank_probabilities(scores, influences, seed)
    few = [not each.is_fixed and len(each.places) < LEAST_SEEDS for each in methods]
    few = np.array(few) | np.isnan(scores)
    # Nothing that was met varies, but for chance, which is no matter of seeds.
    fixed = np.array([method.is_fixed for method in methods])
    half[np.ix_(fixed, fixed)] = np.nan
    if not score_parts:
        half_of_scores[:] = np.nan
    half[few, :] = half[:, few] = half_of_scores[few] = ranks[few] = np.nan
    return Standing(MeanInterval(payoffs, half), MeanInterval(scores, half_of_scores), ranks)


def _payoffs(rewards: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Returns means `[M, M]` over pairs of members `[M, N]`, within a method of different seeds."""
    played = np.isfinite(rewards)
    sums = member @ np.where(played, rewards, 0.0) @ member.T
    counts = member @ played @ member.T
    own = np.where(np.diagonal(played), np.diagonal(rewards), 0.0)
    several = member.sum(axis=1) > 1
    # Someone alone meets itself.
    sums[np.diag_indices_from(sums)] -= np.where(several, member @ own, 0.0)
    counts[np.diag_indices_from(counts)] -= np.where(several, member @ np.diagonal(played), 0.0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _variance(influence: np.ndarray) -> np.ndarray:
    """Returns the variance `[...]` of a mean, from the influences `[S, ...]` of its seeds."""
    num = len(influence)
    return (influence**2).sum(axis=0) / (num * max(num - 1, 1))


def _interactions(rewards: np.ndarray, methods: Sequence[Method]) -> np.ndarray:
    """Returns the variance of a mean `[M, M]` that is due to what is peculiar to pairs of seeds."""
    found = np.zeros((len(methods), len(methods)))
    for i, j in np.ndindex(found.shape):
        if i == j or min(len(methods[i].places), len(methods[j].places)) < LEAST_SEEDS:
            continue
        x = rewards[np.ix_(methods[i].places, methods[j].places)]
        rest = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0, keepdims=True) + x.mean()
        degrees = (x.shape[0] - 1) * (x.shape[1] - 1)
        found[i, j] = (rest**2).sum() / degrees / x.size
    return found


def _half_width(
    parts: Sequence[tuple[np.ndarray, int]], shape: tuple[int, ...], twice: np.ndarray | float = 0.0
) -> np.ndarray:
    """Returns half of the intervals, from variances and degrees of freedom of all methods.

    Args:
        parts: variances `[...]` of the same means due to each method, and their degrees of freedom.
        shape: of the means.
        twice: what is in the sum of the variances twice.
    """
    total, weighted, largest = (np.zeros(shape) for _ in range(3))
    for variance, degrees_of_method in parts:
        total = total + variance
        weighted = weighted + variance**2 / max(degrees_of_method, 1)
        largest = np.maximum(largest, variance)
    # Without any spread it does not matter how many degrees there are.
    degrees = np.where(weighted > 0, total**2 / np.where(weighted > 0, weighted, 1.0), 1.0)
    variance = np.maximum(total - twice, largest)
    return np.sqrt(variance) * t_quantile(np.maximum(degrees, 1.0))


def _rank_probabilities(
    scores: np.ndarray, influences: Sequence[np.ndarray], seed: int
) -> np.ndarray:
    """Returns `[M, M]` from scores `[M]` and, per method, the influences of its seeds `[S, M]`."""
    num = len(scores)
    rng = np.random.default_rng(seed)
    drawn = np.tile(scores, (DRAWS, 1))
    for influence in influences:
        seeds = len(influence)
        normal = rng.normal(size=(DRAWS, seeds)) / np.sqrt(seeds * (seeds - 1))
        # Without their mean, which influences, whose sum is 0, do not see: one degree of freedom less.
        spread = np.sqrt((seeds - 1) / rng.chisquare(seeds - 1, size=(DRAWS, 1)))
        drawn += spread * (normal @ influence)
    # Equal scores, as of players who do the same, share their ranks by chance.
    order = np.lexsort((rng.random(drawn.shape), -np.round(drawn, 9)), axis=-1)
    place = np.argsort(order, axis=-1)
    return np.stack([(place == rank).mean(axis=0) for rank in range(num)], axis=-1)


def over_units(samples: np.ndarray, methods: Sequence[Method]) -> MeanInterval:
    """Estimates `[M, ...]` of methods from independent samples of their seeds, of strategies from trials.

    Args:
        samples: by player and trial, `[N, R, ...]`. Trials of a seed are averaged: they are no samples of
            what other seeds would do.
        methods: M of them.
    """
    means, halves = [], []
    for method in methods:
        own = samples[list(method.places)]
        units = own[0] if method.is_fixed else own.mean(axis=1)
        estimate = mean_interval(units, axis=0)
        means.append(estimate.mean)
        halves.append(
            estimate.half if len(units) >= LEAST_SEEDS else np.full(estimate.mean.shape, np.nan)
        )
    return MeanInterval(np.array(means), np.array(halves))
