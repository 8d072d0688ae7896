"""Networks whose memory outlives an episode: the shaper's and that of M-FOS."""

from __future__ import annotations

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from pax.agents.networks.actor_critic import GRU, HEAD_INITS, HeadInit, Outputs, Recurrent, Torso
from pax.agents.networks.gru import GRUCell
from pax.types import PyTree

Context = Literal["none", "avg", "att"]


class ContextGRU(GRU):
    """A GRU whose state is mixed with those of the other environments before every step.

    All environments along the last batch axis face the same opponent, so each tells something about it.
    `avg`: h <- h / 2 + mean_envs(h) / 2. `att`: h <- h / 2 + LayerNorm(h + attention_envs(h)) / 2 with one
    head of scaled dot products. `none`: each environment for itself. (Khan et al. 2024, Scaling Opponent
    Shaping to High Dimensional Games, arxiv.org/abs/2312.12568.)
    """

    context: Context = "none"

    def setup(self) -> None:
        super().setup()
        if self.context == "att":
            self.query, self.key, self.value = (nn.Dense(self.hidden_size) for _ in range(3))
            self.norm = nn.LayerNorm()

    def step(self, hidden: jax.Array, encoded: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Takes one step: `hidden` `[..., E, H]`, `encoded` `[..., E, 3 H]`."""
        if self.context == "avg":
            hidden = (hidden + hidden.mean(axis=-2, keepdims=True)) / 2
        elif self.context == "att":
            query, key, value = self.query(hidden), self.key(hidden), self.value(hidden)
            scores = jnp.einsum("...ih,...jh->...ij", query, key) / jnp.sqrt(self.hidden_size)
            attended = jnp.einsum("...ij,...jh->...ih", nn.softmax(scores), value)
            hidden = (hidden + self.norm(hidden + attended)) / 2
        return super().step(hidden, encoded)

    def between_episodes(self, hidden: jax.Array) -> jax.Array:
        return hidden

    def unroll(self, hidden: jax.Array, observations: PyTree, dones: jax.Array) -> Outputs:
        if self.context == "none":
            return super().unroll(hidden, observations, jnp.zeros_like(dones))
        return Recurrent.unroll(self, hidden, observations, dones)


class MFOSNetwork(Recurrent):
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
        self.cells = [GRUCell(self.hidden_size, name=f"{name}_gru") for name in names]
        policy, value = HEAD_INITS[self.head_init]
        self.policy = nn.Dense(self.num_outputs, kernel_init=policy)
        if self.critic:
            self.value = nn.Dense(1, kernel_init=value)
        self.theta = nn.Dense(self.hidden_size)

    def encode(self, observations: PyTree) -> jax.Array:
        features = self.torso(observations)
        return jnp.concatenate(
            [
                cell.encode(nn.relu(embedding(features)))
                for cell, embedding in zip(self.cells, self.embeddings, strict=True)
            ],
            axis=-1,
        )

    def step(self, hidden: jax.Array, encoded: jax.Array) -> tuple[jax.Array, jax.Array]:
        *states, theta = self._split(hidden)
        parts = jnp.split(encoded, len(states), axis=-1)
        states = [
            cell.step(state, part)
            for cell, state, part in zip(self.cells, states, parts, strict=True)
        ]
        if self.is_initializing():
            self.between_episodes(hidden)
        # The meta-policy's state is none of its features.
        features = [theta * state for state in states[:-1]]
        return jnp.concatenate([*states, theta], axis=-1), jnp.concatenate(features, axis=-1)

    def decode(self, features: jax.Array) -> Outputs:
        outputs = self.policy(features[..., : self.hidden_size])
        if not self.critic:
            return outputs, jnp.zeros(features.shape[:-1])
        return outputs, self.value(features[..., self.hidden_size :])[..., 0]

    def between_episodes(self, hidden: jax.Array) -> jax.Array:
        """Takes the meta-step: returns the carry with which the next episode starts."""
        *states, _ = self._split(hidden)
        forgotten = [jnp.zeros_like(state) for state in states]
        return jnp.concatenate([*forgotten, nn.sigmoid(self.theta(states[-1]))], axis=-1)

    def unroll(self, hidden: jax.Array, observations: PyTree, dones: jax.Array) -> Outputs:
        *states, theta = self._split(hidden)

        def remember(encoded: jax.Array) -> jax.Array:
            # No state needs theta, so that it can be had afterwards.
            parts = jnp.split(encoded, len(states), axis=-1)
            after = [
                cell.unroll(state, part, dones)
                for cell, state, part in zip(self.cells, states, parts, strict=True)
            ]
            following = nn.sigmoid(self.theta(after[-1]))
            thetas = _hold(theta, following, dones)
            return jnp.concatenate([thetas * state for state in after[:-1]], axis=-1)

        return self._around(remember, observations, dones)

    def _split(self, hidden: jax.Array) -> list[jax.Array]:
        return jnp.split(hidden, 4 if self.critic else 3, axis=-1)


def _hold(first: jax.Array, following: jax.Array, dones: jax.Array) -> jax.Array:
    """Returns what holds at each of L steps, `[L, ..., H]`.

    Args:
        first: at the first step, `[..., H]`.
        following: what holds after a step if that is done, `[L, ..., H]`.
        dones: `[L, ...]`.
    """

    def step(held: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        candidate, done = inputs
        return jnp.where(done[..., None], candidate, held), held

    return jax.lax.scan(step, first, (following, dones))[1]
