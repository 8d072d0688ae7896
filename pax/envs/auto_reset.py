"""The base of adapters of other libraries' environments: episodes within a rollout, spaces, types."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from pax.envs.common import per_player
from pax.envs.environment import Environment
from pax.envs.spaces import Box, Discrete, Space
from pax.errors import ConfigError

UNBOUNDED = 1e30
MAX_DRAWN = 64
"""Size of observations and state up to which starts are drawn ahead, one for every step of a rollout."""


@struct.dataclass
class StepDraw:
    """Random numbers of a step."""

    key: jax.Array
    """For the step itself."""
    reset_key: jax.Array
    """For the episode that begins if this one is over."""
    start: tuple[tuple[Any, ...], Any] | None
    """That episode, as returned by `reset`; None if it is too large to be drawn ahead."""

    def unless(
        self,
        over: jax.Array,
        observations: tuple[Any, ...],
        state: Any,
        reset: Callable[[jax.Array], tuple[tuple[Any, ...], Any]],
    ) -> tuple[Any, Any]:
        """Returns (observations, state), or those of the start if the episode is `over`."""
        first, fresh = reset(self.reset_key) if self.start is None else self.start
        return jax.tree.map(
            lambda new, old: jnp.where(over, new, old), (first, fresh.inner), (observations, state)
        )


@struct.dataclass
class EpisodeTotals:
    """Sums over the current episode."""

    returns: jax.Array
    """By player, `[num_players]`."""
    length: jax.Array
    """Steps, int32."""

    @classmethod
    def zeros(cls, num_players: int) -> EpisodeTotals:
        """Returns the totals of an episode before its first step."""
        return cls(jnp.zeros(num_players), jnp.int32(0))

    def add(
        self, rewards: tuple[jax.Array, ...], over: jax.Array
    ) -> tuple[EpisodeTotals, dict[str, jax.Array]]:
        """Adds one step; returns the totals, reset if the episode is `over`, and those that ended with it."""
        returns, length = self.returns + jnp.stack(rewards), self.length + 1
        ended = {
            "episodes": over.astype(jnp.int32),
            "episode_returns": jnp.where(over, returns, 0.0),
            "episode_lengths": jnp.where(over, length, 0),
        }
        after = EpisodeTotals(jnp.where(over, 0.0, returns), jnp.where(over, 0, length))
        return after, ended


@struct.dataclass
class EnvState:
    """State of the other environment, and progress of rollout and episode."""

    inner: Any
    """The state of the other library."""
    episode: EpisodeTotals
    inner_t: jax.Array
    """Steps played in this rollout, int32."""


class Adapter(Environment):
    """A game of another library, by its name.

    An episode that ends before the rollout is followed by another at once; `num_inner_steps` is the length of
    the rollout.
    """

    auto_resets = True

    def draw(self, key: jax.Array, params: Any) -> StepDraw:
        key, reset_key = jax.random.split(key)
        sizes = [leaf.size for leaf in jax.tree.leaves(jax.eval_shape(self.reset, key, params))]
        start = self.reset(reset_key, params) if sum(sizes) <= MAX_DRAWN else None
        return StepDraw(key, reset_key, start)

    def _outcome(
        self,
        state: EnvState,
        seen: tuple[tuple[Any, ...], Any],
        rewards: tuple[jax.Array, ...],
        ends: tuple[jax.Array, jax.Array],
        final: tuple[Any, ...],
        own_ends: tuple[jax.Array, ...] | None = None,
        counted: tuple[jax.Array, ...] | None = None,
    ) -> tuple[tuple[Any, ...], EnvState, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        """Returns the outputs of `transition`.

        Args:
            state: before the step.
            seen: observations and the other library's state from which the next step is played.
            rewards: by player, float32.
            ends: whether the episode has terminated, and whether it was truncated, bool.
            final: observations after the step, before a reset.
            own_ends: by player, whether it is over for them, though the episode may go on for others; None:
                it is over for all at once.
            counted: by player, what counts for the returns of episodes; None: the rewards.
        """
        observations, inner = seen
        terminated, truncated = ends
        counted = rewards if counted is None else counted
        episode, finished = state.episode.add(counted, terminated | truncated)
        inner_t = state.inner_t + 1
        info = {
            "terminated": terminated if own_ends is None else own_ends,
            "truncated": truncated,
            "final_observations": final,
            **finished,
        }
        state = EnvState(inner, episode, inner_t)
        return observations, state, rewards, inner_t >= self.num_inner_steps, info

    def episode_statistics(
        self, observations: tuple[Any, ...], actions: tuple[Any, ...], infos: dict[str, Any]
    ) -> dict[str, jax.Array]:
        """Returns sums over `[T, E]` of what `EpisodeTotals.add` reports."""
        del observations, actions
        names = ("episodes", "episode_returns", "episode_lengths")
        return {name: infos[name].sum(axis=(0, 1)) for name in names}

    def statistics_metrics(self, statistics: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Returns means over the episodes that ended: NaN if none did."""
        episodes = statistics["episodes"].astype(jnp.float32)
        returns = statistics["episode_returns"] / episodes
        metrics = {
            "episodes": episodes,
            "episode_length": statistics["episode_lengths"] / episodes,
        }
        if self.num_players == 1:
            return metrics | {"episode_return": returns[0]}
        return metrics | per_player("episode_return", returns)


