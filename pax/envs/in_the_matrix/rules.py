"""The rules of a step of in-the-matrix games, given a word of random bits."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp

from pax.envs.in_the_matrix import grid
from pax.envs.in_the_matrix.grid import Int, Player, where

TURN_LEFT, TURN_RIGHT, FORWARD, INTERACT, STAY = range(5)

# The word: 4 bits for the first spawn, 2 for the direction of each of up to 8 players, 12 for who goes first.
DIRECTION_BITS, REVERSE_BIT, TURN_BITS = 4, 20, 21

Cell = tuple[jax.Array, jax.Array]


def draw_word(key: jax.Array) -> jax.Array:
    """Draws the random bits of a step, as an int32."""
    return jax.lax.bitcast_convert_type(jax.random.bits(key, dtype=jnp.uint32), jnp.int32)


def start(word: jax.Array, num_players: int) -> list[Player]:
    """Returns the players at the start: pairs on mirror images, each in a random direction."""
    return [_placed(word, player, _spawn(word, player)) for player in range(num_players)]


def advance(
    word: jax.Array, players: list[Player], actions: tuple[jax.Array, ...], penalty: jax.Array
) -> list[Player]:
    """Returns the players one step later."""
    actions = tuple(
        jnp.where(player.frozen > 0, STAY, action)
        for player, action in zip(players, actions, strict=True)
    )
    cells = _moves(word, players, actions)
    carried = grid.union(player.coins for player in players)
    moved = []
    for player, action, (x, y) in zip(players, actions, cells, strict=True):
        turn = where(action == TURN_LEFT, 1) - where(action == TURN_RIGHT, 1)
        player = replace(
            player,
            x=x,
            y=y,
            direction=(player.direction + turn) & 3,
            fires=where(action == INTERACT, 1),
        )
        found = grid.members_at(player, grid.COIN_CELLS)
        moved.append(replace(player, coins=player.coins | (found & ~carried)))
    return _respawn(word, players, _freeze(moved, penalty))


def meet(one: Player, other: Player) -> jax.Array:
    """Returns whether the beam of either hits the other."""
    return grid.hits(one, other) | grid.hits(other, one)


def pairs(num_players: int) -> list[tuple[int, int]]:
    """Returns all pairs of players, the lower number first."""
    return [(one, other) for other in range(num_players) for one in range(other)]


def _freeze(players: list[Player], penalty: jax.Array) -> list[Player]:
    """Freezes the players that interact, and counts down the freeze of the others."""
    able = [(player.frozen == 0) & (player.coins != 0) for player in players]
    interacts = [jnp.bool_(False)] * len(players)
    for i, j in pairs(len(players)):
        both = able[i] & able[j] & meet(players[i], players[j])
        interacts[i] |= both
        interacts[j] |= both
    return [
        replace(player, frozen=jnp.where(now, penalty, jnp.maximum(player.frozen - 1, 0)))
        for player, now in zip(players, interacts, strict=True)
    ]


def _moves(word: jax.Array, players: list[Player], actions: tuple[jax.Array, ...]) -> list[Cell]:
    """Returns the cell of each player after the moves."""
    num_players = len(players)
    old = [(player.x, player.y) for player in players]
    wanted = [_ahead(player, action) for player, action in zip(players, actions, strict=True)]
    # A random cyclic order, in a random direction, favours neither of any two players.
    rank = [((word >> TURN_BITS & 1023) + player) % num_players for player in range(num_players)]
    reverse = word >> REVERSE_BIT & 1 == 1

    def hold_back(_: int, wanted: list[Cell]) -> list[Cell]:
        held = [jnp.bool_(False)] * num_players
        moves = [~_same(cell, want) for cell, want in zip(old, wanted, strict=True)]
        for i, j in pairs(num_players):
            clash = _same(wanted[i], wanted[j])
            swap = _same(wanted[i], old[j]) & _same(wanted[j], old[i])
            first = (rank[i] < rank[j]) ^ reverse
            held[i] |= moves[i] & ((clash & (~moves[j] | ~first)) | swap)
            held[j] |= moves[j] & ((clash & (~moves[i] | first)) | swap)
        return [
            (jnp.where(stop, cell[0], want[0]), jnp.where(stop, cell[1], want[1]))
            for stop, cell, want in zip(held, old, wanted, strict=True)
        ]

    # A player that is held back may block another one, so there are as many rounds as players; two players
    # need one. Unrolled, many rounds take minutes to compile.
    if num_players == 2:
        return hold_back(0, wanted)
    return jax.lax.fori_loop(0, num_players, hold_back, wanted)


def _ahead(player: Player, action: jax.Array) -> Cell:
    """Returns the cell that the player wants to move to."""
    dx, dy = grid.heading(player.direction)
    goes = where(action == FORWARD, 1)
    last = grid.GRID_SIZE - 1
    return jnp.clip(player.x + goes * dx, 0, last), jnp.clip(player.y + goes * dy, 0, last)


def _same(one: Cell, other: Cell) -> jax.Array:
    return (one[0] == other[0]) & (one[1] == other[1])


def _respawn(word: jax.Array, before: list[Player], players: list[Player]) -> list[Player]:
    """Places those players at spawns whose last frozen step this was."""
    again = [player.frozen == 1 for player in before]
    spawns = [_spawn(word, player) for player in range(len(players))]
    # Two players always start again together.
    if len(players) > 2:
        taken = grid.union(
            where(thaws, 0, grid.members_at(player, grid.SPAWN_CELLS))
            for thaws, player in zip(again, players, strict=True)
        )
        for player, thaws in enumerate(again):
            spawns[player] = grid.first_free(spawns[player], taken)
            taken |= where(thaws, 1 << spawns[player])
    fresh = [_placed(word, player, spawn) for player, spawn in enumerate(spawns)]
    return [
        jax.tree.map(lambda new, old, thaws=thaws: jnp.where(thaws, new, old), new, old)
        for thaws, new, old in zip(again, fresh, players, strict=True)
    ]


def _spawn(word: jax.Array, player: int) -> jax.Array:
    """Returns the spawn of a player: pairs on mirror images, one pair after the other."""
    return (word + player // 2 + 8 * (player % 2)) & (grid.NUM_SPAWNS - 1)


def _placed(word: jax.Array, player: int, spawn: Int) -> Player:
    """Returns a player that carries nothing, at a spawn."""
    x, y = grid.spawn_cell(spawn)
    nothing = jnp.int32(0)
    direction = word >> (DIRECTION_BITS + 2 * player) & 3
    return Player(x, y, direction, fires=nothing, coins=nothing, frozen=nothing)
