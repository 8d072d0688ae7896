"""The iterated matrix game against values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.envs.iterated_matrix_game import PAYOFFS, START, EnvParams, EnvState, IteratedMatrixGame
from pax.envs.spaces import Box, Discrete
from pax.errors import ConfigError

C, D = 0, 1
JOINT_ACTIONS = ((C, C), (C, D), (D, C), (D, D))
# Player 1's and player 2's reward after CC, CD, DC and DD, player 1's action first.
GAMES = {
    "ipd": ((-1, -3, 0, -2), (-1, 0, -3, -2)),
    "imp": ((1, -1, -1, 1), (-1, 1, 1, -1)),
    "ipd_positive": ((2, 0, 3, 1), (2, 3, 0, 1)),
    "stag_hunt": ((4, 1, 3, 2), (4, 3, 1, 2)),
    "battle_of_the_sexes": ((3, 0, 0, 2), (2, 0, 0, 3)),
    "chicken": ((0, -1, 1, -2), (0, 1, -1, -2)),
}
# No two entries alike, and neither symmetric nor zero-sum.
ODD = ((0.5, -7.25), (3.0, 11.0), (-2.5, 4.0), (6.0, -0.125))
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def step():
    return jax.jit(IteratedMatrixGame(num_inner_steps=10).step)


@pytest.mark.parametrize("number", (int, float, np.int8, np.float32, jnp.int32, jnp.float32))
@pytest.mark.parametrize("name", GAMES)
def test_every_joint_action_pays_its_row(step, name, number):
    env = IteratedMatrixGame(num_inner_steps=10)
    params = env.make_params(payoff=PAYOFFS[name])
    _, state = env.reset(KEY, params)
    for index, (own, other) in enumerate(JOINT_ACTIONS):
        _, _, rewards, _, _ = step(KEY, state, (number(own), number(other)), params)
        assert tuple(map(float, rewards)) == (GAMES[name][0][index], GAMES[name][1][index])


def test_a_payoff_without_symmetry_keeps_rows_and_columns_apart(step):
    params = EnvParams(payoff_matrix=ODD)
    state = EnvState(inner_t=jnp.int32(3))
    paid = [
        step(KEY, state, (jnp.float32(own), jnp.float32(other)), params)[2]
        for own, other in JOINT_ACTIONS
    ]
    np.testing.assert_array_equal(np.array(paid), ODD)


def test_the_prisoners_dilemma_is_the_default():
    params = IteratedMatrixGame().default_params
    assert params.payoff_matrix.dtype == jnp.float32
    np.testing.assert_array_equal(params.payoff_matrix, [[-1, -1], [-3, 0], [0, -3], [-2, -2]])
    assert set(GAMES) == set(PAYOFFS)


@pytest.mark.parametrize("payoff", (ODD, [list(row) for row in ODD], np.array(ODD)))
def test_payoffs_may_be_tuples_lists_or_arrays(payoff):
    params = IteratedMatrixGame().make_params(payoff=payoff)
    np.testing.assert_array_equal(params.payoff_matrix, np.array(ODD, np.float32))


def test_each_player_sees_its_own_action_first(step):
    params = IteratedMatrixGame().default_params
    state = EnvState(inner_t=jnp.int32(0))
    # CC 0, CD 1, DC 2, DD 3; what is CD for one player is DC for the other.
    expected = {(C, C): (0, 0), (C, D): (1, 2), (D, C): (2, 1), (D, D): (3, 3)}
    for actions, states in expected.items():
        observations = step(KEY, state, actions, params)[0]
        assert tuple(map(int, observations)) == states
        assert all(observation.dtype == jnp.int32 for observation in observations)


def test_an_episode_starts_in_start():
    env = IteratedMatrixGame(num_inner_steps=4)
    observations, state = env.reset(KEY, env.default_params)
    assert START == 4
    assert tuple(map(int, observations)) == (4, 4)
    assert observations[0].dtype == jnp.int32
    assert int(state.inner_t) == 0
    assert env.observation_space(0) == env.observation_space(1) == Discrete(5)
    assert env.action_space(0) == env.action_space(1) == Discrete(2)
    assert env.num_players == 2


def test_one_hot_observations():
    env = IteratedMatrixGame(num_inner_steps=4, one_hot=True)
    params = env.default_params
    observations, state = env.reset(KEY, params)
    for observation in observations:
        np.testing.assert_array_equal(observation, [0, 0, 0, 0, 1])
    observations = env.step(KEY, state, (C, D), params)[0]
    np.testing.assert_array_equal(observations[0], [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(observations[1], [0, 0, 1, 0, 0])
    assert observations[0].dtype == jnp.float32
    assert env.observation_space(1) == Box((5,), 0.0, 1.0)


def test_payoffs_are_shown_in_the_frame_of_who_sees_them():
    env = IteratedMatrixGame(num_inner_steps=4, show_payoff_to=(0, 1))
    params = env.make_params(payoff=ODD)
    # Own payoffs of CC, CD, DC, DD and then the other's; CD and DC change places for player 2.
    shown = (
        [0.5, 3.0, -2.5, 6.0, -7.25, 11.0, 4.0, -0.125],
        [-7.25, 4.0, 11.0, -0.125, 0.5, -2.5, 3.0, 6.0],
    )
    observations, state = env.reset(KEY, params)
    for player in (0, 1):
        np.testing.assert_array_equal(observations[player], [0, 0, 0, 0, 1, *shown[player]])
    observations = env.step(KEY, state, (C, D), params)[0]
    np.testing.assert_array_equal(observations[0], [0, 1, 0, 0, 0, *shown[0]])
    np.testing.assert_array_equal(observations[1], [0, 0, 1, 0, 0, *shown[1]])


def test_payoffs_are_shown_to_nobody_else():
    env = IteratedMatrixGame(num_inner_steps=4, show_payoff_to=(0,))
    observations, _ = env.reset(KEY, env.default_params)
    assert (observations[0].shape, observations[1].shape) == ((13,), ())
    assert (env.observation_space(0), env.observation_space(1)) == (Box((13,)), Discrete(5))
    with pytest.raises(
        ConfigError, match="show_payoff_to is \\(2,\\): this game has the players 0"
    ):
        IteratedMatrixGame(show_payoff_to=(2,))


@pytest.mark.parametrize("num_steps", (1, 2, 5))
def test_done_is_true_on_the_last_step_and_that_step_pays(num_steps):
    env = IteratedMatrixGame(num_inner_steps=num_steps)
    params = env.make_params(payoff=ODD)
    _, state = env.reset(KEY, params)
    for t in range(num_steps):
        observations, state, rewards, done, _ = env.step(KEY, state, (D, C), params)
        assert bool(done) == (t == num_steps - 1)
        assert tuple(map(float, rewards)) == ODD[2]
        assert tuple(map(int, observations)) == (2, 1)
        assert int(state.inner_t) == t + 1


def test_counters_do_not_wrap_in_long_episodes():
    num_steps = 300
    env = IteratedMatrixGame(num_inner_steps=num_steps)
    params = env.default_params

    @jax.jit
    def play(state):
        def step(state, _):
            _, state, _, done, _ = env.step(KEY, state, (C, C), params)
            return state, (state.inner_t, done)

        return jax.lax.scan(step, state, length=num_steps)

    state, (counts, dones) = play(env.reset(KEY, params)[1])
    assert counts.dtype == jnp.int32 and state.inner_t.dtype == jnp.int32
    np.testing.assert_array_equal(counts, np.arange(1, num_steps + 1))
    np.testing.assert_array_equal(dones, [False] * (num_steps - 1) + [True])


def test_every_environment_of_a_batch_may_play_another_game():
    env = IteratedMatrixGame(num_inner_steps=3)
    params = jax.tree.map(
        lambda *leaves: jnp.stack(leaves),
        *(env.make_params(payoff=PAYOFFS[name]) for name in GAMES),
    )
    reset = jax.vmap(env.reset, (None, 0))
    step = jax.jit(jax.vmap(env.step, (None, 0, 0, 0)))
    _, state = reset(KEY, params)
    for index, (own, other) in enumerate(JOINT_ACTIONS):
        actions = (jnp.full(len(GAMES), own), jnp.full(len(GAMES), other))
        rewards = step(KEY, state, actions, params)[2]
        for player in (0, 1):
            expected = [payoff[player][index] for payoff in GAMES.values()]
            np.testing.assert_array_equal(rewards[player], expected)


WRONG_SHAPES = (
    ((-1, -1), (-3, 0)),
    (-1, -3, 0, -2),
    ((-1, -1, 0), (-3, 0, 0), (0, -3, 0), (-2, -2, 0)),
    (((-1, -1), (-3, 0)), ((0, -3), (-2, -2))),
    ((-1, -1), (-3, 0), (0,), (-2, -2)),
    5.0,
    None,
    (),
    "ipd",
    (("a", "b"), ("c", "d"), ("e", "f"), ("g", "h")),
    (("1", "2"), ("3", "4"), ("5", "6"), ("7", "8")),
    ((-1, -1), (-3, 0), (0, None), (-2, -2)),
    ((-1, -1), (-3, 0), (0, 1j), (-2, -2)),
    ((-1, -1), (-3, 0), (0, 10**40), (-2, -2)),
    {"CC": (1, 1)},
)


@pytest.mark.parametrize("payoff", WRONG_SHAPES, ids=repr)
def test_a_payoff_that_is_not_four_pairs_of_numbers_is_refused(payoff):
    env = IteratedMatrixGame()
    expected = "give 4 rows (CC, CD, DC, DD) of 2 numbers (player 1, player 2)"
    for check in (
        lambda: env.check_params(EnvParams(payoff_matrix=payoff)),
        lambda: env.make_params(payoff=payoff),
    ):
        with pytest.raises(ConfigError) as error:
            check()
        assert str(error.value) == f"payoff is {payoff}: {expected}"


# The last is a number that float32 cannot hold.
@pytest.mark.parametrize("number", (np.nan, np.inf, -np.inf, 1e39))
def test_a_payoff_that_is_not_finite_is_refused(number):
    env = IteratedMatrixGame()
    payoff = ((-1, -1), (-3, 0), (0, number), (-2, -2))
    for check in (
        lambda: env.check_params(EnvParams(payoff_matrix=payoff)),
        lambda: env.make_params(payoff=payoff),
    ):
        with pytest.raises(ConfigError, match="^payoff is .*: give finite numbers only$"):
            check()


def test_a_valid_payoff_passes_in_every_form():
    env = IteratedMatrixGame()
    for payoff in (ODD, [list(row) for row in ODD], np.array(ODD), jnp.array(ODD)):
        env.check_params(EnvParams(payoff_matrix=payoff))


@pytest.mark.parametrize("num_steps", (0, -3))
def test_an_episode_without_steps_is_refused(num_steps):
    with pytest.raises(ConfigError, match=f"num_inner_steps is {num_steps}: give at least 1"):
        IteratedMatrixGame(num_inner_steps=num_steps)


def count(states, actions):
    """Visits and cooperations per state, by going through them one by one."""
    visits, cooperations = [0] * 5, [0] * 5
    for state, action in zip(states.ravel().tolist(), actions.ravel().tolist(), strict=True):
        visits[state] += 1
        cooperations[state] += action == 0
    return visits, cooperations


@pytest.mark.parametrize("one_hot", (False, True))
def test_statistics_are_counts_of_what_player_1_did(one_hot):
    env = IteratedMatrixGame(num_inner_steps=30, one_hot=one_hot)
    rng = np.random.default_rng(0)
    shape = (30, 7)
    # State CD is never visited, and in DD nobody ever cooperates.
    states = rng.choice([0, 2, 3, 4], size=shape)
    actions = np.where(states == 3, 1, rng.integers(0, 2, shape))
    others = rng.integers(0, 5, shape)
    observations = (jnp.array(states), jnp.array(others))
    if one_hot:
        observations = tuple(jax.nn.one_hot(observation, 5) for observation in observations)
    statistics = jax.jit(env.episode_statistics)(
        observations, (jnp.array(actions), jnp.array(1 - actions)), {}
    )
    visits, cooperations = count(states, actions)
    assert visits[1] == 0 and cooperations[3] == 0 and visits[3] > 0
    assert statistics.visits.dtype == statistics.cooperations.dtype == jnp.int32
    assert statistics.visits.tolist() == visits
    assert statistics.cooperations.tolist() == cooperations

    metrics = {k: float(v) for k, v in env.statistics_metrics(statistics).items()}
    expected = {}
    for index, name in enumerate(("CC", "CD", "DC", "DD", "START")):
        expected[f"state_visitation/{name}"] = visits[index]
        expected[f"state_probability/{name}"] = visits[index] / states.size
        expected[f"cooperation_probability/{name}"] = (
            cooperations[index] / visits[index] if visits[index] else np.nan
        )
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-6, err_msg=name)
    assert np.isnan(metrics["cooperation_probability/CD"])
    assert metrics["cooperation_probability/DD"] == 0.0


def test_statistics_of_a_game_that_was_played():
    """Tit-for-tat meets a player that defects once: CC, CC, DC, CD, CC, ... as player 1 sees it."""
    env = IteratedMatrixGame(num_inner_steps=6)
    params = env.default_params
    first, second = [C, C, D, C, C, C], [C, C, C, D, C, C]
    observations, state = env.reset(KEY, params)
    seen = []
    for actions in zip(first, second, strict=True):
        seen.append(observations)
        observations, state, _, _, _ = env.step(KEY, state, actions, params)
    stacked = tuple(jnp.array(own)[:, None] for own in zip(*seen, strict=True))
    actions = tuple(jnp.array(own, jnp.float32)[:, None] for own in (first, second))
    statistics = env.episode_statistics(stacked, actions, {})
    # Acted in START, CC, CC, DC, CD, CC, and defected in the second CC.
    assert statistics.visits.tolist() == [3, 1, 1, 0, 1]
    assert statistics.cooperations.tolist() == [2, 1, 1, 0, 1]


def test_a_picture_shows_the_payoffs_of_both():
    env = IteratedMatrixGame()
    params = env.make_params(payoff=ODD)
    figure = env.render(env.reset(KEY, params)[1], params)
    shown = [[float(text.get_text()) for text in axes.texts] for axes in figure.axes]
    assert shown == [[row[player] for row in ODD] for player in range(2)]
