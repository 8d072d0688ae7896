"""Situations of in-the-matrix, to be set up and played by hand."""

import functools

import jax
import jax.numpy as jnp

from pax.envs.in_the_matrix import EnvState, InTheMatrix
from pax.envs.in_the_matrix.grid import Player, pack, unpack
from tests.envs.in_the_matrix_reference import LAYOUT

FORWARD, INTERACT, STAY = 2, 3, 4
KEY = jax.random.key(0)
CELLS = [(1, 1), (1, 2), (2, 1), (1, 6), (2, 6), (1, 5)]
CELLS += [(6, 2), (5, 1), (6, 1), (6, 6), (6, 5), (5, 6)]
TYPE_1 = sum(1 << coin for coin, cell in enumerate(CELLS) if LAYOUT[cell])
AWAY = (4, 4, 0)
"""A player that is out of the way."""
FACING = [(3, 3, 0, [(1, 2)]), (3, 4, 2, [(1, 1)])]
"""Two who face each other; the first has a coin of type 0, the second one of type 1."""
ODD = (((1.0, 2.0), (4.0, 8.0)), ((16.0, 32.0), (64.0, 128.0)))
"""Payoffs of which no two entries or sums are alike."""


@functools.cache
def game(num_players=2):
    env = InTheMatrix(num_inner_steps=20, num_players=num_players)
    return env, jax.jit(env.step), env.default_params


def coins(*cells):
    return sum(1 << CELLS.index(cell) for cell in cells)


def make_state(*players, inner_t=0):
    """Of players (x, y, direction[, cells of coins carried[, steps frozen]])."""
    packed = []
    for x, y, direction, *rest in players:
        carried = coins(*rest[0]) if rest else 0
        frozen = rest[1] if len(rest) > 1 else 0
        packed.append(jnp.int32(pack(Player(x, y, direction, 0, carried, frozen))))
    return EnvState(jnp.int32(inner_t), tuple(packed), jnp.int32(TYPE_1))


def play(players, actions, key=KEY, params=None):
    """One step; returns (observations, players, rewards, info)."""
    _, step, default = game(len(players))
    actions = tuple(jnp.int32(action) for action in actions)
    observations, state, rewards, _, info = step(
        key, make_state(*players), actions, default if params is None else params
    )
    return observations, [unpack(int(p)) for p in state.players], rewards, info


def poses(players):
    return [(p.x, p.y, p.direction) for p in players]
