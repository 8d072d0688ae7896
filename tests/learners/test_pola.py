"""POLA: LOLA-DiCE within a limited distance, which is measured between policies."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import AGENTS, Naive
from pax.agents.distributions import Categorical, MaskedCategorical
from pax.config.build import build_trainer
from pax.config.files import load_config
from pax.envs import IteratedMatrixGame
from pax.errors import ConfigError
from pax.learners import POLA, LOLADiCE
from pax.learners.pola import policy_divergence
from pax.loop.counts import Counts
from pax.loop.iteration import Loop
from pax.roles import Role
from pax.tasks import compose
from pax.types import Sample

ENV = IteratedMatrixGame(num_inner_steps=4)


def test_divergence_is_that_of_the_definition():
    p, q = (
        np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]),
        np.array([[0.6, 0.3, 0.1], [0.25, 0.5, 0.25]]),
    )
    expected = [0.2 * np.log(0.2 / 0.6) + 0.5 * np.log(0.5 / 0.1), np.log(4)]
    found = Categorical(jnp.log(p)).divergence_from(Categorical(jnp.log(q)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)

    # What is not legal counts nothing, and has no gradient.
    def masked(logits):
        mask = jnp.array([True, False, True])
        old = MaskedCategorical.from_masked(jnp.log(jnp.array([0.5, 9.0, 0.5])), mask)
        return old.divergence_from(MaskedCategorical.from_masked(logits, mask))

    logits = jnp.log(jnp.array([0.25, 7.0, 0.75]))
    expected = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    np.testing.assert_allclose(masked(logits), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(masked)(logits), [-0.25, 0, 0.25], atol=1e-6)


def test_divergence_of_policies_is_the_mean_over_visited_states():
    agent = Naive.for_env(ENV, network="table")
    states = jnp.array([[4, 4], [0, 3], [0, 0]])
    logits = {
        name: np.random.default_rng(seed).normal(size=(5, 2)) for seed, name in enumerate("ab")
    }
    params = {
        name: {"table": jnp.asarray(np.concatenate([each, np.zeros((5, 1))], axis=1), jnp.float32)}
        for name, each in logits.items()
    }
    zeros = jnp.zeros((3, 2))
    rollout = Sample(states, states, zeros, zeros, zeros, zeros.astype(bool), jnp.zeros((3, 2, 0)))
    a, b = (np.exp(each) / np.exp(each).sum(-1, keepdims=True) for each in logits.values())
    by_state = (a * np.log(a / b)).sum(axis=-1)
    found = policy_divergence(agent, params["b"], params["a"], rollout)
    np.testing.assert_allclose(found, by_state[np.array(states)].mean(), rtol=1e-5)


def updated(learner_class, key=None, **settings):
    """The parameters of player 1 after one iteration, and what it reported."""
    roles = []
    for seat in range(2):
        agent = Naive.for_env(ENV, seat, network="table", learning_rate=0.5, optimizer="sgd")
        roles.append(Role(f"agent{seat + 1}", agent, (seat,), learner_class(agent, **settings)))
    counts = Counts(num_envs=64)
    loop = Loop(ENV, roles, compose(ENV.default_params, ()), counts)
    # From policies that are not at a saddle.
    state = loop.init(jax.random.split(jax.random.key(3), 1))
    tables = jax.random.normal(jax.random.key(7), state.learners["agent1"].params["table"].shape)
    learners = {
        name: each.replace(params={"table": sign * tables})
        for (name, each), sign in zip(state.learners.items(), (1, -1), strict=True)
    }
    state = state.replace(learners=learners)
    new, metrics = jax.jit(lambda state: loop.run(state, 1))(state)
    start = learners["agent1"].params["table"][0]
    return np.array(new.learners["agent1"].params["table"][0] - start), metrics


class FirstKey(LOLADiCE):
    """LOLA-DiCE with the random numbers of the first of POLA's steps."""

    def update(self, state, experience):
        return super().update(
            state, experience._replace(key=jax.random.split(experience.key, 1)[0])
        )


@pytest.mark.slow
def test_one_step_without_penalties_is_one_of_lola_dice():
    ahead = {"look_ahead_steps": 2, "look_ahead_rate": 0.7}
    moved, _ = updated(POLA, outer_steps=1, outer_beta=0.0, inner_beta=0.0, **ahead)
    expected, _ = updated(FirstKey, **ahead)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_penalties_hold_policies_back():
    ahead = {"look_ahead_steps": 2, "look_ahead_rate": 0.7, "outer_steps": 8}
    sizes = {
        (outer, inner): np.abs(updated(POLA, outer_beta=outer, inner_beta=inner, **ahead)[0]).max()
        for outer, inner in itertools.product((0.0, 30.0), repeat=2)
    }
    assert sizes[30.0, 0.0] < 0.7 * sizes[0.0, 0.0]
    # Others that move less leave less to be gained.
    assert sizes[0.0, 30.0] != pytest.approx(sizes[0.0, 0.0], rel=0.01)


@pytest.mark.slow
def test_it_cooperates_with_itself():
    config = load_config("configs/ipd.py:pola,small")
    config.num_iters = 20
    for name in config.callbacks:
        config.callbacks[name].enabled = False
    metrics = build_trainer(config, None).fit()
    assert all(metrics[f"train/reward_per_timestep/player_{i}"] > -1.3 for i in (1, 2)), metrics


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: POLA(AGENTS["TitForTat"].for_env(ENV)), "TitForTat cannot learn by pola: choose"),
        (
            lambda: POLA(Naive.for_env(ENV), outer_steps=0),
            "outer_steps is 0 in POLA: give at least",
        ),
        (
            lambda: POLA(Naive.for_env(ENV), outer_beta=-1),
            "outer_beta is -1 in POLA: give 0 or more",
        ),
        (lambda: POLA(Naive.for_env(ENV)).check(2, 1, 10, 4), "there are 2 opponents .*, and pola"),
        (lambda: POLA(Naive.for_env(ENV)).check(1, 1, 10, 1), "num_envs is 1, and pola compares"),
    ],
)
def test_what_is_wrong_is_said(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
