"""Distributions against numpy, and what network outputs mean in each action space."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents.distributions import MIN_STD, Gaussian, make_distribution, num_outputs
from pax.envs.spaces import Box, Dict, Discrete
from pax.errors import ConfigError

MEAN = np.array([[0.3, -2.0], [5.0, 0.0]], np.float32)
STD = np.array([[0.5, 2.0], [0.01, 1.0]], np.float32)


def softplus(x):
    return np.log1p(np.exp(x))


def test_log_probabilities_of_a_gaussian_are_those_of_independent_normals():
    actions = np.array([[0.0, 1.0], [5.02, -3.0]], np.float32)
    density = np.exp(-((actions - MEAN) ** 2) / (2 * STD**2)) / (STD * math.sqrt(2 * math.pi))
    actual = Gaussian(MEAN, STD).log_prob(actions)
    np.testing.assert_allclose(actual, np.log(density).sum(axis=-1), rtol=1e-5)


def test_entropy_of_a_gaussian_is_the_mean_surprise_of_its_samples():
    gaussian = Gaussian(jnp.array([1.0, -1.0]), jnp.array([0.5, 3.0]))
    samples = jax.vmap(gaussian.sample)(jax.random.split(jax.random.key(0), 20_000))
    np.testing.assert_allclose(samples.mean(axis=0), gaussian.mean, atol=0.08)
    np.testing.assert_allclose(samples.std(axis=0), gaussian.std, rtol=0.03)
    np.testing.assert_allclose(-gaussian.log_prob(samples).mean(), gaussian.entropy(), rtol=0.02)


def test_outputs_are_means_and_then_spreads():
    outputs = jnp.array([0.5, -4.0, 0.0, 2.0])
    free = make_distribution(outputs, Box((2,)), scale=10.0)
    np.testing.assert_allclose(free.mean, [5.0, -40.0], rtol=1e-6)
    np.testing.assert_allclose(free.std, 10 * (softplus(np.array([0.0, 2.0])) + MIN_STD), rtol=1e-5)
    # Half a bound is none: the game clips.
    assert (make_distribution(outputs, Box((2,), 0.0)).mean == outputs[:2]).all()


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
    assert num_outputs(Box((3,))) == 6
    for space in (Box((2, 2)), Box(()), Dict((("a", Discrete(2)),))):
        with pytest.raises(ConfigError, match="a policy needs Discrete ones, or a Box of one axis"):
            num_outputs(space)


def test_standard_deviations_are_softplus_however_large_the_outputs():
    spreads = jnp.array([-1e4, -90.0, -20.0, -1.0, 0.0, 1.0, 20.0, 90.0, 1e4])

    def std(spread):
        outputs = jnp.stack([jnp.zeros_like(spread), spread], axis=-1)
        return make_distribution(outputs, Box((1,))).std[..., 0]

    np.testing.assert_allclose(std(spreads), jax.nn.softplus(spreads) + MIN_STD, rtol=1e-4)
    np.testing.assert_allclose(
        jax.vmap(jax.grad(std))(spreads), jax.nn.sigmoid(spreads), rtol=1e-5, atol=1e-7
    )
