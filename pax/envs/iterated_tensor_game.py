"""The iterated n-player game with two actions, in which only the number of defectors counts."""

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
from pax.envs.iterated_matrix_game import EnvState
from pax.envs.matrix_game_statistics import (
    ACTIONS,
    STATES,
    StateCounts,
    count_by_player,
    count_states,
    joint_states,
    state_metrics,
)
from pax.envs.spaces import Box, Discrete, Space
from pax.errors import ConfigError

MAX_PLAYERS = 16

Payoff = tuple[tuple[float | None, float | None], ...]
PAYOFFS: Mapping[str, Payoff] = {
    "ipd": ((-1, None), (-3, 0), (None, -2)),
    "three_player_ipd": ((4, None), (2, 5), (0, 3), (None, 1)),
}
"""Named tables, of two and of three players; None where there can be no payoff."""


def social_dilemma(num_players: int) -> Payoff:
    """Returns a dilemma of any size, `PAYOFFS["three_player_ipd"]` if three play.

    All earn 4 if all cooperate and 1 if all defect. A player that defects gains 1, whatever the others do,
    and costs each of them 4 / (n - 1).
    """
    harm = 4 / (num_players - 1)
    rows: list[tuple[float | None, float | None]] = []
    for defectors in range(num_players + 1):
        own_c = None if defectors == num_players else 4 - harm * defectors
        own_d = None if defectors == 0 else 5 - harm * (defectors - 1)
        rows.append((own_c, own_d))
    return tuple(rows)


@struct.dataclass
class EnvParams:
    """Payoffs."""

    payoff_table: Any
    """`[n + 1, 2]`, array or nested sequence: what a player earns if 0, ..., n players defect, itself
    included; a column for its own C and one for its own D. `[0, 1]` and `[n, 0]` cannot happen and are never
    read."""


