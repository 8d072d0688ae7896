"""Exact play of memory-one policies in iterated two-player matrix games: what pairs earn, best responses.

A policy that looks at the last joint action only is, for whoever plays against it, a Markov decision process
of five states: CC, CD, DC, DD, with the policy's own action first, and the start. So no strategy of any
memory earns more against it than one that knows the state and the number of steps that are left.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pax.agents import Agent, Random
from pax.agents.actor_critic import ActorCritic
from pax.agents.fixed import Reactive
from pax.agents.memory_one import MemoryOne
from pax.envs.environment import Environment
from pax.envs.iterated_matrix_game import IteratedMatrixGame
from pax.envs.iterated_tensor_game import IteratedTensorGame
from pax.envs.matrix_game_statistics import NUM_STATES
from pax.types import PyTree

START = NUM_STATES - 1
SWAPPED = np.array([0, 2, 1, 3, 4])
"""The states as the other player numbers them."""
ALMOST_ONE = 1 - 1e-9
"""The discount that stands for none in long-run averages: they are right to about 1e-7 of the payoffs."""
TIE = 1e-9
"""Actions whose values differ by less, as a share of the payoffs, are equally good; then the response
cooperates."""
_RULES = ("reset", "draw", "transition", "step", "earned", "_observations")
"""The methods that make a game what it is."""


@dataclasses.dataclass(frozen=True)
class StageGame:
    """One round of a symmetric or asymmetric game of two players with two actions, seen from one seat."""

    own: np.ndarray
    """What the policy on the seat gets, `[2, 2]`, by its own action and the other's: 0 = C, 1 = D."""
    other: np.ndarray
    """What the other player gets, `[2, 2]`, with the same axes."""
    num_steps: int
    """Rounds T of an episode."""


class Outcome(NamedTuple):
    """What a policy and who plays against it expect."""

    own: float
    """Reward per step of the policy."""
    other: float
    """That of the other player."""
    by_step: np.ndarray
    """Both rewards in each step of an episode, `[T, 2]`."""


class Response(NamedTuple):
    """A best response to a memory-one policy."""

    outcome: Outcome
    """What the policy and the best response to it expect in an episode."""
    cooperates: np.ndarray
    """Whether it cooperates, `[T, 5]`, by step and state as the policy numbers them."""
    average: float
    """The most that anybody gets per step in the long run, where the end of the episode plays no part."""


def stage_game(env: Environment, env_params: PyTree, seat: int) -> StageGame | None:
    """Returns one round of a game as the player on a seat sees it; None if it is no such game."""
    if env.num_players != 2 or not any(
        _has_rules_of(base, env) for base in (IteratedMatrixGame, IteratedTensorGame)
    ):
        return None
    rewards = np.array([_joint(env, env_params, seat, pair)[1] for pair in _PAIRS])
    own, other = rewards.reshape(2, 2, 2)[..., [seat, 1 - seat]].transpose(2, 0, 1)
    return StageGame(own, other, env.num_inner_steps)


def _has_rules_of(base: type[Environment], env: Environment) -> bool:
    """Returns whether a game is that of a class, or of one that leaves its rules as they are."""
    own = type(env)
    return issubclass(own, base) and all(
        getattr(own, name) is getattr(base, name) for name in _RULES
    )


_PAIRS = tuple(itertools.product((0, 1), (0, 1)))


def _joint(
    env: Environment, env_params: PyTree, seat: int, pair: tuple[int, int]
) -> tuple[PyTree, np.ndarray]:
    """Plays one round, the action of this seat first; returns what it observes then, and all rewards."""
    key = jax.random.key(0)
    _, state = env.reset(key, env_params)
    actions = tuple(jnp.int32(action) for action in (pair if seat == 0 else pair[::-1]))
    observations, _, rewards, _, _ = env.step(key, state, actions, env_params)
    return observations[seat], np.array(rewards, np.float64)


