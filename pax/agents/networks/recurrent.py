"""Networks with a memory, of any kind: one whose memory may last for a trial, and that of M-FOS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from pax import dotted
from pax.agents.networks.actor_critic import HEAD_INITS, HeadInit, Heads, Network, Outputs, Torso
from pax.agents.networks.gru import GRUCell
from pax.agents.networks.linear_recurrence import LinearRecurrence
from pax.agents.networks.memory import Memory
from pax.types import PyTree

MEMORIES: dict[str, type[Memory]] = {"gru": GRUCell, "linear": LinearRecurrence}
"""Kinds of memory, as the setting `network` of agents names them."""
Context = Literal["none", "avg", "att"]


def find_memory(name: str) -> type[Memory]:
    """Returns a kind of memory: one of `MEMORIES`, or one of the user's own by its dotted path."""
    return MEMORIES[name] if name in MEMORIES else dotted.load("network", name)


class Recurrent(Network):
    """A network with a memory: `decode(step(hidden, encode(observations)))`.

    Only `step` is sequential: over a sequence, the others are evaluated once for all steps.
    """

    torso: Torso
    num_outputs: int
    hidden_size: int
    memory: str
    """See `find_memory`."""
    head_init: HeadInit = "constant"

    recurrent = True

    def initial_hidden(self) -> jax.Array:
        # Made outside of this network, as it is called without parameters.
        return find_memory(self.memory)(self.hidden_size, parent=None).initial_state()

    def encode(self, observations: PyTree) -> jax.Array:
        """Returns the inputs of the memory, given observations `[..., *observation]`."""
        raise NotImplementedError

    def step(self, hidden: jax.Array, encoded: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the memory `[..., M]` after a step, and the features that are decoded."""
        raise NotImplementedError

    def decode(self, features: jax.Array) -> Outputs:
        """Returns the outputs of the policy `[..., A]`, and a value `[...]`."""
        raise NotImplementedError

    def between_episodes(self, hidden: jax.Array) -> jax.Array:
        """Returns what the memory `[..., M]` becomes when the next episode of a trial begins."""
        raise NotImplementedError

    def unroll(self, hidden: jax.Array, observations: PyTree, dones: jax.Array) -> Outputs:
        """Returns all steps of `[L, ...]` observations; a new episode begins after those that are `dones`."""

        def step(
            network: Recurrent, hidden: jax.Array, encoded: jax.Array, done: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            hidden, features = network.step(hidden, encoded)
            return jnp.where(done[..., None], network.between_episodes(hidden), hidden), features

        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
        return self._around(
            lambda encoded: scan(self, hidden, encoded, dones)[1], observations, dones
        )

    def _around(
        self, remember: Callable[[jax.Array], jax.Array], observations: PyTree, dones: jax.Array
    ) -> Outputs:
        """Encodes observations, calls `remember` on them, and decodes the features that it returns."""
        # One batch axis: the gradients of products over several are slow.
        flat = jax.tree.map(lambda leaf: jax.lax.collapse(leaf, 0, dones.ndim), observations)
        encoded = self.encode(flat)
        features = remember(encoded.reshape(*dones.shape, -1))
        outputs = self.decode(features.reshape(dones.size, -1))
        return jax.tree.map(lambda leaf: leaf.reshape(*dones.shape, *leaf.shape[1:]), outputs)

    def __call__(self, hidden: jax.Array, observations: PyTree) -> tuple[jax.Array, Outputs]:
        hidden, features = self.step(hidden, self.encode(observations))
        return hidden, self.decode(features)


class MemoryNetwork(Recurrent):
    """One memory, for an episode or a trial; policy and value are linear in the reading of it.

    With a context, the memory is mixed with those of the other environments before every step. All
    environments along the last batch axis face the same opponent, so that each holds information about it.
    `avg`: h <- h / 2 + mean_envs(h) / 2. `att`: h <- h / 2 + LayerNorm(h + attention_envs(h)) / 2 with one
    head of scaled dot products. `none`: it is not mixed. (Khan et al. 2024, Scaling Opponent
    Shaping to High Dimensional Games, arxiv.org/abs/2312.12568.)
    """

    outlives_episodes: bool = False
    """Whether the memory is kept from one episode of a trial to the next."""
    context: Context = "none"

    @property
    def groups_environments(self) -> bool:  # type: ignore[override]
        return self.context != "none"

    def setup(self) -> None:
        self.cell = find_memory(self.memory)(self.hidden_size)
        self.heads = Heads(self.num_outputs, self.head_init)
        if self.context == "att":
            size = self.cell.state_size
            self.query, self.key, self.value = (nn.Dense(size) for _ in range(3))
            self.norm = nn.LayerNorm()

    def encode(self, observations: PyTree) -> jax.Array:
        return self.cell.encode(self.torso(observations))

    def step(self, hidden: jax.Array, encoded: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Takes one step: `hidden` `[..., M]`, or `[..., E, M]` with a context."""
        if self.context == "avg":
            hidden = _mixed(hidden)
        elif self.context == "att":
            query, key, value = self.query(hidden), self.key(hidden), self.value(hidden)
            scores = jnp.einsum("...ih,...jh->...ij", query, key) / jnp.sqrt(hidden.shape[-1])
            attended = jnp.einsum("...ij,...jh->...ih", nn.softmax(scores), value)
            hidden = (hidden + self.norm(hidden + attended)) / 2
        hidden = self.cell.step(hidden, encoded)
        return hidden, self.cell.read(hidden)

    def decode(self, features: jax.Array) -> Outputs:
        return self.heads(features)

    def between_episodes(self, hidden: jax.Array) -> jax.Array:
        if self.outlives_episodes:
            return hidden
        return jnp.broadcast_to(self.initial_hidden(), hidden.shape)

    def unroll(self, hidden: jax.Array, observations: PyTree, dones: jax.Array) -> Outputs:
        if self.groups_environments:
            return super().unroll(hidden, observations, dones)
        forgets = jnp.zeros_like(dones) if self.outlives_episodes else dones
        return self._around(
            lambda encoded: self.cell.unroll(hidden, encoded, forgets), observations, dones
        )


class MFOSNetwork(Recurrent):
    """Three memories: actor, critic, and a meta-policy that sets theta once per episode.

    logits = W_a (theta * h_actor), value = W_c (theta * h_critic), and at the end of an episode
    theta <- sigmoid(W_m h_meta) while the three memories are reset, so that only theta carries information
    from one episode to the next. (Lu et al. 2022, Model-Free Opponent Shaping, arxiv.org/abs/2205.01447.)
    The memory is the states of actor, critic and meta-policy, and theta, side by side, `[..., 3 S + H]`;
    without a critic it has two states, and every value is 0. With the context `avg`, the states, but not
    theta, are mixed over environments before every step, as those of `MemoryNetwork` are.
    """

    critic: bool = True
    context: Literal["none", "avg"] = "none"

    @property
    def groups_environments(self) -> bool:  # type: ignore[override]
        return self.context != "none"

    def initial_hidden(self) -> jax.Array:
        states = [super().initial_hidden()] * (3 if self.critic else 2)
        # With a theta of ones, features are the states in the first episode.
        return jnp.concatenate([*states, jnp.ones(self.hidden_size)])

    def setup(self) -> None:
        names = ("actor", "critic", "meta") if self.critic else ("actor", "meta")
        self.embeddings = [nn.Dense(self.hidden_size, name=f"{name}_embedding") for name in names]
        memory, kind = find_memory(self.memory), self.memory.rpartition(".")[2]
        self.cells = [memory(self.hidden_size, name=f"{name}_{kind}") for name in names]
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
        if self.context == "avg":
            states = [_mixed(state) for state in states]
        parts = jnp.split(encoded, len(states), axis=-1)
        states = [
            cell.step(state, part)
            for cell, state, part in zip(self.cells, states, parts, strict=True)
        ]
        if self.is_initializing():
            self.between_episodes(hidden)
        # The meta-policy's state is not among the features.
        read = [cell.read(state) for cell, state in zip(self.cells[:-1], states[:-1], strict=True)]
        features = [theta * part for part in read]
        return jnp.concatenate([*states, theta], axis=-1), jnp.concatenate(features, axis=-1)

    def decode(self, features: jax.Array) -> Outputs:
        outputs = self.policy(features[..., : self.hidden_size])
        if not self.critic:
            return outputs, jnp.zeros(features.shape[:-1])
        return outputs, self.value(features[..., self.hidden_size :])[..., 0]

    def between_episodes(self, hidden: jax.Array) -> jax.Array:
        """Takes the meta-step: returns the memory with which the next episode starts."""
        *states, _ = self._split(hidden)
        fresh = [
            jnp.broadcast_to(cell.initial_state(), state.shape)
            for cell, state in zip(self.cells, states, strict=True)
        ]
        theta = nn.sigmoid(self.theta(self.cells[-1].read(states[-1])))
        return jnp.concatenate([*fresh, theta], axis=-1)

    def unroll(self, hidden: jax.Array, observations: PyTree, dones: jax.Array) -> Outputs:
        if self.groups_environments:
            return super().unroll(hidden, observations, dones)
        *states, theta = self._split(hidden)

        def remember(encoded: jax.Array) -> jax.Array:
            # No state depends on theta, which can therefore be computed afterwards.
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
        ends = [(index + 1) * cell.state_size for index, cell in enumerate(self.cells)]
        return jnp.split(hidden, ends, axis=-1)


def _mixed(states: jax.Array) -> jax.Array:
    """Returns h / 2 + mean_envs(h) / 2 for states h `[..., E, S]`."""
    return (states + states.mean(axis=-2, keepdims=True)) / 2


def _hold(first: jax.Array, following: jax.Array, dones: jax.Array) -> jax.Array:
    """Returns the value that holds at each of L steps, `[L, ..., H]`.

    Args:
        first: at the first step, `[..., H]`.
        following: the value that holds from the next step on if a step is done, `[L, ..., H]`.
        dones: `[L, ...]`.
    """

    def step(held: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        candidate, done = inputs
        return jnp.where(done[..., None], candidate, held), held

    return jax.lax.scan(step, first, (following, dones))[1]
