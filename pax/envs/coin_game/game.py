"""The coin game, on a grid that is a torus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pax.checks import WHOLE, check_kind, check_number, short
from pax.envs.coin_game.picture import LEGEND, render
from pax.envs.coin_game.statistics import CONVENTIONS, CoinCounts, coin_metrics, count_coins
from pax.envs.common import check_numbers, check_steps
from pax.envs.environment import Environment
from pax.envs.spaces import Box, Discrete, Space
from pax.errors import ConfigError

RIGHT, LEFT, DOWN, UP, STAY = range(5)
S, C, D = range(len(CONVENTIONS))
NUM_PLANES = 4
NUM_LAST_COINS = 2 * len(CONVENTIONS)
NO_COIN = -1
MAX_SIZE = 255
"""Cells are numbered with 16 bits."""

Payoff = tuple[tuple[float, float, float], ...]
PAYOFF: Payoff = ((1.0, 1.0, -2.0), (1.0, 1.0, -2.0))


@struct.dataclass
class EnvState:
    """Positions of players and coins. A cell is row * size + column, int32."""

    red: jax.Array
    """Cell of the red player, player 1."""
    blue: jax.Array
    """Cell of the blue player, player 2."""
    red_coin: jax.Array
    """Cell of the red coin; `NO_COIN` (-1) if there is none."""
    blue_coin: jax.Array
    """Cell of the blue coin; `NO_COIN` (-1) if there is none."""
    inner_t: jax.Array
    """Steps played in this episode, int32."""
    last_coins: Any = ()
    """With `last_coin_players`: red's last coin and blue's, indices into `CONVENTIONS`, int32 `[2]`."""


@struct.dataclass
class EnvParams:
    """Payoffs."""

    payoff_matrix: Any
    """`[2, 3]`, array or nested sequence, a row per player: what it earns by taking a red coin, by taking a
    blue coin, and whenever the other one takes a coin of this player's colour."""


