"""The coin game against a second implementation, in numpy, one environment and one step at a time."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pax.envs.coin_game.game import (
    DOWN,
    LEFT,
    NO_COIN,
    RIGHT,
    STAY,
    UP,
    CoinGame,
    EnvParams,
    EnvState,
)
from pax.envs.spaces import Box, Discrete
from pax.errors import ConfigError

KEY = jax.random.key(0)
MOVES = {RIGHT: (0, 1), LEFT: (0, -1), DOWN: (1, 0), UP: (-1, 0), STAY: (0, 0)}
# No two sums of entries alike.
ODD = ((1.0, 2.0, 4.0), (8.0, 16.0, 32.0))
STEPS, NUM_ENVS = 40, 16
# Size, one coin, and what else the constructor is given.
PLAYS = (
    (3, False, ()),
    (3, True, ("egocentric",)),
    (2, False, ("cnn", "egocentric")),
    (2, True, ("cnn",)),
    (5, False, ("egocentric",)),
    (18, True, ()),
)


def state_of(size, *positions):
    """The state with red, blue, the red and the blue coin on (row, column); None for a missing coin."""
    cells = [NO_COIN if p is None else size * p[0] + p[1] for p in positions]
    return EnvState(*map(jnp.int32, cells), inner_t=jnp.int32(0))


def positions_of(state, size):
    """Undoes `state_of`."""
    cells = map(int, (state.red, state.blue, state.red_coin, state.blue_coin))
    return [None if cell == NO_COIN else divmod(cell, size) for cell in cells]


def shift(position, by, size):
    return tuple((a + b) % size for a, b in zip(position, by, strict=True))


def reference_step(positions, actions, payoff, size):
    """Where the players go, which coins [player][colour] they take there, and what that pays."""
    players = [shift(positions[k], MOVES[actions[k]], size) for k in (0, 1)]
    taken = [[player == coin for coin in positions[2:]] for player in players]
    red = taken[0][0] * payoff[0][0] + taken[0][1] * payoff[0][1] + taken[1][0] * payoff[0][2]
    blue = taken[1][0] * payoff[1][0] + taken[1][1] * payoff[1][1] + taken[0][1] * payoff[1][2]
    return players, taken, (red, blue)


def reference_planes(positions, player, size, egocentric):
    """What a player sees, [size, size, 4]."""
    own = positions[player]
    order = (0, 1, 2, 3) if player == 0 else (1, 0, 3, 2)
    planes = np.zeros((size, size, 4), np.float32)
    for plane, index in enumerate(order):
        position = positions[index]
        if position is None:
            continue
        if egocentric:
            position = tuple((p - o + size // 2) % size for p, o in zip(position, own, strict=True))
        planes[(*position, plane)] = 1.0
    return planes


class Play:
    """A batch of random play: states and observations [T + 1, E], what else a step returns [T, E]."""

    def __init__(self, size, one_coin, options):
        options = dict.fromkeys(options, True)
        self.env = CoinGame(num_inner_steps=STEPS, size=size, one_coin=one_coin, **options)
        self.run = jax.jit(self._run)

    def _run(self, key, params):
        reset_key, step_key, action_key = jax.random.split(key, 3)
        first, state = jax.vmap(self.env.reset, (0, None))(
            jax.random.split(reset_key, NUM_ENVS), params
        )
        num_actions = self.env.action_space(0).n
        actions = jax.random.randint(action_key, (2, STEPS, NUM_ENVS), 0, num_actions)
        keys = jax.random.split(step_key, (STEPS, NUM_ENVS))

        def step(state, inputs):
            keys, actions = inputs
            observations, state, rewards, done, info = jax.vmap(self.env.step, (0, 0, 0, None))(
                keys, state, actions, params
            )
            return state, (state, observations, rewards, done, info)

        _, outputs = jax.lax.scan(step, state, (keys, tuple(actions)))
        before = jax.tree.map(lambda leaf: leaf[None], (state, first))
        seen = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), before, outputs[:2])
        return (*seen, tuple(actions), *outputs[2:])

    def __call__(self, seed, payoff=ODD):
        return jax.tree.map(
            np.asarray, self.run(jax.random.key(seed), EnvParams(jnp.array(payoff)))
        )


make_play = functools.cache(Play)


def at(states, t, e):
    return jax.tree.map(lambda leaf: leaf[t, e], states)


def test_one_player_may_see_numbers_and_the_other_planes():
    both = [CoinGame(tabular=tabular) for tabular in (False, True)]
    mixed = CoinGame(tabular=True, tabular_players=(1,))
    key = jax.random.key(3)
    planes, numbers = (env.reset(key, None)[0] for env in both)
    seen, _ = mixed.reset(key, None)
    np.testing.assert_array_equal(seen[0], planes[0])
    np.testing.assert_array_equal(seen[1], numbers[1])
    assert mixed.observation_space(0) == both[0].observation_space(0)
    assert mixed.observation_space(1) == both[1].observation_space(1)
    with pytest.raises(ConfigError, match=r"tabular_players is \(2,\): name players, 0 and 1"):
        CoinGame(tabular=True, tabular_players=(2,))


def test_players_may_see_the_last_coins():
    plain, env = CoinGame(), CoinGame(last_coin_players=(1,))
    key, params = jax.random.key(5), env.make_params()
    none, own, others = np.eye(3)
    seen, start = env.reset(key, params)
    np.testing.assert_array_equal(seen[1], [*plain.reset(key, params)[0][1], *none, *none])
    assert env.observation_space(0).shape == (36,) and env.observation_space(1).shape == (42,)

    last, far = start.last_coins, (2, 0)
    for red_coin, blue_coin, blues, reds in (
        ((1, 1), far, others, none),
        # Nothing is taken: what came before counts.
        (far, far, others, none),
        (far, (1, 1), own, none),
        # Both coins at once count as the other's.
        ((0, 0), (0, 0), own, others),
    ):
        # Red stays at (0, 0), and blue at (1, 1).
        cells = state_of(3, (0, 0), (1, 1), red_coin, blue_coin)
        seen, state, _, _, _ = env.step(key, cells.replace(last_coins=last), (STAY, STAY), params)
        expected = plain.step(key, cells, (STAY, STAY), params)[0]
        np.testing.assert_array_equal(seen[0], expected[0])
        np.testing.assert_array_equal(seen[1], [*expected[1], *blues, *reds])
        last = state.last_coins


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"last_coin_players": (2,)}, r"last_coin_players is \(2,\): name players, 0 and 1"),
        ({"last_coin_players": (0,), "cnn": True}, "leave out cnn"),
        ({"last_coin_players": (0,), "tabular": True}, "let tabular_players name other players"),
    ],
)
def test_last_coins_join_vectors_only(settings, message):
    with pytest.raises(ConfigError, match=message):
        CoinGame(**settings)


def test_oracle_each_takes_the_coin_of_its_own_colour():
    env = CoinGame()
    state = state_of(3, (0, 0), (1, 0), (0, 2), (1, 2))
    _, state, rewards, _, _ = env.step(KEY, state, (LEFT, LEFT), env.default_params)
    assert tuple(map(float, rewards)) == (1.0, 1.0)
    assert positions_of(state, 3)[:2] == [(0, 2), (1, 2)]


def test_oracle_of_what_players_see_around_themselves():
    env = CoinGame(egocentric=True, cnn=True)
    state = state_of(3, (1, 2), (2, 2), (2, 2), (0, 0))
    observations, state, rewards, _, _ = env.step(KEY, state, (LEFT, LEFT), env.default_params)
    assert positions_of(state, 3) == [(1, 1), (2, 1), (2, 2), (0, 0)]
    assert tuple(map(float, rewards)) == (0.0, 0.0)
    # Itself, the other, its own coin, the other's.
    for observation, expected in zip(
        observations,
        ([(1, 1), (2, 1), (2, 2), (0, 0)], [(1, 1), (0, 1), (2, 0), (1, 2)]),
        strict=True,
    ):
        assert (observation.shape, observation.dtype) == ((3, 3, 4), jnp.float32)
        assert observation.sum() == 4.0
        for plane, position in enumerate(expected):
            assert observation[(*position, plane)] == 1.0


def test_the_usual_payoff_is_one_for_a_coin_and_minus_two_for_one_that_the_other_took():
    params = CoinGame().default_params
    assert params.payoff_matrix.dtype == jnp.float32
    np.testing.assert_array_equal(params.payoff_matrix, [[1, 1, -2], [1, 1, -2]])
    params = CoinGame().make_params(payoff=ODD)
    np.testing.assert_array_equal(params.payoff_matrix, ODD)


def test_every_joint_action_in_every_situation_pays_what_the_rules_say():
    """All 9^4 situations of the usual grid times all 25 joint actions, at once."""
    env = CoinGame()
    cells = np.indices((9,) * 4).reshape(4, -1).astype(np.int32)
    actions = np.array(list(itertools.product(range(5), repeat=2)), np.int32)
    num = cells.shape[1]

    @jax.jit
    def play(cells, actions):
        def one(cells, actions):
            state = EnvState(*cells, inner_t=jnp.int32(0))
            _, after, rewards, _, _ = env.step(KEY, state, actions, EnvParams(ODD))
            return after, rewards

        return jax.vmap(jax.vmap(one, (0, None)), (None, 0))(tuple(cells), tuple(actions))

    after, rewards = play(tuple(cells), tuple(actions.T))
    positions = np.stack(np.divmod(cells, 3), axis=-1)[:2]
    moves = np.array([MOVES[action] for action in range(5)])
    moved = (positions[:, None] + moves[actions.T][:, :, None]) % 3
    moved = 3 * moved[..., 0] + moved[..., 1]
    assert moved.shape == (2, 25, num)
    np.testing.assert_array_equal(after.red, moved[0])
    np.testing.assert_array_equal(after.blue, moved[1])
    takes = moved[:, None] == cells[2:][None, :, None]  # [player, colour, joint action, situation]
    expected = (
        1 * takes[0, 0] + 2 * takes[0, 1] + 4 * takes[1, 0],
        8 * takes[1, 0] + 16 * takes[1, 1] + 32 * takes[0, 1],
    )
    np.testing.assert_array_equal(rewards[0], expected[0])
    np.testing.assert_array_equal(rewards[1], expected[1])
    for colour, coin in enumerate((after.red_coin, after.blue_coin)):
        stays = ~takes[:, colour].any(axis=0)
        before = np.broadcast_to(cells[2 + colour], (25, num))
        np.testing.assert_array_equal(np.asarray(coin)[stays], before[stays])


@pytest.mark.parametrize(("size", "one_coin", "options"), PLAYS)
def test_random_play_is_that_of_the_reference(size, one_coin, options):
    play = make_play(size, one_coin, options)
    states, observations, actions, rewards, done, info = play(seed=size)
    num_taken = 0
    for e, t in itertools.product(range(NUM_ENVS), range(STEPS)):
        before = positions_of(at(states, t, e), size)
        after = positions_of(at(states, t + 1, e), size)
        joint = [int(action[t, e]) for action in actions]
        players, taken, expected = reference_step(before, joint, ODD, size)
        assert after[:2] == players
        assert (rewards[0][t, e], rewards[1][t, e]) == expected
        named = [[info[f"{p}_takes_{c}"][t, e] for c in ("red", "blue")] for p in ("red", "blue")]
        assert np.array(named).tolist() == np.array(taken, int).tolist()
        gone = [taken[0][colour] or taken[1][colour] for colour in (0, 1)]
        num_taken += sum(gone)
        if one_coin and any(gone):
            # One of the other colour, where nobody is.
            assert after[2:][gone.index(True)] is None
            assert after[2:][gone.index(False)] not in (None, *players)
        else:
            for colour in (0, 1):
                assert gone[colour] or after[2 + colour] == before[2 + colour]
        for player in (0, 1):
            planes = reference_planes(after, player, size, "egocentric" in options)
            seen = observations[player][t + 1, e]
            assert seen.shape == (planes.shape if "cnn" in options else (planes.size,))
            np.testing.assert_array_equal(seen.reshape(planes.shape), planes)
        assert bool(done[t, e]) == (t == STEPS - 1)
        assert int(states.inner_t[t + 1, e]) == t + 1
    assert num_taken > 0
    # At the end nothing is different: somebody is paid for the last step.
    if size == 2:
        assert (rewards[0][-1] != 0).any() and (rewards[1][-1] != 0).any()


@settings(max_examples=40, deadline=None, database=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    variant=st.sampled_from(PLAYS),
    payoff=st.lists(st.integers(-8, 8), min_size=6, max_size=6),
)
def test_what_always_holds(seed, variant, payoff):
    size, one_coin, options = variant
    payoff = np.array(payoff, np.float32).reshape(2, 3)
    states, observations, _, rewards, _, info = make_play(*variant)(seed, payoff)
    players = np.stack([states.red, states.blue])
    coins = np.stack([states.red_coin, states.blue_coin])
    assert (players >= 0).all() and (players < size**2).all()
    there = coins != NO_COIN
    assert (coins >= -1).all() and (coins < size**2).all()
    assert (there.sum(axis=0) == (1 if one_coin else 2)).all()
    for observation in observations:
        assert set(np.unique(observation)) == {0.0, 1.0}
        per_plane = observation.reshape(STEPS + 1, NUM_ENVS, -1, 4).sum(axis=2)
        assert (per_plane[..., :2] == 1.0).all()
        assert (per_plane[..., 2:].sum(axis=-1) == (1 if one_coin else 2)).all()
    if "egocentric" not in options:
        # Blue sees the world with the colours exchanged.
        red, blue = (planes.reshape(STEPS + 1, NUM_ENVS, -1, 4) for planes in observations)
        np.testing.assert_array_equal(blue, red[..., [1, 0, 3, 2]])
    if one_coin:
        assert (players[0][0] != players[1][0]).all()
        # Nobody may stay, so whoever is on a coin has just been put there with it.
        assert (players[:, None] != coins[None]).all()
    taken = np.array([[info[f"{p}_takes_{c}"] for c in ("red", "blue")] for p in ("red", "blue")])
    gone = taken.any(axis=0)
    if one_coin:
        changes = (there[:, 1:] != there[:, :-1]).any(axis=0)
        np.testing.assert_array_equal(changes, gone.any(axis=0))
    else:
        moved = coins[:, 1:] != coins[:, :-1]
        assert not (moved & ~gone).any()
    np.testing.assert_array_equal(
        rewards[0],
        payoff[0, 0] * taken[0, 0] + payoff[0, 1] * taken[0, 1] + payoff[0, 2] * taken[1, 0],
    )
    np.testing.assert_array_equal(
        rewards[1],
        payoff[1, 0] * taken[1, 0] + payoff[1, 1] * taken[1, 1] + payoff[1, 2] * taken[0, 1],
    )


def chi_square(counts):
    """Pearson's statistic for equally likely cells, standardised: about N(0, 1) for many cells."""
    counts = np.asarray(counts, float)
    expected = counts.sum() / counts.size
    freedom = counts.size - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom)


