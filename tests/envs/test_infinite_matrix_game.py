"""The infinite game against closed forms, and linear algebra in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.envs.infinite_matrix_game import EnvParams, InfiniteMatrixGame, discounted_visits
from pax.envs.iterated_matrix_game import PAYOFFS
from pax.envs.spaces import Box
from pax.errors import ConfigError

KEY = jax.random.key(0)
ENV = InfiniteMatrixGame(num_inner_steps=10)
STATE = ENV.reset(KEY, ENV.default_params)[1]
STEP = jax.jit(ENV.step)
# Signs of the logits after CC, CD, DC, DD and at the start.
SIGNS = {
    "all_c": (1, 1, 1, 1, 1),
    "all_d": (-1, -1, -1, -1, -1),
    "tft": (1, -1, 1, -1, 1),
    "grim": (1, -1, -1, -1, 1),
    "wsls": (1, -1, -1, 1, 1),
    "random": (0, 0, 0, 0, 0),
}
ODD = ((0.5, -7.25), (3.0, 11.0), (-2.5, 4.0), (6.0, -0.125))


def rewards(first, second, payoff, gamma):
    """What two policies, given by names or logits, earn."""
    logits = tuple(
        40.0 * jnp.array(SIGNS[policy], jnp.float32) if isinstance(policy, str) else policy
        for policy in (first, second)
    )
    params = ENV.make_params(payoff=payoff, gamma=gamma)
    return np.array(STEP(KEY, STATE, logits, params)[2])


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


def exact(first, second, payoff, gamma):
    """(rewards, visits) in float64, joint action by joint action."""
    p, q = sigmoid(first), sigmoid(second)
    outcomes = list(itertools.product("CD", repeat=2))

    def probability(state, outcome):
        result = 1.0
        for own, seen, policy in ((0, state, p), (1, state[::-1], q)):
            index = 4 if seen == () else outcomes.index(tuple(seen))
            result *= policy[index] if outcome[own] == "C" else 1 - policy[index]
        return result

    start = np.array([probability((), outcome) for outcome in outcomes])
    chain = np.array([[probability(s, outcome) for outcome in outcomes] for s in outcomes])
    visits = np.linalg.solve((np.eye(4) - gamma * chain).T, start)
    return (1 - gamma) * visits @ np.array(payoff, np.float64), visits


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    (
        ("all_c", "all_c", (2, 2)),
        ("all_d", "all_d", (1, 1)),
        ("all_d", "all_c", (3, 0)),
        ("tft", "tft", (2, 2)),
        ("tft", "all_d", (0.99, 1.02)),
        ("all_d", "tft", (1.02, 0.99)),
    ),
)
def test_pure_policies(first, second, expected):
    paid = rewards(first, second, PAYOFFS["ipd_positive"], 0.99)
    np.testing.assert_allclose(paid, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    (
        ("tft", "all_d", (-2.04, -1.92)),
        ("wsls", "all_d", (-2.5102041, -0.9795918)),
        ("random", "tft", (-1.46, -1.52)),
        ("random", "grim", (-2.3461538, -1.0769231)),
        ("random", "random", (-1.5, -1.5)),
    ),
)
def test_memory_one_strategies_of_the_prisoners_dilemma(first, second, expected):
    for pair, paid in (((first, second), expected), ((second, first), expected[::-1])):
        np.testing.assert_allclose(rewards(*pair, PAYOFFS["ipd"], 0.96), paid, atol=2e-6)


def test_policies_at_random_visit_all_states_alike():
    visits = discounted_visits(jnp.zeros(5), jnp.zeros(5), 0.96)
    np.testing.assert_allclose(visits, [6.25] * 4, rtol=1e-6)


@pytest.mark.parametrize("gamma", (0.0, 0.5, 0.96, 0.99, 0.9999))
def test_random_policies_and_payoffs(gamma):
    rng = np.random.default_rng(0)
    num = 500
    logits = (rng.normal(size=(2, num, 5)) * rng.choice([1, 5], size=(2, num, 1))).astype(
        np.float32
    )
    payoffs = rng.normal(size=(num, 4, 2)).astype(np.float32)
    rounded = np.float32(gamma)
    params = EnvParams(payoff_matrix=jnp.array(payoffs), gamma=jnp.full(num, rounded))
    paid = jax.jit(jax.vmap(ENV.step, (None, None, 0, 0)))(KEY, STATE, tuple(logits), params)[2]
    visits = jax.jit(jax.vmap(discounted_visits, (0, 0, None)))(*logits, rounded)
    for index in range(num):
        expected, often = exact(*logits[:, index], payoffs[index], np.float64(rounded))
        np.testing.assert_allclose([paid[0][index], paid[1][index]], expected, atol=1e-5)
        np.testing.assert_allclose([v[index] for v in visits], often, rtol=1e-5)
    np.testing.assert_allclose(sum(visits), 1 / (1 - np.float64(rounded)), rtol=3e-6)


def test_rare_defections_of_determined_cooperators_count():
    """1 - sigmoid(logit) would be zero in float32."""
    visits = discounted_visits(jnp.full(5, 25.0), jnp.full(5, 30.0), 0.96)
    expected = 25 * np.array([1.0, np.exp(-30), np.exp(-25), np.exp(-55)])
    np.testing.assert_allclose(visits, expected, rtol=1e-5)


@pytest.mark.parametrize("gamma", (0.96, 0.99))
def test_gradients_with_respect_to_both_policies(gamma):
    rng = np.random.default_rng(1)

    def paid(first, second, player):
        params = EnvParams(payoff_matrix=jnp.array(ODD), gamma=jnp.float32(gamma))
        return ENV.step(KEY, STATE, (first, second), params)[2][player]

    gradient = jax.jit(jax.grad(paid, argnums=(0, 1)), static_argnums=2)
    step = 1e-5
    for _ in range(10):
        logits = rng.normal(size=(2, 5)).astype(np.float32)
        for player in range(2):
            numeric = np.zeros((2, 5))
            for index in np.ndindex(2, 5):
                up, down = logits.astype(np.float64), logits.astype(np.float64)
                up[index] += step
                down[index] -= step
                difference = exact(*up, ODD, gamma)[0] - exact(*down, ODD, gamma)[0]
                numeric[index] = difference[player] / (2 * step)
            analytic = np.array(gradient(*logits, player))
            np.testing.assert_allclose(analytic, numeric, atol=2e-5)


def test_second_derivatives_that_look_ahead():
    """d/d theta_1 of the derivatives of player 1's value by theta_2, which LOLA needs."""
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(2, 5))
    params = EnvParams(payoff_matrix=jnp.array(ODD), gamma=jnp.float32(0.96))

    def paid(first, second):
        return ENV.step(KEY, STATE, (first, second), params)[2][0]

    mixed = jax.jit(jax.jacfwd(jax.grad(paid, argnums=1)))(jnp.array(first), jnp.array(second))
    step, unit = 1e-4, np.eye(5)
    for i, j in np.ndindex(5, 5):
        corners = [
            a * b * exact(first + a * step * unit[j], second + b * step * unit[i], ODD, 0.96)[0][0]
            for a in (1, -1)
            for b in (1, -1)
        ]
        np.testing.assert_allclose(mixed[i, j], sum(corners) / (4 * step**2), atol=1e-4)


