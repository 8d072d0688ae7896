"""The n-player game against values worked out by hand and by a plain loop over players."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.envs.iterated_matrix_game import IteratedMatrixGame
from pax.envs.iterated_tensor_game import (
    MAX_PLAYERS,
    PAYOFFS,
    EnvParams,
    EnvState,
    IteratedTensorGame,
    social_dilemma,
)
from pax.envs.spaces import Box, Discrete
from pax.errors import ConfigError

KEY = jax.random.key(0)
NAN = np.nan
THREE = ((4, NAN), (2.66, 5.66), (1.33, 4.33), (NAN, 3))
FOUR = ((4, NAN), (3, 6), (2, 5), (1, 4), (NAN, 3))
STEPS = {num: jax.jit(IteratedTensorGame(num, 10).step) for num in (2, 3, 4, 5)}


def step(actions, table):
    """(observations, rewards) of one joint action, such as "DCD"."""
    actions = tuple("CD".index(action) for action in actions)
    state = EnvState(inner_t=jnp.int32(3))
    params = EnvParams(payoff_table=jnp.array(table, jnp.float32))
    observations, _, rewards, _, _ = STEPS[len(actions)](KEY, state, actions, params)
    return [int(observation) for observation in observations], [float(r) for r in rewards]


@pytest.mark.parametrize(
    ("table", "actions", "expected_rewards", "expected_observations"),
    (
        (THREE, "DCD", (4.33, 1.33, 4.33), [5, 3, 6]),
        (THREE, "DCC", (5.66, 2.66, 2.66), [4, 1, 2]),
        (THREE, "DDD", (3, 3, 3), [7, 7, 7]),
        (THREE, "CCC", (4, 4, 4), [0, 0, 0]),
        (FOUR, "DCDD", (4, 1, 4, 4), [11, 7, 14, 13]),
    ),
)
def test_rewards_and_observations_of_joint_actions(
    table, actions, expected_rewards, expected_observations
):
    observations, rewards = step(actions, table)
    np.testing.assert_allclose(rewards, expected_rewards, rtol=1e-6)
    assert observations == expected_observations


@pytest.mark.parametrize("num_players", STEPS)
def test_every_joint_action_under_random_tables(num_players):
    rng = np.random.default_rng(num_players)
    for actions in itertools.product("CD", repeat=num_players):
        table = rng.normal(size=(num_players + 1, 2)).astype(np.float32)
        table[0, 1] = table[-1, 0] = rng.choice([np.nan, np.inf, -1e30])
        observations, rewards = step(actions, table)
        defectors = actions.count("D")
        assert rewards == [table[defectors, "CD".index(own)] for own in actions]
        for player, observation in enumerate(observations):
            seen = actions[player:] + actions[:player]
            assert observation == int("".join(str("CD".index(own)) for own in seen), 2)


def test_what_cannot_happen_does_not_leak_into_gradients():
    env = IteratedTensorGame(3, 10)
    _, state = env.reset(KEY, env.default_params)

    def total(table):
        return sum(env.step(KEY, state, (1, 0, 1), EnvParams(payoff_table=table))[2])

    gradient = jax.grad(total)(jnp.array(THREE))
    np.testing.assert_array_equal(gradient, [[0, 0], [0, 0], [1, 2], [0, 0]])


def test_two_players_play_the_matrix_game():
    matrix = IteratedMatrixGame(10)
    params = matrix.default_params
    _, state = matrix.reset(KEY, params)
    for actions in itertools.product((0, 1), repeat=2):
        observations, _, rewards, _, _ = matrix.step(KEY, state, actions, params)
        expected = ([int(o) for o in observations], [float(r) for r in rewards])
        assert (
            step(
                ["CD"[action] for action in actions],
                [[x if x is not None else NAN for x in row] for row in PAYOFFS["ipd"]],
            )
            == expected
        )


def test_default_tables():
    three = IteratedTensorGame().default_params.payoff_table
    assert three.dtype == jnp.float32
    np.testing.assert_array_equal(three, [[4, 0], [2, 5], [0, 3], [0, 1]])
    assert social_dilemma(3) == PAYOFFS["three_player_ipd"]
    assert social_dilemma(2) == ((4, None), (0, 5), (None, 1))
    assert social_dilemma(5) == ((4, None), (3, 5), (2, 4), (1, 3), (0, 2), (None, 1))


@pytest.mark.parametrize("num_players", (2, 3, 4, 7, MAX_PLAYERS))
def test_the_default_is_a_dilemma_of_any_size(num_players):
    table = social_dilemma(num_players)
    for others in range(num_players):
        assert table[others + 1][1] == pytest.approx(table[others][0] + 1)
    assert (table[0][0], table[-1][1]) == (4, pytest.approx(1))
    # Whoever defects loses the group more than it gains.
    totals = [
        (num_players - d) * (table[d][0] or 0) + d * (table[d][1] or 0)
        for d in range(num_players + 1)
    ]
    assert all(a > b for a, b in itertools.pairwise(totals))


@pytest.mark.parametrize("number", (float, np.float32, jnp.float32, np.int8))
def test_actions_may_be_any_kind_of_number(number):
    env = IteratedTensorGame(3, 10)
    params = env.make_params(THREE)
    state = env.reset(KEY, params)[1]
    observations, _, rewards, _, _ = env.step(KEY, state, tuple(map(number, (1, 0, 1))), params)
    assert [int(o) for o in observations] == [5, 3, 6]
    assert all(o.dtype == jnp.int32 for o in observations)
    np.testing.assert_allclose(rewards, (4.33, 1.33, 4.33), rtol=1e-6)


@pytest.mark.parametrize("num_players", (2, 3, 6))
def test_an_episode_starts_in_start(num_players):
    env = IteratedTensorGame(num_players, 10)
    observations, state = env.reset(KEY, env.default_params)
    assert [int(o) for o in observations] == [2**num_players] * num_players
    assert int(state.inner_t) == 0
    for player in range(num_players):
        assert env.observation_space(player) == Discrete(2**num_players + 1)
        assert env.action_space(player) == Discrete(2)


def test_one_hot_observations():
    env = IteratedTensorGame(3, 4, one_hot=True)
    params = env.default_params
    observations, state = env.reset(KEY, params)
    assert env.observation_space(2) == Box((9,), 0.0, 1.0)
    np.testing.assert_array_equal(jnp.stack(observations).argmax(axis=-1), [8, 8, 8])
    observations = jnp.stack(env.step(KEY, state, (1, 0, 1), params)[0])
    np.testing.assert_array_equal(observations, np.eye(9)[[5, 3, 6]])
    assert observations.dtype == jnp.float32


@pytest.mark.parametrize("num_steps", (1, 3))
def test_done_is_true_on_the_last_step_and_that_step_pays(num_steps):
    env = IteratedTensorGame(3, num_steps)
    params = env.default_params
    state = env.reset(KEY, params)[1]
    for t in range(num_steps):
        _, state, rewards, done, _ = env.step(KEY, state, (0, 0, 1), params)
        assert bool(done) == (t == num_steps - 1)
        assert [float(r) for r in rewards] == [2, 2, 5]


@pytest.mark.parametrize("nothing", (None, np.nan, -np.inf, "x", 10**40))
def test_what_cannot_happen_may_be_anything(nothing):
    env = IteratedTensorGame(3, 10)
    table = [[4, nothing], [2, 5], [0, 3], [nothing, 1]]
    env.check_params(EnvParams(payoff_table=table))
    made = env.make_params(payoff=table).payoff_table
    np.testing.assert_array_equal(made, [[4, 0], [2, 5], [0, 3], [0, 1]])


def test_tables_may_be_tuples_lists_or_arrays():
    env = IteratedTensorGame(3, 10)
    for table in (THREE, [list(row) for row in THREE], np.array(THREE), jnp.array(THREE)):
        made = env.make_params(payoff=table).payoff_table
        assert made.dtype == jnp.float32
        np.testing.assert_allclose(made, np.nan_to_num(THREE), rtol=1e-6)


@pytest.mark.parametrize(
    "table",
    (
        FOUR,
        THREE[:3],
        ((4, 1, 2),) * 4,
        ((4, NAN), (2, 5), (0,), (NAN, 1)),
        ((4, NAN), (2, None), (0, 3), (NAN, 1)),
        ((4, NAN), (2, "x"), (0, 3), (NAN, 1)),
        ((4, NAN), (2, 10**40), (0, 3), (NAN, 1)),
        5.0,
        "ipd",
        None,
    ),
    ids=repr,
)
def test_a_table_that_is_not_a_pair_of_numbers_per_count_is_refused(table):
    env = IteratedTensorGame(3, 10)
    expected = "give 4 rows (0 to 3 defectors) of 2 numbers (own C, own D)"
    for check in (
        lambda: env.check_params(EnvParams(payoff_table=table)),
        lambda: env.make_params(payoff=table),
    ):
        with pytest.raises(ConfigError) as error:
            check()
        assert str(error.value) == f"payoff is {table}: {expected}"


@pytest.mark.parametrize("number", (np.nan, np.inf, 1e39))
@pytest.mark.parametrize(("row", "column"), ((0, 0), (1, 0), (1, 1), (3, 1)))
def test_a_payoff_that_is_not_finite_is_refused(row, column, number):
    table = [list(line) for line in PAYOFFS["three_player_ipd"]]
    table[row][column] = number
    with pytest.raises(ConfigError, match="^payoff is .*: give finite numbers only$"):
        IteratedTensorGame(3, 10).make_params(payoff=table)


@pytest.mark.parametrize("num_players", (-1, 0, 1, MAX_PLAYERS + 1))
def test_a_game_of_too_few_or_too_many_is_refused(num_players):
    with pytest.raises(
        ConfigError, match=f"^num_players is {num_players}: give 2 to {MAX_PLAYERS}"
    ):
        IteratedTensorGame(num_players, 10)


@pytest.mark.parametrize("one_hot", (False, True))
def test_statistics_are_grouped_by_own_action_and_defectors_among_the_others(one_hot):
    env = IteratedTensorGame(3, 20, one_hot)
    rng = np.random.default_rng(0)
    # CDD is never visited, and nobody cooperates after DDD.
    states = rng.choice([0, 1, 2, 4, 5, 6, 7, 8], size=(20, 6))
    actions = np.where(states == 7, 1, rng.integers(0, 2, states.shape))
    names = ["C0D", "C1D", "C1D", "C2D", "D0D", "D1D", "D1D", "D2D", "START"]
    visits = dict.fromkeys(names, 0)
    cooperations = dict.fromkeys(names, 0)
    for state, action in zip(states.ravel(), actions.ravel(), strict=True):
        visits[names[state]] += 1
        cooperations[names[state]] += int(action == 0)
    seen = jnp.array(states)
    others = jnp.array(rng.integers(0, 9, states.shape))
    observations = (seen, others, others)
    if one_hot:
        observations = tuple(jax.nn.one_hot(observation, 9) for observation in observations)
    statistics = jax.jit(env.episode_statistics)(
        observations, (jnp.array(actions), others % 2, others % 2), {}
    )
    metrics = {name: float(value) for name, value in env.statistics_metrics(statistics).items()}
    expected = {}
    for name in visits:
        expected[f"state_visitation/{name}"] = visits[name]
        expected[f"state_probability/{name}"] = visits[name] / states.size
        expected[f"cooperation_probability/{name}"] = (
            cooperations[name] / visits[name] if visits[name] else np.nan
        )
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-6, err_msg=name)
    assert np.isnan(metrics["cooperation_probability/C2D"])
    assert metrics["cooperation_probability/D2D"] == 0.0


def test_a_picture_shows_what_can_happen():
    env = IteratedTensorGame(3, 10)
    params = EnvParams(payoff_table=jnp.array(THREE))
    figure = env.render(env.reset(KEY, params)[1], params)
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == ["4", "2.66", "5.66", "1.33", "4.33", "3"]
