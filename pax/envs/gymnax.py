"""Single-agent environments of gymnax (Lange 2022, github.com/RobertTLange/gymnax)."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pax.checks import check_mapping
from pax.envs.auto_reset import (
    Adapter,
    EnvState,
    EpisodeTotals,
    StepDraw,
    clip_actions,
    fixed_types,
    to_action_space,
    to_space,
)
from pax.envs.common import check_steps
from pax.envs.constructors import changed_settings, instead_of, plain_settings
from pax.envs.environment import Environment
from pax.envs.spaces import Box, Discrete, Space
from pax.errors import ConfigError, nearest


@functools.cache
def _constructor(name: str) -> type:
    """Returns the class of an environment of gymnax, by name."""
    import gymnax

    known = gymnax.registered_envs
    if name not in known:
        raise ConfigError(f"name is {name!r}, which gymnax does not have: {nearest(name, known)}")
    try:
        return type(gymnax.make(name)[0])
    except OSError as e:
        raise ConfigError(f"name is {name!r}, whose data cannot be fetched: {e}") from e


class Gymnax(Adapter):
    """Any environment of gymnax, by name, for one player. Parameters are those of gymnax.

    Raises:
        ConfigError: if gymnax has none of that name, or its data cannot be fetched.
    """

    num_players = 1

    def __init__(
        self,
        name: str = "CartPole-v1",
        num_inner_steps: int = 500,
        settings: Mapping[str, Any] | None = None,
    ):
        """Makes the game.

        Args:
            num_inner_steps: steps of a rollout: an episode that ends earlier is followed by another one.
            name: of the environment in gymnax.
            settings: what its constructor takes, by name, such as `{"is_slippery": False}`.
        """
        # Imported late, as it takes a second.
        import gymnax

        check_steps(num_inner_steps)
        settings = {} if settings is None else settings
        check_mapping("settings", settings, f"a dict of what {name} of gymnax takes")
        changed = changed_settings(_constructor(name), f"{name} of gymnax", settings)
        self.name = name
        self.num_inner_steps = num_inner_steps
        try:
            self._env, params = gymnax.make(name, **changed)
            if changed:
                # Some take anything, and fail as they are played.
                jax.eval_shape(self._env.reset_env, jax.random.key(0), params)
        except OSError as e:
            raise ConfigError(f"name is {name!r}, whose data cannot be fetched: {e}") from e
        except Exception as e:
            # Each environment refuses in its own way what it cannot be made of.
            raise ConfigError(f"gymnax cannot make {name} with {changed}: {e}") from e
        self._params = params
        self._spaces = self._spaces_for(params)

    @classmethod
    def subsections(cls, settings: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        return {"settings": plain_settings(_constructor(settings["name"]))}

    def make_params(self, **settings: Any) -> Any:
        known = self.param_settings()
        for key, value in settings.items():
            if key not in known:
                raise ConfigError(f"{key} is no parameter of {self.name}: {instead_of(key, known)}")
            shape, is_flag = np.shape(known[key]), isinstance(known[key], bool)
            kinds = "b" if is_flag else "iuf"
            if np.shape(value) != shape or np.asarray(value).dtype.kind not in kinds:
                what = (
                    "true or false" if is_flag else f"{shape[0]} numbers" if shape else "a number"
                )
                raise ConfigError(f"{key} is {value!r}: give {what}")
        settings = {
            key: jnp.asarray(value, vars(self._params)[key].dtype) if np.shape(value) else value
            for key, value in settings.items()
        }
        return fixed_types(self._params.replace(**settings))

    def param_settings(self) -> dict[str, Any]:
        return {
            key: tuple(np.asarray(value).tolist()) if np.shape(value) else value
            for key, value in vars(self._params).items()
        }

    def check_params(self, params: Any) -> None:
        if self._spaces_for(params)[1] != self.action_space(0):
            raise ConfigError(
                f"with these parameters, actions of {self.name} are {self._spaces_for(params)[1]}, and those "
                f"of this game are {self.action_space(0)}: make agents and trainer for env.for_params(params)"
            )

    def for_params(self, params: Any) -> Environment:
        other = copy.copy(self)
        other._spaces = self._spaces_for(params)
        return other

    def _spaces_for(self, params: Any) -> tuple[Discrete | Box, Discrete | Box]:
        """Returns the spaces of observations and actions, whose bounds may be parameters."""
        observations, actions = self._env.observation_space(params), self._env.action_space(params)
        return to_space(observations, self.name), to_action_space(actions, self.name)

    def reset(self, key: jax.Array, params: Any) -> tuple[tuple[Any, ...], EnvState]:
        observation, inner = self._env.reset_env(key, params)
        state = EnvState(fixed_types(inner), EpisodeTotals.zeros(1), jnp.int32(0))
        return (self._observation(observation),), state

    def transition(
        self, drawn: StepDraw, state: EnvState, actions: tuple[Any, ...], params: Any
    ) -> tuple[tuple[Any, ...], EnvState, tuple[jax.Array, ...], jax.Array, dict[str, Any]]:
        observation, inner, reward, terminated, _ = self._env.step_env(
            drawn.key, state.inner, clip_actions(actions, self._spaces[1:])[0], params
        )
        truncated = self._env.is_truncated(inner, params)
        reward = jnp.asarray(reward, jnp.float32)
        terminated, truncated = (jnp.asarray(end, bool) for end in (terminated, truncated))
        over = terminated | truncated
        final = (self._observation(observation),)
        observations, inner = drawn.unless(
            over, final, fixed_types(inner), lambda key: self.reset(key, params)
        )
        ends = (terminated, truncated)
        return self._outcome(state, (observations, inner), (reward,), ends, final)

    def _observation(self, observation: Any) -> jax.Array:
        return jnp.asarray(observation, self._spaces[0].dtype)

    def observation_space(self, player: int) -> Space:
        del player
        return self._spaces[0]

    def action_space(self, player: int) -> Space:
        del player
        return self._spaces[1]
