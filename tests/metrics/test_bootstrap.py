"""Inter-quartile means and intervals over seeds, against hand computation, enumeration and scipy."""

import itertools

import numpy as np
import pytest

from pax.metrics.bootstrap import bootstrap_interval, interquartile_mean, t_interval, t_quantile


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
    with pytest.raises(ValueError, match="nothing"):
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
    low, high = bootstrap_interval(scores[:, None], repetitions=100_000)
    np.testing.assert_allclose([low, high], expected, atol=0.1)


def test_each_task_is_drawn_for_itself():
    # Two seeds, which score 0 and 1 on each of 20 tasks. Of 40 draws k are 1, binomially distributed, from 14
    # to 26 in the middle 95 %; cutting 10 of either end leaves k - 10 of 20. Were all tasks drawn alike, a
    # quarter of the draws would have no 1 at all.
    scores = np.repeat([[0.0], [1.0]], 20, axis=1)
    np.testing.assert_allclose(bootstrap_interval(scores, repetitions=50_000), (0.2, 0.8))
    # And a score of one task never stands in another.
    np.testing.assert_allclose(bootstrap_interval([[0.0, 100.0]] * 3), 50.0)


def test_whole_curves_are_drawn():
    curves = np.random.default_rng(0).normal(size=(4, 1, 1)) + np.zeros((4, 1, 7))
    low, high = bootstrap_interval(curves)
    assert low.shape == high.shape == (7,)
    assert np.ptp(low) == np.ptp(high) == 0
    again = bootstrap_interval(curves)
    np.testing.assert_array_equal(low, again[0])


def test_one_seed_has_no_interval():
    assert np.isnan(bootstrap_interval([[1.0, 2.0]])).all()
    assert np.isnan(t_interval([1.0, 2.0], [0.0, 0.0], 1)).all()
    with pytest.raises(ValueError, match="shape"):
        bootstrap_interval([1.0, 2.0])


def test_t_intervals():
    # 1, 2, 3: mean 2, deviation 1, and 4.303 / sqrt(3) = 2.4843.
    np.testing.assert_allclose(t_interval(2.0, 1.0, 3), (-0.4843, 4.4843), atol=1e-4)
    stats = pytest.importorskip("scipy.stats")
    for degrees in (*range(1, 40), 200):
        assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=6e-4)