def keys_of(kind, num):
    """Keys as a loop derives them, and those of consecutive seeds."""
    if kind == "split":
        return jax.random.split(jax.random.key(7), num)
    return jax.vmap(jax.random.key)(jnp.arange(num))


@pytest.mark.parametrize("kind", ("split", "seeds"))
def test_a_coin_that_was_taken_comes_back_anywhere(kind):
    """Both are taken at once: all pairs of cells are equally likely, so they are independent too."""
    env = CoinGame()
    state = state_of(3, (0, 0), (1, 0), (0, 1), (1, 1))
    step = jax.jit(jax.vmap(lambda key: env.step(key, state, (RIGHT, RIGHT), EnvParams(ODD))[1]))
    after = step(keys_of(kind, 200_000))
    pairs = 9 * np.asarray(after.red_coin) + np.asarray(after.blue_coin)
    assert abs(chi_square(np.bincount(pairs, minlength=81))) < 4


@pytest.mark.parametrize(("actions", "free"), (((RIGHT, UP), 7), ((RIGHT, LEFT), 8)))
@pytest.mark.parametrize("kind", ("split", "seeds"))
def test_a_single_coin_comes_back_where_nobody_is(kind, actions, free):
    env = CoinGame(one_coin=True)
    # Red takes the coin; in the second case, so does blue.
    state = state_of(3, (0, 0), (0, 2), None, (0, 1))
    step = jax.jit(jax.vmap(lambda key: env.step(key, state, actions, EnvParams(ODD))[1]))
    after = step(keys_of(kind, 100_000))
    assert (after.blue_coin == NO_COIN).all()
    counts = np.bincount(after.red_coin, minlength=9)
    occupied = {int(after.red[0]), int(after.blue[0])}
    assert len(occupied) == 9 - free
    assert (counts[sorted(occupied)] == 0).all()
    counts = np.delete(counts, sorted(occupied))
    assert counts.size == free and abs(chi_square(counts)) < 4


