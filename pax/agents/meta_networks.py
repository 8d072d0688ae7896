"""Networks whose memory outlives an episode: the shaper's and that of M-FOS."""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from pax.agents.networks import HEAD_INITS, HeadInit, Heads, Outputs, Torso
from pax.types import PyTree

Context = Literal["none", "avg", "att"]


class ContextGRU(nn.Module):
    """A GRU whose state is mixed with those of the other environments before every step.

    All environments along the last batch axis face the same opponent, so each tells something about it.
    `avg`: h <- h / 2 + mean_envs(h) / 2. `att`: h <- h / 2 + LayerNorm(h + attention_envs(h)) / 2 with one
    head of scaled dot products. `none`: each environment for itself. (Khan et al. 2024, Scaling Opponent
    Shaping to High Dimensional Games, arxiv.org/abs/2312.12568.)
    """

    torso: Torso
    num_outputs: int
    hidden_size: int
    context: Context = "none"
    head_init: HeadInit = "constant"

    @nn.compact
    def __call__(self, hidden: jax.Array, observations: PyTree) -> tuple[jax.Array, Outputs]:
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
        features = self.torso(observations)
        hidden, outputs = nn.GRUCell(self.hidden_size)(hidden, features)
        return hidden, Heads(self.num_outputs, self.head_init)(outputs)


class MFOSNetwork(nn.Module):
    """Three GRUs: actor, critic, and a meta-policy that sets theta once per episode.

    logits = W_a (theta * h_actor), value = W_c (theta * h_critic), and at the end of an episode
    theta <- sigmoid(W_m h_meta) while the three states are zeroed, so that only theta carries information
    from one episode to the next. (Lu et al. 2022, Model-Free Opponent Shaping, arxiv.org/abs/2205.01447.)
    The carry is h_actor, h_critic, h_meta and theta side by side, `[..., 4 H]`; without a critic there is no
    h_critic, and every value is 0.
    """

    torso: Torso
    num_outputs: int
    hidden_size: int
    head_init: HeadInit = "constant"
    critic: bool = True

    def setup(self) -> None:
        names = ("actor", "critic", "meta") if self.critic else ("actor", "meta")
        self.embeddings = [nn.Dense(self.hidden_size, name=f"{name}_embedding") for name in names]
        self.cells = [nn.GRUCell(self.hidden_size, name=f"{name}_gru") for name in names]
        policy, value = HEAD_INITS[self.head_init]
        self.policy = nn.Dense(self.num_outputs, kernel_init=policy)
        if self.critic:
            self.value = nn.Dense(1, kernel_init=value)
        self.theta = nn.Dense(self.hidden_size)

    def __call__(self, hidden: jax.Array, observations: PyTree) -> tuple[jax.Array, Outputs]:
        features = self.torso(observations)
        *states, theta = self._split(hidden)
        states = [
            cell(state, nn.relu(embedding(features)))[0]
            for cell, embedding, state in zip(self.cells, self.embeddings, states, strict=True)
        ]
        if self.is_initializing():
            self.next_theta(hidden)
        outputs = self.policy(theta * states[0])
        value = jnp.zeros(theta.shape[:-1])
        if self.critic:
            value = self.value(theta * states[1])[..., 0]
        return jnp.concatenate([*states, theta], axis=-1), (outputs, value)

    def next_theta(self, hidden: jax.Array) -> jax.Array:
        """The meta-step: the carry with which the next episode starts."""
        *states, _ = self._split(hidden)
        forgotten = [jnp.zeros_like(state) for state in states]
        return jnp.concatenate([*forgotten, nn.sigmoid(self.theta(states[-1]))], axis=-1)

    def _split(self, hidden: jax.Array) -> list[jax.Array]:
        return jnp.split(hidden, 4 if self.critic else 3, axis=-1)