def cooperation_of(
    agent: Agent, params: PyTree, env: Environment, env_params: PyTree, seat: int
) -> np.ndarray | None:
    """Returns P(C) `[5]` of a policy after CC, CD, DC, DD (its own action first) and at the start.

    Args:
        agent: who plays it.
        params: what it has learned; None: an agent without parameters.
        env: a game that `stage_game` knows.
        env_params: what is played for.
        seat: of the policy.

    Returns:
        The probabilities; None if the policy remembers more, or how it acts is not known.
    """
    if isinstance(agent, Random) and type(agent).act is Random.act:
        return np.full(NUM_STATES, 0.5)
    if agent.hidden_size_in_memory or type(agent).policy is not Agent.policy:
        return None
    state = agent.init(jax.random.key(0))
    if params is not None:
        state = dataclasses.replace(state, params=jax.tree.map(jnp.asarray, params))
    if isinstance(agent, Reactive) and type(agent).act in (Reactive.act, MemoryOne.act):
        # Reactive agents number the states as this module does.
        return np.asarray(agent.cooperation_after(jnp.arange(NUM_STATES), state), np.float64)
    if isinstance(agent, ActorCritic) and type(agent).act is ActorCritic.act:
        first, _ = env.reset(jax.random.key(0), env_params)
        seen = [*(_joint(env, env_params, seat, pair)[0] for pair in _PAIRS), first[seat]]
        observations = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seen)
        hidden = agent.initial_hidden(NUM_STATES)
        _, distribution, _ = agent.forward(state.params, hidden, observations)
        return np.exp(np.asarray(distribution.log_prob(jnp.zeros(NUM_STATES, int)), np.float64))
    return None


def outcome(policy: np.ndarray, other: np.ndarray, game: StageGame) -> Outcome:
    """Computes what two memory-one players expect from an episode.

    Args:
        policy: P(C) of the policy `[5]`, its own action first.
        other: that of the other player `[5]`, with the *other's* own action first; or, by step, `[T, 5]`.
        game: from the seat of the policy.
    """
    by_step = np.broadcast_to(other, (game.num_steps, NUM_STATES))[:, SWAPPED]
    rewards = np.stack([game.own.ravel(), game.other.ravel()], axis=-1)
    state, earned = np.eye(NUM_STATES)[START], []
    for cooperation in by_step:
        joint = state @ _joint_probabilities(policy, cooperation)
        earned.append(joint @ rewards)
        state = np.append(joint, 0.0)
    mean = np.mean(earned, axis=0)
    return Outcome(float(mean[0]), float(mean[1]), np.array(earned))


def _joint_probabilities(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Returns the probabilities of CC, CD, DC and DD after each state, `[5, 4]`, of P(C) `[5]` of both."""
    return np.stack([p * q, p * (1 - q), (1 - p) * q, (1 - p) * (1 - q)], axis=-1)


def best_response(policy: np.ndarray, game: StageGame) -> Response:
    """Computes a best response by dynamic programming over the steps of an episode, from the last one back.

    V_t(s) = max over a of E[r(x, a) + V_{t+1}(s')], where x is what the policy plays after s and s' = (x, a).

    Args:
        policy: P(C) `[5]` after CC, CD, DC, DD (the policy's own action first) and at the start.
        game: from the seat of the policy.
    """
    share = np.stack([policy, 1 - policy], axis=-1)  # [5, own action]
    tie = TIE * np.abs(game.other).max()
    values, cooperates = np.zeros((2, 2)), []
    for _ in range(game.num_steps):
        of_actions = share @ (game.other + values)  # [5, other's action]
        cooperates.append(of_actions[:, 0] >= of_actions[:, 1] - tie)
        best = of_actions.max(axis=1)
        values = best[:START].reshape(2, 2)
    plan = np.array(cooperates[::-1])
    found = outcome(policy, plan[:, SWAPPED].astype(float), game)
    return Response(found, plan, _long_run(policy, game))


def _long_run(policy: np.ndarray, game: StageGame) -> float:
    """Returns the largest long-run average over the 32 deterministic memory-one responses.

    One of these is optimal, as for every Markov decision process; the average of each is the discounted one,
    (1 - g) (I - g P)^-1 r from the start, as g comes close to 1.
    """
    averages = []
    for plan in itertools.product((0.0, 1.0), repeat=NUM_STATES):
        joint = _joint_probabilities(policy, np.array(plan))
        transitions = np.append(joint, np.zeros((NUM_STATES, 1)), axis=1)
        rewards = (1 - ALMOST_ONE) * joint @ game.other.ravel()
        averages.append(np.linalg.solve(np.eye(NUM_STATES) - ALMOST_ONE * transitions, rewards))
    return float(max(average[START] for average in averages))
