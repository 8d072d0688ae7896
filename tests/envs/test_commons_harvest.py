"""Commons Harvest: against a plain game in numpy, step by step, and its rules by hand."""

import functools
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.envs import CommonsHarvest
from pax.envs.commons.harvest import EnvState
from pax.envs.grid_world import words
from pax.envs.grid_world.players import Players
from pax.errors import ConfigError
from tests.envs.commons_play import agree
from tests.envs.commons_play import cells_of as cells_of_set

TURN_LEFT, TURN_RIGHT, LEFT, RIGHT, FORWARD, BACK, STAY, ZAP = range(8)
# Things happen often enough for some hundred steps to show them.
LIVELY = {"regrowth": (0.01, 0.05, 0.1, 0.3), "beam_length": 3, "out_steps": 3}


def test_both_games_agree():
    assert all(agree(CommonsHarvest, "harvest_small", 5, 7, 200, LIVELY, script=True).values())


@pytest.mark.slow
@pytest.mark.parametrize("script", [False, True])
@pytest.mark.parametrize(
    ("map_name", "num_players", "window", "settings"),
    [
        ("harvest_open", 7, 11, {}),
        ("harvest_open", 16, 15, LIVELY),
        ("harvest_partnership", 16, 11, LIVELY),
        ("harvest_small", 7, 9, LIVELY),
        ("harvest_small", 2, 3, LIVELY),
    ],
)
def test_both_games_agree_for_long(map_name, num_players, window, settings, script):
    events = [
        agree(CommonsHarvest, map_name, num_players, window, 1000, settings, 100 * seed, script)
        for seed in range(10)
    ]
    for name in events[0]:
        assert sum(each[name] for each in events) > 0, name


# By hand, on a map of five rows: apples in a corner, a wall in the middle.
MAP = """
aa...
a....
..#..
.....
PPPPP
"""
NEVER, ALWAYS = (0.0,) * 4, (1.0,) * 4
UP, EAST, DOWN, WEST = range(4)
TIMES = 4000


SIZE = 5
"""Of the map, and how many play: those that a test does not name are out."""


@functools.cache
def by_hand():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "map.txt"
        path.write_text(MAP)
        env = CommonsHarvest(str(path), num_players=SIZE, window=5, num_inner_steps=100)
    return env, jax.jit(env.step), jax.jit(jax.vmap(env.step, (0, None, None, None)))


def state_of(cells, apples=(), out=()):
    """A state with players on (row, column, facing), and apples on these cells."""
    missing = SIZE - len(cells)
    players = zip(*[*cells, *[(0, 0, UP)] * missing], strict=True)
    row, column, facing = (jnp.array(part, jnp.int32) for part in players)
    left = jnp.array([*(out or [0] * len(cells)), *[1000] * missing], jnp.int32)
    grid = np.zeros((SIZE, SIZE), bool)
    for cell in apples:
        grid[cell] = True
    return EnvState(jnp.int32(0), Players(row, column, facing, left), jnp.asarray(words.pack(grid)))


def play(state, actions, seed=0, **settings):
    """Plays one step; returns (observations, state, rewards as floats, info), of those who act."""
    env, step, _ = by_hand()
    number = len(actions)
    params = env.make_params(**{"regrowth": NEVER, **settings})
    joint = tuple(map(jnp.int32, [*actions, *[STAY] * (SIZE - number)]))
    seen, state, rewards, _, info = step(jax.random.key(seed), state, joint, params)
    of_those = {name: info[name][:number].tolist() for name in ("taken", "out", "zaps")}
    return seen, state, [float(reward) for reward in rewards[:number]], of_those


def play_often(state, actions, times, **settings):
    """Plays one step in as many games; returns the states."""
    env, _, steps = by_hand()
    params = env.make_params(**{"regrowth": NEVER, **settings})
    joint = tuple(map(jnp.int32, [*actions, *[STAY] * (SIZE - len(actions))]))
    return steps(jax.random.split(jax.random.key(times), times), state, joint, params)[1]


