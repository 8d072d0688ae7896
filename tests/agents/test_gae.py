"""Generalised advantage estimation against plain loops in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents.gae import generalised_advantage_estimation

NUM_STEPS, NUM_ENVS = 12, 5


def reference(rewards, values, dones, last_value, discount, gae_lambda):
    """A_t as the sum over k of (gamma lambda)^k delta_{t+k}, up to the end of the episode."""
    num_steps, num_envs = rewards.shape
    advantages = np.zeros((num_steps, num_envs))
    for env in range(num_envs):
        for start in range(num_steps):
            weight = 1.0
            for t in range(start, num_steps):
                following = last_value[env] if t == num_steps - 1 else values[t + 1, env]
                if dones[t, env]:
                    following = 0.0
                delta = rewards[t, env] + discount * following - values[t, env]
                advantages[start, env] += weight * delta
                if dones[t, env]:
                    break
                weight *= discount * gae_lambda
    return advantages, values + advantages


def random_rollout(seed, probability_of_done):
    rng = np.random.default_rng(seed)
    shape = (NUM_STEPS, NUM_ENVS)
    return (
        rng.normal(size=shape),
        rng.normal(size=shape),
        rng.random(shape) < probability_of_done,
        rng.normal(size=NUM_ENVS),
    )


@pytest.fixture(scope="module")
def estimate():
    return jax.jit(generalised_advantage_estimation)


@pytest.mark.parametrize("discount", (0.0, 0.96, 1.0))
@pytest.mark.parametrize("gae_lambda", (0.0, 0.95, 1.0))
@pytest.mark.parametrize("probability_of_done", (0.0, 0.2, 1.0))
def test_equal_to_numpy(estimate, discount, gae_lambda, probability_of_done):
    rollout = random_rollout(0, probability_of_done)
    expected = reference(*rollout, discount, gae_lambda)
    rewards, values, dones, last_value = rollout
    actual = estimate(
        *(jnp.array(x, jnp.float32) for x in (rewards, values)),
        jnp.array(dones),
        jnp.array(last_value, jnp.float32),
        discount,
        gae_lambda,
    )
    for a, e in zip(actual, expected, strict=True):
        assert (a.shape, a.dtype) == ((NUM_STEPS, NUM_ENVS), jnp.float32)
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5)


def test_three_steps_by_hand():
    """Gamma = .5 and lambda = .5; the second step ends an episode."""
    advantages, targets = generalised_advantage_estimation(
        rewards=jnp.array([1.0, 2.0, 3.0]),
        values=jnp.array([4.0, 6.0, 8.0]),
        dones=jnp.array([False, True, False]),
        last_value=jnp.array(10.0),
        discount=0.5,
        gae_lambda=0.5,
    )
    # delta = 1 + 3 - 4, 2 - 6, 3 + 5 - 8
    np.testing.assert_allclose(advantages, [0 + 0.25 * -4, -4, 0], atol=1e-6)
    np.testing.assert_allclose(targets, [3, 2, 8], atol=1e-6)


def test_the_same_without_jit_and_environment_by_environment(estimate):
    rewards, values, dones, last_value = map(jnp.array, random_rollout(1, 0.2))
    arguments = (rewards, values, dones, last_value)
    plain = generalised_advantage_estimation(*arguments, 0.9, 0.8)
    np.testing.assert_allclose(estimate(*arguments, 0.9, 0.8), plain, atol=1e-6)
    for env in range(NUM_ENVS):
        own = (rewards[:, env], values[:, env], dones[:, env], last_value[env])
        for a, e in zip(estimate(*own, 0.9, 0.8), plain, strict=True):
            np.testing.assert_allclose(a, e[:, env], atol=1e-6)
