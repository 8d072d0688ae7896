"""The interface of every agent."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from pax.checks import Limit, check_instance, check_kind, check_limits, check_number
from pax.envs.environment import Environment
from pax.envs.spaces import Space
from pax.errors import ConfigError
from pax.types import MemoryState, Metrics, PyTree, Sample, TrainingState


@dataclasses.dataclass
class Agent:
    """Pure functions over explicit state, for a batch of B environments that share one policy.

    An agent defines `policy`, or in its place `act` and what it draws at random, `draw`; one that learns also
    `init` and `update`. All methods work under `jax.jit`, `jax.vmap` and `jax.lax.scan`. Fields of a subclass
    are its hyper-parameters: a config can set each of them.
    """

    observation_space: Space
    action_space: Space

    limits: ClassVar[Mapping[str, Limit]] = {}
    """The range of each numeric hyper-parameter, by name."""
    learns = False
    """Whether `update` changes anything."""
    hidden_size_in_memory = 0
    """Width H of the recurrent carry."""
    remembers_trial = False
    """Whether its memory lasts for a trial, which then needs several episodes."""
    learns_between_episodes = False
    """Whether it learns what to remember between episodes, for which it needs whole trials."""
    learns_within_episode = False
    """Whether its memory holds what it learned, so that others can shape it within one episode."""
    groups_environments = False
    """Whether environments that face the same opponent depend on each other: then `update` takes rollouts
    `[T, O, B]` and keeps those of one opponent together."""

    def __post_init__(self) -> None:
        """Checks the hyper-parameters; a subclass that checks more calls this first.

        Raises:
            ConfigError: if one is of another kind than its default, or beyond its limit.
        """
        name = type(self).__name__
        for space in ("observation_space", "action_space"):
            remedy = f"a space of pax.envs.spaces, or make the agent with {name}.for_env(env, seat)"
            check_instance(f"{space} of {name}", getattr(self, space), Space, remedy)
        check_limits(self, name)
        for field in dataclasses.fields(self):
            if field.init and field.name not in self.limits:
                check_kind(field.name, getattr(self, field.name), field.default, name)

    @classmethod
    def for_env(
        cls, env: Environment, seat: int = 0, env_params: Any = None, **hyperparameters: Any
    ) -> Agent:
        """Returns the agent for one seat (from 0) of a game; few agents read `env_params`, its parameters.

        Raises:
            ConfigError: if there is no such game, seat or hyper-parameter.
        """
        from pax.errors import nearest

        del env_params
        check_instance("env", env, Environment, "a game, such as IteratedMatrixGame()")
        check_number("seat", seat, Limit(0, env.num_players - 1, whole=True), type(env).__name__)
        known = [field.name for field in dataclasses.fields(cls) if field.init][2:]
        for name in hyperparameters:
            if name not in known:
                remedy = nearest(name, known) if known else "it has none"
                raise ConfigError(f"{name} is no setting of {cls.__name__}: {remedy}")
        return cls(env.observation_space(seat), env.action_space(seat), **hyperparameters)

    def wrong_game(self, games: str) -> ConfigError:
        """Returns the error of an agent that plays `games` only, and whose spaces are of another game."""
        return ConfigError(
            f"{type(self).__name__} plays {games} only, and this game has observations "
            f"{self.observation_space} and actions {self.action_space}: choose another agent for this seat"
        )

    def describe(self) -> dict[str, Any]:
        """Returns the class and hyper-parameters of the agent, as JSON values.

        A class that is not of Pax is named by its dotted path, `mygame.Copycat`.
        """
        cls = type(self)
        is_own = cls.__module__.partition(".")[0] != "pax"
        fields = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.init
        }
        spaces = {name: str(fields.pop(name)) for name in ("observation_space", "action_space")}
        plain = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in fields.items()
        }
        name = f"{cls.__module__}.{cls.__qualname__}" if is_own else cls.__name__
        return {"agent": name, **spaces, **plain}

    def initial_hidden(self, num_envs: int) -> jax.Array:
        """Returns the initial memory, `[num_envs, H]`."""
        return jnp.zeros((num_envs, self.hidden_size_in_memory))

    def make_initial_state(
        self, key: jax.Array, initial_hidden: jax.Array
    ) -> tuple[TrainingState, MemoryState]:
        """Makes a fresh agent; `initial_hidden` `[B, H]` is its first memory and sets the batch size."""
        return self.init(key), self.initial_memory(initial_hidden)

    def init(self, key: jax.Array) -> TrainingState:
        """Returns fresh parameters and optimiser state."""
        del key
        return TrainingState(params={}, opt_state=(), updates=jnp.int32(0))

    def initial_memory(self, initial_hidden: jax.Array) -> MemoryState:
        """Returns the memory before the first act."""
        batch = initial_hidden.shape[:-1]
        return MemoryState(
            hidden=initial_hidden,
            extras={"log_probs": jnp.zeros(batch), "values": jnp.zeros(batch)},
        )

    def draw(self, key: jax.Array, batch: tuple[int, ...]) -> PyTree:
        """Draws the random numbers of one `act` in a `batch` of games, `(B,)`; left alone, it is the key.

        The loop has all of an episode drawn before it starts: one large draw costs a fraction of many small
        ones.
        """
        del batch
        return key

    def act(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, drawn: PyTree
    ) -> tuple[jax.Array, MemoryState]:
        """Acts with the numbers that `draw` has drawn; returns what `policy` returns."""
        if type(self).policy is Agent.policy:
            raise NotImplementedError
        return self.policy(state, observations, memory, drawn)

    def policy(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, key: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        """Acts on `observations` `[B, ...]`; returns (actions `[B, ...]`, memory)."""
        drawn = self.draw(key, memory.hidden.shape[:-1])
        return self.act(state, observations, memory, drawn)

    def split_policy(self) -> tuple[Callable[..., PyTree], Callable[..., Any]]:
        """Returns the `draw` and the `act` that the loop calls.

        For a class that defines `policy` these are the key and that policy, whatever its base class.
        """
        if type(self).policy is Agent.policy:
            return self.draw, self.act
        return functools.partial(Agent.draw, self), self.policy

    def update(
        self,
        rollout: Sample,
        last_observations: PyTree,
        state: TrainingState,
        memory: MemoryState,
        key: jax.Array,
    ) -> tuple[TrainingState, MemoryState, Metrics]:
        """Learns from a rollout.

        Args:
            rollout: `[T, B, ...]`.
            last_observations: those after the last step, `[B, ...]`.
            state: the state to improve.
            memory: the memory after the last step.
            key: of the random numbers of the update.

        Returns:
            The new state, the memory, and named scalars.
        """
        del rollout, last_observations, key
        return state, memory, {}

    def reset_memory(
        self, memory: MemoryState, new_trial: bool = False, state: TrainingState | None = None
    ) -> MemoryState:
        """Returns the memory at the start of the next episode, or of the next trial if `new_trial`.

        Only agents whose memory between episodes has parameters (M-FOS) need `state`.
        """
        del new_trial, state
        return jax.tree.map(jnp.zeros_like, memory)

    def check_rollout(
        self, num_steps: int, num_envs: int, num_opps: int = 1, num_episodes: int = 1
    ) -> None:
        """Checks that `update` can take rollouts of this size.

        Args:
            num_steps: T, of all episodes together.
            num_envs: environments per opponent, side by side for each seat.
            num_opps: opponents, whose environments are side by side.
            num_episodes: episodes of the same trial, end to end.

        Raises:
            ConfigError: if it cannot.
        """
        del num_steps, num_envs, num_opps, num_episodes
