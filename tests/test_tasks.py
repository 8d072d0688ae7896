"""Samplers draw what they say, and a trial applies what was drawn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import AGENTS, Agent
from pax.agents.fixed import Reactive
from pax.envs import Environment, IteratedMatrixGame
from pax.envs.spaces import Discrete
from pax.errors import ConfigError
from pax.roles import Role
from pax.tasks import TASKS, Draw, compose
from pax.trial import TrialRunner
from pax.types import Task

T, E, K = 4, 6, 3
ENV = IteratedMatrixGame(num_inner_steps=T)
# No two numbers are alike, so that no mix-up of rows or columns goes unnoticed.
PAYOFF = np.array(((0.1, -0.2), (-0.7, 0.5), (0.3, -0.6), (-0.4, 0.8)), np.float32)
PARAMS = ENV.make_params(payoff=tuple(map(tuple, PAYOFF.tolist())))
CC, CD, DC, DD, START = range(5)
SWAPPED = np.array((CC, DC, CD, DD, START))  # A state as the other player sees it.
MANY = 4000


def draw_many(*samplers, num=MANY, iteration=0, params=PARAMS):
    """The tasks of all opponents of an iteration, in numpy; keys are split as the loop does."""
    opponent_key, generation_key = jax.random.split(jax.random.key(iteration))
    sample = jax.vmap(compose(params, samplers), in_axes=(0, None, None))
    return sample(jax.random.split(opponent_key, num), generation_key, jnp.int32(iteration))


def payoffs(*samplers, **options):
    return np.asarray(draw_many(*samplers, **options).env_params.payoff_matrix)


def assert_uniform(values, low, high):
    """No quantile is far from where it belongs (Kolmogorov-Smirnov, far beyond 1 % for MANY)."""
    values = (np.sort(np.ravel(values)) - low) / (high - low)
    assert values[0] >= -1e-6 and values[-1] <= 1 + 1e-6
    assert np.abs(values - np.linspace(0, 1, len(values))).max() < 0.03


def play(roles, *samplers, num_opps=16, env=ENV, params=PARAMS, tasks=None, **init):
    """Trials against `num_opps` opponents: (trial `[O, ...]` in numpy, states before, after, tasks)."""
    runner = TrialRunner(env, roles, num_envs=E, num_outer_steps=K)
    tasks = draw_many(*samplers, num=num_opps, params=params) if tasks is None else tasks
    before = {role.name: role.agent.init(jax.random.key(1)) for role in roles}
    trials = jax.jit(jax.vmap(runner.play, in_axes=(0, None, 0)))
    trial, after = trials(jax.random.split(jax.random.key(2), num_opps), before, tasks)
    return jax.device_get(trial), before, jax.device_get(after), jax.device_get(tasks)


def role(name, seats, agent=None, **options):
    return Role(name, agent or AGENTS[name].for_env(ENV, seats[0]), seats, **options)


class Mirror(Reactive):
    """Tit for tat that starts at random: what it sees decides what it does."""

    cooperation = (1.0, 0.0, 1.0, 0.0, 0.5)


# Payoffs.


def test_mixed_payoffs_are_minus_integers_of_all_sizes():
    drawn = payoffs(TASKS["mixed_payoff"](high=4))

    assert drawn.shape == (MANY, 4, 2)
    for cell in drawn.reshape(MANY, 8).T:
        values, counts = np.unique(-cell, return_counts=True)
        np.testing.assert_array_equal(values, [0, 1, 2, 3])
        np.testing.assert_allclose(counts / MANY, 0.25, atol=0.03)
    # Cells are independent: nearly all of the 4 ** 8 games that can come up differ.
    assert len(np.unique(drawn, axis=0)) > 0.9 * MANY


def test_a_payoff_per_generation_is_that_of_all_opponents_of_an_iteration():
    sampler = TASKS["mixed_payoff"](per_generation=True)
    iterations = np.stack([payoffs(sampler, num=5, iteration=i) for i in range(6)])

    assert (iterations == iterations[:, :1]).all()
    assert len(np.unique(iterations[:, 0], axis=0)) == 6
    assert set(np.unique(-iterations)) <= set(range(10))


@pytest.mark.parametrize("scale", [2.0, 0.5])
def test_mixed_ipd_payoffs_are_prisoners_dilemmas(scale):
    drawn = payoffs(TASKS["mixed_ipd_payoff"](scale=scale))

    r, s, t, p = -drawn[:, :, 0].T  # Costs to player 1 of CC, CD, DC and DD.
    assert (t > 0).all()
    for smaller, larger in ((t, r), (r, p), (p, s), (2 * r, t + s)):
        assert (larger - smaller > 1e-3 * scale).all()
    # To player 2, what is CD for player 1 is DC.
    np.testing.assert_array_equal(drawn[:, :, 1], drawn[:, SWAPPED[:4], 0])
    for gap in (t, r - t, t + s - 2 * r):
        assert_uniform(gap / scale, 0.05, 0.95)
    assert len(np.unique(drawn, axis=0)) == MANY


def test_noise_on_the_payoff_is_the_opponents_alone():
    noise = payoffs(TASKS["noisy_opponent_payoff"](noise=0.3)) - PAYOFF

    np.testing.assert_array_equal(noise[:, :, 0], 0.0)
    for row in noise[:, :, 1].T:
        assert_uniform(row, -0.3, 0.3)
    # Each outcome has noise of its own.
    assert np.abs(np.corrcoef(noise[:, :, 1].T) - np.eye(4)).max() < 0.1


def test_noise_on_the_payoff_is_drawn_in_the_opponents_frame():
    key = jax.random.key(5)
    sampler = TASKS["noisy_opponent_payoff"](noise=0.3)
    task = sampler(Draw(key, jax.random.key(6), jnp.int32(0)), Task(PARAMS))
    drawn = jax.random.uniform(key, (4,), minval=-0.3, maxval=0.3)

    # Who is shown its payoffs sees them in its own frame, own action first.
    shown = IteratedMatrixGame(T, show_payoff_to=(0, 1))
    (first, second), _ = shown.reset(key, task.env_params)
    own = PAYOFF[SWAPPED[:4], 1] + drawn
    np.testing.assert_allclose(second[5:9], own, atol=1e-6)
    np.testing.assert_allclose(first[9:], own[SWAPPED[:4]], atol=1e-6)
    assert len(np.unique(drawn)) == 4


# Learning within the trial.


def test_mixed_learning_rates_are_log_uniform():
    sampler = TASKS["mixed_learning_rate"]("co", low=1e-4, high=0.1)
    drawn = draw_many(sampler, TASKS["mixed_learning_rate"]("other")).hyperparameters

    assert set(drawn) == {"co", "other"} and set(drawn["co"]) == {"learning_rate"}
    assert_uniform(np.log10(drawn["co"]["learning_rate"]), -4, -1)
    assert_uniform(np.log10(drawn["other"]["learning_rate"]), -5, 0)


def learner(**options):
    # Without discounting the value of an action is its reward.
    settings = {"discount": 0.0, "entropy_coeff": 0.0, "num_epochs": 1, "num_minibatches": 2}
    agent = AGENTS["Tabular"].for_env(ENV, 1, **settings, **options)
    return role("co", (1,), agent, learns_in_trial=True)


def test_the_drawn_rate_is_the_one_applied():
    # Player 2 is better off by one if it defects, whatever player 1 does.
    params = ENV.make_params(payoff=((0, 0), (0, 1), (0, 0), (0, 1)))
    roles = [role("Random", (0,)), learner(learning_rate=0.5)]
    sampler = TASKS["mixed_learning_rate"]("co", low=1e-3, high=0.1)
    trial, _, after, tasks = play(roles, sampler, num_opps=2, params=params)

    rates = tasks.hyperparameters["co"]["learning_rate"]
    assert abs(np.log(rates[0] / rates[1])) > 0.5
    for opponent, rate in enumerate(rates):
        # Built with that rate, and nothing drawn.
        same = [roles[0], learner(learning_rate=float(rate))]
        plain = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), Task(params))
        expected = play(same, num_opps=2, tasks=plain)[2]["co"]
        table = after["co"].params["table"][opponent]
        np.testing.assert_allclose(table, expected.params["table"][opponent], atol=1e-5)
        # It climbs: who learns from reward learns to defect.
        visited = np.unique(trial.rollouts["co"].observations[opponent])
        assert len(visited) == 5
        assert (table[visited, 1] - table[visited, 0] > rate).all()


def test_hard_stops_are_uniform_over_the_episodes():
    stops = np.asarray(draw_many(TASKS["hard_stop"](5)).stop)

    values, counts = np.unique(stops, return_counts=True)
    np.testing.assert_array_equal(values, [1, 2, 3, 4, 5])
    np.testing.assert_allclose(counts / MANY, 0.2, atol=0.03)


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_hard_stop_at_an_episode_is_never_elsewhere(at):
    np.testing.assert_array_equal(draw_many(TASKS["hard_stop"](5, at=at), num=20).stop, at)


# Who sits where.


def test_roles_get_the_payoffs_of_the_seats_that_they_really_have():
    roles = [role("Altruistic", (0,)), role("Defect", (1,))]
    samplers = TASKS["mixed_payoff"](high=1000), TASKS["shuffled_seats"](2)
    trial, _, _, tasks = play(roles, *samplers)

    assert {tuple(seats) for seats in tasks.seats.tolist()} == {(0, 1), (1, 0)}
    for opponent, seats in enumerate(tasks.seats):
        row = CD if seats[0] == 0 else DC  # The altruist is player 1, or player 2.
        for name, seat, seen in (("Altruistic", seats[0], CD), ("Defect", seats[1], DC)):
            payoff = tasks.env_params.payoff_matrix[opponent, row, seat]
            assert trial.rewards[name][opponent] == pytest.approx(payoff)
            rollout = jax.tree.map(lambda leaf, o=opponent: leaf[o], trial.rollouts[name])
            np.testing.assert_array_equal(rollout.rewards, np.full((K, T, E), payoff))
            # Its own action first, wherever it sits.
            np.testing.assert_array_equal(rollout.observations[:, 0], START)
            np.testing.assert_array_equal(rollout.observations[:, 1:], seen)
            np.testing.assert_array_equal(trial.last_observations[name][opponent], seen)
    assert 0.45 < np.asarray(draw_many(samplers[1]).seats)[:, 0].mean() < 0.55


class Three(Environment):
    """Everybody sees its seat, and gets it as tens and its action as units."""

    num_players, num_inner_steps = 3, T

    def reset(self, key, params):
        return tuple(jnp.int32(seat) for seat in range(3)), jnp.int32(0)

    def step(self, key, state, actions, params):
        rewards = tuple(10.0 * seat + action for seat, action in enumerate(actions))
        return self.reset(key, params)[0], state + 1, rewards, state + 1 >= T, {}


class Constant(Agent):
    def policy(self, state, observations, memory, key):
        return jnp.full_like(observations, self.action_space.n - 1), memory


def test_three_players_act_on_the_seats_that_they_see():
    """With two, an order and its inverse are the same."""
    agents = [Constant(Discrete(3), Discrete(action + 1)) for action in range(3)]
    roles = [role(f"role{index}", (index,), agent) for index, agent in enumerate(agents)]
    sampler = TASKS["shuffled_seats"](3)
    trial, _, _, tasks = play(roles, sampler, num_opps=30, env=Three(), params=())

    assert len(np.unique(tasks.seats, axis=0)) == 6
    for index, one in enumerate(roles):
        seats = tasks.seats[:, index]
        np.testing.assert_allclose(trial.rewards[one.name], 10 * seats + index, rtol=1e-6)
        seen = trial.rollouts[one.name].observations
        np.testing.assert_array_equal(seen, np.broadcast_to(seats[:, None, None, None], seen.shape))


# Self-play.


@pytest.mark.parametrize(("start", "end"), [(0.9, 0.1), (0.0, 1.0)])
def test_self_play_becomes_linearly_more_or_less_likely(start, end):
    sampler = TASKS["annealed_self_play"](start, end, horizon=4)
    steps = (0, 1, 2, 3, 4, 5, 100)
    shares = [draw_many(sampler, iteration=step).self_play.mean() for step in steps]

    expected = [start + (end - start) * min(step / 4, 1) for step in steps]
    np.testing.assert_allclose(shares, expected, atol=0.03)
    assert shares[0] == start or 0 < start < 1  # What is certain always happens.
    assert shares[-1] == end or 0 < end < 1


SOMETIMES = TASKS["annealed_self_play"](0.5, 0.5)


def test_a_role_takes_the_other_seat_in_trials_of_self_play():
    roles = [role("Defect", (0,), self_play_seats=(1,)), role("Altruistic", (1,))]
    trial, _, _, tasks = play(roles, SOMETIMES)

    assert 0 < tasks.self_play.mean() < 1
    for opponent, self_play in enumerate(tasks.self_play):
        row = PAYOFF[DD if self_play else DC]
        np.testing.assert_allclose(trial.reward_per_timestep[opponent], row, rtol=1e-5)
        # The fitness is that of all seats that it played.
        fitness = row.mean() if self_play else row[0]
        assert trial.rewards["Defect"][opponent] == pytest.approx(fitness)
        for name, seat in (("Defect", 0), ("Altruistic", 1)):
            rollout = trial.rollouts[name]
            np.testing.assert_array_equal(rollout.rewards[opponent], row[seat])
            assert rollout.observations.shape[1:] == (K, T, E)
        seen = trial.rollouts["Defect"].observations[opponent, :, 1:]
        np.testing.assert_array_equal(seen, DD if self_play else DC)
        own, other = trial.statistics.cooperations, trial.statistics.visits
        assert own[opponent].sum() == 0 and other[opponent, DD] == self_play * K * (T - 1) * E


def test_on_the_other_seat_a_role_sees_what_is_seen_there():
    mirror = Mirror.for_env(ENV)
    roles = [role("mirror", (0,), mirror, self_play_seats=(1,)), role("Altruistic", (1,))]
    trial, *_ = play(roles, TASKS["annealed_self_play"](1.0, 1.0), num_opps=2)

    # What was played on each seat is in what is seen after it.
    seen = trial.rollouts["mirror"].observations[:, :, 1:]
    one, two = seen // 2, seen % 2
    np.testing.assert_array_equal(
        trial.rollouts["Altruistic"].observations[:, :, 1:], 2 * two + one
    )
    assert (one[:, :, 0] != two[:, :, 0]).any()
    np.testing.assert_array_equal(one[:, :, 1:], two[:, :, :-1])
    np.testing.assert_array_equal(two[:, :, 1:], one[:, :, :-1])


def test_nobody_learns_from_a_trial_that_it_did_not_play():
    agent = AGENTS["Naive"].for_env(ENV, 0, network="table")
    taker = role("taker", (0,), agent, learns_in_trial=True, self_play_seats=(1,))
    trial, before, after, tasks = play([taker, learner()], SOMETIMES)

    assert 0 < tasks.self_play.mean() < 1
    np.testing.assert_array_equal(after["co"].updates, np.where(tasks.self_play, 0, K))
    np.testing.assert_array_equal(after["taker"].updates, K)
    start = np.asarray(before["co"].params["table"])
    for opponent, self_play in enumerate(tasks.self_play):
        moved = (after["co"].params["table"][opponent] != start).any()
        assert moved == (not self_play)
        assert (trial.learning_metrics["co"]["gradient_norm"][opponent] == 0) == self_play


# Blind environments.


@functools.cache
def blind_trial():
    roles = [role("mirror", (0,), Mirror.for_env(ENV)), role("Random", (1,))]
    trial, _, _, tasks = play(roles, TASKS["blinded"]("mirror", E, 2))
    return trial, tasks


def test_a_blind_role_sees_the_first_observation_in_its_environments():
    trial, tasks = blind_trial()

    mirror, other = trial.rollouts["mirror"], trial.rollouts["Random"]
    really = np.full((16, K, T, E), START)
    really[:, :, 1:] = (2 * mirror.actions + other.actions)[:, :, :-1]
    blind = tasks.blind["mirror"]
    assert blind.shape == (16, E) and set(tasks.blind) == {"mirror"}
    expected = np.where(blind[:, None, None, :], START, really)
    np.testing.assert_array_equal(mirror.observations, expected)
    # As many for every opponent, but not the same.
    never = (mirror.observations == START).all(axis=(1, 2))
    np.testing.assert_array_equal(never.sum(axis=1), 2)
    assert len(np.unique(never, axis=0)) > 5
    # The other one sees everything.
    np.testing.assert_array_equal(other.observations, SWAPPED[really])


def test_a_blind_role_acts_on_what_it_sees():
    trial, tasks = blind_trial()

    mirror, other = trial.rollouts["mirror"], trial.rollouts["Random"]
    copies = (mirror.actions[:, :, 1:] == other.actions[:, :, :-1]).all(axis=(1, 2))
    np.testing.assert_array_equal(copies, ~tasks.blind["mirror"])


@pytest.mark.xfail(reason="last_observations are those of a role that sees")
def test_a_blind_role_does_not_see_the_last_observation_either():
    trial, tasks = blind_trial()

    assert (trial.last_observations["mirror"] == START)[tasks.blind["mirror"]].all()


# Errors.

unchecked = pytest.mark.xfail(reason="not checked yet")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("hard_stop", {"num_outer_steps": 3, "at": 4}, "at is 4: give an episode up to 3"),
        ("hard_stop", {"num_outer_steps": 3, "at": -1}, "at is -1"),
        ("mixed_learning_rate", {"role": "co", "low": 0.0}, "low is 0.0 and high is 1.0"),
        ("mixed_learning_rate", {"role": "co", "low": 0.2, "high": 0.1}, "low is 0.2 and high is"),
        ("mixed_payoff", {"high": 0}, "high is 0: give at least 1"),
        ("annealed_self_play", {"start": 1.5}, "start is 1.5: give a probability"),
        ("annealed_self_play", {"end": -0.1}, "end is -0.1: give a probability"),
        ("annealed_self_play", {"end": float("nan")}, "end is nan"),
        ("annealed_self_play", {"horizon": 0}, "horizon is 0: give at least 1 iteration"),
        ("blinded", {"role": "a", "num_envs": 6, "num_blind": 7}, "num_blind is 7: give 0 to 6"),
        ("blinded", {"role": "a", "num_envs": 6, "num_blind": -1}, "num_blind is -1"),
        pytest.param("mixed_ipd_payoff", {"scale": 0.0}, "scale is 0.0", marks=unchecked),
        pytest.param("mixed_ipd_payoff", {"scale": -1.0}, "scale is -1.0", marks=unchecked),
        pytest.param("noisy_opponent_payoff", {"noise": -0.5}, "noise is -0.5", marks=unchecked),
    ],
)
def test_what_a_sampler_cannot_use_is_refused_by_name(name, settings, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        TASKS[name](**settings)
