"""A gated recurrent unit whose sequences cost little more than their matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from pax.agents.networks.initializers import orthogonal
from pax.agents.networks.memory import Memory

Gates = tuple[jax.Array, jax.Array, jax.Array]
Residuals = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]


class GRUCell(Memory):
    """A gated recurrent unit (Cho et al. 2014, arxiv.org/abs/1406.1078), the same function as in flax.

    It is computed in two parts: the products with the inputs for all steps of a sequence at once, and per
    step one matrix product for the three gates.
    """

    def setup(self) -> None:
        width = 3 * self.hidden_size
        self.input = nn.Dense(width)
        self.kernel = self.param("kernel", _orthogonal_gates, (self.hidden_size, width))
        self.bias = self.param("bias", nn.initializers.zeros, (self.hidden_size,))

    def encode(self, features: jax.Array) -> jax.Array:
        """Returns what `[..., D]` features add to the gates, `[..., 3 H]`."""
        return self.input(features)

    def step(self, state: jax.Array, encoded: jax.Array) -> jax.Array:
        """Returns the next hidden state `[..., H]`."""
        return next_hidden(state, jnp.split(encoded, 3, axis=-1), state @ self.kernel, self.bias)

    def unroll(self, state: jax.Array, encoded: jax.Array, dones: jax.Array) -> jax.Array:
        """Returns the hidden states `[L, ..., H]` after each step; where one is done, zero comes next."""
        return unroll(self.kernel, self.bias, state, encoded, dones)


def next_hidden(
    hidden: jax.Array, inputs: Sequence[jax.Array], recurrent: jax.Array, bias: jax.Array
) -> jax.Array:
    """Returns the next hidden state, given this one and what inputs and state add to the gates."""
    _, update, candidate = gates(inputs, recurrent, bias)
    return candidate + update * (hidden - candidate)


def gates(inputs: Sequence[jax.Array], recurrent: jax.Array, bias: jax.Array) -> Gates:
    """Returns reset gate, update gate and candidate state, `[..., H]` each.

    Args:
        inputs: what the input adds to each, `[..., H]`.
        recurrent: what the hidden state adds, side by side, `[..., 3 H]`.
        bias: `[H]`, of the candidate.
    """
    own = jnp.split(recurrent, 3, axis=-1)
    reset, update = nn.sigmoid(inputs[0] + own[0]), nn.sigmoid(inputs[1] + own[1])
    return reset, update, jnp.tanh(inputs[2] + reset * (own[2] + bias))


@jax.custom_vjp
def unroll(
    kernel: jax.Array, bias: jax.Array, hidden: jax.Array, encoded: jax.Array, dones: jax.Array
) -> jax.Array:
    """Returns the hidden states `[L, ..., H]` after each of L steps.

    It has a hand-written gradient: only the gradient of the hidden state is propagated step by step, the
    others are computed for all steps at once, and the gates are recomputed instead of stored.

    Args:
        kernel: `[H, 3 H]`.
        bias: `[H]`, of the candidate.
        hidden: before the first step, `[..., H]`.
        encoded: what the inputs add to the gates, `[L, ..., 3 H]`.
        dones: `[L, ...]`, whether the state after a step is forgotten.
    """

    def step(hidden: jax.Array, inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        *parts, done = inputs
        hidden = next_hidden(hidden, parts, hidden @ kernel, bias)
        return jnp.where(done[..., None], 0.0, hidden), hidden

    # Split before the scan: within it, columns would not be read as vectors (6 times slower).
    return jax.lax.scan(step, hidden, (*jnp.split(encoded, 3, axis=-1), dones))[1]


def _forwards(
    kernel: jax.Array, bias: jax.Array, hidden: jax.Array, encoded: jax.Array, dones: jax.Array
) -> tuple[jax.Array, Residuals]:
    after = unroll(kernel, bias, hidden, encoded, dones)
    return after, (kernel, bias, hidden, encoded, dones, after)


def _backwards(
    residuals: Residuals, gradient: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array, None]:
    kernel, bias, hidden, encoded, dones, after = residuals
    kept = jnp.where(dones[..., None], 0.0, after)
    before = jnp.concatenate([hidden[None], kept[:-1]])
    recurrent = before @ kernel
    reset, update, candidate = gates(jnp.split(encoded, 3, axis=-1), recurrent, bias)
    # By how much the inputs of the three gates move the hidden state.
    by_candidate = (1.0 - update) * (1.0 - jnp.square(candidate))
    by_update = (before - candidate) * update * (1.0 - update)
    own = jnp.split(recurrent, 3, axis=-1)[2] + bias
    by_reset = by_candidate * own * reset * (1.0 - reset)
    factors = jnp.concatenate([by_reset, by_update, by_candidate * reset], axis=-1)

    def step(carry: jax.Array, inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        gradient, done, update, factors = inputs
        total = gradient + jnp.where(done[..., None], 0.0, carry)
        through_gates = (jnp.concatenate([total] * 3, axis=-1) * factors) @ kernel.T
        return total * update + through_gates, total

    start, totals = jax.lax.scan(
        step, jnp.zeros_like(hidden), (gradient, dones, update, factors), reverse=True
    )
    on_recurrent = jnp.concatenate([totals] * 3, axis=-1) * factors
    on_encoded = jnp.concatenate(
        [totals * by_reset, totals * by_update, totals * by_candidate], axis=-1
    )
    axes = tuple(range(gradient.ndim - 1))
    on_kernel = jnp.tensordot(before, on_recurrent, (axes, axes))
    on_bias = (totals * by_candidate * reset).sum(axis=axes)
    return on_kernel, on_bias, start, on_encoded, None


unroll.defvjp(_forwards, _backwards)


def _orthogonal_gates(key: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Draws an orthogonal matrix per gate, side by side, `[H, 3 H]`."""
    size, width = shape
    keys = jax.random.split(key, width // size)
    kernels = jax.vmap(lambda one: orthogonal()(one, (size, size)))(keys)
    return jnp.concatenate(list(kernels), axis=-1)
