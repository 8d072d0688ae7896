"""Memories that outlive an episode: the networks against numpy, and what PPO makes of a whole trial.

Where two are compared, float32 against float64, they agree to 1e-5.
"""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import MFOS, PPOMemory, Random, Shaper
from pax.envs import IteratedMatrixGame
from pax.errors import ConfigError
from pax.learners import Experience, Gradient
from pax.loop.counts import Counts
from pax.loop.trial import TrialRunner
from pax.roles import Role
from pax.types import Task, Trial

T, K, E, O, H = 4, 3, 4, 2, 3  # noqa: E741
NUM_STATES = 5
ENV = IteratedMatrixGame(num_inner_steps=T)
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
CONTEXTS = ("none", "avg", "att")


def at_random(tree, seed=0):
    """The same tree with normal leaves: at first the heads cannot tell actions apart."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.array(rng.normal(size=leaf.shape), jnp.float32), tree)


def as_float64(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def dense(layer, inputs):
    return inputs @ layer["kernel"] + layer.get("bias", 0.0)


def gru(cell, hidden, inputs):
    """The hidden state after one step, from the formulas of Cho et al. (2014)."""
    given = np.split(dense(cell["input"], inputs), 3, axis=-1)
    own = np.split(hidden @ cell["kernel"], 3, axis=-1)
    reset, keep = sigmoid(given[0] + own[0]), sigmoid(given[1] + own[1])
    new = np.tanh(given[2] + reset * (own[2] + cell["bias"]))
    return (1 - keep) * new + keep * hidden


def mix(params, hidden, context):
    """The memories `[E, H]` of one opponent, mixed over environments."""
    if context == "none":
        return hidden
    if context == "avg":
        return hidden / 2 + sum(hidden) / len(hidden) / 2
    query, key, value = (dense(params[name], hidden) for name in ("query", "key", "value"))
    mixed = np.zeros_like(hidden)
    for env, own in enumerate(query):
        weights = np.array([np.exp(own @ other / np.sqrt(H)) for other in key])
        attended = sum(w * v for w, v in zip(weights / weights.sum(), value, strict=True))
        total = hidden[env] + attended
        centred = total - total.mean()
        normed = centred / np.sqrt((centred**2).mean() + 1e-6)
        layer = params["norm"]
        mixed[env] = hidden[env] / 2 + (normed * layer["scale"] + layer["bias"]) / 2
    return mixed


def inputs(width, seed):
    """Memories `[O, E, width]` and observations `[O, E]`."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(O, E, width)), rng.integers(0, NUM_STATES, (O, E))


# The shaper.


def at_random_of(cls, **options):
    """An agent and its state, with parameters drawn at random."""
    agent = cls.for_env(ENV, 0, hidden_size=H, **options)
    state = agent.init(jax.random.key(0))
    return agent, state.replace(params=at_random(state.params))


@pytest.mark.parametrize("context", CONTEXTS)
def test_the_shaper_is_that_of_numpy(context):
    agent, state = at_random_of(Shaper, context=context)
    exact = as_float64(state.params)
    heads = exact["heads"]
    for seed in range(3):
        hidden, observations = inputs(H, seed)
        after, policy, values = agent.forward(state.params, jnp.float32(hidden), observations)
        for opponent in range(O):
            mixed = mix(exact, hidden[opponent], context)
            expected = gru(exact["cell"], mixed, np.eye(NUM_STATES)[observations[opponent]])
            log_probs = log_softmax(dense(heads["policy"], expected))
            value = dense(heads["value"], expected)[:, 0]
            np.testing.assert_allclose(after[opponent], expected, **TOLERANCE)
            np.testing.assert_allclose(policy.log_probs[opponent], log_probs, **TOLERANCE)
            np.testing.assert_allclose(values[opponent], value, **TOLERANCE)


