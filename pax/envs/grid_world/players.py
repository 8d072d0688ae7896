"""Players on a grid: where they are, how they move, whom their beams hit, and where they come back.

Facing is 0 up, 1 right, 2 down, 3 left, so turning right adds 1. Row 0 is at the top, column 0 on the left.
All players are compared with all others, `[N, N, E]`, without loops over them. The last axis of all arrays
here are the games, `[..., E]` (`side_by_side`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from pax.envs.grid_world import words
from pax.envs.grid_world.side_by_side import store

TURN_LEFT, TURN_RIGHT, STEP_LEFT, STEP_RIGHT, FORWARD, BACK, STAY, ZAP = range(8)
ACTION_NAMES = (
    "turn left",
    "turn right",
    "step left",
    "step right",
    "forward",
    "back",
    "stay",
    "zap",
)
MAX_PLAYERS = 16


@struct.dataclass
class Players:
    """All players, int32 `[N]` each, of many games `[N, E]`."""

    row: jax.Array
    column: jax.Array
    facing: jax.Array
    out: jax.Array
    """For how many further steps each is out of the game; 0: it plays."""

    @property
    def plays(self) -> jax.Array:
        """Whether each is on the grid, bool `[N, E]`."""
        return self.out == 0


def turn(players: Players, actions: jax.Array) -> Players:
    """Returns the players after those who want to have turned."""
    right = (actions == TURN_RIGHT).astype(jnp.int32) - (actions == TURN_LEFT)
    return players.replace(facing=players.facing + right & 3)  # type: ignore[attr-defined]


def offset(heading: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the rows down and columns right of one step, 0, 1 or -1."""
    down = (heading == 2).astype(jnp.int32) - (heading == 0)
    right = (heading == 1).astype(jnp.int32) - (heading == 3)
    return down, right


def move(players: Players, actions: jax.Array, floor: jax.Array, priority: jax.Array) -> Players:
    """Returns the players after all have moved at once.

    Who wants to leave the floor stays, and so do two who would swap cells. Of those who want the same cell,
    the one of the highest priority may have it. Who stays keeps its cell, and whoever wants that stays, too:
    cells that are left in the same step may be entered.

    Args:
        players: before.
        actions: int32 `[N, E]`; those of players who are out do nothing.
        floor: where players can be, words `[H, E]`.
        priority: a different number for each, `[N, E]`.
    """
    ahead = (actions == FORWARD) | (actions == BACK)
    moves = (ahead | (actions == STEP_LEFT) | (actions == STEP_RIGHT)) & players.plays
    aside = jnp.where(actions == STEP_RIGHT, 1, 3)
    heading = players.facing + jnp.where(actions == BACK, 2, jnp.where(ahead, 0, aside)) & 3
    down, right = offset(heading)
    row, column = players.row + down, players.column + right
    moves &= words.has(floor, row, column)

    target = row << 8 | column
    cell = players.row << 8 | players.column
    rivals = (target[:, None] == target) & moves
    loses = (rivals & (priority > priority[:, None])).any(axis=1)
    # `follows[i, j]`: i wants the cell that j is on.
    follows = (target[:, None] == cell) & moves[:, None] & players.plays
    swaps = (follows & follows.swapaxes(0, 1)).any(axis=1)
    # From here on, sets of players are words: bit j is player j.
    bit = 1 << words.along(len(actions))
    followed = jnp.where(follows, bit, 0).sum(axis=1)
    staying = jnp.where(store(~moves | loses | swaps), bit, 0).sum(axis=0)
    # Whoever follows one that stays has to stay, and so on through chains of all players.
    for _ in range(len(actions) - 1):
        staying |= jnp.where(followed & staying != 0, bit, 0).sum(axis=0)
    stays = staying & bit != 0
    return players.replace(  # type: ignore[attr-defined]
        row=jnp.where(stays, players.row, row), column=jnp.where(stays, players.column, column)
    )


def relative(players: Players) -> tuple[jax.Array, jax.Array]:
    """Returns how many cells j lies ahead of i, and to the right of it, int32 `[N, N, E]` each."""
    down = players.row - players.row[:, None]
    right = players.column - players.column[:, None]
    forward_down, forward_right = (part[:, None] for part in offset(players.facing))
    ahead = down * forward_down + right * forward_right
    return ahead, right * -forward_down + down * forward_right


def hit_by_beams(players: Players, fires: jax.Array, length: jax.Array) -> jax.Array:
    """Returns whether the beam of i hits j, bool `[N, N, E]`.

    A beam covers the cells ahead, as many as it is long, and both neighbours of the first one.
    """
    ahead, right = relative(players)
    straight = (right == 0) & (ahead >= 1) & (ahead <= length)
    beside = (ahead == 1) & (jnp.abs(right) == 1)
    return (straight | beside) & (fires & players.plays)[:, None] & players.plays


def beam_cells(
    players: Players, fires: jax.Array, length: jax.Array, height: int, width: int
) -> jax.Array:
    """Returns the cells that the beam of each player covers, as words `[N, height, E]`."""
    down, right = (part[:, None] for part in offset(players.facing))
    column, below = players.column[:, None], words.along(height) - players.row[:, None]
    within = (1 << width) - 1
    here = 1 << column
    sides = here << 1 | here >> 1
    ahead = below * down
    # Up and down: a cell of every row that it reaches, and in the first both neighbours.
    upright = jnp.where((ahead >= 1) & (ahead <= length), here, 0) | jnp.where(ahead == 1, sides, 0)
    first, last = jnp.maximum(column - length, 0), jnp.minimum(column + length, width - 1)
    row_ahead = jnp.where(right > 0, (2 << last) - (2 << column), here - (1 << first))
    beside = jnp.where(right > 0, here << 1, here >> 1)
    level = jnp.where(below == 0, row_ahead, jnp.where(jnp.abs(below) == 1, beside, 0))
    shot = jnp.where(right == 0, upright, level) & within
    return jnp.where((fires & players.plays)[:, None], shot, 0)


def rest_out(players: Players, hit: jax.Array, steps: jax.Array) -> Players:
    """Counts down how long players are out, and takes those out that were `hit`, bool `[N, E]`."""
    left = jnp.where(hit & players.plays, steps, jnp.maximum(players.out - 1, 0))
    return players.replace(out=left.astype(jnp.int32))  # type: ignore[attr-defined]


def come_back(
    players: Players,
    returns: jax.Array,
    spawns: jax.Array,
    start: jax.Array,
    priority: jax.Array,
    facing: jax.Array,
) -> Players:
    """Places those who return on free spawn cells.

    Each of them is on each free cell with the same probability. Several who return in the same step are
    spread over them evenly, in the order of their priorities.

    Args:
        players: after the step.
        returns: who comes back, bool `[N, E]`.
        spawns: the spawn cells, as words `[H, E]`; as many as players at least.
        start: a number in [0, 1), `[E]`.
        priority: a different number for each, `[N, E]`.
        facing: where each looks if it comes back, `[N, E]`.
    """
    stays = players.plays & ~returns
    free = spawns & ~words.of_cells(players.row, players.column, stays, len(spawns))
    room = jnp.maximum(words.count(free), 1)
    rank = (returns & (priority < priority[:, None])).sum(axis=1)
    number = jnp.maximum(returns.sum(axis=0), 1)
    row, column = words.find(
        free, ((start * room).astype(jnp.int32) + rank * room // number) % room
    )
    return Players(
        row=jnp.where(returns, row, players.row),
        column=jnp.where(returns, column, players.column),
        facing=jnp.where(returns, facing, players.facing),
        out=jnp.where(returns, 0, players.out),
    )
