"""In-the-matrix over many random steps: against a reference, against JaxMARL, and what never changes."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pax.envs.in_the_matrix import InTheMatrix
from pax.envs.in_the_matrix.grid import unpack
from tests.envs.in_the_matrix_reference import LAYOUT, SPAWNS, Game
from tests.envs.in_the_matrix_situations import CELLS

LEFT, RIGHT, FORWARD, INTERACT, STAY = range(5)
PENALTY = 3
PAYOFF = (((1.0, 2.0), (4.0, -8.0)), ((16.0, 32.0), (-64.0, 128.0)))
# Players walk more than they turn, or they hardly meet.
ODDS = jnp.log(jnp.array([0.14, 0.14, 0.4, 0.3, 0.02]))


def random_actions(key, shape, num_players):
    actions = jax.random.categorical(key, ODDS, shape=(num_players, *shape))
    return tuple(actions[player] for player in range(num_players))


@functools.cache
def compiled(num_players, fixed, num_steps, num_envs):
    """Plays `num_steps` steps of given or random actions; returns everything of every step."""
    env = InTheMatrix(num_steps, fixed, num_players)
    params = env.make_params(PAYOFF, PENALTY)

    def play(key, actions=None):
        reset_key, step_key, act_key = jax.random.split(key, 3)
        if actions is None:
            actions = random_actions(act_key, (num_steps, num_envs), num_players)
        first, state = jax.vmap(env.reset, (0, None))(jax.random.split(reset_key, num_envs), params)

        def step(state, inputs):
            keys, joint = inputs
            seen, state, rewards, done, info = jax.vmap(env.step, (0, 0, 0, None))(
                keys, state, joint, params
            )
            return state, (seen, state, rewards, done, info)

        keys = jax.random.split(step_key, (num_steps, num_envs))
        return first, state, actions, jax.lax.scan(step, state, (keys, actions))[1]

    return jax.jit(play)


def agents(state, index):
    """Cells and directions of the players of one environment (and time)."""
    players = [jax.tree.map(lambda a: int(a[index]), unpack(number)) for number in state.players]
    return [((player.x, player.y), player.direction) for player in players]


@pytest.mark.parametrize(
    ("num_players", "fixed", "num_envs"),
    (
        (2, True, 24),
        pytest.param(2, False, 24, marks=pytest.mark.slow),
        pytest.param(4, False, 6, marks=pytest.mark.slow),
    ),
)
def test_every_step_is_that_of_the_reference(num_players, fixed, num_envs):
    num_steps = 200
    play = compiled(num_players, fixed, num_steps, num_envs)
    first, start, actions, outputs = jax.tree.map(np.array, play(jax.random.key(num_envs)))
    seen, states, rewards, done, info = outputs
    happened = dict.fromkeys(info, 0)
    for env in range(num_envs):
        types = int(start.type_1[env]) >> np.arange(12) & 1
        layout = dict(zip(CELLS, types.tolist(), strict=True))
        assert not fixed or layout == LAYOUT
        game = Game(agents(start, env), layout, np.array(PAYOFF), PENALTY)
        compare_observations(game, first, env)
        for t in range(num_steps):
            joint = [int(own[t, env]) for own in actions]
            earned, events = game.step(joint, agents(states, (t, env)))
            np.testing.assert_allclose([own[t, env] for own in rewards], earned, 1e-5, 1e-5)
            for name, expected in (*events.items(), ("rewards", earned)):
                actual = np.array(jax.tree.map(lambda own: own[t, env], info[name]))  # noqa: B023
                np.testing.assert_allclose(actual, expected, 1e-5, 1e-5, err_msg=name)
                happened[name] += np.count_nonzero(actual)
            compare_observations(game, seen, (t, env))
    assert min(happened.values()) >= 20, happened
    assert (done == (np.arange(num_steps) == num_steps - 1)[:, None]).all()


def compare_observations(game, seen, index):
    for player, observation in enumerate(seen):
        window, inventory = game.observe(player)
        np.testing.assert_array_equal(observation["window"][index], window)
        np.testing.assert_array_equal(observation["inventory"][index], inventory)


def violations(before, after, rewards, seen):
    """What is wrong with a step of one environment, by name, and how much happened in it."""
    old, new = ([unpack(number) for number in state.players] for state in (before, after))
    pairs = list(itertools.combinations(range(len(new)), 2))
    cell = [8 * player.x + player.y for player in new]
    home = jnp.array([8 * x + y for x, y in CELLS])
    spawn = jnp.array([8 * x + y for x, y in sorted(SPAWNS)])
    carried = [player.coins >> jnp.arange(12) & 1 for player in new]
    added = [b.coins & ~a.coins for a, b in zip(old, new, strict=True)]
    lost = [a.coins & ~b.coins for a, b in zip(old, new, strict=True)]
    again = [player.frozen == 1 for player in old]
    hit = [(a.frozen == 0) & (b.frozen > 0) for a, b in zip(old, new, strict=True)]
    somewhere = range(len(new))
    wrong = {
        "two in a cell": [cell[i] == cell[j] for i, j in pairs],
        "a coin carried twice": [(carried[i] & carried[j]).any() for i, j in pairs],
        "a coin from elsewhere": [
            ~again[i] & ((added[i] >> jnp.arange(12) & 1 == 1) & (home != cell[i])).any()
            for i in somewhere
        ],
        "coins lost": [~again[i] & (lost[i] != 0) for i in somewhere],
        "coins kept": [again[i] & (new[i].coins != 0) for i in somewhere],
        "frozen for a wrong time": [
            new[i].frozen
            != jnp.where(old[i].frozen > 0, old[i].frozen - 1, jnp.where(hit[i], PENALTY, 0))
            for i in somewhere
        ],
        "frozen and moved": [
            (old[i].frozen > 1)
            & ((cell[i] != 8 * old[i].x + old[i].y) | (new[i].direction != old[i].direction))
            for i in somewhere
        ],
        "farther than a cell": [
            ~again[i] & (abs(new[i].x - old[i].x) + abs(new[i].y - old[i].y) > 1) for i in somewhere
        ],
        "not at a spawn": [again[i] & (cell[i] != spawn).all() for i in somewhere],
        "frozen without coins": [(new[i].frozen > 0) & (new[i].coins == 0) for i in somewhere],
        "a reward for nothing": [(rewards[i] != 0) & ~hit[i] for i in somewhere],
        "not itself": [
            (window["window"][..., 0] != jnp.zeros((5, 5)).at[2, 0].set(1.0)).any()
            for window in seen
        ],
        "not 0 or 1": [((w["window"] != 0) & (w["window"] != 1)).any() for w in seen],
        "more coins than there are": [w["inventory"].max() > 6 for w in seen],
        "layout changed": [before.type_1 != after.type_1],
        "time": [after.inner_t != before.inner_t + 1],
    }
    if len(new) == 2:
        wrong["on a coin"] = [
            ((home == own) & (carried[0] + carried[1] == 0)).any() for own in cell
        ]
        wrong["one frozen"] = [new[0].frozen != new[1].frozen]
        wrong["not mirrored"] = [again[0] & (cell[0] + cell[1] != 63)]
    happened = {"interactions": hit[0], "resets": again[0], "coins": added[0] != 0}
    return jax.tree.map(lambda a: jnp.asarray(a).astype(jnp.int32), (wrong, happened))


def count_violations(env, params, num_envs, num_steps, key):
    """The sums of `violations` over random play."""
    step = jax.vmap(env.step, (0, 0, 0, None))

    def body(carry, keys):
        state, total = carry
        joint = random_actions(keys[1], (num_envs,), env.num_players)
        seen, after, rewards, _, _ = step(jax.random.split(keys[0], num_envs), state, joint, params)
        found = jax.vmap(violations)(state, after, rewards, seen)
        return (after, jax.tree.map(lambda a, b: a + b.sum(), total, found)), None

    reset_key, step_key = jax.random.split(key)
    seen, state = jax.vmap(env.reset, (0, None))(jax.random.split(reset_key, num_envs), params)
    first_seen, first = jax.tree.map(lambda leaf: leaf[0], (seen, state))
    zero = violations(first, first, [0.0] * env.num_players, first_seen)
    total = jax.tree.map(jnp.zeros_like, zero)
    keys = jax.random.split(step_key, (num_steps, 2))
    return jax.lax.scan(body, (state, total), keys)[0][1]


@pytest.mark.slow
def test_a_million_random_steps_break_no_rule():
    num_envs, num_steps = 1000, 1000
    env = InTheMatrix(num_steps, fixed_coin_location=False)
    params = env.make_params(PAYOFF, PENALTY)
    run = jax.jit(functools.partial(count_violations, env, params, num_envs, num_steps))
    wrong, happened = run(jax.random.key(6))
    assert not any(map(bool, jax.tree.leaves(wrong))), wrong
    assert all(count > 5000 for count in jax.tree.leaves(happened)), happened


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31 - 1),
    num_players=st.sampled_from((2, 3)),
    script=st.lists(
        st.sampled_from((LEFT, RIGHT, FORWARD, INTERACT, STAY)), min_size=1, max_size=12
    ),
)
def test_no_actions_break_a_rule(seed, num_players, script):
    """Players repeat a script, each from another point of it on."""
    num_steps = 40
    play = checked(num_players, num_steps)
    script = np.resize(script, (num_players, num_steps)).astype(np.int32)
    actions = tuple(jnp.array(np.roll(own, 7 * player)) for player, own in enumerate(script))
    wrong = play(jax.random.key(seed), actions)
    assert not any(leaf.any() for leaf in jax.tree.leaves(wrong)), wrong


@functools.cache
def checked(num_players, num_steps):
    env = InTheMatrix(num_steps, False, num_players)
    params = env.make_params(PAYOFF, PENALTY)

    def play(key, actions):
        def step(state, inputs):
            seen, after, rewards, _, _ = env.step(*inputs[:1], state, inputs[1], params)
            return after, violations(state, after, rewards, seen)[0]

        _, state = env.reset(key, params)
        return jax.lax.scan(step, state, (jax.random.split(key, num_steps), actions))[1]

    return jax.jit(play)


@pytest.mark.slow
def test_the_same_step_in_jaxmarl_wherever_the_rules_agree():
    storm = pytest.importorskip("jaxmarl.environments.storm.storm_2p")
    num_steps, num_envs = 150, 200
    _, start, actions, (seen, states, rewards, _, info) = compiled(2, True, num_steps, num_envs)(
        jax.random.key(7)
    )
    before = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), start, states)
    before, after, actions, seen, rewards, interactions = jax.tree.map(
        lambda a: a.reshape(-1, *a.shape[2:]),
        (before, states, actions, seen, rewards, info["interactions"][0]),
    )
    step = jax.jit(jax.vmap(functools.partial(step_jaxmarl, storm)))
    old, new = (
        jax.tree.map(np.array, [unpack(number) for number in state.players])
        for state in (before, after)
    )
    num = num_steps * num_envs
    cells, ends = (
        np.stack([[player.x, player.y] for player in players]).transpose(2, 0, 1)
        for players in (old, new)
    )
    ours = (ends, [player.direction for player in new], seen, rewards)
    same, swapped = np.zeros((2, num), bool)
    # Several times, as what a fair coin decides may come out differently there.
    for seed in range(8):
        theirs = step(jax.random.split(jax.random.key(seed), num), *before.players, actions)
        same |= np.all(
            [
                np.isclose(a, b, 1e-5, 1e-5).reshape(num, -1).all(axis=1)
                for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
            ],
            axis=0,
        )
        swapped |= (np.array(theirs[0]) == cells[:, ::-1]).all(axis=(1, 2))
    again = old[0].frozen == 1
    # Apart from where players start again, the last of these differences is the only one in what a step does.
    assert same[~again & ~swapped].all()
    assert not same[swapped].any()
    assert swapped.sum() > 5 and interactions[same].sum() > 50 and same.mean() > 0.95


def step_jaxmarl(storm, key, first, second, actions):
    """A step of JaxMARL's game from a state of ours; returns (cells, directions, observations, rewards)."""
    red, blue = unpack(first), unpack(second)
    grid, inventories = jnp.zeros((8, 8), jnp.int8), jnp.zeros((2, 2))
    for coin, cell in enumerate(CELLS):
        by_red, by_blue = red.coins >> coin & 1, blue.coins >> coin & 1
        inventories = inventories.at[:, LAYOUT[cell]].add(jnp.stack([by_red, by_blue]))
        item = storm.Items.blue_coin if LAYOUT[cell] else storm.Items.red_coin
        grid = grid.at[cell].set(jnp.where(by_red | by_blue, storm.Items.empty, item))
    for player, item in ((red, storm.Items.red_agent), (blue, storm.Items.blue_agent)):
        grid = grid.at[player.x, player.y].set(item)
    state = storm.State(
        red_pos=jnp.array([red.x, red.y, red.direction], jnp.int8),
        blue_pos=jnp.array([blue.x, blue.y, blue.direction], jnp.int8),
        step=0,
        outer_t=0,
        done=False,
        grid=grid,
        red_inventory=inventories[0],
        blue_inventory=inventories[1],
        # Its names are the other way round; it plays the second half of the layout as red.
        red_coins=storm.BLUE_SPAWN,
        blue_coins=storm.RED_SPAWN,
        freeze=jnp.where(red.frozen > 0, red.frozen, -1).astype(jnp.int16),
    )
    env = storm.InTheGrid_2p(
        num_inner_steps=10**6, payoff_matrix=jnp.array(PAYOFF), freeze_penalty=PENALTY
    )
    observations, state, rewards, _, _ = env.step_env(key, state, actions)
    poses = jnp.stack([state.red_pos, state.blue_pos]).astype(jnp.int32)
    observations = tuple(
        {"inventory": seen["inventory"], "window": seen["observation"]} for seen in observations
    )
    return poses[:, :2], [poses[0, 2], poses[1, 2]], observations, rewards
