"""Inter-quartile means and intervals over seeds, against hand computation, enumeration and scipy."""

import itertools

import numpy as np
import pytest

from pax.metrics.bootstrap import (
    LEAST_SEEDS,
    bootstrap_interval,
    estimate_over_seeds,
    interquartile_mean,
    t_interval,
    t_quantile,
)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], 3.0),
        ([1.0, 2.0, 6.0], 3.0),
        ([100.0, 1.0, 2.0, -50.0], 1.5),
        ([5.0, 1.0, 2.0, 3.0, 100.0], 10 / 3),
        ([8, 7, 6, 5, 4, 3, 2, 1], 4.5),
    ],
)
def test_a_quarter_is_cut_at_either_end(values, expected):
    assert interquartile_mean(values) == pytest.approx(expected)


def test_an_undefined_value_is_not_cut_off():
    table = np.array([[1.0, 2.0, np.nan, 3.0], [1.0, 2.0, 4.0, 3.0]])
    np.testing.assert_array_equal(interquartile_mean(table), [np.nan, 2.5])
    np.testing.assert_array_equal(interquartile_mean(table.T, axis=0), [np.nan, 2.5])
    with pytest.raises(ValueError, match="is empty"):
        interquartile_mean([])


def test_it_is_the_trimmed_mean_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    for num in range(1, 30):
        values = rng.normal(size=(num, 3))
        expected = stats.trim_mean(values, 0.25, axis=0)
        np.testing.assert_allclose(interquartile_mean(values, axis=0), expected)


def test_the_interval_is_that_of_all_ways_to_draw():
    scores = np.array([0.0, 1.0, 3.0, 7.0, 20.0])
    # All 5^5 draws: the middle three of five sorted ones.
    means = [np.mean(sorted(draw)[1:4]) for draw in itertools.product(scores, repeat=5)]
    expected = np.quantile(means, (0.025, 0.975))
    low, high = bootstrap_interval(scores, repetitions=100_000)
    np.testing.assert_allclose([low, high], expected, atol=0.1)


def test_whole_curves_are_drawn():
    curves = np.random.default_rng(0).normal(size=(4, 1)) + np.zeros((4, 7))
    low, high = bootstrap_interval(curves)
    assert low.shape == high.shape == (7,)
    assert np.ptp(low) == np.ptp(high) == 0
    again = bootstrap_interval(curves)
    np.testing.assert_array_equal(low, again[0])


def test_one_seed_has_no_interval():
    assert np.isnan(bootstrap_interval([[1.0, 2.0]])).all()
    found = estimate_over_seeds([1.0])
    assert found.middle == 1.0 and np.isnan([found.low, found.high]).all()
    assert np.isnan(t_interval([1.0, 2.0], [0.0, 0.0], 1)).all()
    with pytest.raises(ValueError, match="one or more per seed"):
        bootstrap_interval(1.0)


def test_t_intervals():
    # 1, 2, 3: mean 2, deviation 1, and 4.30265 / sqrt(3) = 2.48414.
    np.testing.assert_allclose(t_interval(2.0, 1.0, 3), (-0.48414, 4.48414), atol=1e-5)
    # Abramowitz and Stegun, table 26.10.
    table = {1: 12.706, 2: 4.303, 5: 2.571, 10: 2.228, 30: 2.042, 120: 1.980}
    np.testing.assert_allclose(t_quantile([*table]), [*table.values()], atol=5e-4)
    assert t_quantile(5) > t_quantile(5.5) > t_quantile(6)


@pytest.mark.parametrize("num_seeds", (2, 3, 4, 5, 6, 7, 10))
def test_an_interval_that_is_shown_covers_the_truth(num_seeds):
    # The standard error of a coverage of .9 from 1500 experiments is .008.
    samples = np.random.default_rng(num_seeds).normal(size=(num_seeds, 1500))
    found = estimate_over_seeds(samples)
    covered = ((found.low <= 0) & (found.high >= 0)).mean()
    assert covered >= 0.9 - 2 * 0.008
    # What is shown is the middle of its own interval, or at least within it.
    assert ((found.low <= found.middle) & (found.middle <= found.high)).all()
    of_all = samples.mean(axis=0) if num_seeds < 6 else interquartile_mean(samples, axis=0)
    np.testing.assert_allclose(found.middle, of_all)
    assert found.method.startswith("mean" if num_seeds < LEAST_SEEDS else "inter-quartile")