def test_the_largest_grid_is_used_as_evenly():
    size = 255
    env = CoinGame(size=size)
    state = state_of(size, (0, 0), (1, 0), (0, 1), (1, 1))
    step = jax.jit(jax.vmap(lambda key: env.step(key, state, (RIGHT, RIGHT), EnvParams(ODD))[1]))
    after = step(jax.random.split(KEY, 100_000))
    first, second = np.asarray(after.red_coin), np.asarray(after.blue_coin)
    for coins in (first, second, (first - second) % size**2):
        for line in np.divmod(coins, size):
            assert abs(chi_square(np.bincount(line, minlength=size))) < 4


@pytest.mark.parametrize("size", (16, 255))
def test_the_last_cell_of_a_large_grid_is_seen(size):
    env = CoinGame(size=size, cnn=True, one_coin=True)
    last = (size - 1, size - 1)
    for positions in ((last, (0, 0), None, last), ((0, 1), last, last, None)):
        observations = env._observations(state_of(size, *positions))
        for player in (0, 1):
            expected = reference_planes(positions, player, size, False)
            np.testing.assert_array_equal(observations[player], expected)


def test_every_start_is_equally_likely():
    keys = jax.random.split(KEY, 300_000)
    _, state = jax.jit(jax.vmap(CoinGame(tabular=True).reset, (0, None)))(keys, None)
    cells = [np.asarray(c) for c in (state.red, state.blue, state.red_coin, state.blue_coin)]
    number = np.ravel_multi_index(cells, (9,) * 4)
    assert abs(chi_square(np.bincount(number, minlength=9**4))) < 4

    env = CoinGame(tabular=True, one_coin=True)
    seen, state = jax.jit(jax.vmap(env.reset, (0, None)))(keys, None)
    coin = np.maximum(state.red_coin, state.blue_coin)
    for player in (state.red, state.blue):
        assert (np.asarray(player) != coin).all()
    counts = np.bincount(np.asarray(seen[0]), minlength=9 * 9 * 18)
    # 9 cells for red, 8 for blue, 7 for the coin, 2 colours; no other start occurs.
    assert (counts > 0).sum() == 9 * 8 * 7 * 2
    assert abs(chi_square(counts[counts > 0])) < 4


