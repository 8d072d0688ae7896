"""Uniform play in games of every kind."""

import dataclasses

import jax
import numpy as np
import pytest

from pax.agents import Random
from pax.envs.spaces import Box, Discrete

NUM = 4000


def actions_of(space):
    agent = Random(Box((3,)), space)
    state, memory = agent.make_initial_state(jax.random.key(0), agent.initial_hidden(NUM))
    actions, _ = jax.jit(agent.policy)(state, np.zeros((NUM, 3)), memory, jax.random.key(1))
    assert actions.dtype == space.dtype and actions.shape == (NUM, *space.shape)
    return np.asarray(actions)


@pytest.mark.parametrize("num_actions", (2, 3, 7))
def test_every_action_is_as_likely(num_actions):
    counts = np.bincount(actions_of(Discrete(num_actions)), minlength=num_actions)
    # Five standard deviations of a binomial count.
    deviation = np.sqrt(NUM * (1 / num_actions) * (1 - 1 / num_actions))
    assert len(counts) == num_actions
    np.testing.assert_allclose(counts, NUM / num_actions, atol=5 * deviation)


@dataclasses.dataclass
class Moments:
    """What is expected of a number of an action, and the standard deviation of its mean."""

    low: float
    high: float
    mean: float
    std: float


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (Box((2,), 0.0, (1.0, 5.0)), [Moments(0, 1, 0.5, 0.289), Moments(0, 5, 2.5, 1.443)]),
        (Box((1,)), [Moments(-9, 9, 0.0, 1.0)]),
        # Half of a normal distribution is put on the bound: the mean is that of its positive part.
        (Box((2,), 0.0, (1.0, np.inf)), [Moments(0, 1, 0.5, 0.289), Moments(0, 9, 0.399, 0.584)]),
    ],
    ids=["bounded", "unbounded", "mixed"],
)
def test_numbers_are_uniform_within_bounds_and_normal_without(space, expected):
    actions = actions_of(space)
    for values, moments in zip(actions.T, expected, strict=True):
        assert moments.low <= values.min() and values.max() <= moments.high
        np.testing.assert_allclose(values.mean(), moments.mean, atol=5 * moments.std / NUM**0.5)
        np.testing.assert_allclose(values.std(), moments.std, rtol=0.08)
