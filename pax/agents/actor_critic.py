"""A policy network with a value head, and the optimiser that all gradient agents share."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, get_args

import jax
import jax.numpy as jnp
import optax

from pax.agents.agent import Agent
from pax.agents.distributions import UNITS, Distribution, draw, make_distribution, num_outputs
from pax.agents.networks.actor_critic import MLP, HeadInit, Network, Table, Torso, is_image
from pax.agents.networks.own import check_network, own_network
from pax.agents.networks.recurrent import MEMORIES, MemoryNetwork
from pax.checks import (
    COUNT,
    COUNT_OR_NONE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    check_choice,
    check_number,
)
from pax.envs.masks import mask_of
from pax.envs.spaces import Dict, Discrete
from pax.errors import ConfigError
from pax.types import MemoryState, PyTree, TrainingState, take

MAX_TABULATED = 64
"""Number of distinct observations up to which a network is evaluated once for each, not per sample."""


@dataclasses.dataclass
class ActorCritic(Agent):
    """Acts by a network; a subclass adds how it learns.

    Raises:
        ConfigError: if a hyper-parameter is out of range or the network does not fit the spaces.
    """

    network: str = "mlp"
    """`mlp`, `table` (discrete observations), a memory of `pax.agents.networks.recurrent.MEMORIES`, or one of
    your own by its dotted path, `mynet.Wide`: a subclass of `pax.agents.networks.actor_critic.Network` or of
    `pax.agents.networks.memory.Memory`."""
    hidden_size: int = 16
    """Units of each layer or memory."""
    num_layers: int = 2
    """Layers of an `mlp`."""
    separate_critic: bool = False
    """Whether the value of an `mlp` has separate layers."""
    embed: bool = False
    """Whether a tanh layer comes before a memory."""
    symlog: bool = False
    """Whether observations x are transformed to sign(x) log(1 + |x|), for large numbers."""
    conv_channels: tuple[int, ...] = ()
    """Channels of the 3x3 convolutions that images go through first."""
    head_init: HeadInit = "constant"
    """`constant`, `orthogonal` or `zeros`: see `pax.agents.networks.actor_critic.Heads`."""
    action_scale: float = 1.0
    """Unit of continuous actions without bounds: policies start from a standard deviation of .7 of it."""
    discount: float = 0.96
    """Factor of rewards per step into the future."""
    optimizer: str = "adam"
    """`adam` or `sgd`."""
    learning_rate: float = 0.01
    """Initial learning rate of the optimiser."""
    learning_rate_horizon: int = 0
    """Optimiser steps over which the learning rate falls linearly to 0; 0 keeps it constant."""
    max_gradient_norm: float = 0.5
    """Norm that longer gradients are scaled down to."""
    adam_epsilon: float = 1e-5
    """Constant that Adam adds to the denominator, for numerical stability."""

    limits: ClassVar = {
        "hidden_size": COUNT,
        "num_layers": COUNT,
        "action_scale": UNITS,
        "discount": SHARE,
        "learning_rate": NOT_NEGATIVE,
        "learning_rate_horizon": COUNT_OR_NONE,
        "max_gradient_norm": POSITIVE,
        "adam_epsilon": NOT_NEGATIVE,
    }
    learns = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_settings()
        torso = Torso(
            self.observation_space,
            self.hidden_size,
            tuple(self.conv_channels),
            self.embed,
            self.symlog,
        )
        try:
            self._module = self.make_module(torso, num_outputs(self.action_space))
        except ConfigError as e:
            raise ConfigError(f"{type(self).__name__}: {e}") from e

        def make_optimiser(learning_rate: float) -> optax.GradientTransformation:
            steps = [optax.clip_by_global_norm(self.max_gradient_norm)]
            if self.optimizer == "adam":
                steps.append(optax.scale_by_adam(eps=self.adam_epsilon))
            if self.learning_rate_horizon:
                steps.append(
                    optax.scale_by_schedule(
                        optax.linear_schedule(1.0, 0.0, self.learning_rate_horizon)
                    )
                )
            return optax.chain(*steps, optax.scale_by_learning_rate(learning_rate))

        # Injected, so that a task may draw it: opt_state.hyperparams["learning_rate"].
        self._optimiser = optax.inject_hyperparams(make_optimiser)(learning_rate=self.learning_rate)

    def _check_settings(self) -> None:
        name = type(self).__name__
        check_network(self.network, ("mlp", "table", *MEMORIES), name)
        choices = {
            "head_init": get_args(HeadInit),
            "optimizer": ("adam", "sgd"),
        }
        for field, known in choices.items():
            check_choice(field, getattr(self, field), known, name)
        for channels in self.conv_channels:
            check_number("conv_channels", channels, COUNT, name)
        if self.network == "table" and not (
            isinstance(self.observation_space, Discrete) and isinstance(self.action_space, Discrete)
        ):
            raise ConfigError(
                f"{name} keeps a table and needs discrete observations and actions, and this game has "
                f"observations {self.observation_space} and actions {self.action_space}: choose another "
                "form of observation, or another network"
            )
        space = self.observation_space
        images = (
            [is_image(part) for _, part in space.parts]
            if isinstance(space, Dict)
            else [is_image(space)]
        )
        if self.conv_channels and not any(images):
            raise ConfigError(
                f"conv_channels is {self.conv_channels} in {name}, and this game shows no image: use ()"
            )

    def make_module(self, torso: Torso, num_outputs: int) -> Network:
        """Makes the network, whose outputs describe a distribution over actions."""
        if self.network == "table":
            assert isinstance(self.observation_space, Discrete)
            return Table(self.observation_space.n, num_outputs)
        settings: dict[str, Any] = {
            "torso": torso,
            "num_outputs": num_outputs,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "separate_critic": self.separate_critic,
            "head_init": self.head_init,
        }
        if self.network == "mlp":
            return MLP(**settings)
        if "." in self.network and (own := own_network(self.network, **settings)) is not None:
            return own
        return MemoryNetwork(torso, num_outputs, self.hidden_size, self.network, self.head_init)

    def reset_memory(
        self, memory: MemoryState, new_trial: bool = False, state: TrainingState | None = None
    ) -> MemoryState:
        if not self.recurrent:
            return super().reset_memory(memory)
        if new_trial:
            fresh = jnp.broadcast_to(self._module.initial_hidden(), memory.hidden.shape)
            return self.initial_memory(fresh)
        # Some networks have parameters for it.
        params = {} if state is None else state.params
        hidden = self._apply(params, memory.hidden, method="between_episodes")
        return self.initial_memory(hidden)

    @property
    def recurrent(self) -> bool:
        """Whether the network has a memory."""
        return self._module.recurrent

    @property
    def groups_environments(self) -> bool:  # type: ignore[override]
        return self._module.groups_environments

    @property
    def hidden_size_in_memory(self) -> int:  # type: ignore[override]
        return self._module.initial_hidden().size

    def initial_hidden(self, num_envs: int) -> jax.Array:
        fresh = self._module.initial_hidden()
        return jnp.broadcast_to(fresh, (num_envs, *fresh.shape))

    def init(self, key: jax.Array) -> TrainingState:
        observations = self.observation_space.zeros(1)
        inputs = (self.initial_hidden(1), observations) if self.recurrent else (observations,)
        params = self._module.init(key, *inputs)["params"]
        return TrainingState(params, self._optimiser.init(params), jnp.int32(0))

    def forward(
        self, params: PyTree, hidden: jax.Array, observations: PyTree
    ) -> tuple[jax.Array, Distribution, jax.Array]:
        """Runs one step of the network: (hidden `[B, H]`, distribution `[B]`, values `[B]`)."""
        if self.recurrent:
            hidden, (outputs, values) = self._apply(params, hidden, observations)
            return hidden, self._distribution(outputs, observations), values
        space = self.observation_space
        if not isinstance(space, Discrete) or space.n > MAX_TABULATED:
            outputs, values = self._apply(params, observations)
            return hidden, self._distribution(outputs, observations), values
        # One evaluation per distinct observation instead of one per sample.
        everything = jnp.arange(space.n)
        outputs, values = self._apply(params, everything)
        table = (self._distribution(outputs, everything), values)
        distribution, values = take(table, observations)
        return hidden, distribution, values

    def _distribution(self, outputs: jax.Array, observations: PyTree) -> Distribution:
        mask = mask_of(self.observation_space, observations)
        return make_distribution(outputs, self.action_space, self.action_scale, mask)

    def _apply(self, params: PyTree, *inputs: PyTree, method: Any = None) -> Any:
        return self._module.apply({"params": params}, *inputs, method=method)

    def unroll(
        self, params: PyTree, hidden: jax.Array, observations: PyTree, dones: jax.Array
    ) -> tuple[Distribution, jax.Array]:
        """Runs the network over `[L, B, ...]`, from `hidden` `[B, H]`; a new episode begins where `dones`."""
        if not self.recurrent:
            return self.forward(params, hidden, observations)[1:]

        outputs, values = self._apply(params, hidden, observations, dones, method="unroll")
        return self._distribution(outputs, observations), values

    def draw(self, key: jax.Array, batch: tuple[int, ...]) -> jax.Array:
        return draw(key, self.action_space, batch)

    def act(
        self, state: TrainingState, observations: PyTree, memory: MemoryState, drawn: jax.Array
    ) -> tuple[jax.Array, MemoryState]:
        hidden, distribution, values = self.forward(state.params, memory.hidden, observations)
        actions = distribution.transform(drawn)
        extras = {"log_probs": distribution.log_prob(actions), "values": values}
        return actions, MemoryState(hidden, extras)

    def apply_gradients(
        self, gradients: PyTree, params: PyTree, opt_state: PyTree
    ) -> tuple[PyTree, PyTree]:
        """Takes one optimiser step; returns (params, opt_state)."""
        updates, opt_state = self._optimiser.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state
