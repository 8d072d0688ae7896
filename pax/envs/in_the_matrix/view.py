"""Observations of in-the-matrix games: the window ahead of a player, and the inventories."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from pax.envs.in_the_matrix import grid
from pax.envs.in_the_matrix.grid import Player, where


# Compiled as one function, which all players share at reset and step: it is most of the tracing time.
@jax.jit
def observe(
    player: Player, others: list[Player], at_home: jax.Array, type_1: jax.Array | None
) -> dict[str, jax.Array]:
    """Returns the observation of a player; `type_1` is None where it is constant."""
    fixed = type_1 is None
    known = grid.FIXED_TYPE_1 if fixed else type_1
    return {
        "inventory": _inventory(player, others, known),
        "window": _image(_planes(player, others, at_home, known, fixed)),
    }


def _planes(
    player: Player, others: list[Player], at_home: jax.Array, type_1: Any, fixed: bool
) -> list[Any]:
    """Returns the planes of a window, each the set of cells that are 1."""
    coins: list[jax.Array] = []
    for members in (~type_1, type_1):
        among = [coin for coin in range(grid.NUM_COINS) if not fixed or members >> coin & 1]
        coins.append(grid.window_coins(player, at_home & members, among))
    walls = grid.window_walls(player)
    beams = where(player.fires == 1, grid.OWN_BEAM)
    looks: list[Any] = [0] * 4
    for other in others:
        ahead, left = grid.relative(player, other.x, other.y)
        cell = grid.window_cell(ahead, left)
        turn = (other.direction - player.direction) & 3
        beams |= where(other.fires == 1, grid.window_beam(ahead, left, turn))
        looks = [look | where(turn == way, cell) for way, look in enumerate(looks)]
    seen = grid.union(looks)
    beams &= ~(grid.OWN_CELL | seen | coins[0] | coins[1] | walls)
    return [jnp.int32(grid.OWN_CELL), seen, *coins, walls, beams, *looks]


def by_type(coins: jax.Array, type_1: Any) -> tuple[jax.Array, jax.Array]:
    """Returns how many coins of either type a set has."""
    return jax.lax.population_count(coins & ~type_1), jax.lax.population_count(coins & type_1)


def _image(planes: list[Any]) -> jax.Array:
    """Returns sets of cells as an array of 0. and 1., float32 `[5, 5, len(planes)]`."""
    size = grid.WINDOW_SIZE
    cells = jnp.arange(size)
    # The first row of all planes side by side; the others are the same numbers, shifted. In this order the
    # cells are vectorised.
    row = (jnp.stack(planes) >> cells[:, None]).reshape(-1)
    image = (row >> (size * cells)[:, None]) & 1
    return image.astype(jnp.float32).reshape(size, size, len(planes))


def _inventory(player: Player, others: list[Player], type_1: Any) -> jax.Array:
    """Returns what a player observes of all players' coins, float32 `[3 n]`."""
    shown = [
        jnp.where(other.frozen > 0, count, 0)
        for other in others
        for count in by_type(other.coins, type_1)
    ]
    ready = [(somebody.coins != 0).astype(jnp.int32) for somebody in (player, *others)]
    return jnp.stack([*by_type(player.coins, type_1), *ready, *shown]).astype(jnp.float32)
