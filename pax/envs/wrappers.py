"""Wrappers of games: actions with noise, and matches that may end at any step."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from pax.envs.environment import Environment
from pax.envs.spaces import Discrete, Space
from pax.errors import ConfigError

WEIGHTED = "weighted_rewards"
"""Where the info of a match that may end has what its steps pay, which may not be what players learn from."""
TAIL = 1e-4
"""Weight of the steps beyond those of `steps_for`."""


class Wrapper(Environment):
    """A game that delegates to another one, except for what a subclass changes."""

    def __init__(self, env: Environment):
        self.env = env
        self.num_players = env.num_players
        self.num_inner_steps = env.num_inner_steps
        self.auto_resets = env.auto_resets
        self.state_names = env.state_names
        self.action_names = env.action_names

    @property
    def default_params(self) -> Any:
        return self.env.default_params

    def make_params(self, **settings: Any) -> Any:
        return self.env.make_params(**settings)

    def param_settings(self) -> dict[str, Any]:
        return self.env.param_settings()

    def check_params(self, params: Any) -> None:
        self.env.check_params(params)

    def for_params(self, params: Any) -> Environment:
        other = copy.copy(self)
        other.env = self.env.for_params(params)
        return other

    def reset(self, key: jax.Array, params: Any) -> tuple[tuple[Any, ...], Any]:
        return self.env.reset(key, params)

    def draw(self, key: jax.Array, params: Any) -> Any:
        return self.env.split_step()[0](key, params)

    def transition(
        self, drawn: Any, state: Any, actions: tuple[Any, ...], params: Any
    ) -> tuple[tuple[Any, ...], Any, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        return self.env.split_step()[1](drawn, state, actions, params)

    def earned(
        self, rewards: tuple[jax.Array, ...], info: Mapping[str, Any]
    ) -> tuple[jax.Array, ...]:
        return self.env.earned(rewards, info)

    def observation_space(self, player: int) -> Space:
        return self.env.observation_space(player)

    def action_space(self, player: int) -> Space:
        return self.env.action_space(player)


class Noise(Wrapper):
    """Each action of a game with two actions is the other one with probability `probability`.

    Players observe the actions that were played, not those that were chosen.

    Raises:
        ConfigError: if the probability is none, or a player has more than two actions.
    """

    def __init__(self, env: Environment, probability: float):
        super().__init__(env)
        if not 0.0 <= probability <= 1.0:
            raise ConfigError(f"noise is {probability}: give a probability, from 0 to 1")
        for player in range(env.num_players):
            if env.action_space(player) != Discrete(2):
                raise ConfigError(
                    f"noise is {probability}, and player {player + 1} of {type(env).__name__} acts in "
                    f"{env.action_space(player)}: noise flips one of two actions, leave it out"
                )
        self.probability = probability

    def draw(self, key: jax.Array, params: Any) -> tuple[jax.Array, Any]:
        noise_key, key = jax.random.split(key)
        flips = jax.random.bernoulli(noise_key, self.probability, (self.num_players,))
        return flips, super().draw(key, params)

    def transition(
        self, drawn: tuple[jax.Array, Any], state: Any, actions: tuple[Any, ...], params: Any
    ) -> tuple[tuple[Any, ...], Any, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        flips, drawn_by_game = drawn
        played = tuple(
            jnp.where(flip, 1 - jnp.asarray(action), action)
            for flip, action in zip(flips, actions, strict=True)
        )
        return super().transition(drawn_by_game, state, played, params)


@struct.dataclass
class Counted:
    """State of a game, and the steps of the match."""

    state: Any
    time: jax.Array
    """Steps so far, int32."""


class Continuation(Wrapper):
    """Rewards of a match that goes on with probability w after each step.

    Step t (from 0) is played with probability w^t, whatever the players do, so that a reward r_t counts
    w^t r_t on average, and the expected reward of a match, divided by its expected length 1 / (1 - w), is
    (1 - w) sum_t w^t r_t. That is what the mean reward per step of this game comes to, without drawing the
    length: step t pays T (1 - w) w^t / (1 - w^T) r_t, of which the factor 1 / (1 - w^T) makes up for the
    steps after the last. Matches whose length is drawn have the same expectation, and more spread. (The
    mean over matches of each match's own reward per step is another number: short matches weigh too much.)

    Raises:
        ConfigError: unless 0 <= w < 1.
    """

    def __init__(self, env: Environment, probability: float):
        super().__init__(env)
        _check_continuation(probability)
        self.probability = probability

    def reset(self, key: jax.Array, params: Any) -> tuple[tuple[Any, ...], Counted]:
        observations, state = self.env.reset(key, params)
        return observations, Counted(state, jnp.int32(0))

    def transition(
        self, drawn: Any, state: Counted, actions: tuple[Any, ...], params: Any
    ) -> tuple[tuple[Any, ...], Counted, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        observations, inner, rewards, done, info = super().transition(
            drawn, state.state, actions, params
        )
        w, num_steps = self.probability, self.num_inner_steps
        weight = num_steps * (1.0 - w) / (1.0 - w**num_steps) * jnp.power(w, state.time)
        learned, earned = (
            tuple(weight * reward for reward in each)
            for each in (rewards, self.env.earned(rewards, info))
        )
        info = {**info, WEIGHTED: earned}
        return observations, Counted(inner, state.time + 1), learned, done, info

    def earned(
        self, rewards: tuple[jax.Array, ...], info: Mapping[str, Any]
    ) -> tuple[jax.Array, ...]:
        del rewards
        return info[WEIGHTED]


def steps_for(probability: float) -> int:
    """Returns the steps after which, at this continuation, less than `TAIL` of a match's rewards is to come.

    Raises:
        ConfigError: unless it is from 0 to less than 1.
    """
    _check_continuation(probability)
    return 1 if probability <= TAIL else math.ceil(math.log(TAIL) / math.log(probability))


def _check_continuation(probability: float) -> None:
    if not 0.0 <= probability < 1.0:
        raise ConfigError(
            f"continuation is {probability}: give the probability that a match goes on, from 0 to less than 1"
        )
