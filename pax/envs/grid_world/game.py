"""What every game of many players on a grid is made from."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pax.checks import WHOLE, check_kind, check_number, short
from pax.envs.common import check_steps
from pax.envs.environment import Environment
from pax.envs.grid_world import chance, players, windows, words
from pax.envs.grid_world.maps import read_map
from pax.envs.grid_world.picture import draw_grid, legend
from pax.envs.grid_world.players import MAX_PLAYERS, Players
from pax.envs.grid_world.side_by_side import of_one, store
from pax.envs.spaces import Cells, Discrete, Space
from pax.errors import ConfigError

WALL_LETTER, FLOOR_LETTER, SPAWN_LETTER = "#", ".", "P"
# Streams of random numbers that every game has; its own go on from `OWN_STREAM`.
PRIORITY, FACING, START, OWN_STREAM = range(4)


@struct.dataclass
class Turn:
    """What players did in a step of games side by side: see `GridWorld.take_turn`."""

    actions: jax.Array
    """int32 `[N, E]`."""
    moved: Players
    """After the moves."""
    after: Players
    """At the end of the step."""
    standing: jax.Array
    """Cells with a player at the end of the step, as words `[H, E]`."""
    apples: jax.Array
    """Those that are left, as words `[H, E]`."""
    rewards: tuple[jax.Array, ...]
    """1 for who ate one, float32 `[E]` by player."""
    info: dict[str, jax.Array]
    """`taken`, `out` and `zaps` by player, int32 `[N, E]`."""


class GridWorld(Environment):
    """A game of 2 to 16 players on a grid: a subclass says what lies there, and what becomes of it.

    A subclass has the letters of its maps, their folder, the names of its actions and of the codes that it
    adds; `make_params`; `things`, what is seen; and `begin` and `play`, which moves players by `take_turn`.
    These three are written for many games side by side, whose number E is the last axis of all arrays
    (`pax.envs.grid_world.side_by_side`).
    """

    letters: ClassVar[Mapping[str, str]] = {
        WALL_LETTER: "wall",
        FLOOR_LETTER: "floor",
        SPAWN_LETTER: "floor where players start and come back",
    }
    """What a map may hold."""
    folder: ClassVar[pathlib.Path]
    """Where its maps are."""
    code_names: ClassVar[tuple[str, ...]] = windows.names_of(())
    """What the codes of a window mean."""
    action_names: Sequence[str] = players.ACTION_NAMES
    render_mode = "rgb_array"

    def __init__(self, map: str, num_players: int, window: int, num_inner_steps: int):
        """Reads the map.

        Args:
            map: name of a map of this game, or the path of a file that ends with .txt.
            num_players: how many play, 2 to 16.
            window: cells that a player sees along a side of its window, odd, 3 to 15.
            num_inner_steps: steps of an episode.
        """
        check_steps(num_inner_steps)
        check_kind("map", map, "", type(self).__name__)
        for name, value in (("num_players", num_players), ("window", window)):
            check_number(name, value, WHOLE)
        self.num_inner_steps = num_inner_steps
        self.map = map
        self.cells = read_map(map, self.folder, self.letters)
        self.height, self.width = self.cells.shape
        self.spawns = np.array(np.nonzero(self.cells == SPAWN_LETTER))
        self.floor = words.pack(self.cells != WALL_LETTER)[:, None]
        if not 2 <= num_players <= MAX_PLAYERS:
            raise ConfigError(f"num_players is {short(num_players)}: give 2 to {MAX_PLAYERS}")
        if num_players > self.spawns.shape[1]:
            raise ConfigError(
                f"num_players is {num_players}, and map {map} has {self.spawns.shape[1]} cells "
                f"{SPAWN_LETTER!r} to start on: let fewer play, or take a map with more"
            )
        largest = min(windows.MAX_SIZE, max(self.cells.shape) // 2 * 2 + 1)
        if window % 2 == 0 or not 3 <= window <= largest:
            raise ConfigError(
                f"window is {short(window)}, and map {map} has {self.height} rows and {self.width} columns: "
                f"give an odd number from 3 to {largest}"
            )
        self.num_players = num_players
        self.window = window
        self.legend = legend(num_players, self.code_names)

    def needs(self, what: str, *letters: str) -> None:
        """Raises ConfigError if the map has no cell with any of these letters, which mark `what`."""
        if not np.isin(self.cells, letters).any():
            either = " or ".join(map(repr, letters))
            raise ConfigError(f"map {self.map} has no {what}: mark some cells by {either}")

    def words_of(self, letter: str) -> np.ndarray:
        """Returns the cells with a letter of the map, as words `[H, 1]`."""
        return words.pack(self.cells == letter)[:, None]

    def observation_space(self, player: int) -> Space:
        del player
        return Cells((self.window, self.window), len(self.code_names))

    def action_space(self, player: int) -> Space:
        del player
        return Discrete(len(self.action_names))

    def draw(self, key: jax.Array, params: Any) -> jax.Array:
        """Draws what all random numbers of a step are made from, uint32 `[2]`."""
        del params
        return chance.draw_words(key)

    def reset(self, key: jax.Array, params: Any) -> tuple[tuple[jax.Array, ...], Any]:
        return of_one(self.begin)(chance.draw_words(key), params)

    def transition(
        self, drawn: jax.Array, state: Any, actions: tuple[Any, ...], params: Any
    ) -> tuple[tuple[jax.Array, ...], Any, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        return of_one(self.play)(drawn, state, actions, params)

    def begin(self, drawn: jax.Array, params: Any) -> tuple[tuple[jax.Array, ...], Any]:
        """Starts games side by side, as `reset` does, with the random numbers of `draw`."""
        raise NotImplementedError

    def play(
        self, drawn: jax.Array, state: Any, actions: tuple[Any, ...], params: Any
    ) -> tuple[tuple[jax.Array, ...], Any, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        """Plays a step of games side by side, as `transition` does."""
        raise NotImplementedError

    def start(self, drawn: jax.Array) -> Players:
        """Returns the players at the start of an episode, on spawn cells, looking anywhere."""
        bits = chance.random_bits(drawn, START, (self.spawns.shape[1],))
        # Every set of cells, in every order, is equally likely: player i gets the cell of the i-th smallest
        # number. Of equal ones, that of the first cell counts as smaller.
        number = words.along(len(bits))
        smaller = (bits < bits[:, None]) | ((bits == bits[:, None]) & (number < number[:, None]))
        place = smaller.sum(axis=1, dtype=jnp.int32)
        is_its = place == words.along(self.num_players)[:, None]
        row, column = (
            jnp.where(is_its, axis[:, None], 0).sum(axis=1, dtype=jnp.int32) for axis in self.spawns
        )
        facing = self._random_facing(drawn)
        return Players(row, column, facing, jnp.zeros_like(facing))

    def priority(self, drawn: jax.Array) -> jax.Array:
        """Returns a different random number for each player, uint32 `[N, E]`."""
        bits = chance.random_bits(drawn, PRIORITY, (self.num_players,))
        ranks = words.along(self.num_players).astype(np.uint32)
        return bits & np.uint32(2**32 - MAX_PLAYERS) | ranks

    def take_turn(
        self, drawn: jax.Array, state: Any, actions: tuple[Any, ...], params: Any
    ) -> Turn:
        """Has players turn or move, eat, zap, and come back.

        Args:
            drawn: what `draw` has drawn.
            state: of the game; read are its `players` and `apples`.
            actions: one per player, `[E]`.
            params: of the game; read are its `beam_length` and `out_steps`.
        """
        before, priority = state.players, self.priority(drawn)
        acts = jnp.stack([jnp.asarray(action) for action in actions]).astype(jnp.int32)
        acts = jnp.where(before.plays, acts, players.STAY)
        acts, priority = store((acts, priority))
        moved = store(
            players.move(players.turn(before, acts), acts, jnp.asarray(self.floor), priority)
        )
        taken = words.has(state.apples, moved.row, moved.column) & moved.plays
        eaten = words.of_cells(moved.row, moved.column, moved.plays, self.height)
        zaps = acts == players.ZAP
        hit = players.hit_by_beams(moved, zaps, params.beam_length).any(axis=0)
        after = players.rest_out(moved, hit, params.out_steps)
        after = store(self.come_back(drawn, before, after, priority))
        rewards = taken.astype(jnp.float32)
        return Turn(
            actions=acts,
            moved=moved,
            after=after,
            standing=words.of_cells(after.row, after.column, after.plays, self.height),
            apples=state.apples & ~eaten,
            rewards=tuple(rewards[player] for player in range(self.num_players)),
            info={
                "taken": taken.astype(jnp.int32),
                "out": 1 - before.plays.astype(jnp.int32),
                "zaps": zaps.astype(jnp.int32),
            },
        )

    def numbers(self, drawn: jax.Array, stream: int, where: np.ndarray) -> jax.Array:
        """Returns a number in [0, 1) for each cell of the rows that a set reaches, `[rows, W, E]`."""
        return chance.uniform(drawn, stream, (_rows(where).stop - _rows(where).start, self.width))

    def cells_with(
        self, drawn: jax.Array, stream: int, where: np.ndarray, probability: jax.Array
    ) -> jax.Array:
        """Draws cells, each with a probability, as words `[H, E]`; only those of a set mean anything.

        Args:
            drawn: what `draw` has drawn.
            stream: of the random numbers.
            where: the set, `[H, 1]`.
            probability: of all cells, `[E]`, or of each in the rows that the set reaches, `[rows, W, E]`.
        """
        rows = _rows(where)
        drawn_words = words.join(self.numbers(drawn, stream, where) < probability)
        return jnp.pad(drawn_words, ((rows.start, self.height - rows.stop), (0, 0)))

    def split(self, sets: jax.Array, where: np.ndarray) -> jax.Array:
        """Returns which cells of the rows that a set `where` reaches are in another, bool `[rows, W, E]`."""
        rows = _rows(where)
        return words.split(sets[rows], self.width) == 1

    def come_back(
        self, drawn: jax.Array, before: Players, after: Players, priority: jax.Array
    ) -> Players:
        """Returns the players after those whose time out is over with this step have come back."""
        start = chance.uniform(drawn, START, (1,))[0]
        facing = self._random_facing(drawn)
        returns = (before.out > 0) & (after.out == 0)
        spawns = jnp.asarray(self.words_of(SPAWN_LETTER))
        return players.come_back(after, returns, spawns, start, priority, facing)

    def things(self, state: Any) -> Mapping[int, windows.Sets]:
        """Returns what is to be seen beside walls and players: sets of cells by code, `[H, E]` each."""
        raise NotImplementedError

    def observe(self, state: Any) -> tuple[jax.Array, ...]:
        """Returns the windows of all players, uint8 `[window, window, E]` each."""
        return windows.observe(
            state.players, self.floor, self.things(state), self.width, self.window
        )

    def render(self, state: Any, params: Any) -> np.ndarray:
        """Renders the grid; players are triangles that point where they look."""
        del params
        codes = np.full(self.cells.shape, windows.WALL)
        bits = np.arange(self.width)
        codes[self.cells != WALL_LETTER] = windows.EMPTY
        one = jax.tree.map(lambda leaf: np.asarray(leaf)[..., None], state)
        for code, sets in self.things(one).items():
            codes += code * (np.asarray(sets) >> bits & 1)
        where = state.players
        shown = [
            (int(where.row[i]), int(where.column[i]), int(where.facing[i]))
            if where.out[i] == 0
            else None
            for i in range(self.num_players)
        ]
        return draw_grid(codes, shown)

    def _random_facing(self, drawn: jax.Array) -> jax.Array:
        bits = chance.random_bits(drawn, FACING, (self.num_players,))
        return (bits >> 30).astype(jnp.int32)


def _rows(where: np.ndarray) -> slice:
    """Returns the rows from the first to the last that a set of cells `[H, 1]` reaches."""
    reached = np.flatnonzero(where)
    return slice(int(reached[0]), int(reached[-1]) + 1) if len(reached) else slice(0, 0)
