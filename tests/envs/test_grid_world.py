"""Games of many players on a grid: what holds in every step of random games, on crowded random maps."""

import copy
import functools
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.envs import CleanUp, CommonsHarvest

GAMES, STEPS, PLAYERS, WINDOW = 6, 40, 16, 5
LETTERS = {CommonsHarvest: "a#.", CleanUp: "or~#."}
EATEN_ON = {CommonsHarvest: "a", CleanUp: "o"}


@functools.cache
def make(cls):
    """A game on a random map with as many spawn cells as players, and a program that plays it.

    The program takes, beside random numbers and actions, an order of the players: that in which rivals are
    ranked, and looks are drawn.
    """
    rng = np.random.default_rng(1)
    cells = rng.choice(list(LETTERS[cls]), (6, 7))
    cells.flat[rng.permutation(cells.size)[:PLAYERS]] = "P"
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "map.txt"
        path.write_text("\n".join("".join(row) for row in cells))
        env = cls(str(path), PLAYERS, WINDOW, STEPS)

    @jax.jit
    def play(state, drawn, actions, params, order):
        ordered = copy.copy(env)
        ordered.priority = lambda drawn: env.priority(drawn)[order]
        ordered._random_facing = lambda drawn: env._random_facing(drawn)[order]

        def step(state, inputs):
            drawn, joint = inputs
            observations, state, rewards, _, info = ordered.play(drawn, state, tuple(joint), params)
            return state, (state, jnp.stack(observations), jnp.stack(rewards), info)

        return jax.lax.scan(step, state, (drawn, actions))[1]

    return env, play


def setting(cls):
    """Games side by side, each with its own numbers of the rules: the arguments of `play`, without order."""
    env, _ = make(cls)
    rng = np.random.default_rng(0)
    drawn = jnp.asarray(rng.integers(0, 2**32, (STEPS, 2, GAMES), dtype=np.uint32))
    # Half of them zap.
    choices = [*range(len(env.action_names)), *[7] * len(env.action_names)]
    actions = jnp.asarray(rng.choice(choices, (STEPS, PLAYERS, GAMES)))

    def drawn_params():
        own = {"beam_length": int(rng.integers(1, 5)), "out_steps": int(rng.integers(0, 4))}
        if cls is CleanUp:
            own |= {"apple_rate": rng.random(), "dirt_threshold": 1.0, "dirt_rate": rng.random()}
            return env.make_params(dirt_delay=int(rng.integers(0, 9)), **own)
        return env.make_params(regrowth=tuple(rng.random(4)), **own)

    params = [drawn_params() for _ in range(GAMES)]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=-1), *params)
    state = env.begin(drawn[0] ^ 1, params)[1]
    # What all games share at their start has one entry.
    state = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*leaf.shape[:-1], GAMES)), state)
    return state, drawn, actions, params


@functools.cache
def played(cls):
    start, *rest = setting(cls)
    return jax.tree.map(np.asarray, (start, make(cls)[1](start, *rest, jnp.arange(PLAYERS))))


def grids(words, width):
    """Cells `[T, E, H, W]` of words `[T, H, E]`."""
    return (words[:, :, None] >> np.arange(width)[:, None] & 1).astype(bool).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("cls", [CommonsHarvest, CleanUp])
def test_players_are_apart_and_on_the_floor(cls):
    env, (_, (states, seen, _, info)) = make(cls)[0], played(cls)
    where = states.players
    assert info["out"].any() and (where.out == 0).any()
    for t, game in np.ndindex(STEPS, GAMES):
        on = [
            (where.row[t, i, game], where.column[t, i, game])
            for i in range(PLAYERS)
            if where.out[t, i, game] == 0
        ]
        assert len(set(on)) == len(on)
        assert all(env.cells[cell] != "#" for cell in on)
    # Each that is there sees itself, once; others see nothing.
    found = (seen == 3).sum(axis=(2, 3))
    np.testing.assert_array_equal(found, where.out == 0)
    assert not (seen * (where.out[:, :, None, None] > 0)).any()


@pytest.mark.parametrize("cls", [CommonsHarvest, CleanUp])
def test_what_is_eaten_is_what_vanishes(cls):
    env, (start, (states, _, rewards, info)) = make(cls)[0], played(cls)
    apples = grids(np.concatenate([np.asarray(start.apples)[None], states.apples]), env.width)
    assert not apples[..., env.cells != EATEN_ON[cls]].any()
    before, after = apples[:-1], apples[1:]
    eaten = rewards.sum(axis=1)
    assert eaten.sum() > 0
    np.testing.assert_array_equal(info["apples"], after.sum(axis=(2, 3)))
    # An apple that was eaten may have grown anew in the same step only where the player was hit.
    vanished = (before & ~after).sum(axis=(2, 3))
    assert (vanished <= eaten).all()
    hit = ((states.players.out > 0) & (info["taken"] > 0)).sum(axis=1)
    assert (eaten - vanished <= hit).all()


def test_the_river_is_clean_or_dirty():
    env, (start, (states, _, _, info)) = make(CleanUp)[0], played(CleanUp)
    dirt = grids(np.concatenate([np.asarray(start.dirt)[None], states.dirt]), env.width)
    assert not dirt[..., ~np.isin(env.cells, ["r", "d"])].any()
    number = dirt.sum(axis=(2, 3))
    np.testing.assert_array_equal(info["dirt"], number[1:])
    new = number[1:] - number[:-1] + info["cleaned"]
    assert set(np.unique(new)) == {0, 1} and info["cleaned"].any()


@pytest.mark.parametrize("cls", [CommonsHarvest, CleanUp])
def test_exchanging_players_exchanges_what_happens_to_them(cls):
    start, drawn, actions, params = setting(cls)
    order = np.random.default_rng(2).permutation(PLAYERS)
    exchanged = start.replace(players=jax.tree.map(lambda leaf: leaf[order], start.players))
    found = make(cls)[1](exchanged, drawn, actions[:, order], params, jnp.asarray(order))
    states, seen, rewards, _ = played(cls)[1]
    np.testing.assert_array_equal(found[1], seen[:, order])
    np.testing.assert_array_equal(found[2], rewards[:, order])
    jax.tree.map(
        lambda leaf, own: np.testing.assert_array_equal(leaf, own[:, order]),
        found[0].players,
        states.players,
    )
    np.testing.assert_array_equal(found[0].apples, states.apples)