@pytest.mark.parametrize("context", CONTEXTS)
def test_environments_of_one_opponent_inform_each_other_and_opponents_never_do(context):
    agent, state = at_random_of(Shaper, context=context)
    hidden, observations = inputs(H, 0)
    after = jax.jit(lambda hidden: agent.forward(state.params, hidden, observations)[0])
    slopes = np.asarray(jax.jacobian(after)(jnp.float32(hidden)))
    # By opponent and environment: whether what was remembered there matters here.
    matters = np.abs(slopes).max(axis=(2, 5)) > 1e-6
    np.testing.assert_array_equal(matters, (slopes != 0).any(axis=(2, 5)))
    within = np.eye(E, dtype=bool) if context == "none" else np.ones((E, E), bool)
    for here, there in np.ndindex(O, O):
        expected = within if here == there else np.zeros((E, E), bool)
        np.testing.assert_array_equal(matters[here, :, there], expected)


# M-FOS.


@pytest.fixture(scope="module")
def mfos():
    return at_random_of(MFOS)


def test_mfos_is_that_of_numpy(mfos):
    agent, state = mfos
    exact = as_float64(state.params)
    for seed in range(3):
        hidden, observations = inputs(4 * H, seed)
        carry, policy, values = agent.forward(state.params, jnp.float32(hidden), observations)
        following = agent.reset_memory(agent.initial_memory(carry), False, state).hidden

        theta = hidden[..., 3 * H :]
        features = np.eye(NUM_STATES)[observations]
        states = []
        for index, name in enumerate(("actor", "critic", "meta")):
            embedded = np.maximum(dense(exact[f"{name}_embedding"], features), 0)
            before = hidden[..., index * H : (index + 1) * H]
            states.append(gru(exact[f"{name}_gru"], before, embedded))
        actor, critic, meta = states
        np.testing.assert_allclose(carry, np.concatenate([*states, theta], -1), **TOLERANCE)
        log_probs = log_softmax(dense(exact["policy"], theta * actor))
        np.testing.assert_allclose(policy.log_probs, log_probs, **TOLERANCE)
        value = dense(exact["value"], theta * critic)[..., 0]
        np.testing.assert_allclose(values, value, **TOLERANCE)
        np.testing.assert_array_equal(following[..., : 3 * H], 0.0)
        expected = sigmoid(dense(exact["theta"], meta))
        np.testing.assert_allclose(following[..., 3 * H :], expected, **TOLERANCE)


def test_mfos_mixes_the_states_of_environments_but_not_theta(mfos):
    """One step from mixed memories, without a context, is a step with it."""
    plain, state = mfos
    mixing = MFOS.for_env(ENV, 0, hidden_size=H, context="avg")
    hidden, observations = inputs(4 * H, 0)
    states, theta = hidden[..., : 3 * H], hidden[..., 3 * H :]
    mixed = np.concatenate([states / 2 + states.mean(axis=1, keepdims=True) / 2, theta], -1)
    carry, policy, values = mixing.forward(state.params, jnp.float32(hidden), observations)
    expected = plain.forward(state.params, jnp.float32(mixed), observations)
    np.testing.assert_allclose(carry, expected[0], **TOLERANCE)
    np.testing.assert_allclose(policy.log_probs, expected[1].log_probs, **TOLERANCE)
    np.testing.assert_allclose(values, expected[2], **TOLERANCE)
    with pytest.raises(ConfigError, match="^context is 'att' in MFOS"):
        MFOS.for_env(ENV, 0, context="att")


def test_theta_starts_at_ones_and_lasts_for_an_episode(mfos):
    agent, state = mfos
    memory = agent.initial_memory(agent.initial_hidden(E))
    fresh = np.tile([0.0] * 3 * H + [1.0] * H, (E, 1))
    np.testing.assert_array_equal(memory.hidden, fresh)
    for step in range(3):
        _, memory = agent.policy(state, jnp.arange(E), memory, jax.random.key(step))
        np.testing.assert_array_equal(memory.hidden[:, 3 * H :], 1.0)
        assert (memory.hidden[:, : 3 * H] != 0).all()
    following = agent.reset_memory(memory, False, state).hidden[:, 3 * H :]
    assert ((following > 0) & (following < 1)).all()
    np.testing.assert_array_equal(agent.reset_memory(memory, True, state).hidden, fresh)


