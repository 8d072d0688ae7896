"""Clean-up lite, a public-goods game on a small grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pax.checks import WHOLE, check_number, short
from pax.envs.clean_up_lite.picture import LEGEND, render
from pax.envs.clean_up_lite.statistics import Events, event_metrics, sum_events
from pax.envs.common import check_steps, real_number
from pax.envs.environment import Environment
from pax.envs.spaces import Box, Discrete, Space
from pax.errors import ConfigError

RIGHT, LEFT, UP, DOWN, ZAP, NOTHING = range(6)
MAX_ROWS, MAX_COLUMNS = 16, 255
"""The cells of a column are the bits of an int32."""
MAX_STEPS = 2**20
"""Of being frozen, and cells that a zap reaches."""


@struct.dataclass
class EnvState:
    """Positions, objects and freezing, int32. Row 0 is at the top, column 0 on the left."""

    rows: tuple[jax.Array, jax.Array]
    """Of the players."""
    columns: tuple[jax.Array, jax.Array]
    """Of the players."""
    dirt: jax.Array
    """The rows of the river that hold dirt, a bit for each: row r is 2^r."""
    apples: jax.Array
    """The rows of the orchard that hold an apple, in the same way."""
    frozen: tuple[jax.Array, jax.Array]
    """For how many further steps each player cannot act."""
    inner_t: jax.Array
    """Steps played in this episode."""


@struct.dataclass
class EnvParams:
    """The numbers of the rules: float32 but for whole numbers, which are int32."""

    dirt_probability: Any
    """That dirt appears in a step, if the river has room."""
    apple_threshold: Any
    """From this much dirt on, no apple appears."""
    zap_success: Any
    """The probability that a zap within range freezes the other player."""
    zap_range: Any
    """Steps between two cells, along rows and columns, that a zap reaches."""
    freeze_steps: Any
    """For how many steps a player that was zapped does nothing."""
    first_dirt: Any
    """Dirt at the start."""


class CleanUpLite(Environment):
    """Two players clean a river or eat the apples of an orchard, for `num_inner_steps` steps.

    The rightmost column is the river, whose cells may hold dirt, the leftmost one the orchard, whose cells
    may hold an apple. The more dirt, the fewer apples grow, and an apple pays whoever takes it, so that
    cleaning is for the good of both and at the cost of one (Meulemans et al. 2025, arxiv.org/abs/2410.18636,
    after Clean Up of Leibo et al. 2021). A step, in this order:

    1. If a cell of the river has no dirt, dirt appears with `dirt_probability` on one of these cells.
    2. If a cell of the orchard has no apple, one appears on one of these, with probability
       1 - min(1, dirt / `apple_threshold`).
    3. Players move at once, and one that is on an apple's cell takes it, which pays 1.
    4. A player on a cell with dirt removes the dirt.
    5. A zap freezes the other with probability `zap_success`, if after the moves it is at most `zap_range`
       steps away and not frozen. In the next `freeze_steps` steps it does nothing.

    Actions: 0 right, 1 left, 2 up, 3 down, 4 zap, 5 nothing. A frozen player neither moves nor zaps, takes
    or cleans. A player does not leave the grid: at a border it stays where it is. Cells are shared freely, by
    both players too, and things appear under players; what two players reach together goes to one of them,
    drawn evenly. Players start on cells drawn uniformly, with `first_dirt` pieces of dirt and no apples.

    Each player observes everything, float32 zeros and ones: its own cell, one-hot `[rows * columns]`, the
    other's, the river's dirt `[rows]`, the orchard's apples `[rows]`, and whether it is frozen itself, and
    whether the other is.
    """

    num_players = 2
    legend = LEGEND
    render_mode = "rgb_array"
    action_names = ("right", "left", "up", "down", "zap", "nothing")

    def __init__(self, num_inner_steps: int = 64, rows: int = 5, columns: int = 4):
        """Makes the game.

        Args:
            num_inner_steps: steps of an episode.
            rows: of the grid, and cells of the river and of the orchard.
            columns: of the grid.
        """
        check_steps(num_inner_steps)
        for name, value, most in (("rows", rows, MAX_ROWS), ("columns", columns, MAX_COLUMNS)):
            check_number(name, value, WHOLE)
            if not 2 <= value <= most:
                raise ConfigError(f"{name} is {short(value)}: give 2 to {most}")
        self.num_inner_steps = num_inner_steps
        self.rows = rows
        self.columns = columns
        self.num_cells = rows * columns

    def make_params(  # type: ignore[override]
        self,
        dirt_probability: float = 0.35,
        apple_threshold: float = 3.0,
        zap_success: float = 0.9,
        zap_range: int = 2,
        freeze_steps: int = 5,
        first_dirt: int = 3,
    ) -> EnvParams:
        """Makes the parameters.

        Args:
            dirt_probability: of dirt appearing in a step.
            apple_threshold: pieces of dirt from which on no apple grows.
            zap_success: probability that a zap within its range freezes the other.
            zap_range: of a zap, in steps.
            freeze_steps: steps for which who is zapped does nothing.
            first_dirt: pieces of dirt at the start.
        """
        params = EnvParams(
            dirt_probability, apple_threshold, zap_success, zap_range, freeze_steps, first_dirt
        )
        self.check_params(params)
        return EnvParams(
            *(jnp.float32(value) for value in (dirt_probability, apple_threshold, zap_success)),
            *(jnp.int32(value) for value in (zap_range, freeze_steps, first_dirt)),
        )

    def check_params(self, params: EnvParams) -> None:
        for name, low, high, remedy in (
            ("dirt_probability", 0, 1, "give a probability, 0 to 1"),
            ("apple_threshold", 1e-6, math.inf, "give a number above 0"),
            ("zap_success", 0, 1, "give a probability, 0 to 1"),
            ("zap_range", 0, MAX_STEPS, "give a whole number of steps, 0 or more"),
            ("freeze_steps", 0, MAX_STEPS, "give a whole number of steps, 0 or more"),
            ("first_dirt", 0, self.rows, f"give 0 to {self.rows}, the rows of the river"),
        ):
            value = getattr(params, name)
            number = real_number(name, value, remedy)
            whole = name not in ("zap_range", "freeze_steps", "first_dirt") or number % 1 == 0
            if not (low <= number <= high and whole):
                raise ConfigError(f"{name} is {short(value)}: {remedy}")

    def reset(self, key: jax.Array, params: EnvParams) -> tuple[tuple[jax.Array, ...], EnvState]:
        drawn = jax.random.uniform(key, (2 + self.rows,))
        cells = [self._below(self.num_cells, number) for number in drawn[:2]]
        dirt = jnp.int32(0)
        for count, number in enumerate(drawn[2:]):
            dirt = self._appear(dirt, count < params.first_dirt, number)
        state = EnvState(
            rows=(cells[0] // self.columns, cells[1] // self.columns),
            columns=(cells[0] % self.columns, cells[1] % self.columns),
            dirt=dirt,
            apples=jnp.int32(0),
            frozen=(jnp.int32(0), jnp.int32(0)),
            inner_t=jnp.int32(0),
        )
        return self._observations(state), state

    def draw(self, key: jax.Array, params: EnvParams) -> jax.Array:
        """Draws numbers in [0, 1), `[7]`: for dirt, its cell, an apple, its cell, both zaps, and a tie."""
        del params
        return jax.random.uniform(key, (7,))

    def transition(
        self, drawn: jax.Array, state: EnvState, actions: tuple[Any, ...], params: EnvParams
    ) -> tuple[tuple[jax.Array, ...], EnvState, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        first, second = ((left > 0) for left in state.frozen)
        frozen = (first, second)
        dirt = self._appear(state.dirt, drawn[0] < params.dirt_probability, drawn[1])
        amount = jax.lax.population_count(dirt)
        grows = 1.0 - jnp.minimum(amount / params.apple_threshold, 1.0)
        apples = self._appear(state.apples, drawn[2] < grows, drawn[3])

        acts = tuple(
            jnp.where(is_frozen, NOTHING, jnp.asarray(action).astype(jnp.int32))
            for action, is_frozen in zip(actions, frozen, strict=True)
        )
        rows = tuple(
            jnp.clip(row + _sign(act, DOWN, UP), 0, self.rows - 1)
            for row, act in zip(state.rows, acts, strict=True)
        )
        columns = tuple(
            jnp.clip(column + _sign(act, RIGHT, LEFT), 0, self.columns - 1)
            for column, act in zip(state.columns, acts, strict=True)
        )
        first_wins = drawn[6] < 0.5
        takes = self._reach(apples, rows, columns, 0, frozen, first_wins)
        cleans = self._reach(dirt, rows, columns, self.columns - 1, frozen, first_wins)
        at = [1 << row for row in rows]
        apples &= ~sum(took * bit for took, bit in zip(takes, at, strict=True))
        dirt &= ~sum(cleaned * bit for cleaned, bit in zip(cleans, at, strict=True))

        distance = jnp.abs(rows[0] - rows[1]) + jnp.abs(columns[0] - columns[1])
        zaps = tuple((act == ZAP).astype(jnp.int32) for act in acts)
        hits = tuple(
            zaps[player]
            * ((distance <= params.zap_range) & ~frozen[1 - player])
            * (drawn[4 + player] < params.zap_success)
            for player in range(2)
        )
        left = tuple(
            jnp.where(hits[1 - player] > 0, params.freeze_steps, jnp.maximum(remaining - 1, 0))
            for player, remaining in enumerate(state.frozen)
        )
        state = EnvState(
            rows=(rows[0], rows[1]),
            columns=(columns[0], columns[1]),
            dirt=dirt,
            apples=apples,
            frozen=(left[0].astype(jnp.int32), left[1].astype(jnp.int32)),
            inner_t=state.inner_t + 1,
        )
        info = {
            "taken": takes,
            "cleaned": cleans,
            "zaps": zaps,
            "hits": hits,
            "frozen": tuple(is_frozen.astype(jnp.int32) for is_frozen in frozen),
            "dirt": jax.lax.population_count(dirt),
            "apples": jax.lax.population_count(apples),
        }
        rewards = tuple(took.astype(jnp.float32) for took in takes)
        done = state.inner_t >= self.num_inner_steps
        return self._observations(state), state, rewards, done, info

    def observation_space(self, player: int) -> Space:
        del player
        return Box((2 * self.num_cells + 2 * self.rows + 2,), 0.0, 1.0)

    def action_space(self, player: int) -> Space:
        del player
        return Discrete(len(self.action_names))

    def episode_statistics(
        self,
        observations: tuple[jax.Array, ...],
        actions: tuple[jax.Array, ...],
        infos: dict[str, Any],
    ) -> Events:
        del observations, actions
        return sum_events(infos)

    def statistics_metrics(self, statistics: Events) -> Mapping[str, jax.Array]:
        return event_metrics(statistics)

    def render(self, state: EnvState, params: EnvParams) -> np.ndarray:
        """Renders the grid; players are squares, on ice while frozen, apples and dirt are discs."""
        del params
        bits = np.arange(self.rows)
        return render(
            (self.rows, self.columns),
            [
                (int(row), int(column))
                for row, column in zip(state.rows, state.columns, strict=True)
            ],
            [bool(left > 0) for left in state.frozen],
            apples=np.asarray(state.apples) >> bits & 1 == 1,
            dirt=np.asarray(state.dirt) >> bits & 1 == 1,
        )

    def _below(self, bound: Any, number: jax.Array) -> jax.Array:
        """Maps a number in [0, 1) to 0, ..., bound - 1."""
        return (number * bound).astype(jnp.int32)

    def _appear(self, held: jax.Array, happens: jax.Array, number: jax.Array) -> jax.Array:
        """Adds to the set of rows `held`, if it `happens`, a free one that a number in [0, 1) chooses."""
        chosen = self._below(self.rows - jax.lax.population_count(held), number)
        rank, added = jnp.int32(0), jnp.int32(0)
        # An unrolled loop of integer instructions is vectorised over environments; a cumulative sum is not.
        for row in range(self.rows):
            is_free = 1 - (held >> row & 1)
            added |= (is_free & (rank == chosen)) << row
            rank += is_free
        return held | jnp.where(happens, added, 0)

    def _reach(
        self,
        held: jax.Array,
        rows: tuple[jax.Array, ...],
        columns: tuple[jax.Array, ...],
        column: int,
        frozen: tuple[jax.Array, jax.Array],
        first_wins: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Returns for each player 1 if it gets something that lies in the rows `held` of `column`, else 0."""
        first, second = (
            (held >> row & 1 == 1) & (own == column) & ~is_frozen
            for row, own, is_frozen in zip(rows, columns, frozen, strict=True)
        )
        tie = first & second & (rows[0] == rows[1])
        return (
            (first & (~tie | first_wins)).astype(jnp.int32),
            (second & ~(tie & first_wins)).astype(jnp.int32),
        )

    def _observations(self, state: EnvState) -> tuple[jax.Array, ...]:
        cells, frozen = [], []
        for row, column, left in zip(state.rows, state.columns, state.frozen, strict=True):
            cells.append(self.columns * row + column == jnp.arange(self.num_cells))
            frozen.append((left > 0)[None])
        bits = jnp.arange(self.rows)
        objects = [held >> bits & 1 == 1 for held in (state.dirt, state.apples)]
        return tuple(
            jnp.concatenate(
                [cells[own], cells[1 - own], *objects, frozen[own], frozen[1 - own]]
            ).astype(jnp.float32)
            for own in range(2)
        )


def _sign(action: jax.Array, plus: int, minus: int) -> jax.Array:
    """Returns 1 for the action `plus`, -1 for `minus`, else 0."""
    return (action == plus).astype(jnp.int32) - (action == minus)
