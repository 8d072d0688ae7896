"""Plays a commons beside the plain game of `commons_reference`, step by step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from pax.envs import CleanUp, CommonsHarvest
from pax.envs.commons import clean_up, harvest
from pax.envs.grid_world import chance
from pax.envs.grid_world.game import FACING, START
from tests.envs import commons_reference as reference

PLAIN = {CommonsHarvest: reference.Harvest, CleanUp: reference.CleanUp}


def numbers_of(env, key):
    """What a step with this key draws, by what it is for."""
    drawn = env.draw(key, None)[:, None]  # Of one game, where many may lie side by side.
    numbers = {
        "priority": env.priority(drawn),
        "facing": chance.random_bits(drawn, FACING, (env.num_players,)) >> 30,
        "start": chance.uniform(drawn, START, (1,))[0],
    }
    if isinstance(env, CleanUp):
        numbers["growth"] = env.numbers(drawn, clean_up.GROWTH, env.orchard)
        numbers["dirt"] = chance.uniform(drawn, clean_up.DIRT, (2,))
    else:
        numbers["growth"] = env.numbers(drawn, harvest.GROWTH, env.apple_cells)
    return jax.tree.map(lambda leaf: leaf[..., 0], numbers)


@functools.cache
def make(game, map_name, num_players, window):
    env = game(map_name, num_players, window, 1000)

    def play(state, keys, actions, params):
        def step(state, inputs):
            key, joint = inputs
            observations, state, rewards, _, info = env.step(key, state, tuple(joint), params)
            return state, (state, jnp.stack(observations), jnp.stack(rewards), info)

        return jax.lax.scan(step, state, (keys, actions))

    return env, jax.jit(env.reset), jax.jit(play), jax.jit(jax.vmap(lambda k: numbers_of(env, k)))


def scripted(rng, steps, env):
    """Actions that do something: mostly forward, with turns, zaps and cleaning."""
    weights = np.array([2, 2, 1, 1, 8, 1, 1, 2, 4], float)[: len(env.action_names)]
    shape = (steps, env.num_players)
    return rng.choice(len(env.action_names), shape, p=weights / weights.sum())


def cells_of(sets, width):
    return {tuple(map(int, cell)) for cell in np.argwhere(sets[:, None] >> np.arange(width) & 1)}


def agree(game, map_name, num_players, window, steps, settings, seed=0, script=False):
    """Plays both games side by side, and compares all that can be seen after every step.

    Returns:
        How often each kind of event has happened: what never does is not compared.
    """
    env, reset, play, draw = make(game, map_name, num_players, window)
    params = env.make_params(**settings)
    rng = np.random.default_rng(seed)
    keys = jax.random.split(jax.random.key(seed), steps)
    actions = rng.integers(0, len(env.action_names), (steps, num_players))
    if script:
        actions = scripted(rng, steps, env)
    seen, state = reset(jax.random.key(seed + 1), params)
    start = jax.tree.map(np.asarray, state.players)
    starts = zip(start.row, start.column, start.facing, strict=True)
    players = [reference.Player((int(r), int(c)), int(f)) for r, c, f in starts]
    assert len({player.cell for player in players}) == num_players
    plain = PLAIN[game](["".join(row) for row in env.cells], window, players, **settings)
    np.testing.assert_array_equal(np.stack(seen), plain.observe())
    _, found = play(state, keys, jnp.asarray(actions), params)
    drawn = jax.tree.map(np.asarray, draw(keys))
    states, observations, rewards, info = jax.tree.map(np.asarray, found)
    where = env.orchard if game is CleanUp else env.apple_cells
    first = int(np.flatnonzero(where)[0])
    events = {"eaten": 0, "out": 0, "grown": 0}
    for t in range(steps):
        outs = [player.out > 0 for player in plain.players]
        before = len(plain.apples)
        own = {name: values[t] for name, values in drawn.items()}
        own["growth"] = {(r + first, c): n for (r, c), n in np.ndenumerate(own["growth"])}
        expected = plain.step(actions[t], **own)
        assert cells_of(states.apples[t], env.width) == plain.apples, t
        if game is CleanUp:
            assert cells_of(states.dirt[t], env.width) == plain.dirt, t
            assert info["dirt"][t] == len(plain.dirt)
        np.testing.assert_array_equal(rewards[t], expected, f"rewards of step {t}")
        np.testing.assert_array_equal(states.players.out[t], [p.out for p in plain.players])
        np.testing.assert_array_equal(info["out"][t], outs)
        assert info["apples"][t] == len(plain.apples)
        np.testing.assert_array_equal(observations[t], plain.observe(), f"seen after step {t}")
        events["eaten"] += sum(expected)
        events["out"] += sum(outs)
        events["grown"] += len(plain.apples) - before + sum(expected)
    return events