def cells_of(state, number):
    where = state.players
    return [tuple(map(int, cell)) for cell in zip(where.row, where.column, strict=True)][:number]


def out_of(state, number):
    return state.players.out[:number].tolist()


def apples_of(state):
    return cells_of_set(state.apples, SIZE)


@pytest.mark.parametrize(
    ("facing", "action", "cell", "looks"),
    [
        (UP, FORWARD, (2, 3), UP),
        (UP, BACK, (4, 3), UP),
        (UP, LEFT, (3, 2), UP),
        (UP, RIGHT, (3, 4), UP),
        (EAST, FORWARD, (3, 4), EAST),
        (EAST, LEFT, (2, 3), EAST),
        (DOWN, RIGHT, (3, 2), DOWN),
        (WEST, BACK, (3, 4), WEST),
        (UP, TURN_LEFT, (3, 3), WEST),
        (WEST, TURN_RIGHT, (3, 3), UP),
        (DOWN, STAY, (3, 3), DOWN),
        (DOWN, ZAP, (3, 3), DOWN),
    ],
)
def test_a_player_turns_or_moves(facing, action, cell, looks):
    _, state, _, _ = play(state_of([(3, 3, facing), (0, 0, UP)]), (action, STAY))
    assert cells_of(state, 1) == [cell]
    assert int(state.players.facing[0]) == looks


def test_walls_and_the_border_stop_players():
    start = [(2, 1, EAST), (0, 4, UP), (0, 2, WEST), (4, 0, DOWN), (3, 2, UP)]
    _, state, _, _ = play(state_of(start), (FORWARD, FORWARD, RIGHT, RIGHT, FORWARD))
    assert cells_of(state, 5) == [(2, 1), (0, 4), (0, 2), (4, 0), (3, 2)]


def test_one_of_those_who_want_a_cell_is_drawn_evenly():
    start = state_of([(3, 0, EAST), (3, 2, WEST), (4, 1, UP)])
    after = play_often(start, (FORWARD,) * 3, TIMES).players
    entered = (after.row == 3) & (after.column == 1)
    assert (entered.sum(axis=1) == 1).all()
    # 4 standard errors of a third.
    np.testing.assert_allclose(entered[:, :3].mean(axis=0), 1 / 3, atol=4 * (2 / 9 / TIMES) ** 0.5)


@pytest.mark.parametrize(
    ("start", "actions", "expected"),
    [
        pytest.param(
            [(3, 0, EAST), (3, 1, EAST)], (FORWARD, STAY), [(3, 0), (3, 1)], id="who stays"
        ),
        pytest.param([(3, 0, EAST), (3, 1, WEST)], (FORWARD,) * 2, [(3, 0), (3, 1)], id="swap"),
        pytest.param([(3, 0, EAST), (3, 1, EAST)], (FORWARD,) * 2, [(3, 1), (3, 2)], id="follow"),
        pytest.param(
            [(3, 0, EAST), (3, 1, UP), (2, 1, WEST), (2, 0, DOWN)],
            (FORWARD,) * 4,
            [(3, 1), (2, 1), (2, 0), (3, 0)],
            id="four in a circle",
        ),
        pytest.param(
            [(4, 0, EAST), (4, 1, EAST), (4, 2, EAST), (4, 3, EAST), (4, 4, EAST)],
            (FORWARD,) * 5,
            [(4, 0), (4, 1), (4, 2), (4, 3), (4, 4)],
            id="a chain before the border",
        ),
        pytest.param(
            [(4, 0, EAST), (4, 1, EAST), (4, 2, EAST), (4, 3, EAST), (4, 4, UP)],
            (FORWARD,) * 5,
            [(4, 1), (4, 2), (4, 3), (4, 4), (3, 4)],
            id="a chain that moves",
        ),
    ],
)
def test_what_moves_force_is_settled(start, actions, expected):
    _, state, _, _ = play(state_of(start), actions)
    assert cells_of(state, len(start)) == expected