class IteratedTensorGame(Environment):
    """`num_players` players simultaneously choose C (0) or D (1), in each of `num_inner_steps` steps.

    Each player observes the last joint action, its own action first and then those of the players after it
    in turn (player 2 sees those of 2, 3, ..., n, 1), read as a binary number: int32 from 0 (all C) to
    2^n - 1 (all D), and START = 2^n before the first step. With `one_hot=True` it is float32 `[2^n + 1]`.
    Actions may also be the floats 0. and 1.
    """

    action_names = ACTIONS
    render_mode = "figure"

    def __init__(self, num_players: int = 3, num_inner_steps: int = 100, one_hot: bool = False):
        """Makes the game.

        Args:
            num_inner_steps: steps of an episode.
            num_players: how many play.
            one_hot: whether the state is observed as float32 `[2^n + 1]`, and not as a number.
        """
        check_steps(num_inner_steps)
        check_number("num_players", num_players, WHOLE)
        if not 2 <= num_players <= MAX_PLAYERS:
            raise ConfigError(
                f"num_players is {short(num_players)}: give 2 to {MAX_PLAYERS}, as there are 2^n + 1 "
                "observations"
            )
        self.num_inner_steps = num_inner_steps
        self.num_players = num_players
        self.one_hot = one_hot
        self.start = 2**num_players

    @property
    def state_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """Returns names of observations: a player's last action, then the others' in turn; or START."""
        return joint_states(self.num_players)

    def make_params(self, payoff: Payoff = ()) -> EnvParams:  # type: ignore[override]
        """Makes the parameters of a payoff table.

        Args:
            payoff: rewards of a cooperator and of a defector, by the number of defectors, `[n + 1, 2]`; () is
                `social_dilemma` for as many players.

        Raises:
            ConfigError: unless it has n + 1 rows of 2 numbers, of which those that cannot happen may be
                anything.
        """
        standard = isinstance(payoff, tuple | list) and not payoff
        table = social_dilemma(self.num_players) if standard else payoff
        self.check_params(EnvParams(payoff_table=table))
        cells = np.array(table, dtype=object)
        cells[0, 1] = cells[-1, 0] = 0.0
        return EnvParams(payoff_table=jnp.array(cells.astype(np.float32)))

    def check_params(self, params: EnvParams) -> None:
        last = self.num_players
        remedy = f"give {last + 1} rows (0 to {last} defectors) of 2 numbers (own C, own D)"
        check_numbers(
            "payoff", params.payoff_table, (last + 1, 2), remedy, unread=[(0, 1), (last, 0)]
        )

    def reset(self, key: jax.Array, params: EnvParams) -> tuple[tuple[jax.Array, ...], EnvState]:
        del key, params
        start = [jnp.int32(self.start)] * self.num_players
        return self._observations(start), EnvState(inner_t=jnp.int32(0))

    def transition(
        self, drawn: Any, state: EnvState, actions: tuple[Any, ...], params: EnvParams
    ) -> tuple[tuple[jax.Array, ...], EnvState, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        del drawn
        chosen = [jnp.asarray(action).astype(jnp.int32) for action in actions]
        defectors = sum(chosen, jnp.int32(0))
        table = jnp.asarray(params.payoff_table, jnp.float32)
        # Selected, not multiplied: cells that are never read may be NaN.
        own_c, own_d = table[0, 0], table[-1, 1]
        for row in range(1, self.num_players):
            own_c = jnp.where(defectors == row, table[row, 0], own_c)
            own_d = jnp.where(defectors == row, table[row, 1], own_d)
        rewards = tuple(jnp.where(action == 0, own_c, own_d) for action in chosen)
        joint = jnp.int32(0)
        for action in chosen:
            joint = 2 * joint + action
        views = [joint]
        for action in chosen[:-1]:
            # The first digit goes to the end.
            joint = 2 * joint - (self.start - 1) * action
            views.append(joint)
        state = EnvState(inner_t=state.inner_t + 1)
        done = state.inner_t >= self.num_inner_steps
        return self._observations(views), state, rewards, done, {}

    def observation_space(self, player: int) -> Space:
        del player
        num = self.start + 1
        return Box((num,), 0.0, 1.0) if self.one_hot else Discrete(num)

    def action_space(self, player: int) -> Space:
        del player
        return Discrete(2)

    def episode_statistics(
        self,
        observations: tuple[jax.Array, ...],
        actions: tuple[jax.Array, ...],
        infos: dict[str, Any],
    ) -> StateCounts:
        """Counts the actions of player 1, by its last action and the number of others that defected."""
        del infos
        states = observations[0].argmax(axis=-1) if self.one_hot else observations[0]
        num_players = self.num_players
        own = states >> (num_players - 1)
        others = jax.lax.population_count(states & (self.start // 2 - 1))
        groups = jnp.where(states == self.start, 2 * num_players, num_players * own + others)
        return count_states(groups, actions[0], 2 * num_players + 1)

    def statistics_metrics(self, statistics: StateCounts) -> dict[str, jax.Array]:
        """Names counts as in two-player games, with states such as `D1D`: own D, 1 of the others defected."""
        groups = [f"{own}{others}D" for own in ACTIONS for others in range(self.num_players)]
        return state_metrics(statistics, [*groups, STATES[-1]])

    def cooperation_counts(self, actions: tuple[Any, ...]) -> StateCounts:
        return count_by_player(actions)

    def render_episode(self, states: EnvState, actions: tuple[Any, ...], params: EnvParams) -> Any:
        """Plots what the players chose in each step, and their rewards, as a matplotlib figure."""
        del states
        from pax.envs.cooperation_figures import plot_choices

        played = np.stack([np.asarray(action, int) for action in actions], axis=-1)
        table = np.asarray(params.payoff_table, np.float32)
        rewards = table[played.sum(axis=1, keepdims=True), played]
        return plot_choices(played, ACTIONS, rewards)

    def render(self, state: EnvState, params: EnvParams) -> Any:
        """Plots a heat map of the payoff table, as a matplotlib figure."""
        del state
        from pax.envs.figures import HeatMap, plot_heat_maps

        table = np.array(params.payoff_table, dtype=object)
        table[0, 1] = table[-1, 0] = np.nan
        defectors = [str(number) for number in range(self.num_players + 1)]
        return plot_heat_maps(
            [HeatMap("Payoff", table.astype(float), defectors, ACTIONS, "defectors", "own action")]
        )

    def _observations(self, views: list[jax.Array]) -> tuple[jax.Array, ...]:
        if self.one_hot:
            return tuple(jax.nn.one_hot(view, self.start + 1) for view in views)
        return tuple(views)
