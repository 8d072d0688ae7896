"""Initial weights: the numbers of JAX's own initialiser, without LAPACK."""

import jax
import numpy as np
import pytest

from pax.agents import PPO, PPOMemory
from pax.agents.networks.initializers import orthogonal
from pax.envs import CoinGame

KEY = jax.random.key(3)


@pytest.mark.parametrize("shape", [(16, 16), (36, 16), (4, 64), (64, 1), (1, 5), (3, 3, 2, 8)])
def test_orthogonal_matrices_are_those_of_jax(shape):
    kernel = orthogonal(1.5)(KEY, shape)
    expected = jax.nn.initializers.orthogonal(1.5)(KEY, shape)
    np.testing.assert_allclose(kernel, expected, atol=2e-5)


@pytest.mark.parametrize("shape", [(64, 64), (200, 30), (30, 200)])
def test_columns_or_rows_are_orthonormal(shape):
    kernel = np.asarray(orthogonal()(KEY, shape))
    gram = kernel.T @ kernel if shape[0] >= shape[1] else kernel @ kernel.T
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-5)


@pytest.mark.parametrize("agent", [PPO, PPOMemory])
def test_no_initial_weight_is_left_to_lapack(agent):
    # Decompositions side by side on several devices of a CPU wait for each other now and then, for ever.
    made = agent.for_env(CoinGame(), head_init="orthogonal", embed=agent is PPOMemory)
    lowered = jax.jit(jax.vmap(made.init)).lower(jax.random.split(KEY, 3))
    assert "custom_call" not in lowered.as_text()