@pytest.mark.parametrize("one_coin", (False, True))
def test_every_situation_has_a_number_of_its_own(one_coin):
    env = CoinGame(tabular=True, one_coin=one_coin)
    pairs = [*itertools.product(range(9), repeat=2)]
    coins = [*((c, -1) for c in range(9)), *((-1, c) for c in range(9))] if one_coin else pairs
    cells = np.array([(*players, *coin) for players in pairs for coin in coins], np.int32)
    states = EnvState(*map(jnp.array, cells.T), inner_t=jnp.zeros(len(cells), jnp.int32))
    numbers = jax.vmap(env._observations)(states)
    num = 9 * 9 * 18 if one_coin else 9**4
    assert env.observation_space(0) == env.observation_space(1) == Discrete(num)
    for number in numbers:
        assert number.dtype == jnp.int32
        assert sorted(number.tolist()) == list(range(num))
    # What is red to one is blue to the other.
    exchanged = EnvState(states.blue, states.red, states.blue_coin, states.red_coin, states.inner_t)
    np.testing.assert_array_equal(jax.vmap(env._observations)(exchanged)[1], numbers[0])


def test_egocentric_numbers_do_not_depend_on_where_the_player_is():
    env = CoinGame(tabular=True, egocentric=True)
    absolute = CoinGame(tabular=True)
    start = [(1, 1), (0, 2), (2, 2), (1, 0)]
    expected = absolute._observations(state_of(3, *start))[0]
    for by in itertools.product(range(3), repeat=2):
        moved = [shift(position, by, 3) for position in start]
        assert int(env._observations(state_of(3, *moved))[0]) == int(expected)


