"""The grid that in-the-matrix is played on: players, coins, windows, beams and spawns.

Cells are pairs (x, y) with 0 <= x, y < 8. Directions are 0: (0, +1), 1: (+1, 0), 2: (0, -1), 3: (-1, 0), so
turning left adds 1. Relative to a player, a cell lies so many steps `ahead` and so many to the `left`.

Sets are int32 numbers with one bit per member: coins are numbered as in `COIN_CELLS`, cells of a window row
by row, spawns as in `spawn_cell`. So every rule is a few integer instructions, which are vectorised over
environments; on arrays of cells they would be gathers and scatters, which are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

Int = Any
"""An int32 scalar, or a Python int where the value is a constant."""

GRID_SIZE = 8
WINDOW_SIZE = 5
SIDE = WINDOW_SIZE // 2
NUM_WINDOW_CELLS = WINDOW_SIZE**2
FULL_WINDOW = (1 << NUM_WINDOW_CELLS) - 1
OWN_CELL = 1 << SIDE * WINDOW_SIZE
"""The set of the cell that the player itself is in."""
BEAM = ((1, 0), (2, 0), (1, 1), (1, -1))
"""The cells that a beam covers, as (ahead, left)."""
OWN_BEAM = sum(1 << (left + SIDE) * WINDOW_SIZE + ahead for ahead, left in BEAM)

COIN_CELLS = (
    *((1, 1), (1, 2), (2, 1), (1, 6), (2, 6), (1, 5)),
    *((6, 2), (5, 1), (6, 1), (6, 6), (6, 5), (5, 6)),
)
NUM_COINS = len(COIN_CELLS)
COINS_PER_TYPE = NUM_COINS // 2
ALL_COINS = (1 << NUM_COINS) - 1
FIXED_TYPE_1 = sum(1 << coin for coin in range(0, NUM_COINS, 2))
"""The coins of type 1 in the fixed layout."""

NUM_SPAWNS = 16
MAX_FREEZE = (1 << 10) - 1
"""What `pack` leaves room for."""


@struct.dataclass
class Player:
    """One player, every field an int32."""

    x: Int
    y: Int
    direction: Int
    fires: Int
    """1 if its beam is to be seen."""
    coins: Int
    """The set of coins that it carries."""
    frozen: Int
    """For how many further steps it cannot act."""


def pack(player: Player) -> jax.Array:
    """Returns the player as one int32."""
    low = player.x | player.y << 3 | player.direction << 6 | player.fires << 8
    return low | player.coins << 9 | player.frozen << 21


def unpack(number: Int) -> Player:
    """Undoes `pack`."""
    return Player(
        x=number & 7,
        y=number >> 3 & 7,
        direction=number >> 6 & 3,
        fires=number >> 8 & 1,
        coins=number >> 9 & ALL_COINS,
        frozen=number >> 21,
    )


def union(sets: Iterable[Int]) -> Int:
    """Returns everything that is in any of the sets."""
    return reduce(or_, sets, 0)


def where(condition: jax.Array, one: Int, other: Int = 0) -> jax.Array:
    """Selects `one` or `other` as an int32."""
    return jnp.where(condition, _int32(one), _int32(other))


def _int32(number: Int) -> Any:
    # An array for every constant would take most of the time of tracing.
    return np.int32(number) if isinstance(number, int) else number.astype(jnp.int32)


def heading(direction: Int) -> tuple[Int, Int]:
    """Returns the step (dx, dy) that leads one cell ahead."""
    return (
        where(direction == 1, 1) - where(direction == 3, 1),
        where(direction == 0, 1) - where(direction == 2, 1),
    )


def relative(player: Player, x: Int, y: Int) -> tuple[Int, Int]:
    """Returns where the cell (x, y) lies for `player`, as (ahead, left)."""
    dx, dy = heading(player.direction)
    # To the left of (dx, dy) lies (dy, -dx). Expanded, as x and y may be constants.
    ahead = x * dx + y * dy - (player.x * dx + player.y * dy)
    left = x * dy - y * dx - (player.x * dy - player.y * dx)
    return ahead, left


def hits(shooter: Player, target: Player) -> jax.Array:
    """Returns whether the beam of `shooter`, if it fires one, covers the cell of `target`."""
    ahead, left = relative(shooter, target.x, target.y)
    covered = ((ahead == 1) & (left >= -1) & (left <= 1)) | ((ahead == 2) & (left == 0))
    return covered & (shooter.fires == 1)


def window_cell(ahead: Int, left: Int) -> jax.Array:
    """Returns the set of this one cell of a window, empty if the cell lies outside of the window.

    Rows of a window lead ahead, the first of them two cells to the right.
    """
    row = left + SIDE
    # As unsigned numbers, negative ones are too large.
    inside = jnp.maximum(ahead.astype(jnp.uint32), row.astype(jnp.uint32)) < WINDOW_SIZE
    return inside.astype(jnp.int32) << (row * WINDOW_SIZE + ahead & 31)


def window_coins(player: Player, coins: Int, among: Iterable[int] = range(NUM_COINS)) -> jax.Array:
    """Returns the cells of the window in which the set `coins` lies at home, if they are `among` those."""
    return union(
        _shown(player, coins >> coin & 1, *map(np.int32, COIN_CELLS[coin])) for coin in among
    )


@jax.jit
def _shown(player: Player, there: Int, x: Int, y: Int) -> jax.Array:
    """Returns the set of the window cell at (x, y) if something is `there`, else the empty set."""
    return where(there == 1, window_cell(*relative(player, x, y)))


def window_beam(ahead: Int, left: Int, turn: Int) -> Int:
    """Returns the cells covered by the beam of a player who stands there, turned left `turn` times."""
    # Its steps ahead and to the left, each as (ahead, left) of the player whose window it is.
    aside, forth = heading(turn)
    return union(
        window_cell(ahead + far * forth - wide * aside, left + far * aside + wide * forth)
        for far, wide in BEAM
    )


def window_walls(player: Player) -> jax.Array:
    """Returns the cells of the window that lie outside of the grid."""
    dx, dy = heading(player.direction)
    # Twice the distance from the middle of the grid, along the line of sight and across it.
    x, y = 2 * player.x - (GRID_SIZE - 1), 2 * player.y - (GRID_SIZE - 1)
    along, across = x * dx + y * dy, x * dy - y * dx
    free_ahead = jnp.minimum((GRID_SIZE - 1 - along) >> 1, WINDOW_SIZE - 1)
    free_left = jnp.minimum((GRID_SIZE - 1 - across) >> 1, SIDE)
    free_right = jnp.minimum((GRID_SIZE - 1 + across) >> 1, SIDE)
    full_row = (1 << WINDOW_SIZE) - 1
    in_each_row = FULL_WINDOW // full_row
    beyond = (full_row & ~((2 << free_ahead) - 1)) * in_each_row
    to_the_left = FULL_WINDOW & ~((1 << (SIDE + 1 + free_left) * WINDOW_SIZE) - 1)
    to_the_right = (1 << (SIDE - free_right) * WINDOW_SIZE) - 1
    return beyond | to_the_left | to_the_right


def members_at(player: Player, cells: Iterable[tuple[Int, Int]]) -> Int:
    """Returns the set of the coin or spawn whose cell the player is in, given the cells of all, or none."""
    return union(
        where((player.x == x) & (player.y == y), 1 << member) for member, (x, y) in enumerate(cells)
    )


def spawn_cell(spawn: Int) -> tuple[Int, Int]:
    """Returns the cell (x, y) of a spawn, 0 to 15; that of `spawn` ^ 8 is its mirror image (7 - x, 7 - y).

    At each corner of the grid these are the corner itself, the two cells next to it along x, and one along y.
    No coin lies there.
    """
    place, flip_x = spawn & 3, spawn >> 3
    flip_y = flip_x ^ (spawn >> 2 & 1)
    x, y = place * (place != 3), place // 3
    far = GRID_SIZE - 1
    return x + flip_x * (far - 2 * x), y + flip_y * (far - 2 * y)


SPAWN_CELLS = tuple(spawn_cell(spawn) for spawn in range(NUM_SPAWNS))


def first_free(spawn: Int, taken: Int) -> jax.Array:
    """Returns the first spawn from `spawn` on, 0 following the last one, that is not in the set `taken`."""
    every = (1 << NUM_SPAWNS) - 1
    free = every & ~taken
    ahead = (free | free << NUM_SPAWNS) >> spawn & every
    lowest = ahead & -ahead
    return (spawn + jax.lax.population_count(lowest - 1)) % NUM_SPAWNS
