"""Distributions against numpy, and what network outputs mean in each action space."""

import math
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents.distributions import (
    MIN_STD,
    Categorical,
    Gaussian,
    log_normal_cdf,
    make_distribution,
    num_outputs,
)
from pax.envs.spaces import Box, Dict, Discrete
from pax.errors import ConfigError

MEAN = np.array([[0.3, -2.0], [5.0, 0.0]], np.float32)
STD = np.array([[0.5, 2.0], [0.01, 1.0]], np.float32)


NORMAL = statistics.NormalDist()


def softplus(x):
    return np.log1p(np.exp(x))


def test_log_probabilities_of_a_gaussian_are_those_of_independent_normals():
    actions = np.array([[0.0, 1.0], [5.02, -3.0]], np.float32)
    density = np.exp(-((actions - MEAN) ** 2) / (2 * STD**2)) / (STD * math.sqrt(2 * math.pi))
    actual = Gaussian(MEAN, STD, Box((2,))).log_prob(actions)
    np.testing.assert_allclose(actual, np.log(density).sum(axis=-1), rtol=1e-5)


def test_entropy_of_a_gaussian_is_the_mean_surprise_of_its_samples():
    gaussian = Gaussian(jnp.array([1.0, -1.0]), jnp.array([0.5, 3.0]), Box((2,)))
    samples = jax.vmap(gaussian.sample)(jax.random.split(jax.random.key(0), 20_000))
    np.testing.assert_allclose(samples.mean(axis=0), gaussian.mean, atol=0.08)
    np.testing.assert_allclose(samples.std(axis=0), gaussian.std, rtol=0.03)
    np.testing.assert_allclose(-gaussian.log_prob(samples).mean(), gaussian.entropy(), rtol=0.02)


def test_outputs_are_means_and_then_spreads():
    outputs = jnp.array([0.5, -4.0, 0.0, 2.0])
    free = make_distribution(outputs, Box((2,)), scale=10.0)
    np.testing.assert_allclose(free.mean, [5.0, -40.0], rtol=1e-6)
    np.testing.assert_allclose(free.std, 10 * (softplus(np.array([0.0, 2.0])) + MIN_STD), rtol=1e-5)
    # From the only bound there is.
    assert (make_distribution(outputs, Box((2,), 0.0)).mean == outputs[:2]).all()
    np.testing.assert_allclose(
        make_distribution(outputs, Box((2,), -math.inf, 7.0), scale=10.0).mean, [12.0, -33.0]
    )


def test_means_of_bounded_actions_lie_between_the_bounds():
    outputs = jnp.array([0.0, -50.0, 50.0, 0.0, 0.0, 0.0])
    bounded = make_distribution(outputs, Box((3,), -1.0, 3.0), scale=10.0)
    np.testing.assert_allclose(bounded.mean, [1.0, -1.0, 3.0], atol=1e-5)
    np.testing.assert_allclose(bounded.std, 2 * (math.log(2) + MIN_STD), rtol=1e-5)


def test_the_smallest_standard_deviation_still_has_a_gradient():
    def std(spread):
        return make_distribution(jnp.array([0.0, spread]), Box((1,))).std[0]

    assert std(-30.0) == pytest.approx(MIN_STD, rel=1e-3)
    assert jax.grad(std)(-8.0) > 1e-5


def test_sizes_of_outputs_and_spaces_that_no_policy_acts_in():
    assert num_outputs(Discrete(4)) == 4
    assert (num_outputs(Box((3,))), num_outputs(Box(())), num_outputs(Box((2, 3)))) == (6, 2, 12)
    with pytest.raises(ConfigError, match="a policy needs Discrete ones, or a Box"):
        num_outputs(Dict((("a", Discrete(2)),)))
    with pytest.raises(ConfigError, match="a policy needs bounds that differ"):
        num_outputs(Box((2,), 0.0, (1.0, 0.0)))


