"""Games whose episodes end within a rollout: memories, advantages, statistics."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import PPO, PPOMemory
from pax.envs.auto_reset import EpisodeTotals, episode_info, episode_metrics
from pax.envs.environment import Environment
from pax.envs.gymnax import Gymnax
from pax.envs.spaces import Box, Discrete
from pax.errors import ConfigError
from pax.roles import Role
from pax.trial import TrialRunner
from pax.types import Ends, Sample, Task

T, B, DISCOUNT, LAMBDA = 9, 4, 0.9, 0.8


class Countdown(Environment):
    """An episode lasts three steps and terminates, or, if the first action was 1, is cut off after two."""

    num_players = 1
    num_inner_steps = T
    auto_resets = True
    default_params = ()

    def reset(self, key, params):
        return (jnp.float32([0, 0]),), (jnp.int32(0), jnp.int32(0), jnp.int32(0))

    def step(self, key, state, actions, params):
        t, first, played = state
        first = jnp.where(t == 0, actions[0], first)
        t, played = t + 1, played + 1
        truncated, terminated = (t == 2) & (first == 1), t == 3
        final = jnp.stack([t, first]).astype(jnp.float32)
        over = truncated | terminated
        info = {"terminated": terminated, "truncated": truncated, "final_observations": (final,)}
        state = jnp.where(over, 0, t), jnp.where(over, 0, first), played
        seen = jnp.where(over, 0.0, final)
        return (seen,), state, (final.sum(),), played >= T, info

    def observation_space(self, player):
        return Box((2,))

    def action_space(self, player):
        return Discrete(2)


def numpy_advantages(rewards, values, last_value, ends, final_values):
    """Backwards from the definition: what follows a cut is the value of what was last seen."""
    advantages = np.zeros_like(rewards)
    following, advantage = last_value, np.zeros(B)
    for t in reversed(range(T)):
        after = np.where(ends["truncated"][t], final_values[t], following)
        after = np.where(ends["terminated"][t], 0.0, after)
        delta = rewards[t] + DISCOUNT * after - values[t]
        over = ends["truncated"][t] | ends["terminated"][t]
        advantage = delta + DISCOUNT * LAMBDA * np.where(over, 0.0, advantage)
        advantages[t], following = advantage, values[t]
    return advantages


@pytest.fixture(scope="module", params=[PPO, PPOMemory])
def played(request):
    env = Countdown()
    agent = request.param.for_env(
        env, discount=DISCOUNT, gae_lambda=LAMBDA, num_minibatches=1, sequence_length=3
    )
    runner = TrialRunner(env, [Role("one", agent, (0,))], num_envs=B, num_outer_steps=2)
    state = agent.init(jax.random.key(0))
    # Fresh networks see no difference between observations.
    state = state.replace(
        params=jax.tree.map(
            lambda leaf: leaf + 0.5 * jax.random.normal(jax.random.key(leaf.size), leaf.shape),
            state.params,
        )
    )
    trial, _ = jax.jit(runner.play)(jax.random.key(1), {"one": state}, Task(()))
    return agent, state, jax.device_get(trial.rollouts["one"]), trial


def test_rollouts_tell_how_episodes_ended(played):
    _, _, rollout, _ = played
    for episode, env in np.ndindex(2, B):
        t, first = 0, 0
        for step in range(T):
            at = episode, step, env
            np.testing.assert_array_equal(rollout.observations[at], [t, first if t else 0])
            first = rollout.actions[at] if t == 0 else first
            t += 1
            cut, over = t == 2 and first == 1, t == 3
            assert (rollout.ends.truncated[at], rollout.ends.terminated[at]) == (cut, over)
            assert rollout.dones[at] == (cut or over or step == T - 1)
            np.testing.assert_array_equal(rollout.ends.final_observations[at], [t, first])
            t = 0 if cut or over else t
    assert rollout.ends.truncated.any() and rollout.ends.terminated.any()


def test_memories_are_empty_after_an_end_and_only_then(played):
    _, _, rollout, _ = played
    if not rollout.hiddens.size:
        return
    begins = np.concatenate([np.ones((2, 1, B), bool), rollout.dones[:, :-1]], axis=1)
    np.testing.assert_array_equal((rollout.hiddens == 0).all(axis=-1), begins)


def test_advantages_cut_at_ends_and_bootstrap_where_cut_off(played):
    agent, state, rollouts, trial = played
    rollout = jax.tree.map(lambda leaf: leaf[0], rollouts)
    last = trial.last_observations["one"][0]
    hidden, _, _ = agent.forward(state.params, rollout.hiddens[-1], rollout.observations[-1])
    memory = agent.initial_memory(jnp.where(rollout.dones[-1][:, None], 0.0, hidden))
    batch = agent._prepare(rollout, last, state, memory)

    final_values = np.zeros((T, B))
    for t in range(T):
        hidden, _, _ = agent.forward(state.params, rollout.hiddens[t], rollout.observations[t])
        seen = rollout.ends.final_observations[t]
        final_values[t] = agent.forward(state.params, hidden, seen)[2]
    last_value = agent.forward(state.params, memory.hidden, last)[2]
    ends = {"truncated": rollout.ends.truncated, "terminated": rollout.ends.terminated}
    expected = numpy_advantages(rollout.rewards, rollout.values, last_value, ends, final_values)

    length = agent._length(T)
    as_sequences = expected.reshape(T // length, length, B).swapaxes(1, 2).reshape(-1, length)
    np.testing.assert_allclose(batch.advantages, as_sequences, rtol=1e-4, atol=1e-5)
    assert np.ptp(final_values) > 0.1


def test_replaying_a_rollout_gives_the_probabilities_it_was_played_with(played):
    agent, state, rollouts, _ = played
    rollout = jax.tree.map(lambda leaf: leaf[0], rollouts)
    distribution, values = agent.unroll(
        state.params, rollout.hiddens[0], rollout.observations, rollout.dones
    )
    np.testing.assert_allclose(
        distribution.log_prob(rollout.actions), rollout.log_probs, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(values, rollout.values, rtol=1e-4, atol=1e-5)


def test_games_that_end_by_time_only_have_no_ends():
    unused = jnp.zeros((2, 3))
    sample = Sample(*[unused] * 6, hiddens=unused[..., None])
    assert sample.ends is None
    assert jax.tree.leaves(dataclasses.replace(sample, ends=Ends(unused, unused, unused)))


def test_totals_of_episodes_are_reported_where_they_end():
    rewards = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    over = np.isin(np.arange(20), [4, 5, 16])

    def step(totals, inputs):
        return totals.add((inputs[0][0], inputs[0][1]), inputs[1])

    _, ended = jax.lax.scan(step, EpisodeTotals.zeros(2), (rewards, over))
    statistics = episode_info(jax.tree.map(lambda leaf: leaf[:, None], ended))
    metrics = episode_metrics(statistics)
    assert metrics["episodes"] == 3
    assert metrics["episode_length"] == pytest.approx(17 / 3)
    np.testing.assert_allclose(
        [metrics["episode_return/player_1"], metrics["episode_return/player_2"]],
        rewards[:17].sum(axis=0) / 3,
        rtol=1e-5,
    )
    none = episode_metrics(jax.tree.map(jnp.zeros_like, statistics))
    assert none["episodes"] == 0 and np.isnan(none["episode_length"])


def test_cart_pole_is_that_of_gymnax():
    import gymnax

    env = Gymnax("CartPole-v1", num_inner_steps=60)
    original, params = gymnax.make("CartPole-v1")
    (seen,), state = env.reset(jax.random.key(0), env.default_params)
    expected, inner = original.reset(jax.random.key(0), params)
    np.testing.assert_array_equal(seen, expected)
    step, reference = jax.jit(env.step), jax.jit(original.step)
    ends = 0
    for t in range(60):
        key = jax.random.key(t)
        action = jnp.int32(t % 7 == 0)
        (seen,), state, (reward,), done, info = step(key, state, (action,), env.default_params)
        expected, inner, earned, terminated, truncated, _ = reference(key, inner, action, params)
        np.testing.assert_allclose(seen, expected, rtol=1e-6)
        assert reward == earned and info["terminated"] == terminated
        assert info["truncated"] == truncated and done == (t == 59)
        ends += int(terminated)
    assert ends >= 3


def test_what_gymnax_does_not_have_is_told():
    with pytest.raises(ConfigError, match="^name is 'CartPole', .* did you mean CartPole-v1"):
        Gymnax("CartPole")
    with pytest.raises(ConfigError, match="^num_inner_steps is 0: give at least 1 step"):
        Gymnax(num_inner_steps=0)
    env = Gymnax("CartPole-v1")
    with pytest.raises(
        ConfigError, match="^gravty is no parameter of CartPole-v1: did you mean gr"
    ):
        env.make_params(gravty=1.0)
    with pytest.raises(ConfigError, match="^gravity is 'x': give a number"):
        env.make_params(gravity="x")
    assert env.make_params(gravity=1).gravity == 1.0
