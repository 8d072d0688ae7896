"""Clean-up lite: its rules by hand, in their order, and against a second implementation in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.envs import CleanUpLite
from pax.envs.clean_up_lite.game import DOWN, LEFT, NOTHING, RIGHT, UP, ZAP, EnvState
from pax.envs.clean_up_lite.picture import APPLE, DIRT, ICE, PIXELS, PLAYERS
from pax.errors import ConfigError

ROWS, COLUMNS = 5, 4
ORCHARD, RIVER = 0, COLUMNS - 1
ENV = CleanUpLite()
PARAMS = ENV.make_params()
# Nothing grows, nobody is hit, and ties go to player 2, unless a test says otherwise.
QUIET = {"dirt": 0.99, "dirt_at": 0.0, "apple": 0.9999, "apple_at": 0.0}
QUIET |= {"zap_1": 0.95, "zap_2": 0.95, "tie": 0.9}
transition = jax.jit(ENV.transition)


def bits(rows):
    return jnp.int32(sum(1 << row for row in rows))


def state_of(first, second, dirt=(0, 1, 2), apples=(), frozen=(0, 0)):
    """The state with players on (row, column), and dirt and apples in these rows."""
    rows, columns = ((jnp.int32(a), jnp.int32(b)) for a, b in zip(first, second, strict=True))
    frozen = tuple(map(jnp.int32, frozen))
    return EnvState(rows, columns, bits(dirt), bits(apples), frozen, jnp.int32(0))


def play(state, actions, params=PARAMS, **drawn):
    """Plays one step with the numbers that are drawn; returns (state, rewards as floats, info)."""
    numbers = jnp.array(list({**QUIET, **drawn}.values()), jnp.float32)
    _, state, rewards, _, info = transition(numbers, state, actions, params)
    return state, tuple(map(float, rewards)), info


def positions(state):
    return [(int(row), int(column)) for row, column in zip(state.rows, state.columns, strict=True)]


def rows_of(number):
    return {row for row in range(32) if int(number) >> row & 1}


def frozen(state):
    return tuple(map(int, state.frozen))


@pytest.mark.parametrize(
    ("action", "cell"),
    [
        (RIGHT, (2, 2)),
        (LEFT, (2, 0)),
        (UP, (1, 1)),
        (DOWN, (3, 1)),
        (ZAP, (2, 1)),
        (NOTHING, (2, 1)),
    ],
)
def test_a_move_leads_to_the_next_cell(action, cell):
    state, _, _ = play(state_of((2, 1), (2, 1)), (action, NOTHING))
    assert positions(state) == [cell, (2, 1)]


@pytest.mark.parametrize(
    ("cell", "actions"), [((0, 0), (LEFT, UP)), ((ROWS - 1, COLUMNS - 1), (RIGHT, DOWN))]
)
def test_at_a_border_players_stay_where_they_are(cell, actions):
    state, _, _ = play(state_of(cell, cell), actions)
    assert positions(state) == [cell, cell]


# Dirt in rows 1 and 4: free are 0, 2, 3, a third of [0, 1) for each.
@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        ({"dirt": 0.34, "dirt_at": 0.1}, {0, 1, 4}),
        ({"dirt": 0.34, "dirt_at": 0.4}, {1, 2, 4}),
        ({"dirt": 0.34, "dirt_at": 0.9999999}, {1, 3, 4}),
        ({"dirt": 0.36, "dirt_at": 0.1}, {1, 4}),
    ],
)
def test_dirt_appears_on_a_free_cell_of_the_river(drawn, expected):
    state, _, _ = play(state_of((0, 1), (0, 1), dirt=(1, 4)), (NOTHING, NOTHING), **drawn)
    assert rows_of(state.dirt) == expected


# With 0, 1, 2, 3 pieces of dirt an apple appears with probability 1, 2/3, 1/3, 0.
@pytest.mark.parametrize(
    ("amount", "drawn", "appears"),
    [
        *[(0, 0.9999, True), (1, 0.66, True), (1, 0.67, False), (2, 0.33, True)],
        *[(2, 0.34, False), (3, 0.0, False), (5, 0.0, False)],
    ],
)
def test_apples_grow_the_less_the_more_dirt_there_is(amount, drawn, appears):
    state, _, _ = play(
        state_of((0, 1), (0, 1), dirt=range(amount), apples=(0,)),
        (NOTHING, NOTHING),
        apple=drawn,
        apple_at=0.5,
    )
    # The free rows are 1 to 4, and half-way is the third of them.
    assert rows_of(state.apples) == ({0, 3} if appears else {0})


def test_a_full_river_and_a_full_orchard_stay_as_they_are():
    everywhere = range(ROWS)
    quiet = (NOTHING, NOTHING)
    state, _, _ = play(state_of((0, 1), (0, 1), dirt=everywhere), quiet, dirt=0.0)
    assert rows_of(state.dirt) == set(everywhere)
    state, _, _ = play(state_of((0, 1), (0, 1), dirt=(), apples=everywhere), quiet, apple=0.0)
    assert rows_of(state.apples) == set(everywhere)


def test_the_rules_apply_in_their_order():
    # The third piece of dirt comes before the apple, and stops it, and is then removed by who enters it.
    state, _, info = play(
        state_of((2, 2), (0, 1), dirt=(0, 1)), (RIGHT, NOTHING), dirt=0.0, apple=0.0
    )
    assert rows_of(state.dirt) == {0, 1} and rows_of(state.apples) == set()
    assert tuple(map(int, info["cleaned"])) == (1, 0)
    # An apple that appears is taken in the same step by who comes or stays.
    for cell, action in (((0, 1), LEFT), ((0, 0), NOTHING)):
        state, rewards, _ = play(state_of(cell, (4, 1), dirt=()), (action, NOTHING), apple=0.0)
        assert rewards == (1.0, 0.0) and rows_of(state.apples) == set()
    # Moves come before zaps: from three cells away to two, and from two to three.
    for second, action, hit in (((0, 3), LEFT, 5), ((0, 2), RIGHT, 0)):
        state, _, _ = play(state_of((0, 0), second), (ZAP, action), zap_1=0.89)
        assert frozen(state) == (0, hit)


@pytest.mark.parametrize(("tie", "winner"), [(0.4, 0), (0.6, 1)])
def test_what_both_reach_goes_to_one_of_them(tie, winner):
    state, rewards, info = play(state_of((0, 1), (1, 0), apples=(0,)), (LEFT, UP), tie=tie)
    assert rewards == tuple(float(winner == player) for player in range(2))
    assert rows_of(state.apples) == set()
    state, _, info = play(state_of((4, 2), (4, 2), dirt=(4, 0)), (RIGHT, RIGHT), tie=tie)
    assert tuple(map(int, info["cleaned"])) == tuple(int(winner == player) for player in range(2))
    assert rows_of(state.dirt) == {0}


def test_each_takes_its_own():
    state, rewards, _ = play(state_of((0, 1), (1, 1), apples=(0, 1, 2)), (LEFT, LEFT))
    assert rewards == (1.0, 1.0) and rows_of(state.apples) == {2}


@pytest.mark.parametrize(
    ("second", "hit"),
    [
        *[((2, 1), True), ((2, 3), True), ((1, 0), True), ((4, 1), True)],
        *[((4, 2), False), ((0, 0), False), ((2, 2), True)],
    ],
)
def test_a_zap_reaches_two_steps(second, hit):
    state, _, info = play(state_of((2, 1), second), (ZAP, NOTHING), zap_1=0.89)
    assert frozen(state) == (0, 5 if hit else 0)
    assert tuple(map(int, info["zaps"])) == (1, 0)
    assert tuple(map(int, info["hits"])) == (int(hit), 0)


def test_a_zap_may_fail_and_both_may_hit():
    assert frozen(play(state_of((2, 1), (2, 1)), (ZAP, ZAP), zap_1=0.91)[0]) == (0, 0)
    state, _, _ = play(state_of((2, 1), (2, 1)), (ZAP, ZAP), zap_1=0.1, zap_2=0.1)
    assert frozen(state) == (5, 5)


def test_who_is_frozen_does_nothing_for_five_steps_and_is_not_zapped_meanwhile():
    state = state_of((2, 1), (2, 2), dirt=())
    state, _, _ = play(state, (ZAP, NOTHING), zap_1=0.0)
    for left in (4, 3, 2, 1, 0):
        state, _, info = play(state, (ZAP, RIGHT), zap_1=0.0)
        assert frozen(state) == (0, left)
        assert positions(state)[1] == (2, 2)
        assert int(info["frozen"][1]) == 1
    state, _, _ = play(state, (ZAP, RIGHT), zap_1=0.0)
    assert positions(state)[1] == (2, 3) and frozen(state) == (0, 5)
    # On an apple's cell, on dirt, and with a zap.
    for cell in ((0, ORCHARD), (0, RIVER)):
        stuck = state_of((4, 1), cell, dirt=(0,), apples=(0,), frozen=(0, 3))
        state, rewards, info = play(stuck, (NOTHING, ZAP), zap_2=0.0)
        assert rewards == (0.0, 0.0) and int(info["zaps"][1]) == 0
        assert rows_of(state.dirt) == {0} and rows_of(state.apples) == {0}


def test_a_state_is_observed_as_zeros_and_ones_with_the_own_cell_first():
    state = state_of((1, 2), (4, 0), dirt=(0, 3), apples=(4,), frozen=(0, 2))
    first, second = ENV._observations(state)
    cells = np.zeros((2, ROWS * COLUMNS))
    cells[0, 1 * COLUMNS + 2] = cells[1, 4 * COLUMNS + 0] = 1
    objects = [1, 0, 0, 1, 0, 0, 0, 0, 0, 1]
    np.testing.assert_array_equal(first, [*cells[0], *cells[1], *objects, 0, 1])
    np.testing.assert_array_equal(second, [*cells[1], *cells[0], *objects, 1, 0])


def test_games_start_with_three_pieces_of_dirt_and_players_anywhere():
    keys = jax.random.split(jax.random.key(0), 4000)
    _, states = jax.jit(jax.vmap(ENV.reset, (0, None)))(keys, PARAMS)
    dirt = np.asarray(states.dirt)[:, None] >> np.arange(ROWS) & 1
    np.testing.assert_array_equal(dirt.sum(axis=1), 3)
    # Five standard errors of a share of 4000.
    np.testing.assert_allclose(dirt.mean(axis=0), 3 / 5, atol=5 * np.sqrt(0.24 / 4000))
    assert not np.any(states.apples)
    for row, column in zip(states.rows, states.columns, strict=True):
        counts = np.bincount(COLUMNS * np.asarray(row) + np.asarray(column), minlength=20)
        np.testing.assert_allclose(counts / 4000, 1 / 20, atol=5 * np.sqrt(0.05 * 0.95 / 4000))


def test_parameters_change_the_rules():
    quiet = (NOTHING, NOTHING)
    params = ENV.make_params(dirt_probability=1.0, apple_threshold=4.0, first_dirt=0)
    assert int(ENV.reset(jax.random.key(0), params)[1].dirt) == 0
    state, _, _ = play(state_of((0, 1), (0, 1), dirt=(0, 1)), quiet, params, apple=0.24)
    assert rows_of(state.dirt) == {0, 1, 2} and rows_of(state.apples) == {0}
    params = ENV.make_params(zap_success=0.5, zap_range=3, freeze_steps=1)
    for drawn, left in ((0.49, 1), (0.51, 0)):
        state, _, _ = play(state_of((0, 0), (0, 3)), (ZAP, NOTHING), params, zap_1=drawn)
        assert frozen(state) == (0, left)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dirt_probability": 1.5}, "dirt_probability is 1.5: give a probability, 0 to 1"),
        ({"zap_success": -0.1}, "zap_success is -0.1: give a probability, 0 to 1"),
        ({"apple_threshold": 0.0}, "apple_threshold is 0.0: give a number above 0"),
        ({"zap_range": -1}, "zap_range is -1: give a whole number of steps, 0 or more"),
        ({"freeze_steps": 2.5}, "freeze_steps is 2.5: give a whole number of steps, 0 or more"),
        ({"first_dirt": 6}, "first_dirt is 6: give 0 to 5, the rows of the river"),
        ({"first_dirt": "x"}, "first_dirt is 'x': give 0 to 5, the rows of the river"),
    ],
)
def test_numbers_that_make_no_game_are_refused(settings, message):
    with pytest.raises(ConfigError) as error:
        ENV.make_params(**settings)
    assert str(error.value) == message


@pytest.mark.parametrize(("name", "most"), [("rows", 16), ("columns", 255)])
def test_sizes_that_make_no_grid_are_refused(name, most):
    for value in (1, most + 1):
        with pytest.raises(ConfigError, match=f"^{name} is {value}: give 2 to {most}$"):
            CleanUpLite(**{name: value})


def reference_step(world, actions, numbers, params):
    """One step of a dict of plain Python values, rule by rule; returns the rewards."""
    dirt_u, dirt_at, apple_u, apple_at, *zap_u, tie = numbers
    stuck = [left > 0 for left in world["frozen"]]
    free = sorted(set(range(ROWS)) - world["dirt"])
    if free and dirt_u < params["dirt_probability"]:
        world["dirt"].add(free[int(dirt_at * len(free))])
    chance = 1 - min(1, len(world["dirt"]) / params["apple_threshold"])
    free = sorted(set(range(ROWS)) - world["apples"])
    if free and apple_u < chance:
        world["apples"].add(free[int(apple_at * len(free))])
    moves = {RIGHT: (0, 1), LEFT: (0, -1), UP: (-1, 0), DOWN: (1, 0)}
    for player in range(2):
        if not stuck[player] and actions[player] in moves:
            row, column = np.add(world["cells"][player], moves[actions[player]])
            if 0 <= row < ROWS and 0 <= column < COLUMNS:
                world["cells"][player] = (int(row), int(column))
    rewards = [0.0, 0.0]
    for player in (0, 1) if tie < 0.5 else (1, 0):
        row, column = world["cells"][player]
        if not stuck[player] and column == ORCHARD and row in world["apples"]:
            world["apples"].remove(row)
            rewards[player] = 1.0
        if not stuck[player] and column == RIVER:
            world["dirt"].discard(row)
    distance = np.abs(np.subtract(*world["cells"])).sum()
    left = [max(steps - 1, 0) for steps in world["frozen"]]
    for player in range(2):
        zaps = actions[player] == ZAP and not stuck[player] and distance <= params["zap_range"]
        if zaps and not stuck[1 - player] and zap_u[player] < params["zap_success"]:
            left[1 - player] = params["freeze_steps"]
    world["frozen"] = left
    return tuple(rewards)


def test_random_play_agrees_with_a_second_implementation():
    steps = 400
    settings = {"dirt_probability": 0.3, "apple_threshold": 4.0, "zap_success": 0.7}
    settings |= {"zap_range": 1, "freeze_steps": 2, "first_dirt": 2}
    params = ENV.make_params(**settings)
    _, state = ENV.reset(jax.random.key(1), params)
    drawn = jax.random.uniform(jax.random.key(2), (steps, 7))
    # Players who clean and eat more often than uniform ones.
    chances = jnp.array([0.24, 0.24, 0.2, 0.2, 0.08, 0.04])
    actions = jax.random.choice(jax.random.key(3), 6, (steps, 2), p=chances)

    def step(state, inputs):
        numbers, joint = inputs
        _, state, rewards, _, _ = ENV.transition(numbers, state, (joint[0], joint[1]), params)
        return state, (state, rewards)

    _, (states, rewards) = jax.jit(lambda: jax.lax.scan(step, state, (drawn, actions)))()
    states, rewards, numbers = jax.tree.map(np.asarray, (states, rewards, drawn))
    world = {"cells": positions(state), "dirt": rows_of(state.dirt), "apples": set()}
    world["frozen"] = [0, 0]
    total = 0.0
    for t in range(steps):
        expected = reference_step(world, np.asarray(actions[t]), numbers[t], settings)
        now = jax.tree.map(lambda leaf, t=t: leaf[t], states)
        assert tuple(float(reward[t]) for reward in rewards) == expected
        assert positions(now) == world["cells"]
        assert (rows_of(now.dirt), rows_of(now.apples)) == (world["dirt"], world["apples"])
        assert list(frozen(now)) == world["frozen"]
        total += sum(expected)
    assert total > 10


def test_statistics_count_what_happened_per_step():
    # Two steps of two environments.
    def pair(first, second):
        return jnp.array(first), jnp.array(second)

    quiet = [[0, 0], [0, 0]]
    infos = {
        "taken": pair([[1, 0], [1, 0]], quiet),
        "cleaned": pair(quiet, [[1, 1], [0, 1]]),
        "zaps": pair([[1, 0], [0, 0]], [[0, 0], [0, 1]]),
        "hits": pair(quiet, [[0, 0], [0, 1]]),
        "frozen": pair([[0, 1], [0, 0]], quiet),
        "dirt": jnp.array([[3, 2], [2, 2]]),
        "apples": jnp.array([[0, 0], [1, 0]]),
    }
    metrics = ENV.statistics_metrics(ENV.episode_statistics((), (), infos))
    assert {name: float(value) for name, value in metrics.items()} == {
        **{"dirt": 2.25, "apples": 0.25},
        **{"taken/player_1": 0.5, "taken/player_2": 0.0},
        **{"cleaned/player_1": 0.0, "cleaned/player_2": 0.75},
        **{"zaps/player_1": 0.25, "zaps/player_2": 0.25},
        **{"hits/player_1": 0.0, "hits/player_2": 0.25},
        **{"frozen/player_1": 0.25, "frozen/player_2": 0.0},
    }


def test_a_picture_shows_players_objects_and_who_is_frozen():
    state = state_of((1, 1), (4, RIVER), dirt=(0, 4), apples=(2,), frozen=(0, 1))
    picture = ENV.render(state, PARAMS)
    assert (picture.shape, picture.dtype) == ((ROWS * PIXELS, COLUMNS * PIXELS, 3), np.uint8)

    def colours(row, column):
        cell = picture[row * PIXELS : (row + 1) * PIXELS, column * PIXELS : (column + 1) * PIXELS]
        return {tuple(map(int, pixel)) for pixel in cell.reshape(-1, 3)}

    assert PLAYERS[0] in colours(1, 1) and ICE not in colours(1, 1)
    assert {PLAYERS[1], ICE, DIRT} <= colours(4, RIVER)
    assert DIRT in colours(0, RIVER) and APPLE in colours(2, ORCHARD)
    assert APPLE not in colours(3, ORCHARD) and DIRT not in colours(1, RIVER)
