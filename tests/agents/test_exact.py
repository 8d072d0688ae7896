"""Exact learners against finite differences and an independent implementation in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import LOLAExact, NaiveExact, SOSExact, Static
from pax.envs import InfiniteMatrixGame, IteratedMatrixGame
from pax.errors import ConfigError
from pax.loop.rollout import rollout
from pax.roles import Role
from pax.types import Task

IPD = ((-1.0, -1.0), (-3.0, 0.0), (0.0, -3.0), (-2.0, -2.0))
IMP = ((-1.0, 1.0), (1.0, -1.0), (1.0, -1.0), (-1.0, 1.0))
ODD = ((0.3, -1.2), (2.0, 0.7), (-0.4, 1.1), (0.9, -2.0))
CHICKEN = ((0.0, 0.0), (-1.0, 1.0), (1.0, -1.0), (-100.0, -100.0))
GAMES = {"ipd": (IPD, 0.96), "imp": (IMP, 0.96), "odd": (ODD, 0.8), "chicken": (CHICKEN, 0.0)}
ENV = InfiniteMatrixGame(num_inner_steps=4)
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


def value(own, other, game, seat, of_other=False):
    """sum_t gamma^t r_t in float64, by solving the linear system."""
    payoff, gamma = np.array(GAMES[game][0]), GAMES[game][1]
    first, second = (own, other) if seat == 0 else (other, own)
    p = 1 / (1 + np.exp(-np.asarray(first, np.float64)))
    q = (1 / (1 + np.exp(-np.asarray(second, np.float64))))[[0, 2, 1, 3, 4]]
    joint = np.stack([p * q, p * (1 - q), (1 - p) * q, (1 - p) * (1 - q)], axis=-1)
    visits = np.linalg.solve((np.eye(4) - gamma * joint[:4]).T, joint[4])
    return visits @ payoff[:, 1 - seat if of_other else seat]


def gradient(function, point, h=1e-5):
    point = np.asarray(point, np.float64)
    steps = h * np.eye(len(point))
    return np.array([(function(point + s) - function(point - s)) / (2 * h) for s in steps])


def naive(own, other, game, seat):
    return gradient(lambda x: value(x, other, game, seat), own)


def steps_of_other(own, other, game, seat, rate, number):
    for _ in range(number):
        other = other + rate * gradient(lambda y: value(own, y, game, seat, True), other)
    return other


def lola(own, other, game, seat, rate, number, form):
    def looked_ahead(x):
        following = steps_of_other(x, other, game, seat, rate, number)
        if form == "full":
            return value(x, following, game, seat)
        at = own if form == "stop_gradient" else x
        slope = gradient(lambda y: value(at, y, game, seat), other)
        return value(x, other, game, seat) + slope @ (following - other)

    return gradient(looked_ahead, own, h=1e-3)


def logits(seed):
    return np.random.default_rng(seed).normal(size=(2, 5))


def agent(cls, game, seat, **settings):
    payoff, gamma = GAMES[game]
    return cls.for_env(ENV, seat, ENV.make_params(payoff=payoff, gamma=gamma), **settings)


@pytest.mark.parametrize(("game", "seat"), list(itertools.product(GAMES, (0, 1))))
def test_naive_gradients_are_finite_differences(game, seat):
    for seed in range(3):
        own, other = logits(seed)
        actual = agent(NaiveExact, game, seat).direction(jnp.float32(own), jnp.float32(other))
        np.testing.assert_allclose(actual, naive(own, other, game, seat), **TOLERANCE)


@pytest.mark.parametrize("form", ["stop_gradient", "taylor", "full"])
@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize(
    ("game", "seat"),
    [
        ("ipd", 0),
        pytest.param("imp", 1, marks=pytest.mark.slow),
        pytest.param("odd", 0, marks=pytest.mark.slow),
        ("odd", 1),
    ],
)
def test_lola_gradients_are_finite_differences(game, seat, number, form):
    settings = {"look_ahead_rate": 0.3, "look_ahead_steps": number, "form": form}
    direction = jax.jit(agent(LOLAExact, game, seat, **settings).direction)
    for seed in range(3):
        own, other = logits(seed)
        expected = lola(own, other, game, seat, 0.3, number, form)
        actual = direction(jnp.float32(own), jnp.float32(other))
        # Differences of differences: good to four digits of the largest entry.
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_the_forms_differ():
    own, other = jnp.float32(logits(0))
    forms = [
        agent(LOLAExact, "ipd", 0, form=form).direction(own, other)
        for form in ("stop_gradient", "taylor", "full")
    ]
    for one, another in itertools.combinations(forms, 2):
        assert np.abs(one - another).max() > 0.01


def test_shares_mix_looking_ahead_with_the_plain_gradient():
    own, other = jnp.float32(logits(0))

    def direction(share):
        learner = agent(LOLAExact, "odd", 1, look_ahead_rate=3.0, look_ahead_share=share)
        return jax.jit(learner.direction)(own, other)

    plain = jax.jit(agent(NaiveExact, "odd", 1).direction)(own, other)
    np.testing.assert_allclose(direction(0.0), plain, rtol=1e-5)
    assert np.abs(direction(1.0) - plain).max() > 0.005
    expected = 0.4 * direction(1.0) + 0.6 * plain
    np.testing.assert_allclose(direction(0.4), expected, rtol=1e-4)


def test_two_steps_ahead_are_those_of_automatic_differentiation():
    """Of the value by a linear solver, and all of the look-ahead at once."""
    payoff, gamma = GAMES["odd"]

    def worth(first, second, player):
        p, q = jax.nn.sigmoid(first), jax.nn.sigmoid(second)[jnp.array([0, 2, 1, 3, 4])]
        joint = jnp.stack([p * q, p * (1 - q), (1 - p) * q, (1 - p) * (1 - q)], axis=-1)
        visits = jnp.linalg.solve((jnp.eye(4) - gamma * joint[:4]).T, joint[4])
        return visits @ jnp.array(payoff)[:, player]

    def ahead(own, other):
        for _ in range(2):
            other = other + 0.3 * jax.grad(worth, 1)(own, other, 1)
        return worth(own, other, 0)

    own, other = jnp.float32(logits(1))
    learner = agent(LOLAExact, "odd", 0, look_ahead_rate=0.3, look_ahead_steps=2, form="full")
    expected = jax.jit(jax.grad(ahead))(own, other)
    actual = jax.jit(learner.direction)(own, other)
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


def test_adamw_moves_each_environment_by_its_own_moments():
    """Against Adam with decoupled decay in NumPy; moments outlive an episode, and no trial."""
    learner = agent(NaiveExact, "odd", 0, optimizer="adamw", learning_rate=0.1)
    rng, num_envs = np.random.default_rng(0), 2
    others = rng.normal(size=(num_envs, 5))
    drawn = jnp.float32(rng.normal(size=(num_envs, 5)))
    seen = jnp.float32(np.concatenate([np.zeros_like(others), 1 / (1 + np.exp(-others))], axis=-1))
    act = jax.jit(learner.act)
    state, memory = (
        learner.init(jax.random.key(0)),
        learner.initial_memory(learner.initial_hidden(2)),
    )
    own, first, second = np.float64(drawn), 0.0, 0.0
    for step in range(5):
        if step == 3:
            memory = learner.reset_memory(memory)
            # The first step of an episode shows what was learned before.
            _, memory = act(state, seen, memory, drawn)
        actions, memory = act(state, seen, memory, drawn)
        if step:
            slopes = np.stack([naive(own[e], others[e], "odd", 0) for e in range(num_envs)])
            first, second = 0.9 * first + 0.1 * slopes, 0.999 * second + 0.001 * slopes**2
            scaled = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
            own = own + 0.1 * (scaled - 1e-4 * own)
        np.testing.assert_allclose(actions, own, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(learner.reset_memory(memory, new_trial=True).hidden, 0.0)


@pytest.mark.parametrize(("game", "seat"), [("ipd", 0), ("odd", 1)])
def test_the_default_is_the_published_update(game, seat):
    """dV/d own + rate (d2V_other / d own d other) dV/d other (Foerster et al. 2018), term by term."""
    for seed in range(3):
        own, other = logits(seed)
        mixed = hessian(lambda x, y: value(x, y, game, seat, of_other=True), own, other)
        slope = gradient(lambda y: value(own, y, game, seat), other)  # noqa: B023
        expected = naive(own, other, game, seat) + 0.3 * mixed @ slope
        learner = agent(LOLAExact, game, seat, look_ahead_rate=0.3)
        actual = learner.direction(jnp.float32(own), jnp.float32(other))
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def hessian(function, x, y, h=1e-4):
    """d2 f / dx dy `[5, 5]`."""
    return gradient(lambda a: gradient(lambda b: function(a, b), y, h), x, h)


def sos(own, other, game, seat, rate, a=0.5, b=0.1):
    """Algorithm 1 of Letcher et al., with losses -V and everything written out; and the share p."""

    def loss(player):
        return lambda x, y: -value(x, y, game, seat, of_other=player == 1)

    slope = [
        [gradient(lambda x: loss(0)(x, other), own), gradient(lambda y: loss(0)(own, y), other)],
        [gradient(lambda x: loss(1)(x, other), own), gradient(lambda y: loss(1)(own, y), other)],
    ]
    xi = np.concatenate([slope[0][0], slope[1][1]])
    mixed = [hessian(loss(player), own, other) for player in range(2)]
    stable = xi - rate * np.concatenate([mixed[0] @ slope[1][1], mixed[1].T @ slope[0][0]])
    chi = np.concatenate([mixed[1] @ slope[0][1], mixed[0].T @ slope[1][0]])
    against = -rate * chi @ stable
    p1 = 1.0 if against > 0 else min(1.0, -a * (stable @ stable) / against)
    p2 = xi @ xi if np.linalg.norm(xi) < b else 1.0
    return -(stable - min(p1, p2) * rate * chi)[:5], min(p1, p2)


@pytest.mark.parametrize(("game", "seat", "rate"), [("odd", 1, 0.5), ("chicken", 0, 0.1)])
def test_sos_is_that_of_its_paper(game, seat, rate):
    direction = jax.jit(agent(SOSExact, game, seat, look_ahead_rate=rate).direction)
    shares = []
    for seed in range(20):
        own, other = logits(seed)
        expected, share = sos(own, other, game, seat, rate)
        shares.append(share)
        actual = direction(jnp.float32(own), jnp.float32(other))
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    # Shaping is held back in some of them.
    assert min(shares) < 1.0 or game == "odd"


@pytest.mark.parametrize("seat", [0, 1])
def test_both_learn_after_every_step_from_what_both_did(seat):
    """Against a numpy loop: the first step shows what was drawn, and then both move at once."""
    params = ENV.make_params(payoff=ODD, gamma=0.8)
    kinds = (NaiveExact, Static) if seat == 0 else (Static, NaiveExact)
    roles = [Role(str(s), kind.for_env(ENV, s, params), (s,)) for s, kind in enumerate(kinds)]
    num_envs = 3
    memories = {r.name: r.agent.initial_memory(r.agent.initial_hidden(num_envs)) for r in roles}
    states = {r.name: r.agent.init(jax.random.key(0)) for r in roles}
    play = jax.jit(
        lambda memories: rollout(
            ENV, roles, num_envs, jax.random.key(1), states, memories, Task(env_params=params)
        )
    )
    episode = play(memories)
    learns, stays = (episode.rollouts[str(s)].actions for s in (seat, 1 - seat))
    assert np.unique(np.asarray(learns[0])).size == learns[0].size
    for env in range(num_envs):
        own = np.asarray(learns[0, env], np.float64)
        for t in range(ENV.num_inner_steps):
            np.testing.assert_allclose(learns[t, env], own, rtol=1e-3, atol=1e-3)
            np.testing.assert_array_equal(stays[t, env], stays[0, env])
            expected = 0.2 * value(own, np.asarray(stays[t, env]), "odd", seat)
            reward = episode.rollouts[str(seat)].rewards[t, env]
            np.testing.assert_allclose(reward, expected, rtol=1e-3, atol=1e-3)
            own = own + naive(own, np.asarray(stays[t, env]), "odd", seat)
    # The next episode goes on where this one ended; the next trial does not.
    agent = roles[seat].agent
    again = play({r.name: r.agent.reset_memory(episode.last_memories[r.name]) for r in roles})
    last = episode.last_memories[str(seat)].hidden[:, :5]
    np.testing.assert_array_equal(again.rollouts[str(seat)].actions[0], last)
    np.testing.assert_array_equal(
        agent.reset_memory(episode.last_memories[str(seat)], new_trial=True).hidden, 0.0
    )


def test_certainty_stays_finite():
    own = jnp.full(5, 40.0)
    learner = agent(LOLAExact, "ipd", 0)
    memory = learner.initial_memory(jnp.concatenate([own, jnp.array([2.0])])[None])
    seen = jnp.concatenate([jnp.ones(5), jnp.zeros(5)])[None]
    action, _ = learner.policy(learner.init(jax.random.key(0)), seen, memory, jax.random.key(0))
    assert np.isfinite(action).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: NaiveExact.for_env(IteratedMatrixGame()),
            "NaiveExact knows the value of the infinite matrix game only, and this is IteratedMatrixGame",
        ),
        (
            lambda: NaiveExact.for_env(ENV, learning_rate=-1.0),
            "learning_rate is -1.0 in NaiveExact",
        ),
        (
            lambda: LOLAExact.for_env(ENV, form="exact"),
            "form is 'exact' in LOLAExact: choose one of",
        ),
        (lambda: LOLAExact.for_env(ENV, look_ahead_steps=0), "look_ahead_steps is 0 in LOLAExact"),
        (
            lambda: LOLAExact.for_env(ENV, look_ahead_share=1.5),
            "look_ahead_share is 1.5 in LOLAExact",
        ),
        (lambda: NaiveExact.for_env(ENV, optimizer="adam"), "optimizer is 'adam' in NaiveExact"),
    ],
)
def test_what_is_wrong_is_said(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
