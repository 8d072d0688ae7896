"""The rules of in-the-matrix, one situation at a time."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.envs.in_the_matrix import InTheMatrix
from pax.envs.in_the_matrix.grid import unpack
from tests.envs.in_the_matrix_reference import LAYOUT, SPAWNS
from tests.envs.in_the_matrix_situations import (
    AWAY,
    CELLS,
    FACING,
    FORWARD,
    INTERACT,
    KEY,
    ODD,
    STAY,
    TYPE_1,
    coins,
    game,
    make_state,
    play,
    poses,
)

LEFT, RIGHT = 0, 1
STEP = [(0, 1), (1, 0), (0, -1), (-1, 0)]


@pytest.mark.parametrize("direction", range(4))
def test_turning_left_adds_one_to_the_direction_and_turning_right_undoes_it(direction):
    for action, turned in ((LEFT, (direction + 1) % 4), (RIGHT, (direction - 1) % 4)):
        _, after, _, _ = play([(3, 3, direction), AWAY], [action, STAY])
        assert poses(after) == [(3, 3, turned), AWAY]


@pytest.mark.parametrize("direction", range(4))
def test_forward_leads_one_cell_ahead_and_ends_at_the_border(direction):
    dx, dy = STEP[direction]
    _, after, _, _ = play([(3, 3, direction), (6, 4, direction)], [FORWARD, STAY])
    assert poses(after) == [(3 + dx, 3 + dy, direction), (6, 4, direction)]
    x, y = (7 if d > 0 else 0 if d < 0 else 3 for d in (dx, dy))
    _, after, _, _ = play([(4, 4, 0), (x, y, direction)], [STAY, FORWARD])
    assert poses(after) == [AWAY, (x, y, direction)]


@pytest.mark.parametrize("action", (INTERACT, STAY))
def test_who_fires_or_stays_does_not_move(action):
    _, after, _, _ = play([(3, 0, 2), (0, 3, 1)], [action, action])
    assert poses(after) == [(3, 0, 2), (0, 3, 1)]


@pytest.mark.parametrize("other_action", (LEFT, RIGHT, INTERACT, STAY))
def test_who_is_in_a_cell_already_keeps_it(other_action):
    for order in (1, -1):
        players = [(3, 3, 0), (3, 4, 0)][::order]
        _, after, _, _ = play(players, [FORWARD, other_action][::order])
        assert [(p.x, p.y) for p in after] == [(3, 3), (3, 4)][::order]


def test_who_walks_into_the_border_counts_as_in_its_cell_already():
    _, after, _, _ = play([(0, 6, 0), (0, 7, 0)], [FORWARD, FORWARD])
    assert [(p.x, p.y) for p in after] == [(0, 6), (0, 7)]


def test_a_fair_coin_decides_who_of_two_gets_a_cell():
    _, step, params = game()
    keys = jax.random.split(jax.random.key(1), 1000)
    # Head on, at a right angle, and behind each other's back.
    for first, second in (((3, 3, 0), (3, 5, 2)), ((3, 3, 0), (4, 4, 3)), ((5, 4, 3), (4, 3, 0))):
        state = make_state(first, second)
        forward = (jnp.int32(FORWARD),) * 2
        after = jax.vmap(step, (0, None, None, None))(keys, state, forward, params)[1]
        cells = np.array([[(p.x, p.y) for p in map(unpack, after.players)]])[0].transpose(2, 0, 1)
        want = tuple(np.add(first[:2], STEP[first[2]]))
        won = (cells == want).all(axis=-1)
        assert (won.sum(axis=1) == 1).all()
        assert (cells[~won[:, 0], 0] == first[:2]).all()
        assert (cells[~won[:, 1], 1] == second[:2]).all()
        # Four standard deviations of a fair coin.
        assert abs(won[:, 0].mean() - 0.5) < 4 * 0.5 / np.sqrt(len(keys))


def test_players_cannot_swap_cells():
    for direction in range(4):
        dx, dy = STEP[direction]
        players = [(3, 3, direction), (3 + dx, 3 + dy, (direction + 2) % 4)]
        _, after, _, _ = play(players, [FORWARD, FORWARD])
        assert poses(after) == players


def test_a_cell_that_somebody_leaves_can_be_entered():
    _, after, _, _ = play([(3, 3, 0), (3, 4, 0)], [FORWARD, FORWARD])
    assert poses(after) == [(3, 4, 0), (3, 5, 0)]


def test_a_player_takes_the_coin_of_its_cell_once():
    _, step, params = game()
    for cell, kind in LAYOUT.items():
        start = (cell[0], cell[1] - 1, 0)
        observations, state, _, _, info = step(
            KEY, make_state(start, AWAY), (jnp.int32(FORWARD), jnp.int32(STAY)), params
        )
        own = np.eye(2)[kind]
        np.testing.assert_array_equal(np.array(info["collected"]), [own, [0, 0]])
        np.testing.assert_array_equal(observations[0]["inventory"], [*own, 1, 0, 0, 0])
        np.testing.assert_array_equal(observations[1]["inventory"], [0, 0, 0, 1, 0, 0])
        assert unpack(int(state.players[0])).coins == coins(cell)
        info = step(KEY, state, (jnp.int32(STAY),) * 2, params)[4]
        np.testing.assert_array_equal(np.array(info["collected"]), 0)


def test_a_coin_is_seen_until_it_is_taken():
    # From (1, 3), looking along -y: first (1, 2) with a coin of type 0, then (1, 1) with one of type 1, and
    # to the right of that, as left of -y is -x, (2, 1) with one of type 1.
    observations, _, _, _ = play([(1, 3, 2), (7, 7, 0)], [STAY, STAY])
    seen = np.array(observations[0]["window"])
    zeros, ones = np.argwhere(seen[..., 2]).tolist(), np.argwhere(seen[..., 3]).tolist()
    assert (zeros, ones) == ([[2, 1]], [[1, 2], [2, 2]])
    observations, _, _, _ = play([(1, 3, 2), (7, 7, 0, [(1, 2), (2, 1)])], [STAY, STAY])
    seen = np.array(observations[0]["window"])
    zeros, ones = np.argwhere(seen[..., 2]).tolist(), np.argwhere(seen[..., 3]).tolist()
    assert (zeros, ones) == ([], [[2, 2]])


def test_walls_are_seen_where_the_grid_ends():
    # At (6, 5), looking along +x: one cell ahead is left; +y is to the right, with two cells left.
    window = np.array(play([(6, 5, 1), (0, 0, 0)], [STAY, STAY])[0][0]["window"])
    expected = np.zeros((5, 5))
    expected[:, 2:] = 1
    np.testing.assert_array_equal(window[..., 4], expected)
    # At (7, 1), looking along +y: two cells are to the right of it, none to the left.
    window = np.array(play([(7, 1, 0), (0, 0, 0)], [STAY, STAY])[0][0]["window"])
    expected = np.zeros((5, 5))
    expected[3:] = 1
    np.testing.assert_array_equal(window[..., 4], expected)


def test_others_are_seen_with_the_direction_they_look_in():
    # Two ahead and one to the left of (3, 3), looking along +x.
    for direction in range(4):
        window = np.array(play([(3, 3, 1), (5, 2, direction)], [STAY, STAY])[0][0]["window"])
        expected = np.zeros((5, 5, 10))
        expected[2, 0, 0] = 1
        # To the left of +x is -y.
        expected[3, 2, 1] = 1
        expected[3, 2, 6 + (direction - 1) % 4] = 1
        np.testing.assert_array_equal(
            window[..., [0, 1, 6, 7, 8, 9]], expected[..., [0, 1, *range(6, 10)]]
        )


HIT = {
    0: {(0, 1), (0, 2), (1, 1), (-1, 1)},
    1: {(1, 0), (2, 0), (1, 1), (1, -1)},
    2: {(0, -1), (0, -2), (1, -1), (-1, -1)},
    3: {(-1, 0), (-2, 0), (-1, 1), (-1, -1)},
}


@pytest.mark.parametrize("seat", (0, 1))
def test_a_beam_covers_two_cells_ahead_and_two_diagonally_in_every_direction(seat):
    """Whoever of the two fires it, and wherever the other one is."""
    _, step, params = game()
    offsets = [o for o in itertools.product(range(-4, 4), repeat=2) if o != (0, 0)]
    cases = [(direction, offset) for direction in range(4) for offset in offsets]
    states = []
    for direction, (dx, dy) in cases:
        pair = [(4, 4, direction, [(1, 1)]), (4 + dx, 4 + dy, 0, [(6, 6)])]
        states.append(make_state(*(pair if seat == 0 else pair[::-1])))
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    actions = (INTERACT, STAY) if seat == 0 else (STAY, INTERACT)
    actions = tuple(jnp.int32(action) for action in actions)
    info = jax.vmap(step, (None, 0, None, None))(KEY, states, actions, params)[4]
    interacts = np.array(info["interactions"])
    assert (interacts[0] == interacts[1]).all()
    for (direction, offset), happened in zip(cases, interacts[0], strict=True):
        assert happened == (offset in HIT[direction]), (direction, offset)


def test_a_beam_is_seen_on_empty_cells_inside_the_grid_for_one_step():
    # It covers (0, 6), (0, 7), (1, 6) with a coin, and (-1, 6), which is outside.
    _, step, params = game()
    observations, state, *_ = step(
        KEY, make_state((0, 5, 0), AWAY), (jnp.int32(INTERACT), jnp.int32(STAY)), params
    )
    beam = np.array(observations[0]["window"][..., 5])
    assert np.argwhere(beam).tolist() == [[2, 1], [2, 2]]
    observations = step(KEY, state, (jnp.int32(STAY),) * 2, params)[0]
    assert not observations[0]["window"][..., 5].any()
    # The other one, at (2, 6) and looking along -x, has them 2 ahead, straight on and to the right.
    observations, *_ = step(
        KEY, make_state((0, 5, 0), (2, 6, 3)), (jnp.int32(INTERACT), jnp.int32(STAY)), params
    )
    beam = np.array(observations[1]["window"][..., 5])
    # Left of -x is +y.
    assert np.argwhere(beam).tolist() == [[2, 2], [3, 2]]


@pytest.mark.parametrize("actions", [(INTERACT, STAY), (STAY, INTERACT), (INTERACT, INTERACT)])
def test_either_beam_suffices(actions):
    _, after, rewards, info = play(FACING, actions)
    assert np.array(info["interactions"]).tolist() == [1, 1]
    assert list(map(float, rewards)) == [0.0, 5.0]  # type 0 meets type 1
    assert [p.frozen for p in after] == [5, 5]


def test_no_interaction_without_a_beam_that_hits_or_with_an_empty_inventory():
    one, other = FACING
    for players, actions in (
        (FACING, (STAY, STAY)),
        ([(3, 3, 2, [(1, 2)]), other], (INTERACT, STAY)),
        ([one[:3], other], (INTERACT, INTERACT)),
        ([one, other[:3]], (INTERACT, INTERACT)),
        ([one[:3], other[:3]], (INTERACT, INTERACT)),
    ):
        _, after, rewards, info = play(players, actions)
        assert np.array(info["interactions"]).tolist() == [0, 0]
        assert list(map(float, rewards)) == [0.0, 0.0]
        assert [p.frozen for p in after] == [0, 0]


def test_a_coin_that_is_taken_in_the_same_step_is_played_with():
    # The first moves onto the coin of type 0 at (5, 6), and is hit there.
    players = [(5, 5, 0), (5, 7, 2, [(1, 1)])]
    _, _, rewards, info = play(players, (FORWARD, INTERACT))
    assert np.array(info["interactions"]).tolist() == [1, 1]
    assert list(map(float, rewards)) == [0.0, 5.0]


def test_an_interaction_pays_what_the_shares_of_types_earn():
    # Shares (3/4, 1/4) and (1/3, 2/3).
    first = [(1, 2), (1, 6), (1, 5), (1, 1)]
    second = [(5, 1), (6, 2), (6, 1)]
    players = [(3, 3, 0, first), (3, 4, 0, second)]
    env = game()[0]
    _, _, rewards, _ = play(players, (INTERACT, STAY))
    # 3/4 (1/3 3 + 2/3 0) + 1/4 (1/3 5 + 2/3 1), and 3/4 (1/3 3 + 2/3 5) + 1/4 (1/3 0 + 2/3 1).
    np.testing.assert_allclose(rewards, [4 / 3, 41 / 12], rtol=1e-6)
    _, _, rewards, _ = play(players, (INTERACT, STAY), params=env.make_params(payoff=ODD))
    v1, v2 = np.array([3, 1]) / 4, np.array([1, 2]) / 3
    np.testing.assert_allclose(rewards, [v1 @ np.array(m) @ v2 for m in ODD], rtol=1e-6)


def test_an_interaction_that_pays_nothing_is_one_all_the_same():
    env = game()[0]
    params = env.make_params(payoff=np.zeros((2, 2, 2)), freeze_penalty=3)
    _, after, rewards, info = play(FACING, (INTERACT, STAY), params=params)
    assert list(map(float, rewards)) == [0.0, 0.0]
    assert [p.frozen for p in after] == [3, 3]
    assert np.array(info["interactions"]).tolist() == [1, 1]
    assert np.array(info["inventories"]).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("penalty", (1, 2, 5))
def test_players_are_frozen_for_as_many_steps_as_the_penalty_and_then_start_again(penalty):
    env, step, _ = game()
    params = env.make_params(freeze_penalty=penalty)
    actions = (jnp.int32(INTERACT), jnp.int32(STAY))
    observations, state, _, _, info = step(KEY, make_state(*FACING), actions, params)
    before = poses(map(unpack, state.players))
    for left in range(penalty, 0, -1):
        assert [int(unpack(p).frozen) for p in state.players] == [left, left]
        assert np.array(info["soft_resets"]).tolist() == [0, 0]
        np.testing.assert_array_equal(observations[0]["inventory"], [1, 0, 1, 1, 0, 1])
        np.testing.assert_array_equal(observations[1]["inventory"], [0, 1, 1, 1, 1, 0])
        assert poses(map(unpack, state.players)) == before
        moves = (jnp.int32(INTERACT), jnp.int32(FORWARD))
        observations, state, rewards, _, info = step(jax.random.key(left), state, moves, params)
        assert list(map(float, rewards)) == [0.0, 0.0]
        assert np.array(info["beams"]).tolist() == [0, 0]
    assert np.array(info["soft_resets"]).tolist() == [1, 1]
    first, second = (unpack(int(p)) for p in state.players)
    assert (first.x, first.y) in SPAWNS
    assert (second.x, second.y) == (7 - first.x, 7 - first.y)
    assert (first.coins, second.coins, first.frozen, second.frozen) == (0, 0, 0, 0)
    for observation in observations:
        np.testing.assert_array_equal(observation["inventory"], 0)
    assert int(state.inner_t) == penalty + 1


def test_the_inventory_of_the_other_is_hidden_unless_it_is_frozen():
    players = [(0, 0, 0, [(1, 2), (6, 6), (6, 1)]), (4, 4, 0, [(6, 2)])]
    observations, *_ = play(players, (STAY, STAY))
    np.testing.assert_array_equal(observations[0]["inventory"], [2, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(observations[1]["inventory"], [0, 1, 1, 1, 0, 0])
    observations, *_ = play([(*player, 4) for player in players], (STAY, STAY))
    np.testing.assert_array_equal(observations[0]["inventory"], [2, 1, 1, 1, 0, 1])
    np.testing.assert_array_equal(observations[1]["inventory"], [0, 1, 1, 1, 2, 1])


def test_starts_are_mirrored_uniform_and_never_on_a_coin():
    env = game()[0]
    keys = jax.random.split(jax.random.key(2), 8000)
    _, state = jax.jit(jax.vmap(env.reset, (0, None)))(keys, env.default_params)
    first, second = (jax.tree.map(np.array, unpack(p)) for p in state.players)
    assert (first.x + second.x == 7).all() and (first.y + second.y == 7).all()
    assert not any(SPAWNS & set(CELLS)) and len(SPAWNS) == 16
    cells, counts = np.unique(np.stack([first.x, first.y], axis=1), axis=0, return_counts=True)
    assert set(map(tuple, cells.tolist())) == SPAWNS
    assert abs(counts / len(keys) - 1 / 16).max() < 4 * np.sqrt(15) / 16 / np.sqrt(len(keys))
    both = np.histogram2d(first.direction, second.direction, bins=4)[0] / len(keys)
    assert abs(both - 1 / 16).max() < 4 * np.sqrt(15) / 16 / np.sqrt(len(keys))
    for player in (first, second):
        assert not player.coins.any() and not player.frozen.any()
    assert (np.array(state.type_1) == TYPE_1).all()


def test_a_random_layout_has_six_coins_of_each_type_any_split_equally_likely():
    env = InTheMatrix(fixed_coin_location=False)
    keys = jax.random.split(jax.random.key(3), 20_000)
    _, state = jax.jit(jax.vmap(env.reset, (0, None)))(keys, env.default_params)
    types = np.array(state.type_1)[:, None] >> np.arange(12) & 1
    assert (types.sum(axis=1) == 6).all()
    counts = np.unique(np.array(state.type_1), return_counts=True)[1]
    assert len(counts) == 924
    # Pearson's statistic has mean 923 and standard deviation sqrt(2 x 923) if all are equally likely.
    expected = len(keys) / 924
    assert abs(((counts - expected) ** 2 / expected).sum() - 923) < 4 * np.sqrt(2 * 923)


def test_the_last_step_of_an_episode_pays_its_reward():
    env, step, params = game()
    state = make_state(*FACING, inner_t=env.num_inner_steps - 2)
    stay, fire = (jnp.int32(STAY),) * 2, (jnp.int32(INTERACT),) * 2
    _, state, rewards, done, _ = step(KEY, state, stay, params)
    assert (list(map(float, rewards)), bool(done)) == ([0.0, 0.0], False)
    _, _, rewards, done, _ = step(KEY, state, fire, params)
    assert (list(map(float, rewards)), bool(done)) == ([0.0, 5.0], True)


@pytest.mark.slow
def test_any_of_those_who_want_a_cell_is_as_likely_to_get_it():
    _, step, params = game(3)
    keys = jax.random.split(jax.random.key(4), 1000)
    contenders = [(3, 2, 0), (3, 4, 2), (4, 3, 3)]
    for absent in (None, 0, 1, 2):
        players = [(7, 0, 0) if i == absent else player for i, player in enumerate(contenders)]
        forward = (jnp.int32(FORWARD),) * 3
        after = jax.vmap(step, (0, None, None, None))(keys, make_state(*players), forward, params)[
            1
        ]
        won = np.array([(p.x == 3) & (p.y == 3) for p in map(unpack, after.players)])
        assert (won.sum(axis=0) == 1).all()
        chance = np.full(3, 1 / 3) if absent is None else np.where(np.arange(3) == absent, 0, 1 / 2)
        # Four standard deviations.
        assert (abs(won.mean(axis=1) - chance) <= 4 * np.sqrt(chance / len(keys))).all()


@pytest.mark.slow
def test_four_players_may_follow_each_other_round_and_a_queue_waits_for_its_head():
    circle = [(3, 3, 0), (3, 4, 1), (4, 4, 2), (4, 3, 3)]
    _, after, _, _ = play(circle, [FORWARD] * 4)
    assert [(p.x, p.y) for p in after] == [(3, 4), (4, 4), (4, 3), (3, 3)]
    queue = [(3, 4, 0), (3, 5, 0), (3, 6, 0), (3, 7, 0)]
    _, after, _, _ = play(queue, [FORWARD] * 4)
    assert poses(after) == queue


def test_two_of_three_interact_and_start_again_while_the_third_plays_on():
    env, step, _ = game(3)
    params = env.make_params(freeze_penalty=2)
    third = (6, 7, 2, [(6, 2)])
    fire, go = (jnp.int32(INTERACT), jnp.int32(STAY), jnp.int32(STAY)), (jnp.int32(FORWARD),) * 3
    _, state, rewards, _, _ = step(KEY, make_state(*FACING, third), fire, params)
    assert list(map(float, rewards)) == [0.0, 5.0, 0.0]
    assert [int(unpack(p).frozen) for p in state.players] == [2, 2, 0]
    # The third takes the coins at (6, 6) and (6, 5) meanwhile, and keeps all it has.
    for _ in range(2):
        observations, state, _, _, info = step(KEY, state, go, params)
    assert np.array(info["soft_resets"]).tolist() == [1, 1, 0]
    first, second, other = (unpack(int(p)) for p in state.players)
    assert (first.coins, second.coins) == (0, 0)
    assert (other.x, other.y, other.coins) == (6, 5, coins((6, 2), (6, 6), (6, 5)))
    assert (second.x, second.y) == (7 - first.x, 7 - first.y)
    np.testing.assert_array_equal(observations[2]["inventory"], [1, 2, 1, 0, 0, 0, 0, 0, 0])


def test_who_interacts_with_two_is_paid_by_both():
    env = game(3)[0]
    # The first, in the middle, has both others diagonally ahead of it.
    players = [(3, 3, 0, [(1, 2)]), (2, 4, 0, [(1, 1)]), (4, 4, 0, [(1, 6)])]
    params = env.make_params(payoff=ODD)
    _, after, rewards, info = play(players, (INTERACT, STAY, STAY), params=params)
    # It is player 1 of both pairs: type 0 against 1 earns it 2, against 0 it earns 1.
    assert list(map(float, rewards)) == [3.0, 32.0, 16.0]
    assert np.array(info["interactions"]).tolist() == [2, 1, 1]
    assert np.array(info["inventories"]).tolist() == [[2, 0], [0, 1], [1, 0]]
    assert [p.frozen for p in after] == [5, 5, 5]


@pytest.mark.slow
def test_players_never_start_again_where_another_one_is():
    """Three of four start again, while the other is in a corner, where any of them would have started."""
    _, step, params = game(4)
    frozen = [(3, 3, 0, [(1, 2)], 1), (3, 4, 0, [(1, 1)], 1), (4, 4, 0, [(6, 6)], 1)]
    state = make_state(*frozen, (0, 0, 0))
    keys = jax.random.split(jax.random.key(5), 2000)
    after = jax.vmap(step, (0, None, None, None))(keys, state, (jnp.int32(STAY),) * 4, params)[1]
    cells = [8 * np.array(p.x) + np.array(p.y) for p in map(unpack, after.players)]
    assert set(cells[0].tolist()) == {8 * x + y for x, y in SPAWNS - {(0, 0)}}
    for i, j in itertools.combinations(range(4), 2):
        assert (cells[i] != cells[j]).all()
