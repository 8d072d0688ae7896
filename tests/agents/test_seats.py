"""Several seats of one role: which rows are of one environment, and what those who learn make of it."""

import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import Naive, Tabular, TitForTat
from pax.agents.seats import by_environment, by_row, mean_of_others
from pax.config.build import build_trainer
from pax.config.files import load_config
from pax.envs import IteratedMatrixGame, IteratedTensorGame
from pax.envs.spaces import Discrete
from pax.errors import ConfigError
from pax.learners import LOQA, AdvantageAlignment, LOLADiCE
from pax.learners.gradient import join_trials
from pax.learners.learner import Experience
from pax.loop.counts import Counts
from pax.loop.trial import TrialRunner
from pax.roles import Role
from pax.trainer import MetaTrainer
from pax.types import LineUp, Sample, Task

ROOT = pathlib.Path(__file__).parents[2]
T, E, O, K = 4, 3, 2, 2  # noqa: E741
GAME = IteratedMatrixGame(num_inner_steps=T)


def sample(rewards, actions, num_seats, num_envs):
    rewards, actions = jnp.array(rewards, jnp.float32), jnp.array(actions)
    zeros = jnp.zeros(rewards.shape)
    return Sample(
        observations=zeros.astype(int),
        actions=actions,
        rewards=rewards,
        log_probs=zeros,
        values=zeros,
        dones=zeros.astype(bool).at[-1].set(True),
        hiddens=zeros[..., None][..., :0],
        num_seats=num_seats,
        num_envs=num_envs,
    )


