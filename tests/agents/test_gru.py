"""Memories: the GRU and its gradient, and of any memory, sequences at once against steps one by one."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import MFOS, PPOMemory, Shaper
from pax.agents.networks.gru import GRUCell, next_hidden, unroll
from pax.agents.networks.memory import Memory
from pax.agents.networks.recurrent import MEMORIES
from pax.envs.spaces import Box, Discrete

L, B, D, H = 7, 4, 3, 5


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_the_cell_is_that_of_flax():
    hidden, features = normal(0, B, H), normal(1, B, D)
    theirs = nn.GRUCell(H)
    params = theirs.init(jax.random.key(0), hidden, features)["params"]
    params = jax.tree.map(lambda leaf: leaf + 0.1 * normal(2, *leaf.shape), params)
    join = lambda prefix, part: jnp.concatenate(  # noqa: E731
        [params[f"{prefix}{gate}"][part] for gate in "rzn"], axis=-1
    )
    own = {
        "input": {"kernel": join("i", "kernel"), "bias": join("i", "bias")},
        "kernel": join("h", "kernel"),
        "bias": params["hn"]["bias"],
    }
    cell = GRUCell(H)
    encoded = cell.apply({"params": own}, features, method="encode")
    actual = cell.apply({"params": own}, hidden, encoded, method="step")
    expected, _ = theirs.apply({"params": params}, hidden, features)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


def test_every_gate_starts_orthogonal():
    kernel = GRUCell(H).init(
        jax.random.key(0), jnp.zeros((1, H)), jnp.zeros((1, 3 * H)), method="step"
    )["params"]["kernel"]
    for gate in np.split(np.asarray(kernel), 3, axis=-1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(H), atol=1e-5)
    assert not np.allclose(kernel[:, :H], kernel[:, H : 2 * H])


def step_by_step(kernel, bias, hidden, encoded, dones):
    states = []
    for inputs, done in zip(encoded, dones, strict=True):
        hidden = next_hidden(hidden, jnp.split(inputs, 3, axis=-1), hidden @ kernel, bias)
        states.append(hidden)
        hidden = jnp.where(done[..., None], 0.0, hidden)
    return jnp.stack(states)


@pytest.mark.parametrize("batch", [(B,), (2, B)], ids=str)
def test_the_gradient_of_a_sequence_is_that_of_its_steps(batch):
    arguments = (
        normal(0, H, 3 * H),
        normal(1, H),
        normal(2, *batch, H),
        normal(3, L, *batch, 3 * H),
    )
    dones = jnp.asarray(np.random.default_rng(4).random((L, *batch)) < 0.3)
    assert dones[:-1].any() and not dones.all()
    weights = normal(5, L, *batch, H)

    def weighted(states):
        return lambda *arguments: (weights * jnp.sin(states(*arguments, dones))).sum()

    actual = unroll(*arguments, dones)
    np.testing.assert_allclose(actual, step_by_step(*arguments, dones), rtol=1e-5, atol=1e-6)
    gradients = jax.jit(jax.grad(weighted(unroll), argnums=range(4)))(*arguments)
    expected = jax.jit(jax.grad(weighted(step_by_step), argnums=range(4)))(*arguments)
    for one, other in zip(gradients, expected, strict=True):
        assert np.abs(other).max() > 0.1
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


class Traces(Memory):
    """Fast and slow means of features, of which nothing seen is a half; a policy sees their difference."""

    state_size = 2 * H

    def setup(self):
        self.inner = nn.Dense(H)

    def initial_state(self):
        return jnp.full(2 * H, 0.5)

    def encode(self, features):
        return self.inner(features)

    def step(self, state, encoded):
        rates = jnp.repeat(jnp.array([0.5, 0.9]), H)
        return rates * state + (1.0 - rates) * jnp.tile(encoded, 2)

    def read(self, state):
        fast, slow = jnp.split(state, 2, axis=-1)
        return fast - slow


@pytest.mark.parametrize(
    "network",
    ["gru", *(pytest.param(each, marks=pytest.mark.slow) for each in ("linear", "traces"))],
)
@pytest.mark.parametrize(
    "space", [Discrete(6), pytest.param(Box((2, 3)), marks=pytest.mark.slow)], ids=str
)
@pytest.mark.parametrize(
    ("agent", "options"),
    [(PPOMemory, {}), (MFOS, {}), *((Shaper, {"context": c}) for c in ("none", "avg", "att"))],
)
def test_a_sequence_at_once_is_what_its_steps_are(agent, options, space, network, monkeypatch):
    monkeypatch.setitem(MEMORIES, "traces", Traces)
    options = {"network": network, **options}
    own = agent(space, Discrete(3), hidden_size=H, head_init="orthogonal", **options)
    state = own.init(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf + 0.3 * normal(1, *leaf.shape), state.params)
    state = state.replace(params=params)
    rng = np.random.default_rng(0)
    shape = (L, 2, B) if own.groups_environments else (L, B)
    draws = (
        rng.integers(0, 6, shape)
        if isinstance(space, Discrete)
        else rng.normal(size=(*shape, 2, 3))
    )
    observations = jnp.asarray(draws, jnp.int32 if isinstance(space, Discrete) else jnp.float32)
    dones = jnp.zeros(shape, bool).at[2].set(True)

    start = jnp.broadcast_to(own.initial_hidden(1)[0], (*shape[1:], own.hidden_size_in_memory))
    memory = own.initial_memory(start)
    expected = []
    for t in range(L):
        hidden, policy, values = own.forward(params, memory.hidden, observations[t])
        memory = own.initial_memory(hidden)
        expected.append((policy.log_probs, values))
        if t == 2:
            memory = own.reset_memory(memory, False, state)
    policy, values = own.unroll(params, start, observations, dones)
    log_probs, alone = (np.stack(leaves) for leaves in zip(*expected, strict=True))
    np.testing.assert_allclose(policy.log_probs, log_probs, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values, alone, rtol=1e-5, atol=1e-5)
