"""Policy networks without memory, and the parts that they share with those that have one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from pax.agents.networks.initializers import orthogonal
from pax.envs.masks import MASK
from pax.envs.spaces import Box, Cells, Dict, Discrete, Space
from pax.types import PyTree

HeadInit = Literal["constant", "orthogonal", "zeros"]
HEAD_INITS = {
    "constant": (nn.initializers.constant(0.5), nn.initializers.constant(0.5)),
    "orthogonal": (orthogonal(0.01), orthogonal(1.0)),
    "zeros": (nn.initializers.zeros, nn.initializers.zeros),
}
"""Initial kernels of the policy's and the value's head."""
Outputs = tuple[jax.Array, jax.Array]


def encode(observations: PyTree, space: Space) -> jax.Array:
    """Returns observations as float32 vectors `[..., D]`: one-hot if discrete, else flattened and joined."""
    if isinstance(space, Dict):
        return jnp.concatenate(
            [encode(observations[name], part) for name, part in space.parts], axis=-1
        )
    if isinstance(space, Discrete):
        return jax.nn.one_hot(observations, space.n)
    if isinstance(space, Cells):
        observations = jax.nn.one_hot(observations, space.n)
        return observations.reshape(*observations.shape[: -len(space.shape) - 1], -1)
    return observations.reshape(*observations.shape[: observations.ndim - len(space.shape)], -1)


def is_image(space: Space) -> bool:
    """Returns whether observations are `[height, width, channels]`, or cells `[height, width]`."""
    if isinstance(space, Cells):
        return len(space.shape) == 2
    return isinstance(space, Box) and len(space.shape) == 3


class Convolutions(nn.Module):
    """Layers of 3x3 convolutions and relu over `[..., H, W, C]`.

    Without padding where there is room for that, padded with zeros on smaller grids. Written as products of
    patches and kernels: those of many policies side by side are then one batched matrix product, where a
    convolution would be one group per policy, which is slow.
    """

    channels: Sequence[int]

    @nn.compact
    def __call__(self, image: jax.Array) -> jax.Array:
        for channels in self.channels:
            if min(image.shape[-3:-1]) < 5:
                margin = [(0, 0)] * (image.ndim - 3) + [(1, 1), (1, 1), (0, 0)]
                image = jnp.pad(image, margin)
            height, width = (size - 2 for size in image.shape[-3:-1])
            patches = [
                image[..., dy : dy + height, dx : dx + width, :]
                for dy in range(3)
                for dx in range(3)
            ]
            image = nn.relu(nn.Dense(channels)(jnp.concatenate(patches, axis=-1)))
        return image


class Torso(nn.Module):
    """Computes the features `[..., D]` of an observation that a policy reads.

    With `conv_channels`, images go through convolutions; with `symlog`, large numbers become small,
    sign(x) log(1 + |x|) (Hafner et al. 2023, arxiv.org/abs/2301.04104); with `embed`, all of it goes through
    a tanh layer. A mask of legal actions is no feature, unless there is nothing else to see.
    """

    observation_space: Space
    hidden_size: int
    conv_channels: Sequence[int] = ()
    embed: bool = False
    symlog: bool = False

    @nn.compact
    def __call__(self, observations: PyTree) -> jax.Array:
        space = self.observation_space
        parts = space.parts if isinstance(space, Dict) else (("", space),)
        features = []
        for name, part in parts:
            if name == MASK and len(parts) > 1:
                continue
            value = observations[name] if name else observations
            if is_image(part) and self.conv_channels:
                if isinstance(part, Cells):
                    value = jax.nn.one_hot(value, part.n)
                maps = Convolutions(self.conv_channels)(value)
                features.append(maps.reshape(*maps.shape[:-3], -1))
            else:
                features.append(encode(value, part))
        joined = features[0] if len(features) == 1 else jnp.concatenate(features, axis=-1)
        if self.symlog:
            # Right to 1e-7, in a third of the time of log1p.
            joined = jnp.sign(joined) * jnp.log(1.0 + jnp.abs(joined))
        if self.embed:
            joined = nn.tanh(
                nn.Dense(self.hidden_size, kernel_init=orthogonal(jnp.sqrt(2)))(joined)
            )
        return joined


class Heads(nn.Module):
    """Maps features linearly to the outputs of the policy `[..., A]` and a value `[...]`.

    All actions are equally likely at first with `constant` and `zeros`, and nearly so with `orthogonal`.
    """

    num_outputs: int
    head_init: HeadInit = "constant"

    @nn.compact
    def __call__(self, features: jax.Array, critic_features: jax.Array | None = None) -> Outputs:
        policy, value = HEAD_INITS[self.head_init]
        critic_features = features if critic_features is None else critic_features
        outputs = nn.Dense(self.num_outputs, kernel_init=policy, name="policy")(features)
        values = nn.Dense(1, kernel_init=value, name="value")(critic_features)
        return outputs, values[..., 0]


class Network(nn.Module):
    """Maps observations `[..., *observation]` to a policy `[..., A]` and a value `[...]`."""

    recurrent = False
    """Whether it has a memory: see `pax.agents.networks.recurrent.Recurrent`."""
    groups_environments = False
    """Whether its memory is mixed over environments that face the same opponent."""

    def initial_hidden(self) -> jax.Array:
        """Returns the initial memory `[M]`; M is 0 for a network without one."""
        return jnp.zeros(0)


class Table(Network):
    """A row of logits and a value for every possible (discrete) observation, all zero at first."""

    num_observations: int
    num_outputs: int

    @nn.compact
    def __call__(self, observations: jax.Array) -> Outputs:
        table = self.param(
            "table", nn.initializers.zeros, (self.num_observations, self.num_outputs + 1)
        )
        rows = table[observations]
        return rows[..., :-1], rows[..., -1]


class MLP(Network):
    """Tanh layers, shared by policy and value, or separate for each."""

    torso: Torso
    num_outputs: int
    hidden_size: int
    num_layers: int = 2
    separate_critic: bool = False
    head_init: HeadInit = "constant"

    @nn.compact
    def __call__(self, observations: PyTree) -> Outputs:
        features = self.torso(observations)
        stacks = [features] * (2 if self.separate_critic else 1)
        for index, stack in enumerate(stacks):
            for _ in range(self.num_layers):
                stack = nn.tanh(
                    nn.Dense(self.hidden_size, kernel_init=orthogonal(jnp.sqrt(2)))(stack)
                )
            stacks[index] = stack
        return Heads(self.num_outputs, self.head_init)(stacks[0], stacks[-1])
