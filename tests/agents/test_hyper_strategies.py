"""Strategies of the infinite game against the returns that these policies have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import AGENTS, HyperAltruistic, HyperDefect, HyperTFT
from pax.envs import InfiniteMatrixGame
from pax.envs.iterated_matrix_game import PAYOFFS
from pax.envs.spaces import Box, Discrete
from pax.errors import ConfigError

KEY = jax.random.key(0)
ENV = InfiniteMatrixGame(num_inner_steps=5)
LOGITS = {
    HyperAltruistic: [20, 20, 20, 20, 20],
    HyperDefect: [-20, -20, -20, -20, -20],
    HyperTFT: [20, -20, 20, -20, 20],
}
STEP = jax.jit(ENV.step)


def act(strategy, seat, observations):
    agent = strategy.for_env(ENV, seat)
    state, memory = agent.make_initial_state(KEY, agent.initial_hidden(len(observations)))
    actions, after = agent.policy(state, observations, memory, KEY)
    assert jax.tree.structure(after) == jax.tree.structure(memory)
    return actions


@pytest.mark.parametrize("strategy", LOGITS)
def test_logits_are_the_same_whatever_is_observed(strategy):
    observations = jax.random.uniform(KEY, (3, 10))
    actions = act(strategy, 0, observations)
    assert (actions.shape, actions.dtype) == ((3, 5), jnp.float32)
    assert actions.tolist() == [LOGITS[strategy]] * 3


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    (
        (HyperAltruistic, HyperAltruistic, (2, 2)),
        (HyperDefect, HyperDefect, (1, 1)),
        (HyperDefect, HyperAltruistic, (3, 0)),
        (HyperTFT, HyperTFT, (2, 2)),
        (HyperTFT, HyperDefect, (0.99, 1.02)),
        (HyperDefect, HyperTFT, (1.02, 0.99)),
        (HyperAltruistic, HyperTFT, (2, 2)),
    ),
)
def test_what_they_earn_of_each_other(first, second, expected):
    params = ENV.make_params(payoff=PAYOFFS["ipd_positive"], gamma=0.99)
    observations, state = ENV.reset(KEY, params)
    actions = tuple(
        act(strategy, seat, observations[seat][None])[0]
        for seat, strategy in enumerate((first, second))
    )
    np.testing.assert_allclose(STEP(KEY, state, actions, params)[2], expected, atol=1e-6)


@pytest.mark.parametrize("strategy", LOGITS)
@pytest.mark.parametrize("actions", (Discrete(2), Box((4,)), Box((5,), 0.0, 1.0), Box((5, 1))))
def test_other_games_are_refused(strategy, actions):
    observations = Box((10,), 0.0, 1.0)
    with pytest.raises(ConfigError) as error:
        strategy(observations, actions)
    assert str(error.value) == (
        f"{strategy.__name__} plays the infinite matrix game only, and this game has observations "
        f"{observations} and actions {actions}: choose another agent for this seat"
    )


def test_their_names():
    assert {AGENTS[strategy.__name__] for strategy in LOGITS} == set(LOGITS)
    assert not any(strategy.learns for strategy in LOGITS)
