"""Networks whose memory outlives an episode: the shaper's and that of M-FOS."""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from pax.agents.networks import CONSTANT_HALF, Heads, encode
from pax.envs.spaces import Space

Context = Literal["none", "avg", "att"]
Outputs = tuple[jax.Array, jax.Array]


class ContextGRU(nn.Module):
    """A GRU whose state is mixed with those of the other environments before every step.

    All environments along the last batch axis face the same opponent, so each tells something about it.
    `avg`: h <- h / 2 + mean_envs(h) / 2. `att`: h <- h / 2 + LayerNorm(h + attention_envs(h)) / 2 with one
    head of scaled dot products. `none`: each environment for itself. (Khan et al. 2024, Scaling Opponent
    Shaping to High Dimensional Games, arxiv.org/abs/2312.12568.)
    """

    observation_space: Space
    num_actions: int
    hidden_size: int
    context: Context = "none"

    @nn.compact
    def __call__(self, hidden: jax.Array, observations: jax.Array) -> tuple[jax.Array, Outputs]:
        """`hidden` `[..., E, H]`, `observations` `[..., E, ...]`."""
        if self.context == "avg":
            hidden = (hidden + hidden.mean(axis=-2, keepdims=True)) / 2
        elif self.context == "att":
            query, key, value = (
                nn.Dense(self.hidden_size, name=name)(hidden) for name in ("query", "key", "value")
            )
            scores = jnp.einsum("...ih,...jh->...ij", query, key) / jnp.sqrt(self.hidden_size)
            attended = jnp.einsum("...ij,...jh->...ih", nn.softmax(scores), value)
            hidden = (hidden + nn.LayerNorm()(hidden + attended)) / 2
        features = encode(observations, self.observation_space)
        hidden, outputs = nn.GRUCell(self.hidden_size)(hidden, features)
        return hidden, Heads(self.num_actions)(outputs)


class MFOSNetwork(nn.Module):
    """Three GRUs: actor, critic, and a meta-policy that sets theta once per episode.

    logits = W_a (theta * h_actor), value = W_c (theta * h_critic), and at the end of an episode
    theta <- sigmoid(W_m h_meta) while the three states are zeroed, so that only theta carries information
    from one episode to the next. (Lu et al. 2022, Model-Free Opponent Shaping, arxiv.org/abs/2205.01447.)
    The carry is h_actor, h_critic, h_meta and theta side by side, `[..., 4 H]`.
    """

    observation_space: Space
    num_actions: int
    hidden_size: int

    def setup(self) -> None:
        names = ("actor", "critic", "meta")
        self.embeddings = [nn.Dense(self.hidden_size, name=f"{name}_embedding") for name in names]
        self.cells = [nn.GRUCell(self.hidden_size, name=f"{name}_gru") for name in names]
        self.policy = nn.Dense(self.num_actions, kernel_init=CONSTANT_HALF)
        self.value = nn.Dense(1, kernel_init=CONSTANT_HALF)
        self.theta = nn.Dense(self.hidden_size)

    def __call__(self, hidden: jax.Array, observations: jax.Array) -> tuple[jax.Array, Outputs]:
        features = encode(observations, self.observation_space)
        *states, theta = jnp.split(hidden, 4, axis=-1)
        states = [
            cell(state, nn.relu(embedding(features)))[0]
            for cell, embedding, state in zip(self.cells, self.embeddings, states, strict=True)
        ]
        if self.is_initializing():
            self.next_theta(hidden)
        actor, critic, _ = states
        logits = self.policy(theta * actor)
        value = self.value(theta * critic)[..., 0]
        return jnp.concatenate([*states, theta], axis=-1), (logits, value)

    def next_theta(self, hidden: jax.Array) -> jax.Array:
        """The meta-step: the carry with which the next episode starts."""
        meta = jnp.split(hidden, 4, axis=-1)[2]
        zeros = jnp.zeros_like(meta)
        return jnp.concatenate([zeros, zeros, zeros, nn.sigmoid(self.theta(meta))], axis=-1)
