"""Statistics, parameters and pictures of in-the-matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.envs.in_the_matrix import PAYOFFS, EnvParams, InTheMatrix
from pax.envs.in_the_matrix.grid import unpack
from pax.envs.spaces import Box, Dict, Discrete
from pax.errors import ConfigError
from tests.envs.in_the_matrix_reference import LAYOUT
from tests.envs.in_the_matrix_situations import (
    AWAY,
    FACING,
    FORWARD,
    INTERACT,
    KEY,
    ODD,
    STAY,
    game,
    make_state,
)


def test_statistics_name_the_sums_of_what_happened():
    env, step, _ = game()
    params = env.make_params(freeze_penalty=2)
    stay, go, fire = (
        (jnp.int32(own), jnp.int32(other))
        for own, other in ((STAY, STAY), (FORWARD, STAY), (INTERACT, STAY))
    )
    # In one environment the first player takes a coin of type 0 and fires at the second; in the other one,
    # the second fires at nobody who has coins.
    active = make_state((1, 3, 2), (1, 0, 0, [(6, 2), (6, 6), (6, 1)]))
    idle = make_state((3, 3, 0), (3, 4, 2, [(1, 1)]))
    infos = []
    for state, actions in (
        (active, (go, fire, stay, stay)),
        (idle, (fire[::-1], stay, stay, stay)),
    ):
        rows = []
        for joint in actions:
            _, state, _, _, info = step(KEY, state, joint, params)
            rows.append(info)
        infos.append(jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows))
    infos = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *infos)
    metrics = env.statistics_metrics(env.episode_statistics((), (), infos))
    expected = {
        "num_soft_resets": 0.5,
        "interactions/player_1": 0.5,
        "interactions/player_2": 0.5,
        "beams/player_1": 0.5,
        "beams/player_2": 0.5,
        "collected_coop_coin/player_1": 0.5,
        "collected_coop_coin/player_2": 0.0,
        "collected_defect_coin/player_1": 0.0,
        "collected_defect_coin/player_2": 0.0,
        "coop_coin/player_1": 1.0,
        "coop_coin/player_2": 1.0,
        "defect_coin/player_1": 0.0,
        "defect_coin/player_2": 2.0,
        "total_coin/player_1": 1.0,
        "total_coin/player_2": 3.0,
        "ratio/player_1": 1.0,
        "ratio/player_2": 1 / 3,
        # (1, 0) against (1/3, 2/3).
        "interaction_reward/player_1": 1.0,
        "interaction_reward/player_2": 1 + 10 / 3,
    }
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(float(metrics[name]), value, rtol=1e-6, err_msg=name)
    nothing = jax.tree.map(jnp.zeros_like, infos)
    metrics = env.statistics_metrics(env.episode_statistics((), (), nothing))
    assert np.isnan(metrics["ratio/player_1"]) and np.isnan(metrics["interaction_reward/player_2"])
    assert float(metrics["interactions/player_1"]) == 0.0


@pytest.mark.slow
def test_every_environment_may_have_its_own_payoffs_and_penalty():
    env, _, _ = game()
    games = (env.make_params(PAYOFFS["imp"], 2), env.make_params(ODD, 7))
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *games)
    step = jax.jit(jax.vmap(env.step, (None, None, None, 0)))
    fire = (jnp.int32(INTERACT),) * 2
    _, state, rewards, _, _ = step(KEY, make_state(*FACING), fire, params)
    np.testing.assert_allclose(np.array(rewards), [[-1.0, 2.0], [1.0, 32.0]])
    assert np.array(unpack(state.players[0]).frozen).tolist() == [2, 7]


def test_spaces():
    env = game()[0]
    parts = (("inventory", Box((6,), 0.0, 6.0)), ("window", Box((5, 5, 10), 0.0, 1.0)))
    assert env.observation_space(0) == env.observation_space(1) == Dict(parts)
    assert env.action_space(1) == Discrete(5)
    assert env.num_inner_steps == 20 and InTheMatrix().num_inner_steps == 152
    np.testing.assert_array_equal(env.default_params.payoff_matrix, PAYOFFS["ipd"])
    assert int(env.default_params.freeze_penalty) == 5


WRONG_PAYOFFS = (
    ((-1, -1), (-3, 0)),
    ((-1, -1), (-3, 0), (0, -3), (-2, -2)),
    (((3, 0), (5, 1)), ((3, 5), (0,))),
    (((3, 0), (5, 1)), ((3, 5), (0, "1"))),
    None,
    "ipd",
)


@pytest.mark.parametrize("payoff", WRONG_PAYOFFS, ids=repr)
def test_a_payoff_that_is_not_two_matrices_of_numbers_is_refused(payoff):
    env = InTheMatrix()
    for check in (
        lambda: env.check_params(EnvParams(payoff_matrix=payoff, freeze_penalty=5)),
        lambda: env.make_params(payoff=payoff),
    ):
        with pytest.raises(ConfigError, match="^payoff is .*: give 2 matrices"):
            check()


@pytest.mark.parametrize("number", (np.nan, np.inf, 1e39))
def test_a_payoff_that_is_not_finite_is_refused(number):
    payoff = (((3, 0), (5, 1)), ((3, number), (0, 1)))
    with pytest.raises(ConfigError, match="^payoff is .*: give finite numbers only$"):
        InTheMatrix().make_params(payoff=payoff)


@pytest.mark.parametrize(
    "penalty", (0, -1, 1024, 2.5, np.nan, "5", None, (5, 5), [[1], [1, 2]], True)
)
def test_a_freeze_penalty_that_is_not_a_number_of_steps_is_refused(penalty):
    with pytest.raises(ConfigError, match="^freeze_penalty is .*: give 1 to 1023 whole steps$"):
        InTheMatrix().make_params(freeze_penalty=penalty)
    InTheMatrix().make_params(freeze_penalty=1023)


def test_a_game_that_there_cannot_be_is_refused():
    for num_players in (-1, 0, 1, 9):
        with pytest.raises(ConfigError, match=f"^num_players is {num_players}: give 2 to 8"):
            InTheMatrix(num_players=num_players)
    with pytest.raises(ConfigError, match="^num_inner_steps is 0: "):
        InTheMatrix(num_inner_steps=0)


GREEN, RED, FIRST, SECOND = (44, 160, 44), (214, 39, 40), (245, 125, 15), (30, 110, 200)


def cell_of(picture, x, y):
    return picture[32 * y : 32 * (y + 1), 32 * x : 32 * (x + 1)]


def pixels(part, colour):
    """Rows and columns of the pixels of a colour."""
    return np.nonzero((part == colour).all(axis=-1))


def test_a_picture_shows_players_by_direction_coins_by_type_and_what_is_carried():
    env, _, params = game()
    state = make_state((3, 3, 0, [(1, 2), (6, 1)]), (5, 4, 1))
    picture = env.render(state, params)
    assert (picture.shape, picture.dtype) == ((288, 256, 3), np.uint8)
    for cell, kind in LAYOUT.items():
        there = len(pixels(cell_of(picture, *cell), (GREEN, RED)[kind])[0])
        assert (there == 0) == (cell in [(1, 2), (6, 1)])
    # An arrow is wide where it starts: along +y that is at the top, along +x on the left.
    for colour, (x, y), axis in ((FIRST, (3, 3), 0), (SECOND, (5, 4), 1)):
        where = pixels(cell_of(picture, x, y), colour)
        assert where[axis].mean() < 15 and abs(where[1 - axis].mean() - 15.5) < 0.5
        assert len(pixels(picture[:256], colour)[0]) == len(where[0])
    first, second = picture[256:272], picture[272:288]
    assert [len(pixels(first, c)[0]) > 0 for c in (FIRST, SECOND, GREEN, RED)] == [1, 0, 1, 1]
    assert [len(pixels(second, c)[0]) > 0 for c in (FIRST, SECOND, GREEN, RED)] == [0, 1, 0, 0]
    assert pixels(first, GREEN)[1].max() < pixels(first, RED)[1].min()


def test_a_picture_shows_beams_and_who_is_frozen():
    env, step, params = game()
    facing = make_state(*FACING)
    _, fired, *_ = step(KEY, facing, (jnp.int32(INTERACT), jnp.int32(STAY)), params)
    before, after = env.render(facing, params), env.render(fired, params)
    changed = {
        (x, y)
        for x in range(8)
        for y in range(8)
        if (cell_of(before, x, y) != cell_of(after, x, y)).any()
    }
    # Both on ice; the beam of the first is seen on the other cells that it covers.
    assert changed == {(3, 3), (3, 4), (3, 5), (2, 4), (4, 4)}
    # A beam that leaves the grid is cut off.
    _, fired, *_ = step(KEY, make_state((7, 7, 0), AWAY), (jnp.int32(INTERACT),) * 2, params)
    assert env.render(fired, params).shape == (288, 256, 3)