def test_only_theta_carries_information_between_episodes(mfos):
    """The first unit of the meta-policy's memory is made to say nothing about theta."""
    agent, state = mfos
    theta = state.params["theta"]
    theta = {**theta, "kernel": theta["kernel"].at[0].set(0.0)}
    state = state.replace(params={**state.params, "theta": theta})
    first, second = (jnp.float32(inputs(4 * H, seed)[0][0]) for seed in (0, 1))
    same = second.at[:, 2 * H + 1 : 3 * H].set(first[:, 2 * H + 1 : 3 * H])

    def next_episode(hidden):
        memory, seen = agent.reset_memory(agent.initial_memory(hidden), False, state), []
        for step in range(T):
            observations = (jnp.arange(E) + step) % NUM_STATES
            _, memory = agent.policy(state, observations, memory, jax.random.key(step))
            seen.append(memory)
        return [np.asarray(leaf) for leaf in jax.tree.leaves(seen)]

    for one, other in zip(next_episode(first), next_episode(same), strict=True):
        np.testing.assert_array_equal(one, other)
    different = zip(next_episode(first), next_episode(second), strict=True)
    assert all((one != other).any() for one, other in different)


# Memories from episode to episode.


@pytest.mark.parametrize(
    ("cls", "options", "survives"),
    [(Shaper, {"context": c}, True) for c in CONTEXTS] + [(PPOMemory, {}, False)],
)
def test_the_memory_of_a_shaper_outlives_an_episode_but_not_a_trial(cls, options, survives):
    agent = cls.for_env(ENV, 0, hidden_size=H, **options)
    state = agent.init(jax.random.key(0))
    memory = agent.initial_memory(agent.initial_hidden(E))
    _, memory = agent.policy(state, jnp.arange(E), memory, jax.random.key(0))
    assert (memory.hidden != 0).all()

    following = agent.reset_memory(memory, False, state)
    np.testing.assert_array_equal(following.hidden, memory.hidden if survives else 0.0)
    fresh = agent.reset_memory(memory, True, state)
    np.testing.assert_array_equal(fresh.hidden, agent.initial_hidden(E))
    np.testing.assert_array_equal(fresh.hidden, 0.0)


# PPO on whole trials. What is replayed from a stored memory is what was played.


OPTIONS = {Shaper: {"context": "att"}, MFOS: {}}


@functools.cache
def played_by(cls):
    """Trials against two opponents that play at random, `[O, ...]`, and as one rollout `[K T, O, E]`."""
    agent, state = at_random_of(cls, **OPTIONS[cls])
    other = Random.for_env(ENV, 1)
    roles = [Role("shaper", agent, (0,)), Role("other", other, (1,))]
    runner = TrialRunner(ENV, roles, Counts(num_envs=E, num_outer_steps=K))
    states = {"shaper": state, "other": other.init(jax.random.key(0))}
    play = jax.vmap(lambda key: runner.play(key, states, Task(ENV.default_params))[0])
    trial = jax.jit(play)(jax.random.split(jax.random.key(1), O))
    rollout = jax.tree.map(
        lambda leaf: np.moveaxis(leaf, 0, 2).reshape(K * T, O, *leaf.shape[3:]),
        trial.rollouts["shaper"],
    )
    return types.SimpleNamespace(agent=agent, state=state, trial=trial, rollout=rollout)


@pytest.fixture(params=[Shaper, MFOS], ids=["att", "mfos"])
def played(request):
    return played_by(request.param)