def test_who_is_out_is_in_nobodys_way():
    start = state_of([(3, 0, EAST), (3, 1, WEST)], out=[0, 5])
    _, state, _, _ = play(start, (FORWARD, FORWARD))
    assert cells_of(state, 2) == [(3, 1), (3, 1)]
    assert out_of(state, 2) == [0, 4]


def test_an_apple_pays_whoever_reaches_it():
    start = state_of([(1, 1, WEST), (3, 3, UP)], apples=[(0, 0), (1, 0)])
    _, state, rewards, info = play(start, (FORWARD, FORWARD))
    assert rewards == [1.0, 0.0]
    assert apples_of(state) == {(0, 0)}
    assert info["taken"] == [1, 0]


@pytest.mark.parametrize(
    ("other", "is_hit"),
    [
        ((2, 3), True),
        ((1, 3), True),
        ((0, 3), False),
        ((2, 2), True),
        ((2, 4), True),
        ((1, 2), False),
        ((3, 2), False),
        ((4, 3), False),
    ],
)
def test_a_zap_hits_two_cells_ahead_and_both_sides_of_the_first(other, is_hit):
    # A wall does not stop it.
    _, state, _, _ = play(state_of([(3, 3, UP), (*other, UP)]), (ZAP, STAY))
    assert out_of(state, 2) == [0, int(is_hit)]


def test_who_is_hit_is_out_for_the_steps_that_the_parameters_say_and_comes_back():
    state = state_of([(3, 3, UP), (2, 3, UP)], apples=[(1, 3)])
    _, state, _, _ = play(state, (ZAP, STAY), out_steps=2)
    left = []
    for seed in range(3):
        seen, state, rewards, info = play(state, (STAY, FORWARD), seed, out_steps=2)
        left.append((info["out"][1], int(state.players.out[1]), bool(seen[1].any())))
        if seed < 2:
            assert rewards == [0.0, 0.0]
        if seed == 1:
            assert cells_of(state, 2)[1][0] == 4
    assert left == [(1, 1, False), (1, 0, True), (0, 0, True)]


def test_with_no_steps_out_zaps_do_nothing():
    _, state, _, info = play(state_of([(3, 3, UP), (2, 3, UP)]), (ZAP, STAY), out_steps=0)
    assert out_of(state, 2) == [0, 0] and info["zaps"] == [1, 0]


def test_who_comes_back_is_on_any_free_spawn_cell_as_often():
    # Two of five are taken, one by a player who is hit in this step.
    start = state_of([(4, 1, EAST), (4, 2, UP), (0, 4, UP), (0, 3, UP)], out=[0, 0, 1, 1])
    after = play_often(start, (ZAP, STAY, STAY, STAY), TIMES).players
    assert (after.row[:, 2:4] == 4).all() and (after.out[:, 1] == 1).all()
    assert (after.column[:, 2] != after.column[:, 3]).all()
    for player in (2, 3):
        shares = np.bincount(np.asarray(after.column[:, player]), minlength=5) / TIMES
        assert shares[1] == 0
        np.testing.assert_allclose(shares[[0, 2, 3, 4]], 1 / 4, atol=4 * (3 / 16 / TIMES) ** 0.5)


@pytest.mark.parametrize("around", [0, 1, 2, 3, 5])
def test_apples_grow_as_often_as_their_neighbours_say(around):
    """Counts of many games within 4 standard errors of the binomial."""
    probabilities = (0.02, 0.1, 0.3, 0.7)
    # Cells that are no apple cells may hold apples here: they count as neighbours do.
    near = [(0, 1), (1, 0), (1, 1), (0, 2), (2, 0)][:around]
    start = state_of([(4, 0, UP), (4, 1, UP)], apples=[*near, (2, 1), (0, 3)])
    after = play_often(start, (STAY, STAY), TIMES, regrowth=probabilities).apples
    p = probabilities[min(around, 3)]
    share = float((after[:, 0] & 1).mean())
    assert abs(share - p) <= 4 * (p * (1 - p) / TIMES) ** 0.5


