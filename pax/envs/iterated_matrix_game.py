"""The iterated two-player, two-action matrix game."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pax.checks import check_items, check_kind
from pax.envs.common import check_numbers, check_steps
from pax.envs.environment import Environment
from pax.envs.matrix_game_statistics import (
    ACTIONS,
    NUM_STATES,
    STATES,
    StateCounts,
    count_by_player,
    count_states,
    state_metrics,
)
from pax.envs.spaces import Box, Discrete, Space
from pax.errors import ConfigError

START = 4

Payoff = tuple[tuple[float, float], ...]
PAYOFFS: Mapping[str, Payoff] = {
    "ipd": ((-1, -1), (-3, 0), (0, -3), (-2, -2)),
    "imp": ((1, -1), (-1, 1), (-1, 1), (1, -1)),
    "ipd_positive": ((2, 2), (0, 3), (3, 0), (1, 1)),
    "stag_hunt": ((4, 4), (1, 3), (3, 1), (2, 2)),
    "battle_of_the_sexes": ((3, 2), (0, 0), (0, 0), (2, 3)),
    "chicken": ((0, 0), (-1, 1), (1, -1), (-2, -2)),
}


@struct.dataclass
class EnvState:
    """Step of the episode. The joint action is in the observations and need not be kept here."""

    inner_t: jax.Array
    """Steps played in this episode, int32."""


@struct.dataclass
class EnvParams:
    """Payoffs."""

    payoff_matrix: Any
    """`[4, 2]`, array or nested sequence: rows CC, CD, DC, DD as player 1 sees them, a column per player."""


class IteratedMatrixGame(Environment):
    """Two players simultaneously choose C (0) or D (1), in each of `num_inner_steps` steps.

    Each player observes the last joint action with its own action first: CC 0, CD 1, DC 2, DD 3, and START 4
    before the first step, as an int32, or as a one-hot float32 `[5]` with `one_hot=True`. So what is CD for
    player 1 is DC for player 2. Actions may also be the floats 0. and 1. Players in `show_payoff_to` see
    float32 `[13]`: the one-hot state, then their own payoffs of CC, CD, DC, DD, then the other's.
    """

    num_players = 2
    state_names = STATES
    action_names = ACTIONS
    render_mode = "figure"

    def __init__(
        self,
        num_inner_steps: int = 150,
        one_hot: bool = False,
        show_payoff_to: tuple[int, ...] = (),
    ):
        """Makes the game.

        Args:
            num_inner_steps: steps of an episode.
            one_hot: whether the state is observed as float32 `[5]`, and not as a number.
            show_payoff_to: players, from 0, who observe the payoffs too.
        """
        check_steps(num_inner_steps)
        check_kind("one_hot", one_hot, False)
        check_items("show_payoff_to", show_payoff_to, "players, such as (0, 1)")
        self.num_inner_steps = num_inner_steps
        self.one_hot = one_hot
        self.show_payoff_to = tuple(show_payoff_to)
        for player in self.show_payoff_to:
            if player not in (0, 1):
                raise ConfigError(
                    f"show_payoff_to is {self.show_payoff_to}: this game has the players 0 and 1"
                )

    def make_params(self, payoff: Payoff = PAYOFFS["ipd"]) -> EnvParams:  # type: ignore[override]
        """Makes the parameters.

        Args:
            payoff: rewards of CC, CD, DC and DD, each of player 1 and player 2, `[4, 2]`.
        """
        params = EnvParams(payoff_matrix=payoff)
        self.check_params(params)
        return EnvParams(payoff_matrix=jnp.array(payoff, jnp.float32))

    def check_params(self, params: EnvParams) -> None:
        remedy = "give 4 rows (CC, CD, DC, DD) of 2 numbers (player 1, player 2)"
        check_numbers("payoff", params.payoff_matrix, (4, 2), remedy)

    def reset(self, key: jax.Array, params: EnvParams) -> tuple[tuple[jax.Array, ...], EnvState]:
        del key
        start = jnp.int32(START)
        return self._observations(start, start, params), EnvState(inner_t=jnp.int32(0))

    def transition(
        self, drawn: Any, state: EnvState, actions: tuple[Any, ...], params: EnvParams
    ) -> tuple[tuple[jax.Array, ...], EnvState, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        del drawn
        own, other = (jnp.asarray(action).astype(jnp.int32) for action in actions)
        row = 2 * own + other
        payoff = jnp.asarray(params.payoff_matrix, jnp.float32)
        state = EnvState(inner_t=state.inner_t + 1)
        observations = self._observations(row, 2 * other + own, params)
        rewards = (payoff[row, 0], payoff[row, 1])
        return observations, state, rewards, state.inner_t >= self.num_inner_steps, {}

    def observation_space(self, player: int) -> Space:
        if player in self.show_payoff_to:
            return Box((NUM_STATES + 8,))
        return Box((NUM_STATES,), 0.0, 1.0) if self.one_hot else Discrete(NUM_STATES)

    def action_space(self, player: int) -> Space:
        del player
        return Discrete(2)

    def episode_statistics(
        self,
        observations: tuple[jax.Array, ...],
        actions: tuple[jax.Array, ...],
        infos: dict[str, Any],
    ) -> StateCounts:
        del infos
        states = observations[0]
        if not isinstance(self.observation_space(0), Discrete):
            states = states[..., :NUM_STATES].argmax(axis=-1)
        return count_states(states, actions[0])

    def statistics_metrics(self, statistics: StateCounts) -> dict[str, jax.Array]:
        return state_metrics(statistics)

    def cooperation_counts(self, actions: tuple[Any, ...]) -> StateCounts:
        return count_by_player(actions)

    def render_episode(self, states: EnvState, actions: tuple[Any, ...], params: EnvParams) -> Any:
        """Plots what both players chose in each step, and their rewards, as a matplotlib figure."""
        del states
        from pax.envs.cooperation_figures import plot_choices

        played = np.stack([np.asarray(action, int) for action in actions], axis=-1)
        rewards = np.asarray(params.payoff_matrix, np.float32)[2 * played[:, 0] + played[:, 1]]
        return plot_choices(played, ACTIONS, rewards)

    def render(self, state: EnvState, params: EnvParams) -> Any:
        """Plots a heat map of each player's payoffs, as a matplotlib figure."""
        del state
        from pax.envs.figures import HeatMap, plot_heat_maps

        payoff = np.asarray(params.payoff_matrix, np.float32).reshape(2, 2, 2)
        return plot_heat_maps(
            [
                HeatMap(
                    f"Payoff of player {player + 1}",
                    payoff[:, :, player],
                    ACTIONS,
                    ACTIONS,
                    "player 1",
                    "player 2",
                )
                for player in range(2)
            ]
        )

    def _observations(
        self, first: jax.Array, second: jax.Array, params: EnvParams
    ) -> tuple[jax.Array, ...]:
        """Returns the observations of a state that is `first` to player 1 and `second` to player 2."""
        observations = []
        for player, state in enumerate((first, second)):
            if isinstance(self.observation_space(player), Discrete):
                observations.append(state)
                continue
            observation = jax.nn.one_hot(state, NUM_STATES)
            if player in self.show_payoff_to:
                payoff = jnp.asarray(params.payoff_matrix, jnp.float32)
                if player == 1:
                    payoff = payoff[jnp.array([0, 2, 1, 3])]
                shown = jnp.concatenate([payoff[:, player], payoff[:, 1 - player]])
                shown = jnp.broadcast_to(shown, (*state.shape, 8))
                observation = jnp.concatenate([observation, shown], axis=-1)
            observations.append(observation)
        return tuple(observations)
