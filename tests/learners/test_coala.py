"""COALA-PG against a derivative by enumeration, and against the recursion of the paper."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax import Role
from pax.agents import Agent, PPOMemory, Shaper, Tabular
from pax.config.files import load_config
from pax.envs import IteratedMatrixGame, IteratedTensorGame
from pax.errors import ConfigError
from pax.learners import COALA, AdvantageAlignment, LOLADiCE
from pax.learners.coala import learning_aware
from pax.loop.counts import Counts
from pax.loop.iteration import Loop
from pax.tasks import compose, mixed_pool
from pax.trainer_checks import check_fit
from pax.types import TrainingState

B, K, RATE = 2, 2, 4.0
PAYOFF = np.array([[1.0, -1.0], [2.0, 0.0]])
"""What a player gets for its own action (row) and the other's; 0 is C."""


@dataclasses.dataclass
class Reinforced(Agent):
    """One logit of cooperating, moved by what paid off in all environments."""

    learns = True
    rate: float = RATE

    def init(self, key):
        return TrainingState(jnp.float32(0.3), (), jnp.int32(0))

    def policy(self, state, observations, memory, key):
        cooperates = jax.random.bernoulli(key, jax.nn.sigmoid(state.params), observations.shape)
        return 1 - cooperates.astype(jnp.int32), memory

    def update(self, rollout, last_observations, state, memory, key):
        # As if C paid what the other's cooperation adds: it answers cooperation with cooperation.
        seen = rollout.rewards.mean()
        return dataclasses.replace(state, params=state.params + self.rate * seen), memory, {}


def exact_gradient(logit, rate):
    """d/d logit of the mean reward per step, by all that can happen in two environments and episodes."""

    def value(logit):
        chance = jax.nn.sigmoid(logit)
        total = 0.0
        for actions in itertools.product(*[range(2)] * 8):
            own, other = np.reshape(actions, (2, K, B))
            theta, probability = jnp.float32(0.3), 1.0
            rewards = PAYOFF[own, other]
            for k in range(K):
                cooperating = jax.nn.sigmoid(theta)
                for b in range(B):
                    probability *= chance if own[k, b] == 0 else 1 - chance
                    probability *= cooperating if other[k, b] == 0 else 1 - cooperating
                theta = theta + rate * PAYOFF[other[k], own[k]].mean()
            total += probability * rewards.mean()
        return total

    return float(jax.grad(value)(jnp.float32(logit)))


def estimates(form, rate, num_opps=1000, repeats=25, logit=-0.4, **settings):
    """Derivatives of the mean reward per step that one update estimates, `[repeats]`."""
    env = IteratedMatrixGame(num_inner_steps=1)
    params = env.make_params(payoff=((1.0, 1.0), (-1.0, 2.0), (2.0, -1.0), (0.0, 0.0)))
    agent = Tabular.for_env(
        env, 0, learning_rate=1.0, optimizer="sgd", max_gradient_norm=1e9, num_epochs=1,
        num_minibatches=1, discount=1.0, gae_lambda=1.0, entropy_coeff=0.0, value_coeff=0.0,
        standardise_advantages=False,
    )  # fmt: skip
    learner = COALA(agent, form=form, **settings)
    roles = [
        Role("meta", agent, (0,), learner=learner),
        Role("naive", Reinforced.for_env(env, 1, rate=rate), (1,), learns_in_trial=True),
    ]
    counts = Counts(num_envs=B, num_opps=num_opps, num_outer_steps=K)
    loop = Loop(env, roles, compose(params, ()), counts)

    def once(key):
        # The value 0.7 of every state is a baseline as good as any: it is far from the truth.
        table = jnp.zeros((5, 3)).at[:, 0].set(logit).at[:, 2].set(0.7)
        start = dataclasses.replace(agent.init(key), params={"table": table})
        state = loop.init(key[None])
        # One seed, one agent.
        learners = {"meta": jax.tree.map(lambda leaf: leaf[None, None], start)}
        after, _ = loop.run(dataclasses.replace(state, learners=learners), 1)
        # A softmax over (logit, 0): one step down the loss at rate 1 is the derivative.
        return (after.learners["meta"].params["table"][0, 0] - table)[:, 0].sum()

    return np.asarray(jax.lax.map(once, jax.random.split(jax.random.key(1), repeats)))