def test_spaces():
    assert CoinGame().num_players == 2 and CoinGame().num_inner_steps == 16
    assert CoinGame().observation_space(0) == Box((36,), 0.0, 1.0)
    assert CoinGame(size=5, cnn=True).observation_space(1) == Box((5, 5, 4), 0.0, 1.0)
    assert CoinGame().action_space(0) == Discrete(5)
    assert CoinGame(one_coin=True).action_space(1) == Discrete(4)


@pytest.mark.parametrize("number", (int, float, np.int8, jnp.int32, jnp.float32))
def test_actions_may_be_any_kind_of_number(number):
    env = CoinGame(size=4)
    state = state_of(4, (0, 0), (3, 3), (1, 1), (2, 2))
    for action, move in MOVES.items():
        after = env.step(KEY, state, (number(action), number(action)), env.default_params)[1]
        assert positions_of(after, 4)[:2] == [shift((0, 0), move, 4), shift((3, 3), move, 4)]


def reference_statistics(taken):
    """Counts one step after the other; `taken` is [T, E, player, colour]."""
    visits, coins = {}, {}
    for episode in np.moveaxis(taken, 1, 0):
        conventions = ["S", "S"]
        for step in episode:
            state = "".join(conventions)
            visits[state] = visits.get(state, 0) + 1
            for player, colour in itertools.product(range(2), repeat=2):
                coins[state, player, colour] = (
                    coins.get((state, player, colour), 0) + step[player, colour]
                )
            for player in range(2):
                if step[player, player]:
                    conventions[player] = "C"
                if step[player, 1 - player]:
                    conventions[player] = "D"
    return visits, coins