def test_standard_deviations_are_softplus_however_large_the_outputs():
    spreads = jnp.array([-1e4, -90.0, -20.0, -1.0, 0.0, 1.0, 20.0, 90.0, 1e4])

    def std(spread):
        outputs = jnp.stack([jnp.zeros_like(spread), spread], axis=-1)
        return make_distribution(outputs, Box((1,))).std[..., 0]

    np.testing.assert_allclose(std(spreads), jax.nn.softplus(spreads) + MIN_STD, rtol=1e-4)
    np.testing.assert_allclose(
        jax.vmap(jax.grad(std))(spreads), jax.nn.sigmoid(spreads), rtol=1e-5, atol=1e-7
    )


INF = math.inf
BOUNDS = Box((2, 2), ((0.0, -INF), (-INF, -1.0)), ((1.0, INF), (0.5, 3.0)))


def test_each_number_keeps_its_own_bounds():
    outputs = jnp.zeros(num_outputs(BOUNDS))
    distribution = make_distribution(outputs, BOUNDS, scale=10.0)
    np.testing.assert_allclose(distribution.mean, [[0.5, 0.0], [0.5, 1.0]])
    units = np.array([[0.5, 10.0], [10.0, 2.0]])
    np.testing.assert_allclose(distribution.std, units * (math.log(2) + MIN_STD), rtol=1e-5)
    actions = jax.vmap(distribution.sample)(jax.random.split(jax.random.key(0), 1000))
    assert actions.shape == (1000, 2, 2)
    lowest, highest = actions.min(axis=0), actions.max(axis=0)
    np.testing.assert_array_equal(lowest[[0, 1], [0, 1]], [0.0, -1.0])
    np.testing.assert_array_equal(highest[[0, 1, 1], [0, 0, 1]], [1.0, 0.5, 3.0])
    assert (lowest[[0, 1], [1, 0]] < -10).all() and highest[0, 1] > 10


def test_log_probabilities_of_clipped_actions_are_those_of_what_the_game_gets():
    """A bound has the probability of the tail behind it, and all of it adds up to 1."""
    normal = statistics.NormalDist(0.3, 0.5)
    clipped = Gaussian(jnp.array([0.3]), jnp.array([0.5]), Box((1,), 0.0, 1.0))
    at_low, at_high = normal.cdf(0.0), 1.0 - normal.cdf(1.0)
    points = np.linspace(0.0, 1.0, 2002)[1:-1]
    log_probs = clipped.log_prob(jnp.array([0.0, 1.0, *points])[:, None])
    np.testing.assert_allclose(log_probs[:2], np.log([at_low, at_high]), rtol=1e-5)
    densities = np.array([normal.pdf(point) for point in points])
    np.testing.assert_allclose(log_probs[2:], np.log(densities), rtol=1e-4, atol=1e-5)
    entropy = -at_low * np.log(at_low) - at_high * np.log(at_high)
    entropy -= (densities * np.log(densities)).mean()
    np.testing.assert_allclose(clipped.entropy(), entropy, rtol=1e-3)


