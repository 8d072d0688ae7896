"""Other-regarding rewards: what players learn from, when it is not what they earn.

Each is a wrapper of any game. Players learn from its rewards; the game's own ones are in the info as
`OWN_REWARDS`, from which the loop takes what metrics report (`Environment.earned`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pax.checks import NOT_NEGATIVE, NUMBER, SHARE, check_number
from pax.envs.environment import Environment
from pax.envs.wrappers import Wrapper
from pax.errors import ConfigError

OWN_REWARDS = "own_rewards"


class OtherRegarding(Wrapper):
    """A game in which players learn from other rewards than those that they earn.

    Raises:
        ConfigError: if the game has one player, or its rewards are other-regarding already.
    """

    def __init__(self, env: Environment):
        super().__init__(env)
        self.legend = env.legend
        self.render_mode = env.render_mode
        name = type(self).__name__
        inner = env
        while isinstance(inner, Wrapper):
            if isinstance(inner, OtherRegarding):
                raise ConfigError(
                    f"rewards are {type(inner).__name__} and {name} at once: choose one of them"
                )
            inner = inner.env
        if env.num_players < 2:
            raise ConfigError(
                f"rewards are {name}, and {type(env).__name__} has one player: leave them as they are"
            )

    def felt(self, rewards: jax.Array) -> jax.Array:
        """Returns what players learn from, `[N]`, given what they earn, `[N]`."""
        raise NotImplementedError

    def transition(
        self, drawn: Any, state: Any, actions: tuple[Any, ...], params: Any
    ) -> tuple[tuple[Any, ...], Any, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        observations, state, rewards, done, info = super().transition(drawn, state, actions, params)
        felt = self.felt(jnp.stack(rewards))
        return observations, state, tuple(felt), done, {**info, OWN_REWARDS: rewards}

    def earned(
        self, rewards: tuple[jax.Array, ...], info: Mapping[str, Any]
    ) -> tuple[jax.Array, ...]:
        del rewards
        return info[OWN_REWARDS]

    def episode_statistics(
        self, observations: tuple[Any, ...], actions: tuple[Any, ...], infos: dict[str, Any]
    ) -> Any:
        own = {name: value for name, value in infos.items() if name != OWN_REWARDS}
        return self.env.episode_statistics(observations, actions, own)

    def statistics_metrics(self, statistics: Any) -> Mapping[str, jax.Array]:
        return self.env.statistics_metrics(statistics)

    def cooperation_counts(self, actions: tuple[Any, ...]) -> Any:
        return self.env.cooperation_counts(actions)

    def render(self, state: Any, params: Any) -> np.ndarray:
        return self.env.render(state, params)

    def render_episode(self, states: Any, actions: tuple[Any, ...], params: Any) -> Any:
        return self.env.render_episode(states, actions, params)


class CommonReward(OtherRegarding):
    """Everybody learns from the sum of all rewards."""

    def felt(self, rewards: jax.Array) -> jax.Array:
        return jnp.broadcast_to(rewards.sum(), rewards.shape)


class SocialValueOrientation(OtherRegarding):
    """Players learn from cos(angle) r_i + sin(angle) m_i, m_i being the mean reward of the others.

    At 0 degrees players are selfish, at 45 they count the others' mean as much as their own, at 90 they are
    altruists (McKee et al. 2020, arxiv.org/abs/2002.02325, who penalise deviations from an angle instead).
    """

    def __init__(self, env: Environment, angle: float = 45.0):
        """Wraps a game.

        Args:
            env: the game.
            angle: in degrees.
        """
        super().__init__(env)
        check_number("angle", angle, NUMBER, type(self).__name__)
        self.angle = angle

    def felt(self, rewards: jax.Array) -> jax.Array:
        angle = math.radians(self.angle)
        return math.cos(angle) * rewards + math.sin(angle) * _mean_of_others(rewards)


class Exchange(OtherRegarding):
    """Players learn from s r_i + (1 - s) m_i, m_i being the mean reward of the others."""

    def __init__(self, env: Environment, share: float = 0.5):
        """Wraps a game.

        Args:
            env: the game.
            share: s, of the own reward that each keeps; 1 is selfish.
        """
        super().__init__(env)
        check_number("share", share, SHARE, type(self).__name__)
        self.share = share

    def felt(self, rewards: jax.Array) -> jax.Array:
        return self.share * rewards + (1.0 - self.share) * _mean_of_others(rewards)


@struct.dataclass
class Smoothed:
    """State of a game, and the players' smoothed rewards."""

    state: Any
    rewards: jax.Array
    """e_t = decay e_(t - 1) + r_t, `[N]`, of this episode."""