@pytest.mark.parametrize("seats", (1, 2, 3))
@pytest.mark.parametrize("blocks", (1, 2))
@pytest.mark.parametrize("envs", (1, 3))
def test_the_mean_of_others_leaves_out_all_seats_of_an_environment(seats, blocks, envs):
    size = blocks * seats * envs
    values = np.random.default_rng(0).normal(size=(2, size))
    rollout = sample(values, np.zeros(values.shape, int), seats, envs)

    def environment(row):
        return row // (seats * envs), row % envs

    others = [
        [row for row in range(size) if environment(row) != environment(own)] for own in range(size)
    ]
    expected = [[v[rows].mean() if rows else 0.0 for rows in others] for v in values]
    values = jnp.array(values)
    np.testing.assert_allclose(mean_of_others(values, rollout), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(by_row(by_environment(values, rollout), rollout), values)


@pytest.mark.parametrize("num_envs", (1, 2))
def test_naive_is_unbiased_on_several_seats(num_envs):
    """Its expected gradient over everything that may happen in one step is that of the expected reward."""
    agent = Naive(Discrete(1), Discrete(2), network="table")
    # By own and other action, and a part that the other's alone decides.
    payoff = np.array([[0.0, 5.0], [1.0, 7.0]])
    logit = 0.4

    def probability(action, logit):
        return 1 / (1 + np.exp(-logit if action == 0 else logit))

    def expected_reward(logit, other):
        pairs = itertools.product(range(2), repeat=2)
        return sum(probability(a, logit) * probability(b, other) * payoff[a, b] for a, b in pairs)

    # Both play the same policy: what each earns by its own part of it, averaged over seats.
    step = 1e-5
    true = (expected_reward(logit + step, logit) - expected_reward(logit - step, logit)) / (
        2 * step
    )

    params = {"table": jnp.array([[logit, 0.0, 0.0]])}
    slope = jax.jit(jax.grad(lambda params, rollout: -agent.loss(params, rollout)[0]))
    total = 0.0
    for actions in itertools.product(range(2), repeat=2 * num_envs):
        first, second = actions[:num_envs], actions[num_envs:]
        pairs = zip(first, second, strict=True)
        rewards = np.array([(payoff[a, b], payoff[b, a]) for a, b in pairs]).T.reshape(1, -1)
        rollout = sample(rewards, np.array([actions]), 2, num_envs)
        weight = np.prod([probability(action, logit) for action in actions])
        total += weight * slope(params, rollout)["table"][0, 0]
    assert total == pytest.approx(true, abs=1e-5)


def test_rows_of_the_loop_are_paired_as_they_played():
    """Each row's reward is that of its own and the paired action, for several opponents and episodes."""
    agent = Tabular.for_env(GAME)
    runner = TrialRunner(GAME, [Role("both", agent, (0, 1))], Counts(num_envs=E, num_outer_steps=K))
    states = {"both": agent.init(jax.random.key(0))}
    play = jax.vmap(lambda key: runner.play(key, states, Task(GAME.default_params))[0])
    trial = jax.jit(play)(jax.random.split(jax.random.key(1), O))
    trial = jax.tree.map(lambda leaf: leaf[None], trial)
    rollout, _, _ = join_trials(trial, "both", agent)
    actions = np.asarray(by_environment(rollout.actions, rollout))
    rewards = np.asarray(by_environment(rollout.rewards, rollout))
    assert actions.shape == (K * T, O * E, 2)
    payoff = np.array([[-1, -3], [0, -2]])
    np.testing.assert_array_equal(rewards[..., 0], payoff[actions[..., 0], actions[..., 1]])
    np.testing.assert_array_equal(rewards[..., 1], payoff[actions[..., 1], actions[..., 0]])


class Shows(Tabular):
    """Learns nothing, and tells which advantages it was to learn from."""

    def update(self, rollout, last_observations, state, memory, key, advantages=None):
        before, _ = self.advantages(rollout, last_observations, state, memory)
        return state, memory, {"before": before, "after": advantages[0]}


@pytest.mark.slow
@pytest.mark.parametrize("cls", (AdvantageAlignment, LOQA))
def test_other_seats_of_a_role_are_others(cls):
    """Of three players, two are one role: the formula with plain loops, by player."""
    env, weight, gamma = IteratedTensorGame(3, num_inner_steps=T), 2.0, 0.9
    agents = {
        "pair": Shows.for_env(env, 0, discount=gamma),
        "one": Shows.for_env(env, 2, discount=gamma),
    }
    roles = [Role("pair", agents["pair"], (0, 1)), Role("one", agents["one"], (2,))]
    runner = TrialRunner(env, roles, Counts(num_envs=E, num_outer_steps=1))
    rng = np.random.default_rng(0)
    states = {
        name: jax.tree.map(
            lambda leaf: jnp.float32(rng.normal(size=leaf.shape)), agent.init(jax.random.key(0))
        )
        for name, agent in agents.items()
    }
    task = Task(env.default_params)
    trial = jax.jit(runner.play)(jax.random.key(1), states, task)[0]
    trial = jax.tree.map(lambda leaf: leaf[None, None], trial)
    no_axes = dict.fromkeys(agents)
    line_up = LineUp(states, no_axes, no_axes)
    found = {}
    for name, agent in agents.items():
        learner = cls(agent, weight=weight)
        experience = Experience(name, jax.random.key(2), trial, task, line_up, agents, None)
        _, found[name] = learner.update(states[name], experience)
    # [3 players, T, E]: the pair's seats lie side by side.
    players = [found["pair"]["before"][:, :E], found["pair"]["before"][:, E:]]
    players.append(found["one"]["before"])
    shares = [np.ones((T, E))] * 3
    if cls is LOQA:
        pair, one = (np.asarray(trial.rollouts[name].log_probs[0, 0, 0]) for name in agents)
        shares = [1 - np.exp(part) for part in (pair[:, :E], pair[:, E:], one)]
    expected = []
    for me, other in itertools.product(range(3), repeat=2):
        if me == other:
            expected.append(np.array(players[me], np.float64))
    for me, t in itertools.product(range(3), range(T)):
        for other in {0, 1, 2} - {me}:
            past = sum(gamma ** (t - k) * players[me][k] * shares[other][k] / t for k in range(t))
            expected[me][t] += weight / 2 * gamma * past * players[other][t]
    after = np.concatenate([found["pair"]["after"], found["one"]["after"]], axis=1)
    np.testing.assert_allclose(after, np.concatenate(expected, axis=1), rtol=1e-3, atol=1e-4)
    assert np.abs(after - np.concatenate(players, axis=1)).max() > 0.1


# What is served, and what is told before anything compiles.


def naive(seat=0):
    return Naive.for_env(GAME, seat, network="table")


def lola_beside(*others, seats=(0,), look_ahead_steps=1):
    agent = naive()
    learner = LOLADiCE(agent, look_ahead_steps)
    return [Role("me", agent, seats, learner), *others]


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (
            lola_beside(seats=(0, 1)),
            "role me looks ahead at how others learn, by lola_dice, and nob",
        ),
        (
            lola_beside(Role("other", TitForTat.for_env(GAME, 1), (1,))),
            "role me looks ahead at how",
        ),
        (
            lola_beside(Role("other", naive(1), (1,), learns_in_trial=True)),
            "role other learns in the trial, of 2 episodes",
        ),
    ],
)
def test_looking_ahead_at_nobody_is_refused(roles, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        MetaTrainer(GAME, roles, num_envs=4, num_outer_steps=2, num_iters=1, chunk=1)


def test_who_does_not_look_ahead_needs_nobody():
    roles = lola_beside(seats=(0, 1), look_ahead_steps=0)
    MetaTrainer(GAME, roles, num_envs=4, num_iters=1, chunk=1)


def test_shared_lola_is_refused_from_the_shell():
    with pytest.raises(ConfigError, match="looks ahead at how others learn, by lola_dice"):
        build_trainer(
            load_config(f"{ROOT}/configs/ipd.py:lola_dice,opponent=shared,quicktest"), None
        )


def test_shared_alignment_learns():
    config = load_config(f"{ROOT}/configs/ipd.py:advantage_alignment,opponent=shared,quicktest")
    config.num_iters = config.chunk = 1
    for name in config.callbacks:
        config.callbacks[name].enabled = False
    assert np.isfinite(build_trainer(config, None).fit()["train/agent1/loss_total"])


def test_lola_on_two_of_three_seats_learns():
    env = IteratedTensorGame(3, num_inner_steps=T)
    options = {"network": "table", "optimizer": "sgd"}
    own, other = (Naive.for_env(env, seat, **options) for seat in (0, 2))
    roles = [
        Role("pair", own, (0, 1), LOLADiCE(own, 1)),
        Role("one", other, (2,), LOLADiCE(other, 1)),
    ]
    metrics = MetaTrainer(env, roles, num_envs=4, num_iters=1, chunk=1).fit()
    assert metrics["train/pair/gradient_norm"] > 0 and metrics["train/one/gradient_norm"] > 0
