"""What differs by rounding alone teaches nothing, and what differs is standardised as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import MFOS, PPO, Naive, PPOMemory, Tabular
from pax.agents.standardise import standardise
from pax.envs.spaces import Discrete
from pax.errors import ConfigError
from pax.learners import Evolution, Gradient
from pax.types import Sample

T, E = 10, 4


@pytest.mark.parametrize("offset", (0.0, 5.0, -3000.0))
@pytest.mark.parametrize("spread", (1e-4, 1.0, 1e5))
def test_what_differs_is_standardised(offset, spread):
    values = np.float32(
        offset + spread * max(1.0, abs(offset)) * np.random.default_rng(0).normal(size=(7, 3))
    )
    exact = values.astype(np.float64)
    expected = (exact - exact.mean()) / (exact.std() + 1e-8)
    result = standardise(jnp.array(values), np.abs(values).mean())
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", (1e11, 1e13, 1e20, 1e30, 1e37))
def test_squares_beyond_float32_do_no_harm(size):
    values = np.float32(size * np.random.default_rng(0).normal(size=(7, 3)))
    exact = values.astype(np.float64)
    expected = (exact - exact.mean()) / exact.std()
    found = standardise(jnp.array(values), np.abs(values).mean())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", (1e-3, 1.0, 25.0, 1e6))
def test_rounding_is_not_scaled_up(size):
    # Some units of the last place, as sums of float32 numbers are off by.
    noise = np.random.default_rng(0).integers(-4, 5, (50, 3)) * 2.0**-24
    for values in (size * (1 + noise), size * noise):
        np.testing.assert_array_equal(standardise(jnp.float32(values), size), 0.0)


def constant_rollout(agent, state, reward):
    """All rewards are equal, and the critic knows it: what is left of the advantages is rounding."""
    rng = np.random.default_rng(0)
    observations = jnp.array(rng.integers(0, 5, (T, E)))
    # The value of playing on for ever, off by some units of the last place.
    value = reward / (1 - agent.discount)
    noise = rng.integers(-2, 3, (T, E)) * 2.0**-23
    return Sample(
        observations=observations,
        actions=jnp.array(rng.integers(0, 2, (T, E))),
        rewards=jnp.full((T, E), reward),
        log_probs=jnp.full((T, E), np.log(0.5)),
        values=jnp.float32(value * (1 + noise)),
        dones=jnp.zeros((T, E), bool),
        hiddens=jnp.zeros((T, E, agent.hidden_size_in_memory)),
    )


@pytest.mark.parametrize("reward", (-1.0, 3.7, 1000.0))
def test_ppo_learns_no_policy_from_constant_payoffs(reward):
    options = {"num_minibatches": 2, "entropy_coeff": 0.0, "learning_rate": 0.1}
    agent = Tabular(Discrete(5), Discrete(2), **options)
    state = agent.init(jax.random.key(0))
    table = state.params["table"].at[:, -1].set(reward / (1 - agent.discount))
    state = state.replace(params={"table": table})
    rollout = constant_rollout(agent, state, reward)
    memory = agent.initial_memory(agent.initial_hidden(E))
    update = jax.jit(agent.update)
    after = update(rollout, rollout.observations[0], state, memory, jax.random.key(1))[0]
    np.testing.assert_array_equal(after.params["table"][:, :-1], 0.0)
    # A reward that differs by a hundredth moves it.
    rewards = rollout.rewards.at[3, 1].mul(1.01)
    rollout = rollout.replace(rewards=rewards)
    after = update(rollout, rollout.observations[0], state, memory, jax.random.key(1))[0]
    assert np.abs(after.params["table"][:, :-1]).max() > 0.01


@pytest.mark.parametrize("reward", (-1.1, 3.7, 1000.3))
def test_naive_learns_nothing_from_constant_payoffs(reward):
    agent = Naive(Discrete(5), Discrete(2), network="table")
    state = agent.init(jax.random.key(0))
    rollout = constant_rollout(agent, state, reward)
    memory = agent.initial_memory(agent.initial_hidden(E))
    after = jax.jit(agent.update)(
        rollout, rollout.observations[0], state, memory, jax.random.key(1)
    )
    np.testing.assert_array_equal(after[0].params["table"], 0.0)


@pytest.mark.parametrize("shaping", ("z_score", "centered_rank"))
@pytest.mark.parametrize("fitness", (-1.1, 1000.3))
def test_evolution_learns_nothing_from_constant_fitness(shaping, fitness):
    agent = Tabular(Discrete(5), Discrete(2))
    evolution = Evolution(agent, popsize=6, fitness_shaping=shaping)
    shape = evolution._make_fitness_shaping(None)
    noise = np.arange(6) % 3 * 2.0**-23 if shaping == "z_score" else 0.0
    values = jnp.float32(fitness * (1 + noise)) * jnp.ones(6)
    np.testing.assert_array_equal(shape(None, values, None, None), 0.0)
    differing = fitness * (1 + jnp.linspace(0, 0.01, 6))
    assert np.std(shape(None, differing, None, None)) > 0.3


# One sample has nothing to be compared with.


@pytest.mark.parametrize("cls", (PPO, PPOMemory, Tabular))
def test_minibatches_of_one_step_are_refused(cls):
    def agent(minibatches):
        options = {"num_minibatches": minibatches, "sequence_length": 1}
        return cls(Discrete(5), Discrete(2), **options)

    with pytest.raises(ConfigError, match=f"^num_minibatches is 12 in {cls.__name__} and leaves 1"):
        agent(12).check_rollout(6, 2)
    agent(6).check_rollout(6, 2)
    # Nor is such a number proposed.
    with pytest.raises(ConfigError, match="change it to 6, or change"):
        agent(13).check_rollout(6, 2)


def test_one_sequence_of_several_steps_is_enough():
    agent = MFOS(Discrete(5), Discrete(2), num_minibatches=4, discount=1.0)
    Gradient(agent).check(num_opps=2, num_outer_steps=3, num_steps=5, num_envs=2)


@pytest.mark.parametrize("shaping", ["z_score", "none"])
def test_a_population_of_one_is_refused(shaping):
    agent = Tabular(Discrete(5), Discrete(2))
    with pytest.raises(ConfigError, match="^popsize is 1 in evolution, which compares candidates"):
        Evolution(agent, strategy="SimpleGA", popsize=1, top_k=1, fitness_shaping=shaping)