class InequityAversion(OtherRegarding):
    """Players dislike that others have more, and, less so, that they have more themselves.

    Player i learns from r_i - alpha / (N - 1) sum_j max(e_j - e_i, 0) - beta / (N - 1) sum_j max(e_i - e_j,
    0), where e are rewards that are smoothed over time, e_t = decay e_(t - 1) + r_t (Hughes et al. 2018,
    arxiv.org/abs/1803.08884, whose decay is the discount times the trace, .99 * .95).
    """

    def __init__(
        self, env: Environment, alpha: float = 5.0, beta: float = 0.05, decay: float = 0.9405
    ):
        """Wraps a game.

        Args:
            env: the game.
            alpha: of having less than others.
            beta: of having more than others.
            decay: of smoothed rewards per step, 0 to 1.
        """
        super().__init__(env)
        check_number("alpha", alpha, NOT_NEGATIVE, type(self).__name__)
        check_number("beta", beta, NOT_NEGATIVE, type(self).__name__)
        check_number("decay", decay, SHARE, type(self).__name__)
        self.alpha, self.beta, self.decay = alpha, beta, decay

    def reset(self, key: jax.Array, params: Any) -> tuple[tuple[Any, ...], Smoothed]:
        observations, state = self.env.reset(key, params)
        return observations, Smoothed(state, jnp.zeros(self.num_players))

    def transition(
        self, drawn: Any, state: Smoothed, actions: tuple[Any, ...], params: Any
    ) -> tuple[tuple[Any, ...], Smoothed, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        observations, inner, rewards, done, info = self.env.split_step()[1](
            drawn, state.state, actions, params
        )
        own = jnp.stack(rewards)
        smoothed = self.decay * state.rewards + own
        # `more[i, j]`: how much more j has than i.
        more = smoothed - smoothed[:, None]
        envy = jnp.maximum(more, 0.0).sum(axis=1)
        guilt = jnp.maximum(-more, 0.0).sum(axis=1)
        felt = own - (self.alpha * envy + self.beta * guilt) / (self.num_players - 1)
        if self.auto_resets:
            # What an episode has paid is nothing to the next one.
            smoothed = jnp.where(_is_over(info), 0.0, smoothed)
        return (
            observations,
            Smoothed(inner, smoothed),
            tuple(felt),
            done,
            {**info, OWN_REWARDS: rewards},
        )

    def render(self, state: Any, params: Any) -> np.ndarray:
        return self.env.render(state.state, params)

    def render_episode(self, states: Any, actions: tuple[Any, ...], params: Any) -> Any:
        return self.env.render_episode(states.state, actions, params)


REWARDS: dict[str, type[OtherRegarding]] = {
    "common": CommonReward,
    "social_value_orientation": SocialValueOrientation,
    "inequity_aversion": InequityAversion,
    "exchange": Exchange,
}
"""Other-regarding rewards, as the setting `rewards` of a config names them."""


def names_of_rewards() -> Sequence[str]:
    """Returns what the setting `rewards.type` may be."""
    return ("own", *REWARDS)


def _is_over(info: Mapping[str, Any]) -> jax.Array:
    """Returns whether an episode is over for all players, bool, by the info of a game that begins anew."""
    terminated, truncated = (
        jnp.stack(info[name]) if isinstance(info[name], tuple) else info[name]
        for name in ("terminated", "truncated")
    )
    return jnp.all(terminated | truncated)


def _mean_of_others(rewards: jax.Array) -> jax.Array:
    return (rewards.sum() - rewards) / (len(rewards) - 1)