def test_nothing_grows_under_a_player():
    start = state_of([(0, 0, UP), (4, 1, UP)], apples=[(0, 1)])
    _, state, _, _ = play(start, (STAY, STAY), regrowth=ALWAYS)
    assert apples_of(state) == {(0, 1), (1, 0)}


def test_a_window_is_turned_with_the_player():
    start = state_of([(3, 3, EAST), (3, 4, UP), (4, 4, EAST)], apples=[(2, 4)])
    seen, _, _, _ = play(start, (STAY,) * 3)
    # Three columns east are outside; left of it is up, right of it down.
    assert np.asarray(seen[0]).tolist() == [
        [2, 2, 2, 2, 2],
        [2, 2, 2, 2, 2],
        [0, 1, 7, 4, 2],
        [0, 0, 3, 0, 2],
        [0, 2, 0, 0, 2],
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("PPP\na.x\n", "has 'x' in line 2, column 3: choose from '#'"),
        (
            "; remark\n\nPPP\na.\n",
            "has 2 letters in line 4 and 3 in line 3: give all lines the same",
        ),
        ("", "has no rows"),
        ("P" * 31 + "\n" + "P" * 31, "has 2 rows and 31 columns: give 2 to 30"),
        ("PPP\nP..\n", "has no apples: mark some cells by 'a'"),
        ("PPP\naaa", "num_players is 4, and map .* has 3 cells 'P' to start on"),
    ],
)
def test_maps_that_are_no_game_are_refused(tmp_path, text, told):
    path = tmp_path / "map.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        CommonsHarvest(str(path), num_players=4, window=3)


def test_maps_may_begin_as_editors_begin_them_and_end_lines_as_they_do(tmp_path):
    path = tmp_path / "map.txt"
    path.write_bytes("\ufeff; \u00c4pfel\r\nPPa  \r\n.#a\r\n".encode())
    cells = CommonsHarvest(str(path), num_players=2, window=3).cells
    assert ["".join(row) for row in cells] == ["PPa", ".#a"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"map": "harvest_opne"}, "map is 'harvest_opne', .*did you mean harvest_open"),
        ({"map": "/tmp/map.text"}, "no map of that name .* path of a file that ends with .txt"),
        ({"map": "/no/where.txt"}, "map is '/no/where.txt', which cannot be read"),
        ({"map": 3}, "map is 3"),
        ({"num_players": 17}, "num_players is 17: give 2 to 16"),
        ({"num_players": 2.5}, "num_players is 2.5"),
        (
            {"window": 10},
            "window is 10, and map harvest_open has 16 rows and 22 columns: give an odd",
        ),
        (
            {"map": "harvest_small", "window": 13},
            "window is 13, .* give an odd number from 3 to 11",
        ),
    ],
)
def test_games_that_cannot_be_are_refused(settings, told):
    with pytest.raises(ConfigError, match=told):
        CommonsHarvest(**settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"regrowth": (0.0, 0.1, 0.2)}, "regrowth is .* give 4 probabilities"),
        ({"regrowth": ((0.0,), 0.1, 0.2, 0.3)}, "regrowth is .* give 4 probabilities"),
        ({"regrowth": (0.0, 0.1, 0.2, 1.1)}, "regrowth is .* give probabilities, from 0 to 1"),
        ({"beam_length": 0}, "beam_length is 0: give a whole number from 1 to 30"),
        ({"out_steps": -1}, "out_steps is -1: give a whole number from 0"),
    ],
)
def test_numbers_that_are_no_game_are_refused(settings, told):
    with pytest.raises(ConfigError, match=told):
        by_hand()[0].make_params(**settings)