@pytest.mark.parametrize("first", (0, T - 1, T + 2))
def test_a_trial_replayed_from_a_stored_memory_is_the_one_played(played, first):
    rollout = jax.tree.map(lambda leaf: leaf[first:], played.rollout)
    assert rollout.dones.any(axis=(1, 2)).sum() > 1  # It goes on after the end of an episode.

    def replay(dones):
        args = played.state.params, rollout.hiddens[0], rollout.observations, dones
        distribution, values = played.agent.unroll(*args)
        return distribution.log_prob(rollout.actions), values

    log_probs, values = replay(rollout.dones)
    np.testing.assert_allclose(log_probs, rollout.log_probs, **TOLERANCE)
    np.testing.assert_allclose(values, rollout.values, **TOLERANCE)
    assert np.ptp(rollout.log_probs) > 0.1
    # The end of an episode is nothing to a shaper, and a new theta to M-FOS.
    without_ends, _ = replay(np.zeros_like(rollout.dones))
    differs = np.abs(without_ends - rollout.log_probs).max() > 1e-3
    assert differs == isinstance(played.agent, MFOS)


def update(played, learning_rate, **options):
    """One update from the whole trials, as the learner across trials does it: (largest move, metrics)."""
    cls = type(played.agent)
    options |= OPTIONS[cls] | {"learning_rate": learning_rate, "sequence_length": 6}
    agent, start = at_random_of(cls, **options)
    agent.check_rollout(K * T, E, O, K)
    fields = (played.trial.rollouts, played.trial.last_observations, played.trial.last_memories)
    parts = [jax.tree.map(lambda leaf: leaf[None], part) for part in fields]  # One candidate.
    trial = Trial(*parts, {}, None, None, {}, {})
    learner = Gradient(agent)
    experience = Experience("shaper", jax.random.key(2), trial, None, None, {}, None)
    learn = jax.jit(lambda state: learner.update(state, experience))
    state, metrics = learn(start)
    moves = jax.tree.map(lambda a, b: np.abs(a - b).max(), state.params, start.params)
    return max(jax.tree.leaves(moves)), metrics


def assert_found_the_policy_that_acted(metrics):
    assert abs(metrics["approx_kl"]) < 1e-6 and metrics["clip_fraction"] == 0
    # With ratios of one, what is left of it is the mean of advantages of mean zero.
    assert abs(metrics["loss_policy"]) < 1e-5
    assert metrics["gradient_norm"] > 1e-3


def test_before_its_first_step_an_update_finds_the_policy_that_acted(played):
    """Sequences of 6 steps begin, and end, anywhere in episodes of 4."""
    moved, metrics = update(played, learning_rate=0.01, num_epochs=1, num_minibatches=1)

    assert_found_the_policy_that_acted(metrics)
    assert moved == pytest.approx(0.01, rel=0.1)  # The first step of Adam.


def test_minibatches_keep_the_environments_of_an_opponent_together():
    """As good as nothing changes, and so every minibatch of every epoch finds what acted."""
    options = {"learning_rate": 1e-9, "num_epochs": 2, "num_minibatches": 4}
    moved, metrics = update(played_by(Shaper), **options)

    assert_found_the_policy_that_acted(metrics)
    assert moved < 1e-7


def test_learning_in_the_trial_mixes_over_the_environments_of_the_opponent():
    """A rollout `[T, E]` is that of one opponent, and what is remembered stays as it is."""
    played = played_by(Shaper)
    options = {"num_epochs": 1, "num_minibatches": 1, "sequence_length": T // 2}
    agent, start = at_random_of(Shaper, **OPTIONS[Shaper], **options)
    rollout = jax.tree.map(lambda leaf: leaf[T : 2 * T, 0], played.rollout)
    last = played.trial.last_observations["shaper"][0, 1]
    memory = jax.tree.map(lambda leaf: leaf[0], played.trial.last_memories["shaper"])
    state, after, metrics = jax.jit(agent.update)(rollout, last, start, memory, jax.random.key(3))

    assert_found_the_policy_that_acted(metrics)
    assert state.updates == 1
    for one, other in zip(jax.tree.leaves(after), jax.tree.leaves(memory), strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
