"""In-the-matrix games (STORM): on a grid, players collect the strategies that they then play."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pax.checks import WHOLE, check_number, short
from pax.envs.common import check_numbers, check_steps
from pax.envs.environment import Environment
from pax.envs.in_the_matrix import grid, rules, view
from pax.envs.in_the_matrix.grid import Player
from pax.envs.in_the_matrix.picture import legend, render
from pax.envs.in_the_matrix.statistics import Interactions, interaction_metrics, sum_interactions
from pax.envs.spaces import Box, Dict, Discrete, Space
from pax.errors import ConfigError

NUM_PLANES = 10
MAX_PLAYERS = 8

Payoff = tuple[tuple[tuple[float, float], ...], ...]
PAYOFFS: Mapping[str, Payoff] = {
    "ipd": (((3, 0), (5, 1)), ((3, 5), (0, 1))),
    "imp": (((1, -1), (-1, 1)), ((-1, 1), (1, -1))),
}


@struct.dataclass
class EnvState:
    """Positions and inventories of all players, and types of the coins."""

    inner_t: jax.Array
    """Steps played in this episode, int32."""
    players: tuple[jax.Array, ...]
    """What `unpack` makes a `Player` of, an int32 per player."""
    type_1: jax.Array
    """The set of coins of type 1, int32; all others are of type 0."""


@struct.dataclass
class EnvParams:
    """Payoffs and the penalty of interactions."""

    payoff_matrix: Any
    """`[2, 2, 2]`, array or nested sequence: by player, type of the first's coin, type of the second's."""
    freeze_penalty: Any
    """For how many steps players are frozen after an interaction, 1 to 1023."""


class InTheMatrix(Environment):
    """Players collect coins of two types and interact; their coins are the mixed strategies they play.

    On a grid of 8 x 8 cells lie 6 coins of each type. A player has a cell (x, y) and looks in a direction, 0:
    (0, +1), 1: (+1, 0), 2: (0, -1) or 3: (-1, 0). Actions: 0 turn left (direction + 1), 1 turn right, 2
    forward, 3 fire the interaction beam, 4 stay. In each step:

    1. A frozen player stays, whatever its action.
    2. All others turn or move. A player that would leave the grid stays, and so do two that would swap
       cells. If several want one cell, a player already there keeps it; else one of them is drawn.
    3. A player on a coin's cell takes the coin.
    4. A beam covers the cell ahead, the one behind that, and the two to the left and right of the cell ahead.
       Two players interact if either's beam hits the other, both carry coins, and neither is frozen. With v
       the share of either type among a player's coins, each earns v_1' M v_2 with its own payoff matrix M,
       where player 1 is the one with the lower number. Both are frozen for the next `freeze_penalty` steps.
    5. With the last of these, their coins are back where they were, and they start again from a spawn, in
       random directions ("soft reset"). The episode goes on.

    Two players start, and start again, on mirror images (x, y) and (7 - x, 7 - y). No spawn is on a coin's
    cell. Which coins are of type 1 is drawn in every episode, unless `fixed_coin_location`.

    With more players the rules are the same, so pairs interact, freeze and start again while the others play
    on. A player whose beam connects it with several others interacts with all of them, and each interaction
    pays.

    Observations are dicts. `window`, float32 `[5, 5, 10]`, is what lies ahead: the first axis leads from 2
    cells to the right to 2 to the left, the second from the player's own row to 4 cells ahead. Planes:
    itself, others, coins of type 0, of type 1, what is outside of the grid, beams on empty cells, and others
    by the direction they look in: 0, 1, 2 or 3 left turns from the player's own. `inventory`, float32
    `[3 n]`: its own coins by type, whether it has any, whether the others have any, and the others' coins by
    type, zeros unless they are frozen. Others come in the order of their numbers, from the next one on.

    The game is that of M-FOS, Shaper and STORM (Khan et al. 2024, arxiv.org/abs/2312.12568), after "Running
    with scissors in the matrix" (Vezhnevets et al. 2020, arxiv.org/abs/1906.01470).
    """

    render_mode = "rgb_array"

    def __init__(
        self,
        num_inner_steps: int = 152,
        fixed_coin_location: bool = True,
        num_players: int = 2,
    ):
        """Makes the game.

        Args:
            num_inner_steps: steps of an episode.
            fixed_coin_location: whether coins are of the same type in every episode.
            num_players: how many play.
        """
        check_steps(num_inner_steps)
        check_number("num_players", num_players, WHOLE)
        if not 2 <= num_players <= MAX_PLAYERS:
            raise ConfigError(
                f"num_players is {short(num_players)}: give 2 to {MAX_PLAYERS}, as there is no room for more"
            )
        self.num_inner_steps = num_inner_steps
        self.fixed_coin_location = fixed_coin_location
        self.num_players = num_players
        self.legend = legend(num_players)

    def make_params(  # type: ignore[override]
        self, payoff: Payoff = PAYOFFS["ipd"], freeze_penalty: int = 5
    ) -> EnvParams:
        """Makes the parameters.

        Args:
            payoff: for player 1 and player 2, rewards by the types of their coins, `[2, 2, 2]`.
            freeze_penalty: steps for which players are frozen after an interaction.
        """
        self.check_params(EnvParams(payoff_matrix=payoff, freeze_penalty=freeze_penalty))
        return EnvParams(
            payoff_matrix=jnp.array(payoff, jnp.float32), freeze_penalty=jnp.int32(freeze_penalty)
        )

    def check_params(self, params: EnvParams) -> None:
        remedy = (
            "give 2 matrices (player 1, player 2) of 2 rows (type of player 1) of 2 "
            "numbers (type of player 2)"
        )
        check_numbers("payoff", params.payoff_matrix, (2, 2, 2), remedy)
        try:
            freeze = np.asarray(params.freeze_penalty)
        except ValueError:  # ragged
            freeze = np.empty(())
        if (
            freeze.shape != ()
            or freeze.dtype.kind not in "iu"
            or not 1 <= freeze <= grid.MAX_FREEZE
        ):
            raise ConfigError(
                f"freeze_penalty is {params.freeze_penalty}: give 1 to {grid.MAX_FREEZE} whole steps"
            )

    def reset(self, key: jax.Array, params: EnvParams) -> tuple[tuple[Any, ...], EnvState]:
        del params
        type_1 = jnp.int32(grid.FIXED_TYPE_1)
        if not self.fixed_coin_location:
            key, layout_key = jax.random.split(key)
            type_1 = _half_of_the_coins(layout_key)
        players = rules.start(rules.draw_word(key), self.num_players)
        state = EnvState(jnp.int32(0), tuple(grid.pack(player) for player in players), type_1)
        return self._observations(state), state

    def draw(self, key: jax.Array, params: EnvParams) -> jax.Array:
        del params
        return rules.draw_word(key)

    def transition(
        self, drawn: jax.Array, state: EnvState, actions: tuple[Any, ...], params: EnvParams
    ) -> tuple[tuple[Any, ...], EnvState, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        before = [grid.unpack(number) for number in state.players]
        after = rules.advance(drawn, before, actions, params.freeze_penalty)
        state = EnvState(
            inner_t=state.inner_t + 1,
            players=tuple(grid.pack(player) for player in after),
            type_1=state.type_1,
        )
        # The rest is read off the new state, which is in memory. XLA would compute most of the step once more
        # for each number that depends on something in the middle of it.
        rewards, info = self._events(before, state, params)
        done = state.inner_t >= self.num_inner_steps
        return self._observations(state), state, rewards, done, info

    def observation_space(self, player: int) -> Space:
        del player
        size = grid.WINDOW_SIZE
        return Dict(
            (
                ("inventory", Box((3 * self.num_players,), 0.0, float(grid.COINS_PER_TYPE))),
                ("window", Box((size, size, NUM_PLANES), 0.0, 1.0)),
            )
        )

    def action_space(self, player: int) -> Space:
        del player
        return Discrete(5)

    def episode_statistics(
        self, observations: tuple[Any, ...], actions: tuple[Any, ...], infos: dict[str, Any]
    ) -> Interactions:
        del observations, actions
        return sum_interactions(infos)

    def statistics_metrics(self, statistics: Interactions) -> dict[str, jax.Array]:
        return interaction_metrics(statistics)

    def render(self, state: EnvState, params: EnvParams) -> np.ndarray:
        """Returns the grid, x to the right and y down, over bars with what each player carries."""
        del params
        return render([grid.unpack(int(player)) for player in state.players], state.type_1)

    def _events(
        self, before: list[Player], state: EnvState, params: EnvParams
    ) -> tuple[tuple[jax.Array, ...], dict[str, Any]]:
        """Returns (rewards, info) of the step from `before` to `state`."""
        after = [grid.unpack(number) for number in state.players]
        num_players, type_1 = self.num_players, self._type_1(state)
        payoff = jnp.asarray(params.payoff_matrix, jnp.float32)
        inventories = [view.by_type(player.coins, type_1) for player in after]
        shares = [
            [count / jnp.maximum(sum(inventory), 1) for count in inventory]
            for inventory in inventories
        ]
        frozen_now = [(a.frozen == 0) & (b.frozen > 0) for a, b in zip(before, after, strict=True)]
        rewards = [jnp.float32(0.0)] * num_players
        interactions = [jnp.int32(0)] * num_players
        for pair in rules.pairs(num_players):
            i, j = pair
            interact = frozen_now[i] & frozen_now[j] & rules.meet(after[i], after[j])
            for role, player in enumerate(pair):
                value = sum(
                    shares[i][own] * payoff[role, own, other] * shares[j][other]
                    for own in range(2)
                    for other in range(2)
                )
                rewards[player] += jnp.where(interact, value, 0.0)
                interactions[player] += interact
        collected = [
            view.by_type(b.coins & ~a.coins, type_1) for a, b in zip(before, after, strict=True)
        ]
        played = [
            tuple(times * count for count in inventory)
            for times, inventory in zip(interactions, inventories, strict=True)
        ]
        info = {
            "beams": tuple(player.fires for player in after),
            "interactions": tuple(interactions),
            "soft_resets": tuple((player.frozen == 1).astype(jnp.int32) for player in before),
            "collected": tuple(collected),
            "inventories": tuple(played),
            "rewards": tuple(rewards),
        }
        return tuple(rewards), info

    def _observations(self, state: EnvState) -> tuple[dict[str, jax.Array], ...]:
        players = [grid.unpack(number) for number in state.players]
        at_home = grid.ALL_COINS & ~grid.union(player.coins for player in players)
        type_1 = None if self.fixed_coin_location else state.type_1
        return tuple(
            view.observe(player, players[index + 1 :] + players[:index], at_home, type_1)
            for index, player in enumerate(players)
        )

    def _type_1(self, state: EnvState) -> Any:
        """Returns the set of coins of type 1, a Python int where it is constant."""
        return grid.FIXED_TYPE_1 if self.fixed_coin_location else state.type_1


def _half_of_the_coins(key: jax.Array) -> jax.Array:
    """Draws half of the coins, uniformly among all such sets."""
    numbers = jax.random.bits(key, (grid.NUM_COINS,))
    coins = jnp.arange(grid.NUM_COINS)
    lower = (numbers < numbers[:, None]) | (
        (numbers == numbers[:, None]) & (coins < coins[:, None])
    )
    return jnp.where(lower.sum(axis=1) < grid.COINS_PER_TYPE, 1 << coins, 0).sum(dtype=jnp.int32)