def to_space(space: Any, name: str) -> Discrete | Box:
    """Converts a space of another library, whose classes are also called Discrete and Box.

    Raises:
        ConfigError: if it is neither.
    """
    if hasattr(space, "n"):
        return Discrete(int(space.n))
    if hasattr(space, "low") and hasattr(space, "high"):
        # The shortest digits of a float32, not those of the double next to it.
        low, high = (
            np.array([float(str(number)) for number in np.asarray(bound, np.float32).flat]).reshape(
                np.shape(bound)
            )
            for bound in (space.low, space.high)
        )
        # Others write the largest float32 where there is no bound.
        return Box(
            tuple(space.shape),
            np.where(low > -UNBOUNDED, low, -math.inf),
            np.where(high < UNBOUNDED, high, math.inf),
        )
    raise ConfigError(f"{name} has a {type(space).__name__} space, and Pax plays Discrete and Box")


def to_action_space(space: Any, name: str) -> Discrete | Box:
    """Returns the space of actions of another library, which a policy can draw from.

    Raises:
        ConfigError: if it is neither, or if only whole numbers of a Box are actions.
    """
    converted = to_space(space, name)
    if isinstance(converted, Box) and not jnp.issubdtype(space.dtype, jnp.floating):
        raise ConfigError(
            f"{name} takes whole numbers of a Box {converted.shape} as actions, and Pax plays Discrete ones "
            "and Boxes of real numbers"
        )
    return converted


def clip_actions(actions: tuple[Any, ...], spaces: Sequence[Space]) -> tuple[Any, ...]:
    """Clips actions to their spaces, which not every library does wherever it uses them."""
    return tuple(
        space.clip(action) if isinstance(space, Box) else action
        for action, space in zip(actions, spaces, strict=True)
    )


def fixed_types(tree: Any) -> Any:
    """Returns numbers as int32, float32 or bool arrays, so that a scan sees the same types at every step."""

    def fix(leaf: Any) -> Any:
        leaf = jnp.asarray(leaf)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) or leaf.dtype == jnp.bool_:
            return leaf
        kind = jnp.float32 if jnp.issubdtype(leaf.dtype, jnp.floating) else jnp.int32
        return jax.lax.convert_element_type(leaf, kind)

    return jax.tree.map(fix, tree)


def strong_types(tree: Any) -> Any:
    """Returns every leaf with its type fixed (not weak), so that no later step may widen it."""
    return jax.tree.map(
        lambda leaf: jax.lax.convert_element_type(leaf, jnp.asarray(leaf).dtype), tree
    )