def deviation(form, rate, **sizes):
    """How many standard errors the estimate is away from the exact derivative."""
    found = estimates(form, rate, **sizes)
    error = found.std(ddof=1) / np.sqrt(len(found))
    return abs(found.mean() - exact_gradient(-0.4, rate)) / error


def test_of_the_forms_only_coala_estimates_the_exact_derivative_against_a_learner():
    assert deviation("coala", RATE) < 3
    assert deviation("mfos", RATE) > 6
    assert deviation("batch_unaware", RATE) > 6


@pytest.mark.slow
def test_against_a_frozen_co_player_coala_and_the_batch_unaware_form_are_right():
    assert deviation("coala", 0.0) < 3
    assert deviation("batch_unaware", 0.0) < 3


def recursion(deltas, weight, divided, decay):
    """The advantages of the paper times B, by its backward recursion over steps; deltas `[K, T, B]`."""
    num_episodes, num_steps, num_envs = deltas.shape
    own = np.zeros(num_envs)
    undivided = np.zeros(num_envs)
    found = np.zeros_like(deltas)
    for k in reversed(range(num_episodes)):
        # On entering an earlier episode, everybody's takes the place of the own.
        own = np.full(num_envs, undivided.mean())
        for t in reversed(range(num_steps)):
            own = (deltas[k, t] / num_envs if divided else deltas[k, t]) + decay * own
            undivided = deltas[k, t] + decay * undivided
            found[k, t] = own
    return found * (num_envs if divided else weight)


def test_the_first_updates_may_be_batch_unaware():
    """The estimate is of the first update."""
    few = {"rate": RATE, "num_opps": 4, "repeats": 1}
    np.testing.assert_array_equal(
        estimates("coala", warm_up=1, **few), estimates("batch_unaware", **few)
    )


