"""Networks: what they see of each kind of observation, and how they are built up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import PPO, PPOMemory
from pax.agents.networks.actor_critic import Convolutions, Torso, encode
from pax.envs.spaces import Box, Dict, Discrete

IMAGE, VECTOR = Box((6, 5, 2)), Box((3,))
BOTH = Dict((("image", IMAGE), ("index", Discrete(4)), ("vector", VECTOR)))


def draw(space, *batch, seed=0):
    rng = np.random.default_rng(seed)
    if isinstance(space, Dict):
        return {name: draw(part, *batch, seed=seed) for name, part in space.parts}
    if isinstance(space, Discrete):
        return jnp.array(rng.integers(0, space.n, batch), jnp.int32)
    return jnp.array(rng.normal(size=(*batch, *space.shape)), jnp.float32)


def test_encoding_joins_parts_in_their_order():
    observations = draw(BOTH, 7)
    encoded = encode(observations, BOTH)
    expected = np.concatenate(
        [
            np.reshape(observations["image"], (7, -1)),
            np.eye(4)[observations["index"]],
            observations["vector"],
        ],
        axis=-1,
    )
    np.testing.assert_array_equal(encoded, expected.astype(np.float32))


@pytest.mark.parametrize("shape", [(6, 5, 2), (3, 3, 4), (5, 5, 1), (4, 8, 2)])
def test_convolutions_are_those_of_jax(shape):
    image = draw(Box(shape), 4, 3)
    network = Convolutions((8, 6))
    variables = network.init(jax.random.key(0), image)
    actual = network.apply(variables, image)

    expected = image.reshape(12, *shape)
    for index in range(2):
        layer = variables["params"][f"Dense_{index}"]
        kernel = layer["kernel"].reshape(3, 3, expected.shape[-1], -1)
        padding = "SAME" if min(expected.shape[1:3]) < 5 else "VALID"
        expected = jax.lax.conv_general_dilated(
            expected, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        expected = jax.nn.relu(expected + layer["bias"])
    np.testing.assert_allclose(
        actual, expected.reshape(4, 3, *expected.shape[1:]), rtol=1e-4, atol=1e-5
    )


def test_a_torso_takes_images_through_convolutions_and_all_through_the_embedding():
    observations = draw(BOTH, 2)
    plain = Torso(BOTH, 16)
    assert not jax.tree.leaves(plain.init(jax.random.key(0), observations))
    seen = plain.apply({}, observations)
    np.testing.assert_array_equal(seen, encode(observations, BOTH))

    torso = Torso(BOTH, 16, (8,), embed=True)
    features, variables = torso.init_with_output(jax.random.key(0), observations)
    assert features.shape == (2, 16) and (np.abs(features) < 1).all()
    # 4 x 3 positions of 8 channels, 4 indices, 3 numbers.
    assert variables["params"]["Dense_0"]["kernel"].shape == (4 * 3 * 8 + 4 + 3, 16)


def test_symlog_makes_large_numbers_small():
    observations = jnp.array([[-999.0, 0.0, 1e6]])
    seen = Torso(VECTOR, 4, symlog=True).apply({}, observations)
    np.testing.assert_allclose(seen, [[-np.log(1000), 0.0, np.log(1e6 + 1)]], rtol=1e-6)


@pytest.mark.parametrize("agent", [PPO, PPOMemory])
@pytest.mark.parametrize("space", [Discrete(4), Discrete(100), VECTOR, IMAGE, BOTH], ids=str)
@pytest.mark.parametrize("actions", [Discrete(3), Box((2,))], ids=str)
def test_agents_act_in_every_pair_of_spaces(agent, space, actions):
    own = agent(space, actions, conv_channels=(4,) if space in (IMAGE, BOTH) else ())
    state, memory = own.make_initial_state(jax.random.key(0), own.initial_hidden(5))
    acted, memory = jax.jit(own.policy)(state, draw(space, 5), memory, jax.random.key(1))
    assert acted.shape == (5, *actions.shape) and acted.dtype == actions.dtype
    assert memory.extras["log_probs"].shape == memory.extras["values"].shape == (5,)
    assert np.isfinite(memory.extras["log_probs"]).all()


def test_a_separate_critic_shares_nothing_with_the_policy():
    def value_gradient(separate):
        own = PPO(VECTOR, Discrete(2), separate_critic=separate, head_init="orthogonal")
        params = own.init(jax.random.key(0)).params

        def value(params):
            return own.forward(params, jnp.zeros((1, 0)), draw(VECTOR, 1))[2].sum()

        return params, jax.grad(value)(params)

    shared, gradient = value_gradient(False)
    assert len(shared) == 3 and all(np.any(gradient[f"Dense_{i}"]["kernel"]) for i in range(2))
    separate, gradient = value_gradient(True)
    assert len(separate) == 5
    touched = [bool(np.any(gradient[f"Dense_{i}"]["kernel"])) for i in range(4)]
    assert touched == [False, False, True, True]
