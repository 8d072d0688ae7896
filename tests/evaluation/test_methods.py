"""What methods get from each other: means and jackknife by hand, coverage, and ranks."""

import numpy as np
import pytest

from pax.evaluation.methods import Method, over_units, standing
from pax.metrics.bootstrap import t_quantile

TWO = (Method("a", (0, 1, 2)), Method("b", (3, 4, 5)))


def two_way(rng, of_rows, of_columns, of_pairs, sizes):
    """Samples `[N, N]` of two methods: what is due to the row, to the column, and to the pair of them."""
    num = sum(sizes)
    x = of_rows * rng.normal(size=(num, 1)) + of_columns * rng.normal(size=(1, num))
    return x + of_pairs * rng.normal(size=(num, num))


def test_a_table_has_means_over_pairs_and_leaves_out_those_of_one_seed():
    rewards = np.arange(36.0).reshape(6, 6)
    found = standing(rewards, TWO)
    # Rows 0 to 2: off the diagonal 1, 2, 6, 8, 12, 13 of their own; all of 3, 4, 5, 9, 10, 11, 15, 16, 17.
    np.testing.assert_allclose(found.payoffs.mean, [[7.0, 10.0], [25.0, 28.0]])
    np.testing.assert_allclose(found.scores.mean, [8.5, 26.5])


def test_an_interval_has_the_variances_of_rows_and_columns():
    # Only the row matters: each row's mean is one sample, and the interval is Student's of three.
    rewards = np.repeat(np.array([1.0, 2.0, 4.0, 0.0, 0.0, 0.0])[:, None], 6, axis=1)
    half = standing(rewards, TWO).payoffs.half[0, 1]
    np.testing.assert_allclose(half, t_quantile(2) * np.std([1, 2, 4], ddof=1) / np.sqrt(3))
    # Rows and columns: the sum of both variances, with Welch and Satterthwaite's degrees of freedom.
    both = rewards + np.array([0, 0, 0, 5.0, 6.0, 9.0])
    first, second = np.var([1, 2, 4], ddof=1) / 3, np.var([5, 6, 9], ddof=1) / 3
    degrees = (first + second) ** 2 / (first**2 / 2 + second**2 / 2)
    half = standing(both, TWO).payoffs.half[0, 1]
    np.testing.assert_allclose(half, t_quantile(degrees) * np.sqrt(first + second))


def test_a_strategy_is_known_and_few_seeds_tell_nothing():
    strategies = (Method("a", (0, 1, 2)), Method("b", (3,), is_fixed=True))
    rewards = np.repeat(np.array([1.0, 2.0, 4.0, 0.0])[:, None], 4, axis=1)
    found = standing(rewards, strategies)
    assert found.payoffs.half[0, 1] > 0.0
    assert np.isnan(found.payoffs.half[1, 1])
    # Two seeds are taken as they are: nothing is known of what others would do.
    few = standing(
        rewards, (Method("a", (0, 1)), Method("b", (2,)), Method("c", (3,), is_fixed=True))
    )
    assert np.isnan(few.payoffs.half[:2]).all() and np.isnan(few.payoffs.half[:, :2]).all()
    # So nothing of what the strategy meets varies.
    assert np.isnan(few.payoffs.half[2, 2]) and np.isnan(few.scores.half).all()
    assert np.isnan(few.ranks).any(axis=1).tolist() == [True, True, False]
    assert np.isfinite(few.payoffs.mean).all()


def test_ranks_are_as_sure_as_the_difference_of_two_scores():
    sure = np.repeat(np.array([1.0, 1.1, 0.9, 0.0, 0.1, -0.1])[:, None], 6, axis=1)
    np.testing.assert_allclose(standing(sure, TWO).ranks, np.eye(2), atol=0.01)
    # Equal scores, which nobody's seed decides.
    np.testing.assert_allclose(standing(np.zeros((6, 6)), TWO).ranks, 0.5, atol=0.02)
    # The difference is 1 with one standard error of each; by simulation of t numbers with 2 degrees.
    step = np.array([-np.sqrt(3), 0.0, np.sqrt(3)])
    unsure = np.concatenate([1.0 + step, step])[:, None] + np.zeros(6)
    rng = np.random.default_rng(1)
    t = rng.standard_t(2, size=(2, 400_000))
    np.testing.assert_allclose(
        standing(unsure, TWO).ranks[0, 0], (1.0 + t[0] > t[1]).mean(), atol=0.015
    )


def test_units_are_seeds_and_of_a_strategy_trials():
    samples = np.array([[0.0, 2.0, 4.0], [3.0, 3.0, 3.0], [4.0, 5.0, 6.0], [1.0, 2.0, 3.0]])
    methods = (Method("a", (0, 1, 2)), Method("b", (3,), is_fixed=True))
    found = over_units(samples, methods)
    np.testing.assert_allclose(found.mean, [10 / 3, 2.0])
    expected = [np.std([2, 3, 5], ddof=1), 1.0]
    np.testing.assert_allclose(found.half, t_quantile(2) * np.array(expected) / np.sqrt(3))


@pytest.mark.slow
@pytest.mark.parametrize("num", (3, 5))
@pytest.mark.parametrize(
    "spreads", ((1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (1, 0.5, 2))
)
def test_intervals_over_seeds_cover_the_truth(num, spreads, monkeypatch):
    """Of entries and scores; the standard error of a coverage of .95 from 2000 experiments is .005."""
    methods = (
        Method("a", tuple(range(num))),
        Method("b", tuple(range(num, 2 * num))),
    )
    monkeypatch.setattr("pax.evaluation.methods.DRAWS", 1)
    rng = np.random.default_rng(0)
    covered, of_scores = [], []
    for _ in range(2000):
        found = standing(two_way(rng, *spreads, (num, num)), methods)
        covered.append(np.abs(found.payoffs.mean) <= found.payoffs.half)
        of_scores.append(np.abs(found.scores.mean) <= found.scores.half)
    coverage = np.mean(covered, axis=0)
    assert 0.915 <= coverage[0, 1] <= 0.985
    assert 0.915 <= coverage[1, 0] <= 0.985
    # Within a method, a pair's own part is in two seeds, and intervals are wider than they need to be.
    assert (np.diagonal(coverage) >= 0.93).all()
    assert (np.mean(of_scores, axis=0) >= 0.93).all()


def test_a_seed_that_met_nobody_does_not_count():
    rewards = np.random.default_rng(0).normal(size=(7, 7))
    methods = [Method("a", (0, 1, 2)), Method("b", (3, 4, 5, 6))]
    missing = rewards.copy()
    missing[6, :] = missing[:, 6] = np.nan
    found = standing(missing, methods)
    without = standing(rewards[:6, :6], [Method("a", (0, 1, 2)), Method("b", (3, 4, 5))])
    np.testing.assert_allclose(found.scores.half, without.scores.half)
    np.testing.assert_allclose(found.payoffs.half, without.payoffs.half)
    # Of two seeds that are left there are no intervals, and no ranks.
    missing[5, :] = missing[:, 5] = np.nan
    found = standing(missing, methods)
    assert np.isnan(found.scores.half[1])
    assert np.isnan(found.ranks[1]).all()
    nobody = standing(np.full((7, 7), np.nan), methods)
    assert np.isnan(nobody.ranks).all()