def reference_metrics(taken):
    visits, coins = reference_statistics(taken)
    states = [a + b for a in "SCD" for b in "SCD"]
    share = lambda part, whole: part / whole if whole else np.nan  # noqa: E731
    total = lambda player, colour: sum(coins.get((s, player, colour), 0) for s in states)  # noqa: E731
    episodes = taken.shape[1]
    expected = {}
    for state in states:
        expected[f"state_visitation/{state}"] = visits.get(state, 0)
        expected[f"state_probability/{state}"] = visits.get(state, 0) / sum(visits.values())
    for player in range(2):
        own, other = total(player, player), total(player, 1 - player)
        name = f"player_{player + 1}"
        expected[f"prob_coop/{name}"] = share(own, own + other)
        expected[f"total_coins/{name}"] = own + other
        expected[f"coins_per_episode/{name}"] = (own + other) / episodes
        expected[f"coins_per_episode/{name}/red"] = total(player, 0) / episodes
        expected[f"coins_per_episode/{name}/blue"] = total(player, 1) / episodes
        for s in states:
            own, other = coins.get((s, player, player), 0), coins.get((s, player, 1 - player), 0)
            expected[f"cooperation_probability/{name}/{s}"] = share(own, visits.get(s, 0))
            expected[f"prob_coop/{name}/{s}"] = share(own, own + other)
    return expected


