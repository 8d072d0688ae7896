"""Strategies of games on a grid that never learn: those of the coin game, and one that stays where it is."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from pax.agents.agent import Agent
from pax.envs.coin_game.game import (
    DOWN,
    LEFT,
    NO_COIN,
    NUM_LAST_COINS,
    NUM_PLANES,
    RIGHT,
    STAY,
    UP,
)
from pax.envs.spaces import Box, Dict, Discrete, Space
from pax.types import MemoryState, PyTree, TrainingState

TWO_COINS, ONE_COIN = Discrete(5), Discrete(4)
"""The actions of the two variants of the coin game."""
MOVES = ((0, 1), (0, -1), (1, 0), (-1, 0), (0, 0))
"""Rows down and columns to the right, by action."""


def size_of_grid(observations: Space, actions: Space) -> int | None:
    """Returns how many rows the grid of a coin game has; None for any other game."""
    if actions not in (TWO_COINS, ONE_COIN):
        return None
    if isinstance(observations, Discrete):
        factor, power = (1, 8) if actions == TWO_COINS else (2, 6)
        size = round((observations.n / factor) ** (1 / power))
        possible: tuple[Space, ...] = (Discrete(factor * size**power),)
    elif isinstance(observations, Box):
        size = round((math.prod(observations.shape) / NUM_PLANES) ** 0.5)
        planes = size * size * NUM_PLANES
        shapes = ((size, size, NUM_PLANES), (planes,), (planes + NUM_LAST_COINS,))
        possible = tuple(Box(shape, 0.0, 1.0) for shape in shapes)
    else:
        return None
    return size if size >= 2 and observations in possible else None


@dataclasses.dataclass
class Greedy(Agent):
    """Takes a shortest path to one of the coins, rows before columns, and stays once it is there.

    Distances are moves on the torus. In the game with one coin, the absent coin counts as farther than the
    other one. Observations may have any of the forms of `CoinGame`.

    Raises:
        ConfigError: if the game is not the coin game.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        size = size_of_grid(self.observation_space, self.action_space)
        if size is None:
            raise self.wrong_game("the coin game")
        self.size = size

    def chooses_own(self, own: jax.Array, other: jax.Array, drawn: jax.Array) -> jax.Array:
        """Returns whether it goes to the coin of its own colour, `[B]` bool, given both distances, `[B]`."""
        raise NotImplementedError

    def act(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, drawn: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        del state
        own, own_coin, other_coin = self._cells(observations)
        own_way, own_distance = self._way(own, own_coin)
        other_way, other_distance = self._way(own, other_coin)
        chooses_own = self.chooses_own(own_distance, other_distance, drawn)
        down, right = jnp.where(chooses_own, own_way, other_way)
        sideways = jnp.where(right > 0, RIGHT, jnp.where(right < 0, LEFT, STAY))
        actions = jnp.where(down > 0, DOWN, jnp.where(down < 0, UP, sideways))
        return actions.astype(jnp.int32), memory

    def _cells(self, observations: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the cells `[B]` of the player, its coin and the other's; `NO_COIN` if there is none."""
        num_cells = self.size**2
        if isinstance(self.observation_space, Box):
            batch = observations.shape[: observations.ndim - len(self.observation_space.shape)]
            # The last coins come after the planes.
            numbers = observations.reshape(*batch, -1)[..., : num_cells * NUM_PLANES]
            planes = numbers.reshape(*batch, num_cells, NUM_PLANES)
            cells = jnp.where(planes.any(axis=-2), planes.argmax(axis=-2), NO_COIN)
            return cells[..., 0], cells[..., 2], cells[..., 3]
        if self.action_space == TWO_COINS:
            others, coins = divmod(observations, num_cells**2)
            own_coin, other_coin = divmod(coins, num_cells)
        else:
            others, coin = divmod(observations, 2 * num_cells)
            own_coin = jnp.where(coin < num_cells, coin, NO_COIN)
            other_coin = jnp.where(coin < num_cells, NO_COIN, coin - num_cells)
        return others // num_cells, own_coin, other_coin

    def _way(self, cell: jax.Array, coin: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns rows down and columns right from `cell` to `coin`, `[2, B]`, and the moves, `[B]`."""
        ahead = jnp.stack(divmod(coin, self.size)) - jnp.stack(divmod(cell, self.size))
        back = (self.size - 1) // 2
        way = (ahead + back) % self.size - back
        return way, jnp.where(coin == NO_COIN, 2 * self.size, jnp.abs(way).sum(axis=0))


@dataclasses.dataclass
class GoodGreedy(Greedy):
    """Goes to the coin of its own colour unless that of the other's is nearer."""

    def chooses_own(self, own: jax.Array, other: jax.Array, drawn: jax.Array) -> jax.Array:
        del drawn
        return own <= other


@dataclasses.dataclass
class EvilGreedy(Greedy):
    """Goes to the coin of the other's colour unless that of its own is nearer."""

    def chooses_own(self, own: jax.Array, other: jax.Array, drawn: jax.Array) -> jax.Array:
        del drawn
        return own < other


@dataclasses.dataclass
class RandomGreedy(Greedy):
    """Goes to the nearer coin, and to either with equal probability if both are equally near."""

    def draw(self, key: jax.Array, batch: tuple[int, ...]) -> jax.Array:
        return jax.random.bernoulli(key, shape=batch)

    def chooses_own(self, own: jax.Array, other: jax.Array, drawn: jax.Array) -> jax.Array:
        return jnp.where(own == other, drawn, own < other)


@dataclasses.dataclass
class OwnCoins(Greedy):
    """Goes to the coin of its own colour, and avoids the other's while there is none.

    It leaves the row of the other's coin, or stays out of it: a deterministic relative of `AlwaysCooperate`.
    """

    def act(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, drawn: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        towards, memory = super().act(state, observations, memory, drawn)
        own, own_coin, other_coin = self._cells(observations)
        same_row = own // self.size == other_coin // self.size
        aside = jnp.where(same_row, DOWN, RIGHT)
        return jnp.where(own_coin == NO_COIN, aside, towards), memory

    def chooses_own(self, own: jax.Array, other: jax.Array, drawn: jax.Array) -> jax.Array:
        del other, drawn
        return jnp.ones(own.shape, bool)


@dataclasses.dataclass
class Reciprocal(Greedy):
    """Goes to its own coin, or to the nearer one while the last coin that the other took was one of its own.

    This is tit-for-tat, in the game with two coins for who sees the last ones (`last_coin_players`). Coins of
    the other's colour that lie on its way it takes.
    """

    def __post_init__(self) -> None:
        size = size_of_grid(self.observation_space, self.action_space)
        told = Box(((size or 0) ** 2 * NUM_PLANES + NUM_LAST_COINS,), 0.0, 1.0)
        if size is None or self.action_space != TWO_COINS or self.observation_space != told:
            raise self.wrong_game("the coin game with two coins, as one of last_coin_players,")
        super().__post_init__()

    def act(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, drawn: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        return super().act(state, observations, memory, observations[..., -1] > 0)

    def chooses_own(self, own: jax.Array, other: jax.Array, drawn: jax.Array) -> jax.Array:
        """Takes as `drawn` whether the last coin that the other took was one of this player's colour."""
        return ~drawn | (own <= other)


@dataclasses.dataclass
class AlwaysCooperate(Greedy):
    """Makes the move that leads nearest to its own coin, or, while there is none, farthest from the other's.

    Among equally good moves it draws one uniformly. In the game with one coin this is the published player
    that always cooperates (Aghajohari et al. 2024, arxiv.org/abs/2405.01035), where the greedy ones always
    defect.
    """

    def draw(self, key: jax.Array, batch: tuple[int, ...]) -> jax.Array:
        return jax.random.uniform(key, (4 if self.action_space == ONE_COIN else 5, *batch))

    def act(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, drawn: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        del state
        own, own_coin, other_coin = self._cells(observations)
        num_moves = len(drawn)
        down, right = jnp.array(MOVES[:num_moves]).T[..., None]
        row, column = divmod(own, self.size)
        after = (row + down) % self.size * self.size + (column + right) % self.size
        own_distances, other_distances = (
            self._way(after, jnp.broadcast_to(coin, after.shape))[1]
            for coin in (own_coin, other_coin)
        )
        # Drawn numbers are below 1, the length of a move: they only break ties.
        away = (other_distances + drawn).argmax(axis=0)
        towards = (own_distances + drawn).argmin(axis=0)
        return jnp.where(own_coin == NO_COIN, away, towards).astype(jnp.int32), memory


@dataclasses.dataclass
class Stay(Agent):
    """Never moves, in the coin game with two coins or in-the-matrix.

    Raises:
        ConfigError: if the game is another one.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        observations, actions = self.observation_space, self.action_space
        coin_game = size_of_grid(observations, actions) is not None
        if actions != TWO_COINS or not (coin_game or isinstance(observations, Dict)):
            raise self.wrong_game("the coin game with two coins and in-the-matrix")

    def act(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, drawn: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        del state, observations, drawn
        return jnp.full(memory.hidden.shape[:-1], STAY, jnp.int32), memory
