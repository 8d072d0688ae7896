"""A policy network with a value head, and the optimiser that all gradient agents share."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from pax.agents.agent import Agent
from pax.agents.distributions import Categorical
from pax.agents.networks import GRU, MLP, Table
from pax.envs.spaces import Discrete
from pax.errors import ConfigError
from pax.types import MemoryState, PyTree, TrainingState

Network = Literal["mlp", "table", "gru"]


@dataclasses.dataclass
class ActorCritic(Agent):
    """Acts by a network; a subclass adds how it learns.

    Raises:
        ConfigError: if a hyper-parameter is out of range or the network does not fit the spaces.
    """

    network: Network = "mlp"
    """`mlp`, `table` (discrete observations) or `gru` (recurrent)."""
    hidden_size: int = 16
    discount: float = 0.96
    learning_rate: float = 0.01
    learning_rate_horizon: int = 0
    """Optimiser steps over which the learning rate falls linearly to 0; 0 keeps it constant."""
    max_gradient_norm: float = 0.5
    adam_epsilon: float = 1e-5

    learns = True

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not isinstance(self.action_space, Discrete):
            raise ConfigError(
                f"{name} needs discrete actions, and this game has {self.action_space}"
            )
        if self.network not in get_args(Network):
            raise ConfigError(
                f"network is {self.network!r} in {name}: choose one of {', '.join(get_args(Network))}"
            )
        if self.hidden_size < 1:
            raise ConfigError(f"hidden_size is {self.hidden_size} in {name}: give at least 1")
        self._module = self.make_module(self.action_space)
        for field in ("discount",):
            if not 0.0 <= getattr(self, field) <= 1.0:
                raise ConfigError(f"{field} is {getattr(self, field)} in {name}: give 0 to 1")

        def make_optimiser(learning_rate: float) -> optax.GradientTransformation:
            steps = [
                optax.clip_by_global_norm(self.max_gradient_norm),
                optax.scale_by_adam(eps=self.adam_epsilon),
            ]
            if self.learning_rate_horizon:
                steps.append(
                    optax.scale_by_schedule(
                        optax.linear_schedule(1.0, 0.0, self.learning_rate_horizon)
                    )
                )
            return optax.chain(*steps, optax.scale_by_learning_rate(learning_rate))

        # Injected, so that a task may draw it: opt_state.hyperparams["learning_rate"].
        self._optimiser = optax.inject_hyperparams(make_optimiser)(learning_rate=self.learning_rate)

    def make_module(self, action_space: Discrete) -> nn.Module:
        """The network."""
        if self.network == "table":
            if not isinstance(self.observation_space, Discrete):
                raise ConfigError(
                    f"{type(self).__name__} keeps a table and needs discrete observations, and this game "
                    f"has {self.observation_space}: set one_hot=False, or use another network"
                )
            return Table(self.observation_space.n, action_space.n)
        module = {"mlp": MLP, "gru": GRU}[self.network]
        return module(self.observation_space, action_space.n, self.hidden_size)

    def between_episodes(self, params: PyTree, hidden: jax.Array) -> jax.Array:
        """What is left of the memory `[..., H]` when the next episode of a trial begins: nothing."""
        del params
        return jnp.zeros_like(hidden)

    def reset_memory(
        self, memory: MemoryState, new_trial: bool = False, state: TrainingState | None = None
    ) -> MemoryState:
        if not self.recurrent:
            return super().reset_memory(memory)
        if new_trial:
            fresh = self.initial_hidden(1)[0]
            return self.initial_memory(jnp.broadcast_to(fresh, memory.hidden.shape))
        params = None if state is None else state.params
        return self.initial_memory(self.between_episodes(params, memory.hidden))

    @property
    def recurrent(self) -> bool:
        return self.network == "gru"

    @property
    def hidden_size_in_memory(self) -> int:  # type: ignore[override]
        return self.hidden_size if self.recurrent else 0

    def init(self, key: jax.Array) -> TrainingState:
        observations = self.observation_space.zeros(1)
        inputs = (self.initial_hidden(1), observations) if self.recurrent else (observations,)
        params = self._module.init(key, *inputs)["params"]
        return TrainingState(params, self._optimiser.init(params), jnp.int32(0))

    def forward(
        self, params: PyTree, hidden: jax.Array, observations: PyTree
    ) -> tuple[jax.Array, Categorical, jax.Array]:
        """One step of the network: (hidden `[B, H]`, distribution `[B]`, values `[B]`)."""
        if self.recurrent:
            hidden, (logits, values) = self._apply(params, hidden, observations)
            return hidden, Categorical.from_logits(logits), values
        space = self.observation_space
        if not isinstance(space, Discrete):
            logits, values = self._apply(params, observations)
            return hidden, Categorical.from_logits(logits), values
        # One evaluation per distinct observation instead of one per sample.
        logits, values = self._apply(params, jnp.arange(space.n))
        table = (Categorical.from_logits(logits), values)
        distribution, values = jax.tree.map(lambda leaf: leaf[observations], table)
        return hidden, distribution, values

    def _apply(self, params: PyTree, *inputs: PyTree, method: Any = None) -> Any:
        return self._module.apply({"params": params}, *inputs, method=method)

    def unroll(
        self, params: PyTree, hidden: jax.Array, observations: PyTree, dones: jax.Array
    ) -> tuple[Categorical, jax.Array]:
        """The network over `[L, B, ...]`, from `hidden` `[B, H]`; a new episode begins where `dones`."""
        if not self.recurrent:
            return self.forward(params, hidden, observations)[1:]

        def step(hidden: jax.Array, inputs: tuple[PyTree, jax.Array]) -> Any:
            observation, done = inputs
            hidden, distribution, value = self.forward(params, hidden, observation)
            after = self.between_episodes(params, hidden)
            return jnp.where(done[..., None], after, hidden), (distribution, value)

        return jax.lax.scan(step, hidden, (observations, dones))[1]

    def policy(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, key: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        hidden, distribution, values = self.forward(state.params, memory.hidden, observations)
        actions = distribution.sample(key)
        extras = {"log_probs": distribution.log_prob(actions), "values": values}
        return actions, MemoryState(hidden, extras)

    def apply_gradients(
        self, gradients: PyTree, params: PyTree, opt_state: PyTree
    ) -> tuple[PyTree, PyTree]:
        """One optimiser step; returns (params, opt_state)."""
        updates, opt_state = self._optimiser.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state