def metrics_of(env, taken):
    infos = {
        f"{p}_takes_{c}": jnp.array(taken[:, :, i, j], jnp.int32)
        for i, p in enumerate(("red", "blue"))
        for j, c in enumerate(("red", "blue"))
    }
    statistics = jax.jit(env.episode_statistics)((), (), infos)
    for leaf in jax.tree.leaves(statistics):
        assert leaf.dtype == jnp.int32
    return {name: float(value) for name, value in env.statistics_metrics(statistics).items()}


def assert_metrics(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-6, err_msg=name)


def test_statistics_of_an_episode_written_out_by_hand():
    """The coins of each step, and what red and blue were known for before it."""
    none = [[0, 0], [0, 0]]
    episode = [
        none,  # SS
        [[1, 0], [0, 0]],  # SS, red takes its own
        [[0, 0], [1, 0]],  # CS, blue takes red's
        none,  # CD
        [[0, 1], [0, 0]],  # CD, red takes blue's
        [[1, 0], [0, 1]],  # DD, both take their own
        [[1, 1], [0, 0]],  # CC, red takes both
        none,  # DC
    ]
    metrics = metrics_of(CoinGame(num_inner_steps=8), np.array(episode)[:, None])
    visits = {"SS": 2, "CS": 1, "CD": 2, "DD": 1, "CC": 1, "DC": 1}
    for state in (a + b for a in "SCD" for b in "SCD"):
        assert metrics[f"state_visitation/{state}"] == visits.get(state, 0)
    expected = {
        "prob_coop/player_1": 3 / 5,
        "prob_coop/player_2": 1 / 2,
        "coins_per_episode/player_1": 5.0,
        "coins_per_episode/player_1/blue": 2.0,
        "coins_per_episode/player_2/red": 1.0,
        "cooperation_probability/player_1/SS": 1 / 2,
        "cooperation_probability/player_1/CS": 0.0,
        "cooperation_probability/player_1/CD": 0.0,
        "cooperation_probability/player_1/DD": 1.0,
        "cooperation_probability/player_2/DD": 1.0,
        "cooperation_probability/player_1/DS": np.nan,
        "prob_coop/player_1/CC": 1 / 2,
        "prob_coop/player_1/CD": 0.0,
        "prob_coop/player_2/CD": np.nan,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-6, err_msg=name)
    assert_metrics(metrics, reference_metrics(np.array(episode)[:, None]))


@pytest.mark.parametrize("variant", PLAYS[:2])
def test_statistics_of_random_play(variant):
    play = make_play(*variant)
    *_, info = play(seed=5)
    taken = np.array([[info[f"{p}_takes_{c}"] for c in ("red", "blue")] for p in ("red", "blue")])
    taken = np.moveaxis(taken, (0, 1), (2, 3))
    assert_metrics(metrics_of(play.env, taken), reference_metrics(taken))


def test_statistics_of_nothing_taken():
    metrics = metrics_of(CoinGame(), np.zeros((16, 3, 2, 2), int))
    assert np.isnan(metrics["prob_coop/player_1"]) and np.isnan(
        metrics["cooperation_probability/player_1/CC"]
    )
    assert metrics["coins_per_episode/player_1"] == 0.0
    assert (
        metrics["state_visitation/SS"] == 48
        and metrics["cooperation_probability/player_2/SS"] == 0.0
    )


def colours_in(cell):
    """The colours of a piece of a picture, apart from greys."""
    colours = {tuple(map(int, pixel)) for pixel in cell.reshape(-1, 3)}
    return {colour for colour in colours if max(colour) - min(colour) > 20}


