"""The gated linear recurrence against a loop in NumPy, and its gradient against that of single steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import MFOS, PPOMemory, Shaper
from pax.agents.networks.linear_recurrence import LinearRecurrence, linear_recurrence
from pax.envs import IteratedMatrixGame
from pax.testing import check_agent

L, B, D, H = 7, 4, 3, 5


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def dense(params, x):
    return x @ np.float64(params["kernel"]) + np.float64(params["bias"])


def test_a_sequence_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    features, dones = rng.normal(size=(L, B, D)), rng.random((L, B)) < 0.3
    assert dones[:-1].any() and not dones.all()
    cell = LinearRecurrence(H)

    def whole(cell, state, features, dones):
        return cell.unroll(state, cell.encode(features), dones)

    start, inputs = jnp.float32(rng.normal(size=(B, 2 * H))), jnp.float32(features)
    variables = cell.init(jax.random.key(0), start, inputs, dones, method=whole)
    params = jax.tree.map(
        lambda leaf: leaf + np.float32(0.3 * rng.normal(size=leaf.shape)), variables["params"]
    )
    actual = cell.apply({"params": params}, start, inputs, dones, method=whole)

    hidden = np.float64(start)[:, :H]
    for t in range(L):
        forget, value, x = np.split(dense(params["input"], features[t]), 3, axis=-1)
        hidden = sigmoid(forget) * hidden + (1 - sigmoid(forget)) * value
        y = x + hidden
        gate, wide = np.split(dense(params["widen"], y), 2, axis=-1)
        y = y + dense(params["narrow"], gate * sigmoid(gate) * wide)
        expected = y / np.sqrt((y**2).mean(axis=-1, keepdims=True)) * params["norm"]["scale"]
        np.testing.assert_allclose(actual[t], expected, rtol=1e-4, atol=1e-4)
        hidden = np.where(dones[t][:, None], 0.0, hidden)


@pytest.mark.parametrize("batch", [(B,), (2, B)], ids=str)
def test_the_gradient_of_a_sequence_is_that_of_its_steps(batch):
    rng = np.random.default_rng(1)
    dones = rng.random((L, *batch)) < 0.3
    assert dones[:-1].any() and not dones.all()
    shapes = [(L, *batch, H), (L, *batch, H), (*batch, H)]
    arguments = [jnp.float32(rng.normal(size=shape)) for shape in shapes]
    weights = jnp.float32(rng.normal(size=(L, *batch, H)))

    def loop(decay, added, hidden, dones):
        states = []
        for t in range(L):
            hidden = decay[t] * hidden + added[t]
            states.append(hidden)
            hidden = jnp.where(dones[t][..., None], 0.0, hidden)
        return jnp.stack(states)

    def weighted(states):
        return lambda *arguments: (weights * jnp.sin(states(*arguments, dones))).sum()

    actual = jax.jit(jax.value_and_grad(weighted(linear_recurrence), range(3)))(*arguments)
    expected = jax.jit(jax.value_and_grad(weighted(loop), range(3)))(*arguments)
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert np.abs(other).max() > 0.1
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_memories_are_long_at_first():
    """With no input at all, gates average over 2 to 200 steps."""
    cell, zeros = LinearRecurrence(64), jnp.zeros((1, D))
    params = cell.init(jax.random.key(0), zeros, method="encode")
    encoded = np.asarray(cell.apply(params, zeros, method="encode"))[0]
    steps = 1 / (1 - encoded[:64])
    assert 2 <= steps.min() < 3 and 120 < steps.max() <= 201
    assert (encoded[64:] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "agent", [Shaper, *(pytest.param(each, marks=pytest.mark.slow) for each in (PPOMemory, MFOS))]
)
def test_agents_that_remember_can_have_it(agent):
    env = IteratedMatrixGame(num_inner_steps=4)
    options = {"network": "linear", "hidden_size": 4, "num_minibatches": 2, "sequence_length": 0}
    check_agent(agent.for_env(env, **options))
