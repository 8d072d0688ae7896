"""Strategies of commons that never learn: those who spare apples or clean the river, and those who do not."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from pax.agents.agent import Agent
from pax.envs.commons.clean_up import CLEAN, RIVER, CleanUp
from pax.envs.commons.harvest import AROUND, CommonsHarvest
from pax.envs.grid_world.game import GridWorld
from pax.envs.grid_world.players import (
    BACK,
    FORWARD,
    STEP_LEFT,
    STEP_RIGHT,
    TURN_LEFT,
    TURN_RIGHT,
)
from pax.envs.grid_world.windows import APPLE, OTHER, WALL
from pax.envs.spaces import Cells, Discrete
from pax.errors import ConfigError
from pax.types import MemoryState, PyTree, TrainingState

DIRT = RIVER + 1
SPARED = 3
"""A cooperator takes an apple only if so many others are around it: it grows back at the highest rate."""
LEAST_WINDOW = 5
"""It shows three cells ahead: an apple in front, and the two cells behind it."""
DIRTY = 0.2
"""The dirty share of the river in view above which a cooperator cleans."""


@dataclasses.dataclass
class Forager(Agent):
    """Goes to the nearest apple that it wants, straight, and looks around while it sees none.

    Raises:
        ConfigError: if the game is another one.
    """

    game: ClassVar[type[GridWorld]]

    def __post_init__(self) -> None:
        super().__post_init__()
        space, names = self.observation_space, self.game.code_names
        is_window = isinstance(space, Cells) and len(space.shape) == 2 and space.n == len(names)
        if not is_window or self.action_space != Discrete(len(self.game.action_names)):
            raise self.wrong_game(self.game.__name__)
        assert isinstance(space, Cells)
        self.size = space.shape[0]

    def draw(self, key: jax.Array, batch: tuple[int, ...]) -> jax.Array:
        return jax.random.uniform(key, (3, *batch))

    def act(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, drawn: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        del state
        codes = observations.astype(jnp.int32)
        return self.choose(codes, drawn).astype(jnp.int32), memory

    def choose(self, codes: jax.Array, drawn: jax.Array) -> jax.Array:
        """Returns the actions `[B]`, given windows `[B, S, S]` and numbers in [0, 1), `[3, B]`."""
        apples, spared = codes == APPLE, self.spares(codes)
        return self._go(codes, apples & ~spared, spared, drawn)

    def spares(self, codes: jax.Array) -> jax.Array:
        """Returns which cells it does not step on, bool `[B, S, S]`: none, unless a subclass says so."""
        return jnp.zeros(codes.shape, bool)

    def _go(
        self, codes: jax.Array, wanted: jax.Array, avoided: jax.Array, drawn: jax.Array
    ) -> jax.Array:
        """Returns the move towards the nearest cell that is wanted, or one that looks for such."""
        size, last, middle = self.size, self.size - 2, self.size // 2
        rows, columns = np.arange(size)[:, None], np.arange(size)
        distance = jnp.where(wanted, np.abs(last - rows) + np.abs(columns - middle), 2 * size)
        nearest = distance.reshape(*distance.shape[:-2], -1).argmin(axis=-1)
        ahead, right = last - nearest // size, nearest % size - middle
        is_free = (codes != WALL) & ~((codes >= OTHER) & (codes < OTHER + 4)) & ~avoided

        def may(row: int, column: int) -> jax.Array:
            return is_free[..., row, column]

        upright = jnp.where(ahead > 0, FORWARD, BACK)
        aside = jnp.where(right > 0, STEP_RIGHT, STEP_LEFT)
        forward, back = may(last - 1, middle), may(last + 1, middle)
        may_upright = (ahead != 0) & jnp.where(ahead > 0, forward, back)
        sideways = jnp.where(right > 0, may(last, middle + 1), may(last, middle - 1))
        may_aside = (right != 0) & sideways
        goes_upright = may_upright & ((drawn[0] < 0.5) | ~may_aside)
        turns = jnp.where(drawn[2] < 0.5, TURN_LEFT, TURN_RIGHT)
        looks = jnp.where(forward & (drawn[1] < 0.85), FORWARD, turns)
        towards = jnp.where(goes_upright, upright, jnp.where(may_aside, aside, looks))
        return jnp.where(wanted.any(axis=(-2, -1)), towards, looks)


@dataclasses.dataclass
class HarvestDefector(Forager):
    """Eats every apple of Commons Harvest that it sees, the nearest first."""

    game = CommonsHarvest


@dataclasses.dataclass
class HarvestCooperator(HarvestDefector):
    """Eats only apples of Commons Harvest with at least three others around, and steps on no other.

    Raises:
        ConfigError: if the game is another one, or a window does not show what is around an apple ahead.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < LEAST_WINDOW:
            raise ConfigError(
                f"window is {self.size}, in which {type(self).__name__} does not see what is around an "
                f"apple ahead: give at least {LEAST_WINDOW}"
            )

    def spares(self, codes: jax.Array) -> jax.Array:
        apples = codes == APPLE
        padded = jnp.pad(apples, [(0, 0)] * (apples.ndim - 2) + [(2, 2), (2, 2)])
        size = self.size
        around = sum(
            padded[..., 2 + down : 2 + down + size, 2 + right : 2 + right + size].astype(jnp.int32)
            for down, right in AROUND
        )
        return apples & (around < SPARED)


@dataclasses.dataclass
class CleanUpDefector(Forager):
    """Eats the apples of Clean Up, and never cleans."""

    game = CleanUp


@dataclasses.dataclass
class CleanUpCooperator(CleanUpDefector):
    """Cleans while more than a fifth of the river that it sees is dirty, and else eats as others do."""

    def choose(self, codes: jax.Array, drawn: jax.Array) -> jax.Array:
        dirt = codes == DIRT
        seen = (dirt | (codes == RIVER)).sum(axis=(-2, -1))
        cleans = dirt.sum(axis=(-2, -1)) > DIRTY * seen
        last, middle = self.size - 2, self.size // 2
        # What it would hit, if cleaning reaches two cells.
        ahead = (*((max(last - far, 0), middle) for far in (1, 2)), (last - 1, middle - 1))
        cells = (*ahead, (last - 1, middle + 1))
        hits = jnp.stack([dirt[..., row, column] for row, column in cells]).any(axis=0)
        in_front = dirt & (np.arange(self.size)[:, None] < last)
        none = jnp.zeros(codes.shape, bool)
        to_river = jnp.where(hits, CLEAN, self._go(codes, in_front, none, drawn))
        return jnp.where(cleans, to_river, super().choose(codes, drawn))
