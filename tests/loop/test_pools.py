"""Roles that begin every trial as another candidate, or from one of a few states."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax import Role
from pax.agents import Agent
from pax.envs import IteratedTensorGame
from pax.errors import ConfigError
from pax.learners import Frozen, Gradient
from pax.loop.counts import Counts
from pax.loop.evaluator import Evaluator
from pax.loop.iteration import Loop
from pax.roles import check_roles
from pax.tasks import check_task, compose, mixed_pool
from pax.types import TrainingState

ENV = IteratedTensorGame(2, num_inner_steps=2)
POOL, O, E = 4, 40, 3  # noqa: E741


@dataclasses.dataclass
class Numbered(Agent):
    """Carries a number, and always defects if it is odd."""

    learns = True

    def init(self, key):
        return TrainingState(jax.random.uniform(key, minval=0.1, maxval=0.9), (), jnp.int32(0))

    def policy(self, state, observations, memory, key):
        odd = (state.params % 2 == 1).astype(jnp.int32)
        return jnp.broadcast_to(odd, observations.shape), memory

    def update(self, rollout, last_observations, state, memory, key):
        return dataclasses.replace(state, params=state.params + 1), memory, {"born": state.params}


@dataclasses.dataclass
class Hearing(Numbered):
    """Always defects if its memory began with ones."""

    hidden_size_in_memory = 2

    def reset_memory(self, memory, new_trial=False, state=None):
        return memory

    def policy(self, state, observations, memory, key):
        return (memory.hidden == 1.0).all(axis=-1).astype(jnp.int32), memory


@dataclasses.dataclass
class Deaf(Hearing):
    """One of those whose memory is their own business."""

    learns = False


class Watching(Frozen):
    """Reports who played whom, and what was done on the second seat, `[C, O]`."""

    def init(self, key):
        numbers = jnp.arange(POOL, dtype=jnp.float32)
        return TrainingState(numbers, (), jnp.zeros(POOL, jnp.int32))

    def update(self, state, experience):
        line_up = experience.line_up.states
        seen = {name: line_up[name].params for name in line_up}
        for player, name in enumerate(("own_defection", "defection")):
            seen[name] = experience.trial.actions[player].mean((2, 3, 4))
        if experience.tasks.self_play is not None:
            seen["self_play"] = experience.tasks.self_play
        return state, seen


def play(samplers, *others, seed=0, cls=Numbered):
    pool = Role("pool", cls.for_env(ENV, 0), (0,), learner=Watching(POOL))
    counts = Counts(num_envs=E, num_opps=O, num_outer_steps=2)
    loop = Loop(ENV, [pool, *others], compose(ENV.default_params, samplers), counts)
    _, metrics = jax.jit(lambda state: loop.run(state, 1))(loop.init(jax.random.key(seed)[None]))
    return {name.removeprefix("train/pool/"): np.asarray(m)[0, 0] for name, m in metrics.items()}


def naive(**settings):
    return Role("naive", Numbered.for_env(ENV, 1), (1,), learns_in_trial=True, **settings)


def member(name="partner", seats=(), self_play_seats=(1,), cls=Numbered, **settings):
    agent = cls.for_env(ENV, 1)
    return Role(name, agent, seats, self_play_seats=self_play_seats, member_of="pool", **settings)


def test_in_a_share_of_the_trials_another_candidate_sits_on_the_seat():
    seen = play([mixed_pool(0.75)], naive(), member())
    among, partners = seen["self_play"], seen["partner"]
    # Binomial: 10 of 40 expected, with a standard deviation of 2.7.
    assert 2 <= among.sum() <= 20
    own = np.arange(POOL)[:, None]
    assert partners.shape == (POOL, O)
    assert (partners != own).all()
    for candidate in range(POOL):
        assert set(partners[candidate]) == set(range(POOL)) - {candidate}
    # What is done there: the partner's parity in these trials, the naive learner's in the others.
    np.testing.assert_array_equal(seen["defection"][:, among], partners[:, among] % 2)
    assert (seen["defection"][:, ~among] == 0).all()
    # Rewards of both kinds of trials, from the actions: own ones are the number's parity.
    table = np.asarray(ENV.default_params.payoff_table)
    theirs = np.broadcast_to(seen["defection"], (POOL, O)).astype(int)
    rewards = table[theirs + own % 2, own % 2]
    for kind, trials in (("in_self_play", among), ("against_others", ~among)):
        np.testing.assert_allclose(
            seen[f"reward_{kind}/player_1"], rewards[:, trials].mean(), rtol=1e-5
        )


@pytest.mark.parametrize("told", (False, True))
def test_agents_may_be_told_that_they_meet_each_other(told):
    seen = play([mixed_pool(0.5, told)], naive(), member(cls=Hearing), cls=Hearing)
    among = seen["self_play"]
    assert among.any() and not among.all()
    expected = np.broadcast_to(among & told, (POOL, O))
    # The number of who learns there is even.
    np.testing.assert_array_equal(seen["own_defection"], expected)
    np.testing.assert_array_equal(seen["defection"], expected)


def test_who_does_not_learn_is_told_nothing():
    seen = play([mixed_pool(0.0, told=True)], naive(), member(cls=Deaf), cls=Hearing)
    assert (seen["own_defection"] == 1).all() and (seen["defection"] == 0).all()
    pool = Role("pool", Numbered.for_env(ENV, 0), (0,), learner=Watching(POOL))
    task = compose(ENV.default_params, [mixed_pool(0.5, told=True)])
    with pytest.raises(ConfigError, match="by their memory, and none that learns has one: give"):
        check_task(task, [pool, naive(), member()], ENV)


def test_a_co_player_may_begin_as_a_copy_of_another_candidate_and_learn():
    seen = play([], member("copy", (1,), (), learns_in_trial=True))
    copies = seen["copy"]
    assert (copies != np.arange(POOL)[:, None]).all()
    # One episode as it began, and one after an update, which changes its parity.
    np.testing.assert_array_equal(seen["defection"], np.full((POOL, O), 0.5))


def test_copies_learn_in_the_trials_in_which_no_partner_takes_their_seat():
    copy = member("copy", (1,), (), learns_in_trial=True)
    seen = play([mixed_pool(0.75)], copy, member())
    among = seen["self_play"]
    own = np.arange(POOL)[:, None]
    assert (seen["copy"] != own).all() and (seen["partner"] != own).all()
    np.testing.assert_array_equal(seen["defection"][:, among], seen["partner"][:, among] % 2)
    np.testing.assert_array_equal(seen["defection"][:, ~among], 0.5)


def test_in_an_evaluation_learners_of_a_pool_begin_as_copies_of_the_deployed_policy():
    roles = [
        Role("pool", Numbered.for_env(ENV, 0), (0,), learner=Watching(POOL)),
        member("copy", (1,), (), learns_in_trial=True),
    ]
    counts = Counts(num_envs=E, num_opps=O, num_outer_steps=2)
    task = compose(ENV.default_params)
    loop = Loop(ENV, roles, task, counts)
    evaluator = Evaluator(ENV, roles, task, {}, counts)
    # The deployed policy is the first, number 0, and always cooperates; its copy does so for one episode.
    curve = evaluator.learning_curve(loop.init(jax.random.key(0)[None]), 2)
    table = np.asarray(ENV.default_params.payoff_table)
    expected = [[table[0, 0], table[0, 0]], [table[1, 0], table[1, 1]]]
    np.testing.assert_allclose(curve, expected, rtol=1e-6)


def test_where_another_takes_the_place_of_a_pool_copies_are_of_its_deployed_policy_still():
    class Odd(Numbered):
        def init(self, key):
            return TrainingState(jnp.float32(7), (), jnp.int32(0))

    roles = [
        Role("pool", Numbered.for_env(ENV, 0), (0,), learner=Watching(POOL)),
        member("copy", (1,), (), learns_in_trial=True),
    ]
    counts = Counts(num_envs=E, num_opps=O, num_outer_steps=2)
    task = compose(ENV.default_params)
    start = Loop(ENV, roles, task, counts).init(jax.random.key(0)[None])
    defector = Role("pool", Odd.for_env(ENV, 0), (0,))
    curve = Evaluator(ENV, roles, task, {"pool": defector}, counts).learning_curve(start, 2)
    table = np.asarray(ENV.default_params.payoff_table)
    np.testing.assert_allclose(curve, [[table[1, 1], table[1, 0]], [table[2, 1]] * 2], rtol=1e-6)
    # One of another kind may begin as a copy, too.
    copy = member("copy", (1,), (), learns_in_trial=False)
    evaluator = Evaluator(ENV, roles, task, {"pool": defector, "copy": copy}, counts)
    np.testing.assert_allclose(evaluator.learning_curve(start, 2), curve[[0, 0]], rtol=1e-6)


def test_an_evaluation_replaces_nobody_who_only_takes_over_seats():
    roles = [
        Role("pool", Numbered.for_env(ENV, 0), (0,), learner=Watching(POOL)),
        naive(),
        member(),
    ]
    task = compose(ENV.default_params, [mixed_pool(0.5)])
    other = Role("partner", Numbered.for_env(ENV, 1), (1,))
    counts = Counts(num_envs=E, num_opps=O, num_outer_steps=2)
    with pytest.raises(
        ConfigError, match="'partner', which only takes over .*: replace .* of pool, naive$"
    ):
        Evaluator(ENV, roles, task, {"partner": other}, counts)


def test_in_an_evaluation_learners_begin_from_the_few_states_of_training():
    pool = Role("pool", Numbered.for_env(ENV, 0), (0,), learner=Watching(POOL))
    # The evaluation leaves the first role out, which has no seat.
    roles = [member(), pool, naive(num_initial_states=3)]
    task = compose(ENV.default_params, [mixed_pool(0.5)])
    counts = Counts(num_envs=E, num_opps=O, num_outer_steps=2)
    loop = Loop(ENV, roles, task, counts)
    evaluator = Evaluator(ENV, roles, task, {}, counts)
    key = jax.random.key(0)
    begins = [np.unique(each._fresh(roles[2], key).params) for each in (loop, evaluator._loop)]
    np.testing.assert_array_equal(*begins)
    # Without a reset these live on: what is evaluated is what they have become.
    Evaluator(ENV, [pool, naive(num_initial_states=3, reset_every=0)], task, {}, counts)


def test_few_initial_states_are_the_same_in_all_trials_and_seeds():
    few = {tuple(np.unique(play([], naive(num_initial_states=3), seed=s)["naive"])) for s in (0, 1)}
    assert len(few) == 1 and len(few.pop()) == 3
    assert len(np.unique(play([], naive())["naive"])) == O


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ([member(), naive()], "member_of is 'pool' in role partner, which no other role is called"),
        ([member("alone", (0, 1), ())], "which no other role is called: there is no other$"),
        (
            ["pool", naive(), member(self_play_seats=(5,))],
            "self_play_seats of role partner names seat 5: this game has seats 0 to 1",
        ),
        (
            ["pool", naive(), member(learns_in_trial=True)],
            "learns_in_trial is True in role partner, which only takes over seats of others",
        ),
        (["pool of one", naive(), member()], "plays other members of pool, which has 1"),
        (["pool", naive(), member(learner=Frozen(1))], "give it no learner"),
        (
            ["pool", naive(), member(num_initial_states=2)],
            "and no reset_every or num_initial_states",
        ),
        (["pool", naive(), member(self_play_seats=())], "role partner has no seat"),
        (
            ["pool", naive(), member(self_play_seats=(1, 1))],
            "names seat 1, which is taken over by partner already",
        ),
        (
            ["pool", naive(), member(), member("second")],
            "role second names seat 1, which is taken over by partner already",
        ),
        (["pool", naive(num_initial_states=-1)], "num_initial_states is -1 in role naive: give 0"),
        (["pool", naive(num_initial_states=10**9)], "in role naive: give 0, .* to 1000000"),
        (
            [
                Role("pool", Numbered.for_env(ENV, 0), (0,), Watching(POOL), num_initial_states=3),
                naive(),
            ],
            "num_initial_states is 3 in role pool, which a learner improves",
        ),
    ],
)
def test_pools_that_cannot_be_are_told(roles, message):
    pools = {"pool": Watching(POOL), "pool of one": Gradient(Numbered.for_env(ENV, 0))}
    built = [
        Role("pool", Numbered.for_env(ENV, 0), (0,), learner=pools[role])
        if isinstance(role, str)
        else role
        for role in roles
    ]
    with pytest.raises(ConfigError, match=message):
        check_roles(built, ENV)


def test_who_only_takes_over_seats_needs_trials_of_self_play():
    roles = [
        Role("pool", Numbered.for_env(ENV, 0), (0,), learner=Watching(POOL)),
        naive(),
        member(),
    ]
    with pytest.raises(ConfigError, match="role partner plays only in trials of self-play"):
        check_task(compose(ENV.default_params), roles, ENV)


@pytest.mark.parametrize("share", [-0.1, 1.5, "half"])
def test_the_share_of_naive_trials_is_a_probability(share):
    with pytest.raises(ConfigError, match="naive"):
        mixed_pool(share)
