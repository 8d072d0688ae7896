"""What the published description of Pax shows its users doing still works.

Where its examples contradict themselves, they are tested as they are meant: 0 is C and 1 is D, as its
payoffs and its rewards have it; a policy takes the training state first and returns actions and memory;
and whatever draws is given a key.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import AGENTS, PPO
from pax.envs.iterated_matrix_game import EnvParams, IteratedMatrixGame
from pax.types import Sample

PAYOFF = [[2, 2], [0, 3], [3, 0], [1, 1]]
KEY = jax.random.PRNGKey(0)


def test_a_game_is_played_until_it_is_done():
    env = IteratedMatrixGame(num_inner_steps=5)
    env_params = EnvParams(payoff_matrix=PAYOFF)
    actions = (jnp.ones(()), jnp.zeros(()))
    obs, env_state = env.reset(KEY, env_params)
    assert [int(o) for o in obs] == [4, 4]
    done, num_steps = False, 0
    while not done:
        obs, env_state, rewards, done, info = env.step(KEY, env_state, actions, env_params)
        assert [float(r) for r in rewards] == [3.0, 0.0]
        assert [int(o) for o in obs] == [2, 1]
        assert info == {}
        num_steps += 1
    assert num_steps == 5


def test_a_batch_is_scanned_with_a_state_that_has_no_batch_axis():
    """Old-style keys `[2, 2]`; the batched step takes the place of the method."""
    num_envs, rollout_length = 2, 50
    rng = jnp.concatenate([jax.random.PRNGKey(0), jax.random.PRNGKey(1)]).reshape(num_envs, -1)
    assert (rng.shape, rng.dtype) == ((2, 2), jnp.uint32)
    env = IteratedMatrixGame(num_inner_steps=rollout_length)
    env_params = EnvParams(payoff_matrix=PAYOFF)
    action = jnp.array([1.0, 0.0])
    env.reset = jax.vmap(env.reset, in_axes=(0, None), out_axes=(0, None))
    env.step = jax.vmap(env.step, in_axes=(0, None, 0, None), out_axes=(0, None, 0, 0, 0))
    obs, env_state = env.reset(rng, env_params)
    assert env_state.inner_t.shape == ()

    def rollout(carry, _):
        _, env_state, env_rng = carry
        actions = (action, action)
        obs, env_state, rewards, done, _ = env.step(env_rng, env_state, actions, env_params)
        return (obs, env_state, env_rng), (obs, actions, rewards, done)

    final, trajectory = jax.lax.scan(rollout, (obs, env_state, rng), length=rollout_length)
    obs, actions, rewards, done = trajectory
    for player in (0, 1):
        # The first environment plays D, the second C, and so does the other player.
        np.testing.assert_array_equal(obs[player], [[3, 0]] * rollout_length)
        np.testing.assert_array_equal(rewards[player], [[1.0, 2.0]] * rollout_length)
        np.testing.assert_array_equal(actions[player], [[1.0, 0.0]] * rollout_length)
    np.testing.assert_array_equal(done, [[False] * 2] * 49 + [[True] * 2])
    assert int(final[1].inner_t) == rollout_length


def test_a_step_works_the_same_under_jit_with_nested_lists():
    env = IteratedMatrixGame(num_inner_steps=5)
    env_params = EnvParams(payoff_matrix=PAYOFF)
    _, env_state = env.reset(KEY, env_params)
    for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
        actions = (jnp.float32(a), jnp.float32(b))
        _, _, rewards, _, _ = jax.jit(env.step)(KEY, env_state, actions, env_params)
        assert [float(r) for r in rewards] == PAYOFF[2 * a + b]


@pytest.mark.parametrize("name", ("PPO", "PPO_memory", "Tabular", "TitForTat"))
def test_memories_are_batched_and_training_states_are_not(name):
    """Two opponents of three environments each, with a first memory as wide as the agent's."""
    env = IteratedMatrixGame(num_inner_steps=5)
    agent = AGENTS[name].for_env(env)
    agent.batch_init = jax.vmap(agent.make_initial_state, (None, 0), (None, 0))
    agent.batch_policy = jax.jit(jax.vmap(agent.policy, (None, 0, 0, 0), (0, 0)))
    agent.batch_reset = jax.jit(jax.vmap(agent.reset_memory, (0, None), 0), static_argnums=1)
    init_hidden = jnp.zeros((2, 3, agent.hidden_size_in_memory))
    state, memory = agent.batch_init(KEY, init_hidden)
    single, _ = agent.make_initial_state(KEY, init_hidden[0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state, single)
    assert memory.hidden.shape == init_hidden.shape

    obs = jnp.array([[4, 0, 1], [2, 3, 4]])
    keys = jax.random.split(KEY, 2)
    actions, new_memory = agent.batch_policy(state, obs, memory, keys)
    assert (actions.shape, actions.dtype) == ((2, 3), jnp.int32)
    for index in range(2):
        own = jax.tree.map(lambda leaf, i=index: leaf[i], memory)
        expected, after = agent.policy(state, obs[index], own, keys[index])
        np.testing.assert_array_equal(actions[index], expected)
        np.testing.assert_allclose(new_memory.hidden[index], after.hidden, atol=1e-6)
    if name == "TitForTat":
        assert actions.tolist() == [[0, 0, 1], [0, 1, 0]]

    for new_trial in (False, True):
        forgotten = agent.batch_reset(new_memory, new_trial)
        assert forgotten.hidden.shape == new_memory.hidden.shape
        assert not any(leaf.any() for leaf in jax.tree.leaves(forgotten))


def test_an_agent_without_memory_takes_a_first_memory_of_any_width():
    """Whoever runs an agent need not know whether it is recurrent."""
    agent = PPO.for_env(IteratedMatrixGame(num_inner_steps=5))
    state, memory = agent.make_initial_state(KEY, jnp.zeros((1, 16)))
    _, memory = agent.policy(state, jnp.array([4]), memory, KEY)
    for new_trial in (False, True):
        assert agent.reset_memory(memory, new_trial).hidden.shape == (1, 16)


def test_an_agent_learns_to_defect_against_itself_in_a_loop_by_hand():
    """It plays both seats of the prisoner's dilemma and learns from the first."""
    num_envs, rollout_length, num_updates = 20, 50, 20
    env = IteratedMatrixGame(num_inner_steps=rollout_length)
    env_params = EnvParams(payoff_matrix=PAYOFF)
    env.reset = jax.vmap(env.reset, in_axes=(0, None), out_axes=(0, None))
    env.step = jax.vmap(env.step, in_axes=(0, None, 0, None), out_axes=(0, None, 0, 0, 0))
    agent = PPO.for_env(env)

    def step(carry, _):
        rng, obs, state, memories, env_state = carry
        rng, env_rng, rng1, rng2 = jax.random.split(rng, 4)
        action1, memory1 = agent.policy(state, obs[0], memories[0], rng1)
        action2, memory2 = agent.policy(state, obs[1], memories[1], rng2)
        next_obs, env_state, rewards, done, _ = env.step(
            jax.random.split(env_rng, num_envs), env_state, (action1, action2), env_params
        )
        sample = Sample(
            obs[0],
            action1,
            rewards[0],
            memory1.extras["log_probs"],
            memory1.extras["values"],
            done,
            memories[0].hidden,
        )
        return (rng, next_obs, state, (memory1, memory2), env_state), sample

    @jax.jit
    def episode(rng, state, memory):
        rng, reset_rng = jax.random.split(rng)
        obs, env_state = env.reset(jax.random.split(reset_rng, num_envs), env_params)
        carry = (rng, obs, state, (memory, memory), env_state)
        (_, obs, _, memories, _), rollout = jax.lax.scan(step, carry, length=rollout_length)
        return obs, memories[0], rollout

    update = jax.jit(agent.update)
    state, memory = agent.make_initial_state(KEY, agent.initial_hidden(num_envs))
    defections, earned = [], []
    for rng in jax.random.split(KEY, num_updates):
        play_rng, update_rng = jax.random.split(rng)
        obs, memory, rollout = episode(play_rng, state, memory)
        assert rollout.rewards.shape == (rollout_length, num_envs)
        state, memory, stats = update(rollout, obs[0], state, memory, update_rng)
        memory = agent.reset_memory(memory, False)
        assert np.isfinite(stats["loss_total"])
        defections.append(float(rollout.actions.mean()))
        earned.append(float(rollout.rewards.mean()))
    assert abs(defections[0] - 0.5) < 0.1
    assert defections[-1] > 0.9
    # Everybody for itself: from 1.5 at random to 1 for mutual defection.
    assert abs(earned[0] - 1.5) < 0.1
    assert earned[-1] < 1.2
    assert int(state.updates) == num_updates