def test_saturated_policies_have_finite_gradients():
    params = ENV.default_params

    def total(first, second):
        return sum(ENV.step(KEY, STATE, (first, second), params)[2])

    for size in (100.0, -100.0):
        gradients = jax.grad(total, argnums=(0, 1))(jnp.full(5, size), jnp.full(5, -size))
        assert np.isfinite(gradients).all()


def test_the_seats_are_alike():
    """Swapping the players and what they earn swaps rewards."""
    rng = np.random.default_rng(3)
    swapped = [ODD[row][::-1] for row in (0, 2, 1, 3)]
    for _ in range(5):
        first, second = rng.normal(size=(2, 5)).astype(np.float32)
        paid = rewards(first, second, ODD, 0.9)
        np.testing.assert_allclose(rewards(second, first, swapped, 0.9), paid[::-1], rtol=1e-5)


def test_each_player_sees_its_own_policy_first():
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=(2, 5)).astype(np.float32)
    observations = STEP(KEY, STATE, (first, second), ENV.default_params)[0]
    p, q = sigmoid(first), sigmoid(second)
    np.testing.assert_allclose(observations[0], [*p, *q], rtol=1e-6)
    np.testing.assert_allclose(observations[1], [*q, *p], rtol=1e-6)


def test_an_episode_starts_with_policies_at_random():
    observations, state = ENV.reset(KEY, ENV.default_params)
    for observation in observations:
        np.testing.assert_array_equal(observation, [0.5] * 10)
    assert int(state.inner_t) == 0
    assert ENV.observation_space(0) == ENV.observation_space(1) == Box((10,), 0.0, 1.0)
    assert ENV.action_space(0) == ENV.action_space(1) == Box((5,))


