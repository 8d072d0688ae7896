"""Samplers draw what they say, and a trial applies what was drawn."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import AGENTS, Agent, Defect, Naive, Tabular
from pax.agents.fixed import Reactive
from pax.envs import Environment, IteratedMatrixGame, IteratedTensorGame
from pax.envs.spaces import Discrete
from pax.errors import ConfigError
from pax.loop.counts import Counts
from pax.loop.trial import TrialRunner
from pax.roles import Role
from pax.tasks import (
    TASKS,
    Draw,
    annealed_self_play,
    blinded,
    check_task,
    compose,
    mixed_learning_rate,
    shuffled_seats,
)
from pax.types import Task

T, E, K, O = 4, 6, 3, 16  # noqa: E741
ENV = IteratedMatrixGame(num_inner_steps=T)
# No two numbers are alike, so that no mix-up of rows or columns goes unnoticed.
PAYOFF = np.array(((0.1, -0.2), (-0.7, 0.5), (0.3, -0.6), (-0.4, 0.8)), np.float32)
PARAMS = ENV.make_params(payoff=tuple(map(tuple, PAYOFF.tolist())))
CC, CD, DC, DD, START = range(5)
SWAPPED = np.array((CC, DC, CD, DD, START))  # A state as the other player sees it.
MANY = 4000


def draw_many(*samplers, num=MANY, iteration=0, params=PARAMS):
    """The tasks of all opponents of an iteration, in numpy; keys are split as the loop does it."""
    opponent_key, generation_key = jax.random.split(jax.random.key(iteration))
    sample = jax.vmap(compose(params, samplers), in_axes=(0, None, None))
    opponents = jax.random.split(opponent_key, num)
    return jax.device_get(sample(opponents, generation_key, jnp.int32(iteration)))


def payoffs(*samplers, **options):
    return draw_many(*samplers, **options).env_params.payoff_matrix


def assert_uniform(values, low, high):
    """No quantile is far from where it belongs (Kolmogorov-Smirnov, one in 100,000 for MANY)."""
    values = (np.sort(np.ravel(values)) - low) / (high - low)
    assert values[0] >= -1e-6 and values[-1] <= 1 + 1e-6
    assert np.abs(values - np.linspace(0, 1, len(values))).max() < 0.04


def play(roles, tasks, env=ENV):
    """One trial per task: (trials `[O, ...]`, states of the roles after them), in numpy."""
    runner = TrialRunner(env, roles, Counts(num_envs=E, num_outer_steps=K))
    states = {role.name: role.agent.init(jax.random.key(1)) for role in roles}
    num_opps = len(jax.tree.leaves(tasks)[0])
    trials = jax.jit(jax.vmap(runner.play, in_axes=(0, None, 0)))
    return jax.device_get(trials(jax.random.split(jax.random.key(2), num_opps), states, tasks))


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


def test_mixed_ipd_payoffs_are_prisoners_dilemmas():
    scale = 0.5
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
    sampler = TASKS["mixed_learning_rate"]("co", low=1e-3, high=0.1)
    tasks = draw_many(sampler, num=2, params=params)
    trial, after = play([role("Random", (0,)), learner(learning_rate=0.5)], tasks)

    rates = tasks.hyperparameters["co"]["learning_rate"]
    assert abs(np.log(rates[0] / rates[1])) > 0.1
    # Built with the rate of the second, and nothing drawn.
    built = [role("Random", (0,)), learner(learning_rate=float(rates[1]))]
    expected = play(built, draw_many(num=2, params=params))[1]["co"].params["table"]
    tables = after["co"].params["table"]
    np.testing.assert_allclose(tables[1], expected[1], atol=1e-5)
    assert np.abs(tables[0] - expected[0]).max() > 1e-4
    # They climb: who learns from reward learns to defect.
    for rate, table, observations in zip(
        rates, tables, trial.rollouts["co"].observations, strict=True
    ):
        visited = np.unique(observations)
        assert len(visited) == 5
        assert (table[visited, 1] - table[visited, 0] > rate).all()


def test_hard_stops_are_uniform_over_the_episodes():
    values, counts = np.unique(draw_many(TASKS["hard_stop"](5)).stop, return_counts=True)
    np.testing.assert_array_equal(values, [1, 2, 3, 4, 5])
    np.testing.assert_allclose(counts / MANY, 0.2, atol=0.03)
    for at in values:  # Unless one is given.
        assert (draw_many(TASKS["hard_stop"](5, at=int(at)), num=20).stop == at).all()


# Who sits where.


def test_roles_get_the_payoffs_of_the_seats_that_they_really_have():
    roles = [role("Altruistic", (0,)), role("Defect", (1,))]
    tasks = draw_many(TASKS["mixed_payoff"](high=1000), TASKS["shuffled_seats"](2), num=O)
    trial, _ = play(roles, tasks)

    assert 0 < tasks.seats[:, 0].sum() < O
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
    tasks = draw_many(TASKS["shuffled_seats"](3), params=())
    orders, counts = np.unique(tasks.seats, axis=0, return_counts=True)
    assert len(orders) == 6
    np.testing.assert_allclose(counts / MANY, 1 / 6, atol=0.03)

    trial, _ = play(roles, tasks.replace(seats=orders), env=Three())
    for index, one in enumerate(roles):
        seats = orders[:, index]
        np.testing.assert_allclose(trial.rewards[one.name], 10 * seats + index, rtol=1e-6)
        seen = trial.rollouts[one.name].observations
        assert (seen == seats[:, None, None, None]).all()


# Self-play.


@pytest.mark.parametrize(("start", "end"), [(0.9, 0.1), (0.0, 1.0)])
def test_self_play_becomes_linearly_more_or_less_likely(start, end):
    sampler = TASKS["annealed_self_play"](start, end, horizon=4)
    steps = (0, 1, 2, 3, 4, 5, 100)
    shares = [draw_many(sampler, iteration=step).self_play.mean() for step in steps]

    for step, share in zip(steps, shares, strict=True):
        probability = start + (end - start) * min(step / 4, 1)
        # What is certain always happens, and what is impossible never.
        tolerance = 0.04 if 0 < probability < 1 else 0
        assert share == pytest.approx(probability, abs=tolerance)


def test_how_many_seats_are_taken_over_is_binomial():
    sampler = TASKS["self_play_by_seat"](4, start=0.0, end=0.8, horizon=4)
    for step in (0, 1, 4, 9):
        taken = draw_many(sampler, iteration=step).taken_over
        probability = 0.8 * min(step / 4, 1)
        counts = np.bincount(taken.sum(axis=1), minlength=5) / len(taken)
        chances = [
            math.comb(4, k) * probability**k * (1 - probability) ** (4 - k) for k in range(5)
        ]
        np.testing.assert_allclose(counts, chances, atol=0.04 if step else 0)


def test_members_of_a_pool_meet_only_after_some_iterations():
    sampler = TASKS["mixed_pool"](naive=0.0, after=3)
    met = [draw_many(sampler, iteration=step).self_play for step in (0, 2, 3, 9)]
    assert [each.mean() for each in met] == [0, 0, 1, 1]


SOMETIMES = TASKS["annealed_self_play"](0.5, 0.5)


def test_a_role_takes_the_other_seat_in_trials_of_self_play():
    roles = [role("Defect", (0,), self_play_seats=(1,)), role("Altruistic", (1,))]
    tasks = draw_many(SOMETIMES, num=O)
    trial, _ = play(roles, tasks)

    assert 0 < tasks.self_play.sum() < O
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
        assert trial.statistics.visits[opponent, DD] == self_play * K * (T - 1) * E


def test_on_the_other_seat_a_role_sees_what_is_seen_there():
    mirror = Mirror.for_env(ENV)
    roles = [role("mirror", (0,), mirror, self_play_seats=(1,)), role("Altruistic", (1,))]
    trial, _ = play(roles, draw_many(TASKS["annealed_self_play"](1.0, 1.0), num=2))

    # What was played on each seat is in what is seen after it.
    seen = trial.rollouts["mirror"].observations[:, :, 1:]
    one, two = seen // 2, seen % 2
    other = trial.rollouts["Altruistic"].observations
    np.testing.assert_array_equal(other[:, :, 1:], 2 * two + one)
    assert (one[:, :, 0] != two[:, :, 0]).any()
    np.testing.assert_array_equal(one[:, :, 1:], two[:, :, :-1])
    np.testing.assert_array_equal(two[:, :, 1:], one[:, :, :-1])


def test_nobody_learns_from_a_trial_that_it_did_not_play():
    agent = AGENTS["Naive"].for_env(ENV, 0, network="table")
    taker = role("taker", (0,), agent, learns_in_trial=True, self_play_seats=(1,))
    tasks = draw_many(SOMETIMES, num=O)
    trial, after = play([taker, learner()], tasks)

    assert 0 < tasks.self_play.sum() < O
    np.testing.assert_array_equal(after["co"].updates, np.where(tasks.self_play, 0, K))
    np.testing.assert_array_equal(after["taker"].updates, K)
    moved = (after["co"].params["table"] != 0).any(axis=(1, 2))
    np.testing.assert_array_equal(moved, ~tasks.self_play)  # A table starts at zero.
    for opponent, self_play in enumerate(tasks.self_play):
        assert (trial.learning_metrics["co"]["gradient_norm"][opponent] == 0) == self_play


def test_a_role_takes_over_single_seats():
    env = IteratedTensorGame(num_players=3, num_inner_steps=T)
    naive = {"network": "table", "learning_rate": 0.1}
    roles = [
        role("Defect", (0,), AGENTS["Defect"].for_env(env), self_play_seats=(1, 2)),
        role("b", (1,), AGENTS["Naive"].for_env(env, 1, **naive), learns_in_trial=True),
        role("c", (2,), AGENTS["Altruistic"].for_env(env, 2)),
    ]
    tasks = draw_many(TASKS["self_play_by_seat"](3, 0.5, 0.5), num=16)
    tasks = tasks.replace(
        env_params=jax.tree.map(lambda leaf: np.stack([leaf] * 16), env.make_params())
    )
    trial, after = play(roles, tasks, env=env)

    of_b, of_c = tasks.taken_over[:, 1], tasks.taken_over[:, 2]
    assert len({(bool(b), bool(c)) for b, c in zip(of_b, of_c, strict=True)}) == 4
    for index, (b, c) in enumerate(zip(of_b, of_c, strict=True)):
        third = trial.actions[2][index]
        assert (third == c).all()  # 1 is D.
        if b:
            assert (trial.actions[1][index] == 1).all()
        # The fitness is the mean over the seats that it played.
        played = np.array([True, b, c])
        fitness = trial.reward_per_timestep[index][played].mean()
        np.testing.assert_allclose(trial.rewards["Defect"][index], fitness, rtol=1e-6)
    # Who gives up a seat does not learn from what others did there.
    np.testing.assert_array_equal(after["b"].updates, np.where(of_b, 0, K))


# Blind environments.


@functools.cache
def blind_trial():
    """Tit for tat, blind in two environments: (its rollout, the other's, its last sight, where)."""
    roles = [role("TitForTat", (0,)), role("Random", (1,))]
    tasks = draw_many(TASKS["blinded"]("TitForTat", E, 2), num=O)
    trial, _ = play(roles, tasks)
    last = trial.last_observations["TitForTat"]
    return *(trial.rollouts[one.name] for one in roles), last, tasks.blind["TitForTat"]


def test_a_blind_role_sees_the_first_observation_in_its_environments():
    own, other, _, blind = blind_trial()

    really = np.full((O, K, T, E), START)
    really[:, :, 1:] = (2 * own.actions + other.actions)[:, :, :-1]
    expected = np.where(blind[:, None, None, :], START, really)
    np.testing.assert_array_equal(own.observations, expected)
    # As many for every opponent, but not the same.
    never = (own.observations == START).all(axis=(1, 2))
    np.testing.assert_array_equal(never.sum(axis=1), 2)
    assert len(np.unique(never, axis=0)) > 5
    # The other one sees everything.
    np.testing.assert_array_equal(other.observations, SWAPPED[really])


def test_a_blind_role_acts_on_what_it_sees():
    own, other, _, blind = blind_trial()

    copied = other.actions[:, :, :-1]
    assert 0 < copied.mean() < 1
    expected = np.where(blind[:, None, None, :], 0, copied)
    np.testing.assert_array_equal(own.actions[:, :, 1:], expected)


def test_a_blind_role_does_not_see_the_last_observation_either():
    *_, last, blind = blind_trial()

    assert (np.moveaxis(last, 1, 2)[blind] == START).all()


# Errors.


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
        ("self_play_by_seat", {"num_players": 2, "end": 2}, "end is 2: give a probability"),
        ("mixed_pool", {"after": -1}, "after is -1: give 0 or more iterations"),
        ("mixed_pool", {"told": 1}, "told is 1"),
        ("blinded", {"role": "a", "num_envs": 6, "num_blind": 7}, "num_blind is 7: give 0 to 6"),
        ("blinded", {"role": "a", "num_envs": 6, "num_blind": -1}, "num_blind is -1"),
        ("mixed_ipd_payoff", {"scale": 0.0}, "scale is 0.0: give a positive number"),
        ("mixed_ipd_payoff", {"scale": -1.0}, "scale is -1.0"),
        ("noisy_opponent_payoff", {"noise": -0.5}, "noise is -0.5: give a number of 0 or more"),
        (
            "mixed_learning_rate",
            {"role": "co", "high": float("inf")},
            "high is inf: give a finite number",
        ),
    ],
)
def test_what_a_sampler_cannot_use_is_refused_by_name(name, settings, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        TASKS[name](**settings)


def draw_discount(draw, task):
    return task.replace(hyperparameters={"two": {"discount": jnp.float32(0.5)}})


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (mixed_learning_rate("nobody"), "a task is about role 'nobody': there is one, two"),
        (blinded("nobody", 2, 1), "a task is about role 'nobody'"),
        (mixed_learning_rate("one"), "a task draws the learning_rate of role one, which does not"),
        (draw_discount, "a task draws the discount of role two: its optimiser has learning_rate"),
        (annealed_self_play(), "a task declares self-play, and no role has self_play_seats"),
        (shuffled_seats(3), "a task shuffles 3 seats: this game has 2"),
    ],
)
def test_tasks_about_what_roles_do_not_have_are_refused(sampler, message):
    roles = [
        Role("one", Defect.for_env(ENV, 0), (0,)),
        Role("two", Tabular.for_env(ENV, 1), (1,), learns_in_trial=True),
    ]
    with pytest.raises(ConfigError, match=f"^{message}"):
        check_task(compose(ENV.default_params, [sampler]), roles, ENV)


def test_seats_that_see_differently_cannot_be_shuffled():
    env = IteratedMatrixGame(4, show_payoff_to=(0,))
    roles = [Role(name, Naive.for_env(env, seat), (seat,)) for seat, name in enumerate("ab")]
    with pytest.raises(
        ConfigError, match="^a task shuffles seats whose players observe or act dif"
    ):
        check_task(compose(env.default_params, [shuffled_seats(2)]), roles, env)
