"""Noise and continuation: what is played, what is seen, and what counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.envs import CoinGame, IteratedMatrixGame
from pax.envs.wrappers import Continuation, Noise, steps_for
from pax.errors import ConfigError

ENV = IteratedMatrixGame(num_inner_steps=4)
PARAMS = ENV.make_params(payoff=((1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0)))


def steps(env, actions, num):
    """`num` independent first steps: rewards `[num, 2]` and what both saw, `[num, 2]`."""
    _, state = env.reset(jax.random.key(0), PARAMS)
    keys = jax.random.split(jax.random.key(1), num)
    seen, _, rewards, _, _ = jax.vmap(lambda key: env.step(key, state, actions, PARAMS))(keys)
    return np.stack(rewards, axis=1), np.stack(seen, axis=1)


def test_certain_noise_plays_the_other_action_and_shows_it():
    rewards, seen = steps(Noise(ENV, 1.0), (jnp.int32(0), jnp.int32(1)), 3)
    # DC was played where CD was meant.
    assert (rewards == [5.0, 6.0]).all()
    assert (seen == [2, 1]).all()


def test_no_noise_changes_nothing():
    rewards, seen = steps(Noise(ENV, 0.0), (jnp.int32(0), jnp.int32(1)), 3)
    assert (rewards == [3.0, 4.0]).all()
    assert (seen == [1, 2]).all()


def test_each_action_goes_wrong_on_its_own():
    num, p = 20000, 0.3
    _, seen = steps(Noise(ENV, p), (jnp.int32(0), jnp.int32(0)), num)
    expected = np.array([(1 - p) ** 2, (1 - p) * p, p * (1 - p), p**2])
    shares = np.bincount(seen[:, 0], minlength=4) / num
    assert (abs(shares - expected) <= 4 * np.sqrt(expected * (1 - expected) / num)).all()


def test_flips_drawn_ahead_are_those_of_the_key():
    env, key = Noise(ENV, 0.5), jax.random.key(2)
    _, state = env.reset(key, PARAMS)
    actions = (jnp.int32(0), jnp.int32(1))
    for one in jax.random.split(key, 8):
        expected = env.step(one, state, actions, PARAMS)[:3]
        ahead = env.transition(env.draw(one, PARAMS), state, actions, PARAMS)[:3]
        assert jax.tree.map(float, jax.tree.leaves(ahead)) == [
            *map(float, jax.tree.leaves(expected))
        ]


def test_rewards_count_as_likely_as_their_step_is_played():
    w = 0.5
    env = Continuation(ENV, w)
    _, state = env.reset(jax.random.key(0), PARAMS)
    rewards, dones = [], []
    for _ in range(4):
        actions = (jnp.int32(1), jnp.int32(0))
        _, state, reward, done, _ = env.step(jax.random.key(0), state, actions, PARAMS)
        rewards.append(reward)
        dones.append(bool(done))
    weights = np.array([1, 1 / 2, 1 / 4, 1 / 8]) / (15 / 8)
    np.testing.assert_allclose(rewards, 4 * np.outer(weights, [5.0, 6.0]), rtol=1e-6)
    # The mean over the four steps of a constant reward is that reward.
    np.testing.assert_allclose(np.mean(rewards, axis=0), [5.0, 6.0], rtol=1e-6)
    assert dones == [False, False, False, True]


def test_a_match_that_ends_at_once_is_one_step():
    env = Continuation(IteratedMatrixGame(num_inner_steps=steps_for(0.0)), 0.0)
    assert env.num_inner_steps == 1
    rewards, _ = steps(env, (jnp.int32(0), jnp.int32(1)), 1)
    np.testing.assert_allclose(rewards, [[3.0, 4.0]])


@pytest.mark.parametrize("w", (0.01, 0.9, 0.999))
def test_little_is_left_out(w):
    num_steps = steps_for(w)
    assert w**num_steps <= 1e-4 < w ** (num_steps - 1)


def test_lengths_that_are_drawn_have_the_same_expectation():
    """Rewards 1, 0, 1, 0, ...: the ratio of sums over matches of geometric length."""
    w, rng = 0.8, np.random.default_rng(0)
    lengths = rng.geometric(1 - w, size=200_000)
    drawn = np.ceil(lengths / 2).sum() / lengths.sum()
    weights = (1 - w) * w ** np.arange(0, 200, 2)
    assert weights.sum() == pytest.approx(drawn, abs=2e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    (
        (lambda: Noise(ENV, -0.1), "noise is -0.1: give a probability"),
        (lambda: Noise(ENV, float("nan")), "noise is nan: give a probability"),
        (lambda: Noise(CoinGame(), 0.1), "player 1 of CoinGame acts in Discrete.* leave it out"),
        (lambda: Continuation(ENV, 1.0), "continuation is 1.0: .* less than 1"),
        (lambda: steps_for(-0.5), "continuation is -0.5"),
    ),
)
def test_what_makes_no_sense_is_said(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