def test_the_prisoners_dilemma_is_the_default():
    params = ENV.default_params
    np.testing.assert_array_equal(params.payoff_matrix, [[-1, -1], [-3, 0], [0, -3], [-2, -2]])
    assert params.gamma == np.float32(0.96)
    assert params.payoff_matrix.dtype == params.gamma.dtype == jnp.float32


# As float32, .999999999 is 1.
@pytest.mark.parametrize(
    "gamma", (1.0, -0.1, 1.5, np.nan, np.inf, 0.999999999, "0.9", None, (0.5,))
)
def test_a_gamma_outside_0_to_1_is_refused(gamma):
    for check in (
        lambda: ENV.make_params(gamma=gamma),
        lambda: ENV.check_params(EnvParams(payoff_matrix=PAYOFFS["ipd"], gamma=gamma)),
    ):
        with pytest.raises(ConfigError) as error:
            check()
        assert str(error.value) == (
            f"gamma is {gamma!r}: give a number from 0 to less than 1 (as float32)"
        )


@pytest.mark.parametrize("payoff", (((1, 2), (3, 4)), 3.0, ((1, 2), (3, 4), (5, 6), (7, np.nan))))
def test_payoffs_are_checked_as_in_the_matrix_game(payoff):
    with pytest.raises(ConfigError, match="^payoff is .*: give "):
        ENV.make_params(payoff=payoff)


def test_statistics_are_mean_policies_and_mean_shares_of_states():
    rng = np.random.default_rng(5)
    actions = tuple(jnp.array(rng.normal(size=(4, 3, 5)), jnp.float32) for _ in range(2))
    params = ENV.make_params(payoff=ODD, gamma=0.9)
    batch = jax.vmap(jax.vmap(ENV.step, (None, None, 0, None)), (None, None, 0, None))
    observations, _, _, _, infos = batch(KEY, STATE, actions, params)
    metrics = ENV.statistics_metrics(ENV.episode_statistics(observations, actions, infos))
    shares = [
        (1 - 0.9) * exact(actions[0][index], actions[1][index], ODD, 0.9)[1]
        for index in np.ndindex(4, 3)
    ]
    expected = dict(zip(("CC", "CD", "DC", "DD"), np.mean(shares, axis=0), strict=True))
    expected = {f"state_probability/{state}": value for state, value in expected.items()}
    for player in range(2):
        for index, state in enumerate(("CC", "CD", "DC", "DD", "START")):
            name = f"cooperation_probability/player_{player + 1}/{state}"
            expected[name] = sigmoid(actions[player])[..., index].mean()
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)


def test_a_picture_shows_the_payoffs_of_both():
    params = ENV.make_params(payoff=ODD)
    figure = ENV.render(STATE, params)
    shown = [[float(text.get_text()) for text in axes.texts] for axes in figure.axes]
    assert shown == [[row[player] for row in ODD] for player in range(2)]