@pytest.mark.parametrize("low", [0.0, -INF])
def test_policy_gradients_are_those_of_the_clipped_reward(low):
    """d/dm E[f(clip(x))] for f(a) = a^2 is 2 m_inside, by its integral, as by the mean of f grad log p."""
    mean, std, high = 0.4, 0.8, 1.0

    def sampled(m, key):
        clipped = Gaussian(m[None], jnp.array([std]), Box((1,), low, high))
        action = jax.lax.stop_gradient(clipped.sample(key))
        return jnp.square(action[0]) * clipped.log_prob(action)

    keys = jax.random.split(jax.random.key(1), 200_000)
    estimates = jax.jit(jax.vmap(jax.grad(sampled), (None, 0)))(jnp.float32(mean), keys)
    x = np.linspace(-8.0, 8.0, 400_001)
    density = np.exp(-((x - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))
    inside = (x > low) & (x < high)
    expected = (2 * x * density * inside).sum() * (x[1] - x[0])
    error = float(estimates.std()) / math.sqrt(len(keys))
    assert estimates.mean() == pytest.approx(expected, abs=4 * error)


def test_probabilities_of_far_tails_keep_value_and_gradient():
    z = jnp.array([-1e5, -1000.0, -40.0, -5.01, -4.99, -1.0, 0.0, 3.0, 1e5])
    # P(x <= z) of numbers far below 0 lies between these (Gordon 1941).
    size = -np.asarray(z[:3], float)
    density = -0.5 * size**2 - 0.5 * math.log(2 * math.pi)
    expected = [*(density - np.log(size)), *(math.log(NORMAL.cdf(float(x))) for x in z[3:])]
    np.testing.assert_allclose(log_normal_cdf(z), expected, rtol=3e-4, atol=1e-6)
    slopes = jax.vmap(jax.grad(log_normal_cdf))(z)
    expected = [NORMAL.pdf(float(x)) / NORMAL.cdf(float(x)) for x in z[3:]]
    np.testing.assert_allclose(slopes, [*(size + 1 / size), *expected], rtol=1e-3, atol=1e-6)


def test_bounds_are_compared_and_checked_entry_by_entry():
    assert Box((2,), (0.0, 0.0), np.ones(2)) == Box((2,), 0, 1.0)
    assert hash(Box((2,), (0.0, -1.0))) == hash(Box((2,), np.array([0.0, -1.0])))
    assert Box((2,), (0.0, -1.0)) != Box((2,), (0.0, -2.0))
    with pytest.raises(ConfigError, match="low has shape .3,. in a Box of shape .2,."):
        Box((2,), (0.0, 0.0, 1.0))
    with pytest.raises(ConfigError, match="give low <= high"):
        Box((2,), 0.0, (1.0, -1.0))


def test_actions_that_are_ruled_out_add_nothing_to_the_entropy():
    logits = jnp.array([0.3, -jnp.inf, -1.1, -jnp.inf])
    p, q = (math.exp(logit) / (math.exp(0.3) + math.exp(-1.1)) for logit in (0.3, -1.1))
    entropy = -(p * math.log(p) + q * math.log(q))
    # Of an entropy, by a logit: -p (log p + entropy).
    slopes = [-each * (math.log(each) + entropy) for each in (p, q)]
    found, gradient = jax.value_and_grad(lambda x: Categorical.from_logits(x).entropy())(logits)
    assert found == pytest.approx(entropy, rel=1e-5)
    np.testing.assert_allclose(gradient, [slopes[0], 0.0, slopes[1], 0.0], rtol=1e-5, atol=1e-7)
    found, gradient = jax.value_and_grad(
        lambda x: Categorical.from_logits(x).log_prob(jnp.int32(2))
    )(logits)
    assert found == pytest.approx(math.log(q), rel=1e-5)
    np.testing.assert_allclose(gradient, [-p, 0.0, p, 0.0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("width", [2e-13, 1e16])
@pytest.mark.parametrize("spread", [-40.0, 0.0, 10.0])
def test_gradients_do_not_depend_on_the_unit_of_actions(width, spread):
    outputs = jnp.array([0.1, spread])

    def surprise(outputs, width):
        policy = make_distribution(outputs, Box((1,), 0.0, width))
        return policy.log_prob(jnp.array([0.9 * width]))

    # Another unit changes a density by a factor, and its logarithm by a number.
    np.testing.assert_allclose(
        jax.grad(surprise)(outputs, width), jax.grad(surprise)(outputs, 1.0), rtol=2e-3
    )
    entropy = jax.grad(lambda x: make_distribution(x, Box((1,), 0.0, width)).entropy())
    assert np.isfinite(entropy(outputs)).all()


@pytest.mark.parametrize(
    ("width", "words"), [(1e-30, "too close"), (1e-45, "too close"), (1e20, "too far apart")]
)
def test_bounds_whose_gradients_float32_cannot_hold_are_refused(width, words):
    with pytest.raises(ConfigError, match=f"whose bounds are {words}"):
        num_outputs(Box((2,), (0.0, 0.0), (1.0, width)))
