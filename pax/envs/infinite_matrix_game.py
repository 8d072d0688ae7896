"""The infinitely repeated two-player matrix game, in which a step is a whole game of memory-one policies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pax.envs.common import check_steps, per_part, per_player, real_number
from pax.envs.environment import Environment
from pax.envs.iterated_matrix_game import PAYOFFS, EnvState, IteratedMatrixGame, Payoff
from pax.envs.iterated_matrix_game import EnvParams as MatrixParams
from pax.envs.matrix_game_statistics import NUM_STATES, STATES
from pax.envs.spaces import Box, Space
from pax.errors import ConfigError

# CC, CD, DC, DD, START as the other player calls them.
SWAP = (0, 2, 1, 3, 4)


@struct.dataclass
class EnvParams:
    """Payoffs and discount."""

    payoff_matrix: Any
    """`[4, 2]`, array or nested sequence: rows CC, CD, DC, DD as player 1 sees them, a column per player."""
    gamma: Any
    """Probability of another round, in [0, 1)."""


@struct.dataclass
class CooperationTotals:
    """Sums over steps."""

    steps: jax.Array
    """How many, int32."""
    cooperation: jax.Array
    """Of P(C | CC, CD, DC, DD, START) of each player in its own frame, `[2, 5]` float32."""
    states: jax.Array
    """Of the discounted share of rounds that are CC, CD, DC, DD to player 1, `[4]` float32."""


class InfiniteMatrixGame(Environment):
    """Two players choose policies simultaneously in each of `num_inner_steps` steps, and earn their returns.

    A policy is five logits, of P(C | CC), P(C | CD), P(C | DC), P(C | DD) and P(C | START), with the own
    action of the last round first: what is CD for player 1 is DC for player 2. Rewards are the expected ones
    of infinitely many rounds, (1 - gamma) sum_t gamma^t r_t: exact, and differentiable in both actions.

    Observations are float32 `[10]`: the player's own five probabilities of the last step and then the
    other's, each in the frame of the player it belongs to. Before the first step all of them are 1/2.
    """

    num_players = 2
    render_mode = "figure"

    def __init__(self, num_inner_steps: int = 100):
        """Makes the game.

        Args:
            num_inner_steps: steps of an episode.
        """
        check_steps(num_inner_steps)
        self.num_inner_steps = num_inner_steps

    def make_params(  # type: ignore[override]
        self, payoff: Payoff = PAYOFFS["ipd"], gamma: float = 0.96
    ) -> EnvParams:
        """Makes the parameters.

        Args:
            payoff: rewards of CC, CD, DC and DD, each of player 1 and player 2, `[4, 2]`.
            gamma: discount of the infinitely many rounds.
        """
        self.check_params(EnvParams(payoff_matrix=payoff, gamma=gamma))
        return EnvParams(
            payoff_matrix=jnp.array(payoff, jnp.float32), gamma=jnp.array(gamma, jnp.float32)
        )

    def check_params(self, params: EnvParams) -> None:
        IteratedMatrixGame().check_params(MatrixParams(payoff_matrix=params.payoff_matrix))
        remedy = "give a number from 0 to less than 1 (as float32)"
        if not 0.0 <= real_number("gamma", params.gamma, remedy) < 1.0:
            raise ConfigError(f"gamma is {params.gamma}: {remedy}")

    def reset(self, key: jax.Array, params: EnvParams) -> tuple[tuple[jax.Array, ...], EnvState]:
        del key, params
        observation = jnp.full(2 * NUM_STATES, 0.5)
        return (observation, observation), EnvState(inner_t=jnp.int32(0))

    def transition(
        self, drawn: Any, state: EnvState, actions: tuple[Any, ...], params: EnvParams
    ) -> tuple[tuple[jax.Array, ...], EnvState, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        del drawn
        first, second = (jnp.asarray(action, jnp.float32) for action in actions)
        visits = discounted_visits(first, second, params.gamma)
        payoff = jnp.asarray(params.payoff_matrix, jnp.float32)
        share = [(1.0 - params.gamma) * visit for visit in visits]
        rewards = tuple(weighted_sum(share, payoff[:, player]) for player in range(2))
        p, q = jax.nn.sigmoid(first), jax.nn.sigmoid(second)
        observations = (jnp.concatenate([p, q]), jnp.concatenate([q, p]))
        state = EnvState(inner_t=state.inner_t + 1)
        done = state.inner_t >= self.num_inner_steps
        return observations, state, rewards, done, {"states": jnp.stack(share)}

    def observation_space(self, player: int) -> Space:
        del player
        return Box((2 * NUM_STATES,), 0.0, 1.0)

    def action_space(self, player: int) -> Space:
        del player
        return Box((NUM_STATES,))

    def episode_statistics(
        self,
        observations: tuple[jax.Array, ...],
        actions: tuple[jax.Array, ...],
        infos: dict[str, Any],
    ) -> CooperationTotals:
        del observations
        num_steps, num_envs = actions[0].shape[:2]
        cooperation = [jax.nn.sigmoid(action).sum(axis=(0, 1)) for action in actions]
        return CooperationTotals(
            steps=jnp.int32(num_steps * num_envs),
            cooperation=jnp.stack(cooperation),
            states=infos["states"].sum(axis=(0, 1)),
        )

    def statistics_metrics(self, statistics: CooperationTotals) -> dict[str, jax.Array]:
        """Returns means over steps of each player's policy and of the outcomes of both."""
        cooperation = statistics.cooperation / statistics.steps
        states = statistics.states / statistics.steps
        return {
            **per_part("state_probability", STATES[:4], states),
            **per_player("cooperation_probability", cooperation, STATES),
        }

    def render_episode(self, states: EnvState, actions: tuple[Any, ...], params: EnvParams) -> Any:
        """Plots how likely each player was to cooperate after each outcome, as a matplotlib figure."""
        del states, params
        from pax.envs.figures import Curves, plot_curves

        return plot_curves(
            [
                Curves(
                    f"P(C) of player {player + 1}",
                    {
                        state: 1.0 / (1.0 + np.exp(-np.asarray(action, float)[:, index]))
                        for index, state in enumerate(STATES)
                    },
                )
                for player, action in enumerate(actions)
            ]
        )

    def render(self, state: EnvState, params: EnvParams) -> Any:
        """Plots a heat map of the payoffs of a round, as a matplotlib figure."""
        return IteratedMatrixGame().render(state, MatrixParams(payoff_matrix=params.payoff_matrix))