class CoinGame(Environment):
    """Red (player 1) and blue (player 2) collect red and blue coins for `num_inner_steps` steps.

    Both move at once: 0 right (column + 1), 1 left, 2 down (row + 1), 3 up, 4 stay. A player that leaves the
    grid enters it on the opposite side, and players may share a cell. A coin is taken by the player on its
    cell after the move; if both are there, both take it.

    With two coins, one of each colour, a coin that was taken reappears on a cell drawn uniformly, occupied or
    not, as do all players and coins at the start. This is the game of M-FOS (Lu et al. 2022,
    arxiv.org/abs/2205.01447).

    With `one_coin=True` there is one coin at a time, and players cannot stay. The first coin has either
    colour; each following one has the other colour than the one before it, and appears on a cell drawn
    uniformly among those without a player. Players start on different cells. This is the game of LOLA
    (Foerster et al. 2018, arxiv.org/abs/1709.04326), POLA (Zhao et al. 2022) and LOQA (Aghajohari et al.
    2024).

    Each player observes four planes of the grid, with a 1. at the cell of: itself, the other, a coin of its
    own colour, a coin of the other's. float32 `[size, size, 4]` with `cnn=True`, else those flattened,
    `[size * size * 4]`. With `egocentric=True` everything is shifted so that it is itself on the cell
    (size // 2, size // 2). With `tabular=True` the four cells are read as one number instead, so that no two
    situations look alike: an int32 of `size ** 8` with two coins, 2 * `size ** 6` with one. Then players that
    are not among `tabular_players` see planes nevertheless.

    `last_coin_players` are told what players of a matrix game observe, the last action of both: six numbers
    follow their planes, the last coin that it took itself in this episode and then the other's, one-hot:
    none so far, one of the taker's own colour, or one of the other's (or both at once).
    """

    num_players = 2
    legend = LEGEND
    render_mode = "rgb_array"

    def __init__(
        self,
        num_inner_steps: int = 16,
        cnn: bool = False,
        egocentric: bool = False,
        size: int = 3,
        one_coin: bool = False,
        tabular: bool = False,
        tabular_players: tuple[int, ...] = (0, 1),
        last_coin_players: tuple[int, ...] = (),
    ):
        """Makes the game.

        Args:
            num_inner_steps: steps of an episode.
            cnn: whether observations keep the shape of the grid, for convolutions.
            egocentric: whether the grid is shifted so that a player is at its centre.
            size: rows and columns of the grid.
            one_coin: whether there is one coin at a time, and no staying.
            tabular: whether observations are numbers, for tables.
            tabular_players: players, from 0, for whom that holds.
            last_coin_players: players, from 0, who are told the last coins.
        """
        check_steps(num_inner_steps)
        check_number("size", size, WHOLE)
        for name, value in {
            "cnn": cnn,
            "egocentric": egocentric,
            "one_coin": one_coin,
            "tabular": tabular,
        }.items():
            check_kind(name, value, False)
        if not 2 <= size <= MAX_SIZE:
            raise ConfigError(
                f"size is {short(size)}: give 2 to {MAX_SIZE} rows, and as many columns"
            )
        if tabular and cnn:
            raise ConfigError(
                "tabular is True and so is cnn: choose numbers (tabular) or planes (cnn) as observations"
            )
        self.num_inner_steps = num_inner_steps
        self.cnn = cnn
        self.egocentric = egocentric
        self.size = size
        self.one_coin = one_coin
        for name, players in {
            "tabular_players": tabular_players,
            "last_coin_players": last_coin_players,
        }.items():
            if not set(players) <= {0, 1}:
                raise ConfigError(f"{name} is {short(players)}: name players, 0 and 1")
        self.tabular_players = tuple(tabular_players) if tabular else ()
        if last_coin_players and (cnn or set(last_coin_players) & set(self.tabular_players)):
            raise ConfigError(
                f"last_coin_players is {short(last_coin_players)}, and the last coins join observations "
                "that are a vector of planes: leave out cnn, and let tabular_players name other players"
            )
        self.last_coin_players = tuple(last_coin_players)
        self.num_cells = size * size
        self._num_coin_cells = 2 * self.num_cells if one_coin else self.num_cells**2
        self._num_positions = self.num_cells**2 * self._num_coin_cells
        if tabular and self._num_positions >= 2**31:
            raise ConfigError(
                f"size is {size}, and that is {self._num_positions} observations with tabular, more than "
                "32 bits can count: give a smaller size, or tabular=False"
            )

    def make_params(self, payoff: Payoff = PAYOFF) -> EnvParams:  # type: ignore[override]
        """Makes the parameters.

        Args:
            payoff: for red and for blue, what taking a red coin, taking a blue one, and losing one's own to
                the other pays, `[2, 3]`.
        """
        self.check_params(EnvParams(payoff_matrix=payoff))
        return EnvParams(payoff_matrix=jnp.array(payoff, jnp.float32))

    def check_params(self, params: EnvParams) -> None:
        remedy = (
            "give 2 rows (red, blue) of 3 numbers (takes red, takes blue, loses its "
            "own to the other)"
        )
        check_numbers("payoff", params.payoff_matrix, (2, 3), remedy)

    def reset(self, key: jax.Array, params: EnvParams) -> tuple[tuple[jax.Array, ...], EnvState]:
        del params
        words = jax.random.bits(key, (4,))
        num_cells = self.num_cells
        if self.one_coin:
            red = _below(num_cells, words[0])
            blue = _below(num_cells - 1, words[1])
            blue += blue >= red
            coin = self._free_cell(red, blue, words[2])
            is_red = words[3] >> 31 == 1
            red_coin = jnp.where(is_red, coin, NO_COIN)
            blue_coin = jnp.where(is_red, NO_COIN, coin)
        else:
            red, blue, red_coin, blue_coin = (_below(num_cells, word) for word in words)
        none_yet = jnp.zeros(2, jnp.int32) if self.last_coin_players else ()
        state = EnvState(red, blue, red_coin, blue_coin, jnp.int32(0), none_yet)
        return self._observations(state), state

    def draw(self, key: jax.Array, params: EnvParams) -> Any:
        """Draws a word of one coin's cell, or the cells of both coins."""
        del params
        return _random_word(key) if self.one_coin else self._two_cells(key)

    def transition(
        self, drawn: Any, state: EnvState, actions: tuple[Any, ...], params: EnvParams
    ) -> tuple[tuple[jax.Array, ...], EnvState, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        (red, blue), ((red_red, red_blue), (blue_red, blue_blue)) = self.move(state, actions)
        payoff = jnp.asarray(params.payoff_matrix, jnp.float32)
        rewards = (
            _pay(payoff[0], red_red, red_blue, blue_red),
            _pay(payoff[1], blue_red, blue_blue, red_blue),
        )
        red_gone, blue_gone = red_red | blue_red, red_blue | blue_blue
        if self.one_coin:
            coin = self._free_cell(red, blue, drawn)
            next_red = jnp.where(blue_gone, coin, NO_COIN)
            next_blue = jnp.where(red_gone, coin, NO_COIN)
            red_gone = blue_gone = red_gone | blue_gone
        else:
            next_red, next_blue = drawn
        state = EnvState(
            red=red,
            blue=blue,
            red_coin=jnp.where(red_gone, next_red, state.red_coin),
            blue_coin=jnp.where(blue_gone, next_blue, state.blue_coin),
            inner_t=state.inner_t + 1,
            last_coins=self._last_coins(
                state.last_coins, own=(red_red, blue_blue), others=(red_blue, blue_red)
            ),
        )
        info = {
            "red_takes_red": red_red.astype(jnp.int32),
            "red_takes_blue": red_blue.astype(jnp.int32),
            "blue_takes_red": blue_red.astype(jnp.int32),
            "blue_takes_blue": blue_blue.astype(jnp.int32),
        }
        done = state.inner_t >= self.num_inner_steps
        return self._observations(state), state, rewards, done, info

    def observation_space(self, player: int) -> Space:
        if player in self.tabular_players:
            return Discrete(self._num_positions)
        shape = (self.size, self.size, NUM_PLANES)
        if player in self.last_coin_players:
            return Box((self.num_cells * NUM_PLANES + NUM_LAST_COINS,), 0.0, 1.0)
        return Box(shape if self.cnn else (self.num_cells * NUM_PLANES,), 0.0, 1.0)

    def action_space(self, player: int) -> Space:
        del player
        return Discrete(4 if self.one_coin else 5)

    def episode_statistics(
        self,
        observations: tuple[jax.Array, ...],
        actions: tuple[jax.Array, ...],
        infos: dict[str, Any],
    ) -> CoinCounts:
        del observations, actions
        return count_coins(
            red=(infos["red_takes_red"], infos["red_takes_blue"]),
            blue=(infos["blue_takes_red"], infos["blue_takes_blue"]),
        )

    def statistics_metrics(self, statistics: CoinCounts) -> Mapping[str, jax.Array]:
        return coin_metrics(statistics)

    def render(self, state: EnvState, params: EnvParams) -> np.ndarray:
        """Renders the grid with players as squares and coins as discs, each in its own corner of its cell."""
        del params
        cells = np.array([state.red, state.blue, state.red_coin, state.blue_coin])
        return render(cells, self.size)

    def move(
        self, state: EnvState, actions: tuple[Any, ...]
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[tuple[jax.Array, jax.Array], ...]]:
        """Returns the cells of red and blue after a joint action, and what each of them takes there.

        Returns:
            The two cells, and by player whether it takes the red coin and whether the blue one, bool.
        """
        cells = self._move(state.red, actions[0]), self._move(state.blue, actions[1])
        return cells, tuple((cell == state.red_coin, cell == state.blue_coin) for cell in cells)

    def _move(self, cell: jax.Array, action: Any) -> jax.Array:
        """Returns the cell that `action` leads to from `cell`."""
        action = jnp.asarray(action).astype(jnp.int32)
        row, column = self._row_and_column(cell)
        row += (action == DOWN).astype(jnp.int32) - (action == UP)
        column += (action == RIGHT).astype(jnp.int32) - (action == LEFT)
        return self.size * self._wrap(row) + self._wrap(column)

    def _row_and_column(self, cell: jax.Array) -> tuple[jax.Array, jax.Array]:
        row = jax.lax.div(cell, jnp.int32(self.size))
        return row, cell - self.size * row

    def _wrap(self, index: jax.Array) -> jax.Array:
        """Returns a row or column modulo `size`; it may be as low as -`size`."""
        return jax.lax.rem(index + self.size, jnp.int32(self.size))

    def _two_cells(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draws two independent uniform cells, from one word where 32 bits suffice for both."""
        num_cells = self.num_cells
        if num_cells <= 2**10:
            both = _below(num_cells**2, _random_word(key))
            first = jax.lax.div(both, jnp.int32(num_cells))
            return first, both - num_cells * first
        words = jax.random.bits(key, (2,))
        return _below(num_cells, words[0]), _below(num_cells, words[1])

    def _free_cell(self, red: jax.Array, blue: jax.Array, word: jax.Array) -> jax.Array:
        """Maps a random word to a uniform cell without a player."""
        apart = red != blue
        cell = jnp.where(apart, _below(self.num_cells - 2, word), _below(self.num_cells - 1, word))
        cell += cell >= jnp.minimum(red, blue)
        return cell + (apart & (cell >= jnp.maximum(red, blue)))

    def _observations(self, state: EnvState) -> tuple[jax.Array, ...]:
        seen = [
            self._observe(0, state.red, state.blue, state.red_coin, state.blue_coin),
            self._observe(1, state.blue, state.red, state.blue_coin, state.red_coin),
        ]
        for player in self.last_coin_players:
            own_first = state.last_coins if player == 0 else state.last_coins[::-1]
            coins = jax.nn.one_hot(own_first, len(CONVENTIONS)).ravel()
            seen[player] = jnp.concatenate([seen[player], coins])
        return tuple(seen)

    def _last_coins(
        self, before: Any, own: tuple[jax.Array, jax.Array], others: tuple[jax.Array, jax.Array]
    ) -> Any:
        """Returns `EnvState.last_coins` after a step in which red and blue took coins."""
        if not self.last_coin_players:
            return ()
        took = jnp.where(jnp.stack(others), D, jnp.where(jnp.stack(own), C, S))
        return jnp.where(took == S, before, took).astype(jnp.int32)

    def _observe(self, player: int, *cells: jax.Array) -> jax.Array:
        """Returns an observation; cells are the player's, the other's, its coin's and the other's coin's."""
        if self.egocentric:
            cells = tuple(self._seen_from(cells[0], cell) for cell in cells)
        own, other, own_coin, other_coin = cells
        num_cells = self.num_cells
        if player in self.tabular_players:
            coins = num_cells * own_coin + other_coin
            if self.one_coin:
                coins = jnp.where(own_coin == NO_COIN, num_cells + other_coin, own_coin)
            return self._num_coin_cells * (num_cells * own + other) + coins
        # Two cells are packed into a word: every entry selects one of two words and then a half of it,
        # which is cheaper than selecting one of four cells. No coin is 2^16 - 1, which is no cell.
        players, coins = own | other << 16, own_coin & 0xFFFF | other_coin << 16
        index = jnp.arange(num_cells * NUM_PLANES)
        cell, plane = index // NUM_PLANES, index % NUM_PLANES
        halves = jnp.where(plane < 2, players, coins) >> 16 * (plane % 2)
        planes = (halves & 0xFFFF == cell).astype(jnp.float32)
        return planes.reshape(self.size, self.size, NUM_PLANES) if self.cnn else planes

    def _seen_from(self, own: jax.Array, cell: jax.Array) -> jax.Array:
        """Returns `cell` after the shift that takes `own` to the centre."""
        pairs = zip(self._row_and_column(cell), self._row_and_column(own), strict=True)
        row, column = (self._wrap(index - origin + self.size // 2) for index, origin in pairs)
        seen = self.size * row + column
        return jnp.where(cell == NO_COIN, NO_COIN, seen) if self.one_coin else seen


def _pay(row: jax.Array, *events: jax.Array) -> jax.Array:
    """Returns the sum of the entries of a row of the payoff matrix whose event happened."""
    first, second, third = (jnp.where(event, row[i], 0.0) for i, event in enumerate(events))
    return first + second + third


def _below(bound: int, word: jax.Array) -> jax.Array:
    """Maps a uint32 word to 0, ..., bound - 1, int32, uniform up to a bias of bound / 2^32."""
    return (word % jnp.uint32(bound)).astype(jnp.int32)


def _random_word(key: jax.Array) -> jax.Array:
    """Returns 32 random bits: the words of the key, mixed by the finaliser of MurmurHash3 (Appleby 2011).

    Keys are random themselves, and hashing one with Threefry again would take as long as the rest of a step.
    """
    words = jax.random.key_data(key)
    word = words[0]
    for index in range(1, words.shape[0]):
        word = word * jnp.uint32(0x9E3779B1) ^ words[index]
    word = (word ^ word >> 16) * jnp.uint32(0x85EBCA6B)
    word = (word ^ word >> 13) * jnp.uint32(0xC2B2AE35)
    return word ^ word >> 16