@pytest.mark.parametrize("size", (2, 3, 5))
def test_a_picture_shows_all_four_where_they_are(size):
    env = CoinGame(size=size)
    corner = (size - 1, 0)
    everybody = env.render(state_of(size, corner, corner, corner, corner), env.default_params)
    assert everybody.dtype == np.uint8 and everybody.shape[2] == 3
    width = everybody.shape[0] // size
    assert everybody.shape[:2] == (size * width, size * width)
    cell_of = lambda image, p: image[width * p[0] :, width * p[1] :][:width, :width]  # noqa: E731
    # Also in one cell, nobody hides anybody.
    assert len(colours_in(cell_of(everybody, corner))) == 4
    assert len(colours_in(everybody)) == 4

    places = [(0, 0), (1, 1), (0, 1), (1, 0)]
    image = env.render(state_of(size, *places), env.default_params)
    alone = [colours_in(cell_of(image, place)) for place in places]
    assert all(len(colours) == 1 for colours in alone)
    assert len(set.union(*alone)) == 4
    red, blue = (next(iter(colours)) for colours in alone[:2])
    assert red[0] > red[2] and blue[2] > blue[0]
    # As much of each is seen, wherever it is.
    for colour in colours_in(image):
        assert (image == colour).all(axis=-1).sum() == (everybody == colour).all(axis=-1).sum() > 50


def test_a_picture_shows_no_coin_that_is_not_there():
    env = CoinGame(one_coin=True)
    image = env.render(state_of(3, (0, 0), (1, 1), None, (2, 2)), env.default_params)
    both = CoinGame().render(state_of(3, (0, 0), (1, 1), (2, 1), (2, 2)), env.default_params)
    missing = colours_in(both) - colours_in(image)
    assert len(missing) == 1 and len(colours_in(image)) == 3
    (colour,) = missing
    assert colour[0] > colour[2]


@pytest.mark.parametrize("size", (1, 0, -3, 256))
def test_a_grid_that_is_too_small_or_too_large_is_refused(size):
    with pytest.raises(ConfigError, match=f"^size is {size}: give 2 to 255 rows"):
        CoinGame(size=size)


def test_a_table_that_cannot_be_is_refused():
    assert CoinGame(size=14, tabular=True).observation_space(0) == Discrete(14**8)
    with pytest.raises(
        ConfigError, match="^size is 15, and that is 2562890625 observations with tabular"
    ):
        CoinGame(size=15, tabular=True)
    with pytest.raises(ConfigError, match="^tabular is True and so is cnn: choose"):
        CoinGame(tabular=True, cnn=True)


@pytest.mark.parametrize(
    "payoff",
    (
        ((1, -2), (1, -2)),
        (1, 1, -2),
        ((1, 1, -2),),
        ((1, 1, -2), (1, 1)),
        5.0,
        None,
        "coins",
        (("a", "b", "c"), ("d", "e", "f")),
        ((1, 1, 1j), (1, 1, -2)),
    ),
    ids=repr,
)
def test_a_payoff_that_is_not_two_triples_of_numbers_is_refused(payoff):
    env = CoinGame()
    expected = (
        "give 2 rows (red, blue) of 3 numbers (takes red, takes blue, loses its own to the other)"
    )
    for check in (
        lambda: env.check_params(EnvParams(payoff_matrix=payoff)),
        lambda: env.make_params(payoff=payoff),
    ):
        with pytest.raises(ConfigError) as error:
            check()
        assert str(error.value) == f"payoff is {payoff}: {expected}"


@pytest.mark.parametrize("number", (np.nan, np.inf, 1e39))
def test_a_payoff_that_is_not_finite_is_refused(number):
    with pytest.raises(ConfigError, match="^payoff is .*: give finite numbers only$"):
        CoinGame().make_params(payoff=((1, 1, -2), (1, number, -2)))


def test_a_payoff_may_be_a_list_or_an_array():
    env = CoinGame()
    state = state_of(3, (0, 0), (1, 0), (0, 2), (1, 2))
    for payoff in (ODD, [list(row) for row in ODD], np.array(ODD), jnp.array(ODD)):
        env.check_params(EnvParams(payoff_matrix=payoff))
        rewards = env.step(KEY, state, (LEFT, LEFT), EnvParams(payoff_matrix=payoff))[2]
        assert tuple(map(float, rewards)) == (1.0, 16.0)