def discounted_visits(first: jax.Array, second: jax.Array, gamma: Any) -> tuple[jax.Array, ...]:
    """Returns the discounted visits of CC, CD, DC, DD (as player 1 sees them): round t counts gamma^t.

    That is p0 (I - gamma P)^-1, with the probabilities p0 of the first round and P of one round after
    another. It sums to 1 / (1 - gamma), and the value of the game to a player is its product with payoffs.

    Args:
        first: logits of player 1, `[5]`: P(C | CC, CD, DC, DD, START), own action first.
        second: logits of player 2, `[5]`, in its own frame.
        gamma: in [0, 1).
    """
    start, transition = _chain(first, second)
    return solve_chain(start, transition, gamma)[0]


def slopes(
    first: jax.Array, second: jax.Array, payoff: jax.Array, gamma: Any
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the values of both players, and their gradients with respect to both policies.

    The gradients are in closed form, at the cost of two values, which makes their own derivatives cheaper
    than those of automatic differentiation.

    Args:
        first: logits of player 1, `[5]`, as in `discounted_visits`.
        second: logits of player 2, `[5]`, in its own frame.
        payoff: `[4, 2]`.
        gamma: in [0, 1).

    Returns:
        The sums V of discounted rewards `[2]`, and dV / d first and dV / d second, `[2, 5]`, a row per value.
    """
    start, transition = _chain(first, second)
    rewards = [[payoff[state, player] for state in range(4)] for player in range(2)]
    visits, values = solve_chain(start, transition, gamma, rewards)
    # A change of the policy in a state is weighted by the visits of that state.
    weights = [*(gamma * visit for visit in visits), 1.0]
    p_c, p_d = jax.nn.sigmoid(first), jax.nn.sigmoid(-first)
    swapped = jnp.stack([second[state] for state in SWAP])
    q_c, q_d = jax.nn.sigmoid(swapped), jax.nn.sigmoid(-swapped)
    by_first, by_second, worth = [], [], []
    for value in values:
        cc, cd, dc, dd = value
        worth.append(sum(p * v for p, v in zip(start, value, strict=True)))
        own = q_c * (cc - dc) + q_d * (cd - dd)
        others = p_c * (cc - cd) + p_d * (dc - dd)
        by_first.append(jnp.stack(weights) * p_c * p_d * own)
        moves = jnp.stack(weights) * q_c * q_d * others
        by_second.append(jnp.stack([moves[state] for state in SWAP]))
    return jnp.stack(worth), jnp.stack(by_first), jnp.stack(by_second)


def _chain(
    first: jax.Array, second: jax.Array
) -> tuple[Sequence[jax.Array], Sequence[Sequence[jax.Array]]]:
    """Returns the distribution of the first round's outcome, and the transition probabilities."""
    second = jnp.stack([second[state] for state in SWAP])
    # Not 1 - P(C), which would round small probabilities of D to zero.
    own_c, own_d = jax.nn.sigmoid(first), jax.nn.sigmoid(-first)
    other_c, other_d = jax.nn.sigmoid(second), jax.nn.sigmoid(-second)
    joint = [own_c * other_c, own_c * other_d, own_d * other_c, own_d * other_d]
    start = [outcome[4] for outcome in joint]
    return start, [[outcome[state] for outcome in joint] for state in range(4)]


Scalars = Sequence[jax.Array]


def solve_chain(
    start: Scalars, transition: Sequence[Scalars], gamma: Any, rewards: Sequence[Scalars] = ()
) -> tuple[tuple[jax.Array, ...], list[list[jax.Array]]]:
    """Solves a Markov chain that continues with probability gamma: visits to each state, and its value.

    Visits are start (I - gamma transition)^-1, and values (I - gamma transition)^-1 rewards.

    States are eliminated one by one by the algorithm of Grassmann, Taksar and Heyman (Operations Research 33,
    1985). It never subtracts, so that every visit is right to a few units in the last place, however close
    gamma is to 1. It is arithmetic on scalars, one fused loop over a batch, where a linear solver would
    factorise one small matrix after the other.

    Args:
        start: the distribution of the first state, N scalars.
        transition: rows of N probabilities that sum to 1. The diagonal is not read.
        gamma: in [0, 1).
        rewards: per state, of as many players as there are.
    """
    num = len(start)
    source, gains = list(start), [list(reward) for reward in rewards]
    flow = [[gamma * probability for probability in row] for row in transition]
    end = [1.0 - gamma] * num
    leave = [end[0]] * num
    for last in range(num - 1, 0, -1):
        leave[last] = sum(flow[last][:last], end[last])
        onwards = [flow[last][state] / leave[last] for state in range(last)]
        ending = end[last] / leave[last]
        for state in range(last):
            source[state] = source[state] + source[last] * onwards[state]
            end[state] = end[state] + flow[state][last] * ending
            for gain in gains:
                gain[state] = gain[state] + flow[state][last] / leave[last] * gain[last]
            for following in range(last):
                if following != state:
                    flow[state][following] = (
                        flow[state][following] + flow[state][last] * onwards[following]
                    )
    leave[0] = end[0]
    visits: list[jax.Array] = []
    values: list[list[jax.Array]] = [[] for _ in gains]
    for state in range(num):
        inflow = [visit * flow[before][state] for before, visit in enumerate(visits)]
        visits.append(sum(inflow, source[state]) / leave[state])
        for gain, value in zip(gains, values, strict=True):
            ahead = [worth * flow[state][before] for before, worth in enumerate(value)]
            value.append(sum(ahead, gain[state]) / leave[state])
    return tuple(visits), values


def weighted_sum(weights: Sequence[jax.Array], values: jax.Array) -> jax.Array:
    """Returns the sum of the products of scalars and the entries of a vector."""
    products = [weight * values[index] for index, weight in enumerate(weights)]
    return sum(products[1:], products[0])