@pytest.mark.parametrize(("form", "divided"), [("coala", True), ("mfos", False)])
def test_advantages_are_those_of_the_papers_recursion(form, divided):
    decay = 0.9
    deltas = np.random.default_rng(0).normal(size=(4, 3, 5))
    plain, following = np.zeros_like(deltas), np.zeros(5)
    for k, t in reversed(list(np.ndindex(4, 3))):
        plain[k, t] = following = deltas[k, t] + decay * following
    expected = recursion(deltas, 1, divided, decay)
    found = learning_aware(jnp.array(plain)[:, :, None], 5 if divided else 1, decay)[:, :, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_all_forms_are_one_with_a_single_environment():
    plain = jax.random.normal(jax.random.key(0), (3, 4, 2, 1))
    np.testing.assert_allclose(learning_aware(plain, 1, 0.9), plain, rtol=1e-6)


def test_what_is_learned_later_counts_by_everybodys_rewards():
    """One reward in the second episode of one environment of four, none else; no discount."""
    plain = np.zeros((2, 3, 1, 4))
    plain[0, :, 0, 2] = plain[1, 0, 0, 2] = 1.0
    found = np.asarray(learning_aware(jnp.array(plain), 4, 1.0))
    # Every step of the first episode, of each environment, may have taught it.
    np.testing.assert_allclose(found[0], np.ones((3, 1, 4)))
    np.testing.assert_allclose(found[1], plain[1])


@dataclasses.dataclass
class Unasked(Tabular):
    """Learns from its own advantages only."""

    def update(self, rollout, last_observations, state, memory, key):
        return super().update(rollout, last_observations, state, memory, key)


@dataclasses.dataclass
class Estimating(Tabular):
    def advantages(self, rollout, last_observations, state, memory):
        return super().advantages(rollout, last_observations, state, memory)


def test_an_agent_of_the_users_own_takes_what_it_is_given():
    env = IteratedMatrixGame(num_inner_steps=2)
    told = (
        r"update of Unasked takes \(rollout, .*\), and {} calls it with advantages besides: let it"
    )
    for learner in (COALA, AdvantageAlignment):
        with pytest.raises(ConfigError, match=told.format(learner.__name__)):
            learner(Unasked.for_env(env))
    with pytest.raises(ConfigError, match="calls it with last_value and gae_lambda besides"):
        COALA(Estimating.for_env(env))
    AdvantageAlignment(Estimating.for_env(env))


def test_coala_wants_an_agent_that_learns_by_ppo():
    env = IteratedMatrixGame(num_inner_steps=2)
    for learner in (COALA, AdvantageAlignment, LOLADiCE):
        with pytest.raises(
            ConfigError, match="the agent of .* is the class Tabular: give an agent"
        ):
            learner(Tabular)
    with pytest.raises(ConfigError, match="Reinforced does not learn by PPO"):
        COALA(Reinforced.for_env(env))
    with pytest.raises(ConfigError, match="form"):
        COALA(Tabular.for_env(env), form="koala")
    with pytest.raises(ConfigError, match="td_lambda"):
        COALA(Tabular.for_env(env), td_lambda=1.5)
    with pytest.raises(ConfigError, match="warm_up"):
        COALA(Tabular.for_env(env), warm_up=-1)


def test_coala_wants_whole_trials():
    env = IteratedMatrixGame(num_inner_steps=2)
    with pytest.raises(ConfigError, match="PPOMemory does not remember the trial"):
        COALA(PPOMemory.for_env(env)).check(4, 3, 2, 4)
    for form in ("coala", "mfos"):
        with pytest.raises(ConfigError, match=f"num_outer_steps is 1, and form {form} is about"):
            COALA(Shaper.for_env(env), form=form).check(5, 1, 2, 4)
    # Plain PPO, of several agents side by side, is for any of its agents and trials.
    forgets = PPOMemory.for_env(env, num_minibatches=4, sequence_length=2)
    COALA(forgets, form="batch_unaware").check(5, 1, 2, 4)


def test_what_an_agent_cannot_go_on_from_is_told():
    agent = Tabular.for_env(IteratedMatrixGame(num_inner_steps=2))
    start = agent.init(jax.random.key(0))
    with pytest.raises(
        ConfigError, match="initial of COALA is {'a': 1}: give a TrainingState, such"
    ):
        COALA(agent, initial={"a": 1})
    # As evolution leaves it.
    with pytest.raises(ConfigError, match="initial of COALA has opt_state that Tabular does not"):
        COALA(agent, initial=dataclasses.replace(start, opt_state=()))
    with pytest.raises(ConfigError, match="initial of COALA has params that Tabular does not"):
        COALA(agent, initial=dataclasses.replace(start, params={}))
    COALA(agent, initial=start)


def test_all_settings_of_a_pool_are_there_to_be_changed():
    for name in ("coala,mixed", "in_context"):
        pool = load_config(f"configs/ipd.py:{name}").tasks.mixed_pool
        assert set(pool) == {"naive", "told", "after"}, name


def test_the_published_size_has_the_published_settings():
    """Those in which shaping in the prisoner's dilemma and in Clean-up differ."""
    dilemma = load_config("configs/ipd.py:coala")
    clean_up = load_config("configs/clean_up_lite.py:coala")
    for config, standardised, scale, naive_scale in (
        (dilemma, False, 0.05, 0.05),
        (clean_up, True, 1.0, 0.1),
    ):
        assert config.agent1.standardise_advantages is standardised
        assert (config.agent1.reward_scale, config.agent2.reward_scale) == (scale, naive_scale)


def test_each_of_several_agents_makes_minibatches_of_its_own_trials():
    env = IteratedMatrixGame(num_inner_steps=2)
    agent = Shaper.for_env(env, num_minibatches=2)
    naive = Role("naive", Reinforced.for_env(env, 1), (1,), learns_in_trial=True)
    for num_opps, fits in ((3, False), (4, True)):
        roles = [Role("meta", agent, (0,), learner=COALA(agent, num_agents=2)), naive]
        counts = Counts(num_envs=3, num_opps=num_opps, num_outer_steps=3)
        told = pytest.raises(ConfigError, match="does not divide the 9 sequences of 6 steps")
        with contextlib.nullcontext() if fits else told:
            check_fit(env, env.default_params, roles, counts)


@pytest.mark.parametrize(("discount", "warns"), [(0.95, True), (0.96, False)])
def test_a_next_episode_that_hardly_counts_is_told(discount, warns, caplog):
    # After 100 steps .95 counts .006, and .96 .017.
    env = IteratedMatrixGame(num_inner_steps=100)
    agent = Shaper.for_env(env, discount=discount, gae_lambda=1.0)
    with caplog.at_level(logging.WARNING, logger="absl"):
        COALA(agent).check(5, 3, 100, 4)
    assert ["steps later, 0.006 counts" in text for text in caplog.messages] == [True] * warns
    caplog.clear()
    forgets = Shaper.for_env(env, discount=discount, bootstrap_on_time_limit=False)
    with caplog.at_level(logging.WARNING, logger="absl"):
        forgets.check_rollout(200, 4, 5, 2)
    assert ["nothing that follows an episode" in text for text in caplog.messages] == [True]


@pytest.mark.parametrize(
    ("gae_lambda", "form", "warns"),
    [
        (0.95, "coala", True),
        (0.95, "mfos", True),
        (0.96, "coala", False),
        (0.95, "batch_unaware", False),
    ],
)
def test_a_lambda_that_hardly_counts_later_episodes_is_told(gae_lambda, form, warns, caplog):
    agent = Shaper.for_env(
        IteratedMatrixGame(num_inner_steps=100), discount=1.0, gae_lambda=gae_lambda
    )
    with caplog.at_level(logging.WARNING, logger="absl"):
        COALA(agent, form=form).check(5, 3, 100, 4)
    assert ["count 0.006 of an own one now" in text for text in caplog.messages] == [True] * warns


def test_settings_that_would_do_nothing_are_told():
    env = IteratedMatrixGame(num_inner_steps=2)
    forgets = Shaper.for_env(env, bootstrap_on_time_limit=False)
    with pytest.raises(ConfigError, match="bootstrap_on_time_limit is False in Shaper, and coala"):
        COALA(forgets).check(5, 3, 2, 4)
    naive = Role("naive", Reinforced.for_env(env, 1), (1,), learns_in_trial=True)
    agent = Shaper.for_env(env)
    meta = Role("meta", agent, (0,), learner=COALA(agent, balance_after=3))
    with pytest.raises(ConfigError, match="balance_after is 3 in the learner of role meta, which"):
        meta.learner.check_others(meta, [naive], 3)


@dataclasses.dataclass
class Showing(Tabular):
    """Reports what it is to learn from."""

    def update(self, rollout, last_observations, state, memory, key, advantages=None):
        seen = {"rewards": rollout.rewards, "values": rollout.values}
        seen |= {"advantages": advantages[0], "targets": advantages[1]}
        return state, memory, seen


GAME = {"discount": 0.9, "gae_lambda": 0.8, "reward_scale": 0.5}


@pytest.mark.parametrize(
    ("form", "taken_over"), [("coala", ()), ("mfos", ()), ("coala", (1,)), ("coala", (1, 2))]
)
def test_advantages_of_several_seats_and_opponents_by_hand(form, taken_over):
    """Three players; in a pool, all trials are among agents, and a learner may be left on the last seat."""
    num_opps, num_envs, num_episodes, num_steps = 2, 3, 3, 2
    env = IteratedTensorGame(3, num_inner_steps=num_steps)
    seats = (0,) if taken_over else (0, 1)
    agents = [Showing.for_env(env, seat, **GAME) for seat in range(2)]
    num_agents = 2 if taken_over else 1
    learner = COALA(agents[0], form=form, td_lambda=0.3, num_agents=num_agents)
    roles = [Role("meta", agents[0], seats, learner=learner)]
    for seat in range(len(seats), 3):
        naive = Reinforced.for_env(env, seat)
        roles.append(Role(f"naive{seat}", naive, (seat,), learns_in_trial=True))
    samplers = []
    if taken_over:
        member = {"self_play_seats": taken_over, "member_of": "meta"}
        roles.append(Role("partner", agents[1], (), **member))
        samplers.append(mixed_pool(0.0))
    counts = Counts(num_envs=num_envs, num_opps=num_opps, num_outer_steps=num_episodes)
    loop = Loop(env, roles, compose(env.default_params, samplers), counts)
    if taken_over:
        # Of the first agent, not the mean of both.
        learner.update = first_of(learner)
    _, metrics = jax.jit(loop.run, static_argnums=1)(loop.init(jax.random.key(3)[None]), 1)
    names = ("rewards", "values", "advantages", "targets")
    seen = [np.asarray(metrics[f"train/meta/{name}"], np.float64)[0, 0] for name in names]
    rows = len(seats) * num_envs
    rewards, values, advantages, targets = (
        each.reshape(num_episodes, num_steps, num_opps, rows) for each in seen
    )
    assert rewards.std() > 0.1
    length = num_episodes * num_steps
    following = np.concatenate([values.reshape(length, -1)[1:], np.zeros((1, num_opps * rows))])
    deltas = 0.5 * rewards + 0.9 * following.reshape(values.shape) - values
    # Where nobody is left who learns, the own rewards of later episodes count.
    alone = taken_over == (1, 2)
    expected, returns = np.zeros_like(deltas), np.zeros_like(deltas)
    for opponent in range(num_opps):
        own = deltas[:, :, opponent]
        returns[:, :, opponent] = plain_recursion(own, 0.9 * 0.3)
        expected[:, :, opponent] = (
            plain_recursion(own, 0.9 * 0.8)
            if alone
            else recursion(own, 1, form == "coala", 0.9 * 0.8)
        )
    np.testing.assert_allclose(advantages, expected - expected.mean(), atol=1e-5)
    np.testing.assert_allclose(targets, returns + values, atol=1e-5)


def plain_recursion(deltas, decay):
    found, following = np.zeros_like(deltas), 0.0
    for k, t in reversed(list(np.ndindex(deltas.shape[:2]))):
        found[k, t] = following = deltas[k, t] + decay * following
    return found


def first_of(learner):
    """An update of the first of several agents, with its metrics."""

    def update(state, experience):
        trial = jax.tree.map(lambda leaf: leaf[:1], experience.trial)
        own = jax.tree.map(lambda leaf: leaf[0], state)
        _, metrics = learner._update(own, trial, experience, experience.key)
        return state, metrics

    return update


@dataclasses.dataclass
class Weighing(Tabular):
    """Reports the mean square of the advantages, of all trials and of the half in which they are smaller."""

    def update(self, rollout, last_observations, state, memory, key, advantages=None):
        squares = jnp.sort(jnp.square(advantages[0]).mean(axis=0))
        sizes = {"size": squares.mean(), "smaller": squares[: len(squares) // 2].mean()}
        return dataclasses.replace(state, updates=state.updates + 1), memory, sizes


def test_both_kinds_of_trials_of_a_pool_get_one_size_after_some_updates():
    env = IteratedMatrixGame(num_inner_steps=2)
    first, second = (Weighing.for_env(env, seat) for seat in range(2))
    roles = [
        Role("meta", first, (0,), learner=COALA(first, num_agents=2, balance_after=2)),
        Role("naive", Reinforced.for_env(env, 1), (1,), learns_in_trial=True),
        Role("partner", second, (), self_play_seats=(1,), member_of="meta"),
    ]
    counts = Counts(num_envs=4, num_opps=20, num_outer_steps=3)
    loop = Loop(env, roles, compose(env.default_params, [mixed_pool(0.5)]), counts)
    _, metrics = jax.jit(loop.run, static_argnums=1)(loop.init(jax.random.key(0)[None]), 4)
    size, smaller = (
        np.asarray(metrics[f"train/meta/{name}"])[:, 0] for name in ("size", "smaller")
    )
    # Mean 0 and deviation 1 in each kind, whatever their shares; before, those among agents are smaller.
    np.testing.assert_allclose(size[2:], 1.0, rtol=1e-4)
    assert (smaller[:2] < 0.25 * size[:2]).all()
    assert (smaller[2:] > 0.4).all()


def test_learners_start_from_ten_states_unless_they_are_copies():
    for name, number, pool in (
        ("ipd.py:coala", 10, ""),
        ("ipd.py:coala,mixed", 10, ""),
        ("clean_up_lite.py:coala,mixed", 0, "agent1"),
    ):
        naive = load_config(f"configs/{name}").agent2
        assert (naive.num_initial_states, naive.member_of) == (number, pool)
