"""Clean Up: against a plain game in numpy, step by step, and its own rules by hand."""

import functools
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.envs import CleanUp
from pax.envs.commons.clean_up import CLEAN, EnvState
from pax.envs.grid_world import words
from pax.envs.grid_world.players import STAY, Players
from pax.errors import ConfigError
from tests.envs.commons_play import agree, cells_of

# Things happen often enough for some hundred steps to show them.
LIVELY = {"apple_rate": 0.3, "dirt_threshold": 0.9, "dirt_rate": 0.7, "dirt_delay": 20}
LIVELY |= {"clean_length": 3, "out_steps": 2}


@pytest.mark.slow
def test_both_games_agree():
    assert all(agree(CleanUp, "clean_up_small", 4, 7, 200, LIVELY, script=True).values())


@pytest.mark.slow
@pytest.mark.parametrize("script", [False, True])
@pytest.mark.parametrize(
    ("map_name", "num_players", "window", "settings"),
    [
        ("clean_up", 7, 11, LIVELY),
        ("clean_up", 16, 15, {"dirt_threshold": 1.0}),
        ("clean_up_small", 4, 9, LIVELY),
    ],
)
def test_both_games_agree_for_long(map_name, num_players, window, settings, script):
    events = [
        agree(CleanUp, map_name, num_players, window, 1000, settings, 100 * seed, script)
        for seed in range(10)
    ]
    for name in events[0]:
        assert sum(each[name] for each in events) > 0, name


# By hand: 8 cells of river above, an orchard of 4 below.
MAP = """
rrrr
rrrr
PPPP
oooo
"""
UP, RIVER_CELLS, TIMES = 0, [(row, column) for row in range(2) for column in range(4)], 4000


@functools.cache
def by_hand():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "map.txt"
        path.write_text(MAP)
        env = CleanUp(str(path), num_players=2, window=5, num_inner_steps=100)
    return env, jax.jit(jax.vmap(env.step, (0, None, None, None)))


def after(dirt, actions=(STAY, STAY), time=50, cells=((2, 0), (2, 3)), **settings):
    """The states of many games after one step, and what is told of the first."""
    env, steps = by_hand()
    sets = np.zeros((4, 4), bool)
    for cell in dirt:
        sets[cell] = True
    row, column = (jnp.array(part, jnp.int32) for part in zip(*cells, strict=True))
    zeros = jnp.zeros(2, jnp.int32)
    players = Players(row, column, zeros, zeros)
    state = EnvState(
        jnp.int32(time), players, jnp.zeros(4, jnp.int32), jnp.asarray(words.pack(sets))
    )
    keys = jax.random.split(jax.random.key(time), TIMES)
    joint = tuple(map(jnp.int32, actions))
    _, state, _, _, info = steps(keys, state, joint, env.make_params(**settings))
    return state, jax.tree.map(lambda leaf: leaf[0], info)


def near(share, p):
    """Whether a share of many is within 4 standard errors of its probability."""
    return abs(float(share) - p) <= 4 * (p * (1 - p) / TIMES) ** 0.5


def test_cleaning_reaches_two_cells_ahead_and_both_sides_of_the_first():
    state, info = after(RIVER_CELLS, (CLEAN, STAY), cells=((2, 1), (2, 3)), dirt_rate=0.0)
    assert cells_of(state.dirt[0], 4) == {(0, 0), (0, 2), (0, 3), (1, 3)}
    assert info["cleans"].tolist() == [1, 0] and info["cleaned"] == 4 and info["dirt"] == 4


@pytest.mark.parametrize(("time", "p"), [(49, 0.0), (50, 0.5), (99, 0.5)])
def test_dirt_appears_as_often_as_it_should_and_after_the_delay(time, p):
    state, _ = after(RIVER_CELLS[:3], time=time)
    assert near((words_count(state.dirt) == 4).mean(), p)


def test_dirt_appears_on_any_clean_cell_as_often():
    state, _ = after(RIVER_CELLS[:3], dirt_rate=1.0)
    assert (words_count(state.dirt) == 4).all()
    for row, column in RIVER_CELLS[3:]:
        assert near((state.dirt[:, row] >> column & 1).mean(), 1 / 5)


@pytest.mark.parametrize(
    ("dirty", "p"), [(0, 0.5), (1, 0.5 * 0.275 / 0.4), (3, 0.5 * 0.025 / 0.4), (4, 0.0), (8, 0.0)]
)
def test_apples_grow_as_the_dirty_share_says(dirty, p):
    # The second player stands in the orchard, where nothing grows under it.
    state, _ = after(RIVER_CELLS[:dirty], cells=((2, 0), (3, 3)), dirt_rate=0.0, apple_rate=0.5)
    for column in range(3):
        assert near((state.apples[:, 3] >> column & 1).mean(), p)
    assert not (state.apples[:, 3] >> 3 & 1).any() and not state.apples[:, :3].any()


def words_count(sets):
    return jax.lax.population_count(sets).sum(axis=1)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"apple_rate": 1.5}, "apple_rate is 1.5: give probabilities, from 0 to 1"),
        ({"dirt_rate": -0.1}, "dirt_rate is -0.1: give probabilities, from 0 to 1"),
        ({"dirt_restored": 0.4}, "dirt_restored is 0.4 and dirt_threshold 0.4: give a smaller"),
        # Both are the same number in float32.
        ({"dirt_restored": 0.4 - 1e-12}, "dirt_restored is 0.399.* and dirt_threshold 0.4"),
        ({"dirt_delay": 0.5}, "dirt_delay is 0.5: give a whole number from 0"),
        ({"clean_length": 0}, "clean_length is 0: give a whole number from 1 to 30"),
    ],
)
def test_numbers_that_are_no_game_are_refused(settings, told):
    with pytest.raises(ConfigError, match=told):
        by_hand()[0].make_params(**settings)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("PPP\nooo\n", "has no river: mark some cells by 'r' or 'd'"),
        ("PPP\ndd~\n", "has no orchard: mark some cells by 'o'"),
    ],
)
def test_a_map_without_a_river_or_an_orchard_is_refused(tmp_path, text, told):
    path = tmp_path / "map.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        CleanUp(str(path), num_players=2, window=3)
