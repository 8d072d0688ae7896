"""LOLA-DiCE against exact derivatives, had from all trajectories of a short game."""

import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import MFOS, Naive, TitForTat
from pax.config.build import build_trainer
from pax.config.files import load_config
from pax.envs import IteratedMatrixGame
from pax.errors import ConfigError
from pax.learners import LOLADiCE
from pax.learners.lola_dice import dice_objective
from pax.types import Sample

ROOT = pathlib.Path(__file__).parents[2]
T, GAMMA = 3, 0.8
PAYOFF = np.array([(-1, -1), (-3, 0), (0, -3), (-2, -2)], float)
START = 4


def all_episodes():
    """Observations and actions `[T, 4^T, 2]` and rewards of every course that a game can take."""
    courses = list(itertools.product(itertools.product((0, 1), (0, 1)), repeat=T))
    actions = np.array(courses).transpose(1, 0, 2)
    own, other = actions[..., 0], actions[..., 1]
    after = np.stack([2 * own + other, 2 * other + own], axis=-1)
    observations = np.concatenate([np.full_like(after[:1], START), after[:-1]])
    return observations, actions, PAYOFF[2 * own + other]


def exact_value(first, second, player):
    """Expected discounted return, from logits of C `[5]`, over all courses in float64."""
    observations, actions, rewards = all_episodes()
    probability = np.ones(actions.shape[1])
    for seat, logits in enumerate((first, second)):
        c = 1 / (1 + np.exp(-np.asarray(logits, np.float64)[observations[..., seat]]))
        probability = probability * np.where(actions[..., seat] == 0, c, 1 - c).prod(axis=0)
    weights = GAMMA ** np.arange(T)[:, None]
    return (probability * (weights * rewards[..., player]).sum(axis=0)).sum()


def differences(function, point, h=1e-4):
    return np.array(
        [(function(point + s) - function(point - s)) / (2 * h) for s in h * np.eye(len(point))]
    )


@pytest.fixture(scope="module")
def game():
    """The objective as a function of both players' logits of C, where every course is equally likely."""
    env = IteratedMatrixGame(num_inner_steps=T)
    agents = {
        str(seat): Naive.for_env(env, seat, network="table", discount=GAMMA) for seat in range(2)
    }
    observations, actions, rewards = all_episodes()
    batch = actions.shape[1]
    zeros = jnp.zeros((T, batch))
    rollouts = {
        str(seat): Sample(
            observations=jnp.asarray(observations[..., seat]),
            actions=jnp.asarray(actions[..., seat]),
            rewards=jnp.asarray(rewards[..., seat], jnp.float32),
            log_probs=zeros,
            values=zeros,
            dones=zeros.astype(bool),
            hiddens=jnp.zeros((T, batch, 0)),
        )
        for seat in range(2)
    }

    def objective(first, second, player):
        params = {
            str(seat): {"table": jnp.stack([logits, *[jnp.zeros(5)] * 2], axis=-1)}
            for seat, logits in enumerate((first, second))
        }
        return dice_objective(params, agents, rollouts, str(player))

    both = jax.tree.map(lambda *seats: jnp.concatenate(seats, axis=1), *rollouts.values())
    both = {"0": both.replace(num_seats=2, num_envs=batch)}

    def shared(logits):
        params = {"0": {"table": jnp.stack([logits, *[jnp.zeros(5)] * 2], axis=-1)}}
        return dice_objective(params, {"0": agents["0"]}, both, "0")

    objective.shared = shared
    # Compared with the mean of all *other* courses, rewards differ by that much more.
    return objective, batch / (batch - 1)


def test_a_role_on_both_seats_has_the_mean_of_both_returns(game):
    objective, scale = game

    def mean_value(logits):
        return np.mean([exact_value(logits, logits, player) for player in range(2)])

    value, gradient = jax.value_and_grad(objective.shared)(jnp.zeros(5))
    np.testing.assert_allclose(value, mean_value(np.zeros(5)), rtol=1e-5)
    expected = differences(mean_value, np.zeros(5))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(gradient, scale * expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("player", [0, 1])
def test_the_objective_and_its_derivatives_are_those_of_the_expected_return(game, player):
    objective, scale = game
    zero = jnp.zeros(5)
    np.testing.assert_allclose(
        objective(zero, zero, player), exact_value(np.zeros(5), np.zeros(5), player), rtol=1e-5
    )
    for seat in range(2):
        gradient = jax.grad(objective, seat)(zero, zero, player)
        expected = differences(
            lambda x: exact_value(*((x, np.zeros(5)) if seat == 0 else (np.zeros(5), x)), player),  # noqa: B023
            np.zeros(5),
        )
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(gradient, scale * expected, rtol=1e-4, atol=1e-5)
    mixed = jax.jacobian(jax.grad(objective, 0), 1)(zero, zero, player)
    expected = differences(
        lambda y: differences(lambda x: exact_value(x, y, player), np.zeros(5)), np.zeros(5)
    ).T
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(mixed, scale * expected, rtol=1e-3, atol=1e-4)


def run(argument, **settings):
    config = load_config(f"{ROOT}/configs/ipd.py:lola_dice,{argument}")
    config.update(settings)
    for name in config.callbacks:
        config.callbacks[name].enabled = False
    trainer = build_trainer(config, None)
    return trainer.fit()


@pytest.mark.slow
def test_it_cooperates_by_looking_ahead_and_not_without():
    rewards = {}
    for steps in (0, 3):
        metrics = run(f"look_ahead_steps={steps}", num_iters=60)
        rewards[steps] = metrics["train/reward_per_timestep/player_1"]
    assert rewards[0] < -1.9 and rewards[3] > -1.4, rewards


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda env: LOLADiCE(TitForTat.for_env(env)), "TitForTat cannot learn by lola_dice"),
        (lambda env: LOLADiCE(MFOS.for_env(env)), "MFOS cannot learn by lola_dice: choose Naive"),
        (
            lambda env: LOLADiCE(Naive.for_env(env), -1),
            "look_ahead_steps is -1 in LOLADiCE: give 0 or more",
        ),
        (
            lambda env: LOLADiCE(Naive.for_env(env), 1, -0.1),
            "look_ahead_rate is -0.1 in LOLADiCE: give 0 or",
        ),
        (lambda env: LOLADiCE(Naive.for_env(env)).check(2, 1, 10, 4), "there are 2 opponents or"),
        (
            lambda env: LOLADiCE(Naive.for_env(env)).check(1, 1, 10, 1),
            "num_envs is 1, and lola_dice",
        ),
    ],
)
def test_what_is_wrong_is_said(make, message):
    with pytest.raises(ConfigError, match=message):
        make(IteratedMatrixGame())
