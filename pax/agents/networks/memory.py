"""The interface of memories of recurrent networks; a new one is a class and a line of `MEMORIES`."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp


class Memory(nn.Module):
    """A state `[..., S]` that changes with every step, and a reading of it, `[..., H]`.

    Computations on the input alone belong in `encode`, which is called once for all steps of a sequence.
    """

    hidden_size: int
    """H."""

    @property
    def state_size(self) -> int:
        """Returns S."""
        return self.hidden_size

    def initial_state(self) -> jax.Array:
        """Returns the initial state `[S]`."""
        return jnp.zeros(self.state_size)

    def encode(self, features: jax.Array) -> jax.Array:
        """Returns what `step` reads of features `[..., D]`."""
        return features

    def step(self, state: jax.Array, encoded: jax.Array) -> jax.Array:
        """Returns the next state `[..., S]`."""
        raise NotImplementedError

    def read(self, state: jax.Array) -> jax.Array:
        """Returns the reading `[..., H]` of a state `[..., S]`, which policy and value are computed from."""
        return state

    def unroll(self, state: jax.Array, encoded: jax.Array, dones: jax.Array) -> jax.Array:
        """Returns the reading after each of L steps.

        Args:
            state: before the first step, `[..., S]`.
            encoded: what `encode` returned, `[L, ..., D]`.
            dones: `[L, ...]`, whether the memory is reset after a step.

        Returns:
            `[L, ..., H]`.
        """

        def step(
            memory: Memory, state: jax.Array, encoded: jax.Array, done: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            state = memory.step(state, encoded)
            return jnp.where(done[..., None], memory.initial_state(), state), memory.read(state)

        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
        return scan(self, state, encoded, dones)[1]
