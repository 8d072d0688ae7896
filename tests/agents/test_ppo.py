"""PPO against an implementation in numpy, float64, with plain loops and finite differences.

Where two are compared, float32 against float64, they agree to 1e-5.
"""

import dataclasses
import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pax.agents import PPO, PPOMemory, Tabular
from pax.agents.ppo import Sequences, divisors
from pax.envs.spaces import Box, Dict, Discrete
from pax.errors import ConfigError
from pax.types import Sample

NUM_OBSERVATIONS, NUM_ACTIONS = 5, 2
SPACES = (Discrete(NUM_OBSERVATIONS), Discrete(NUM_ACTIONS))
NUM_STEPS, NUM_ENVS = 6, 8
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
LOSSES = ("loss_total", "loss_policy", "loss_value", "entropy", "approx_kl", "clip_fraction")


def agent_of(cls=Tabular, **options):
    return cls(*SPACES, **{"num_epochs": 1, "num_minibatches": 1, **options})


def log_softmax(logits):
    highest = max(logits)
    total = math.log(sum(math.exp(x - highest) for x in logits))
    return [x - highest - total for x in logits]


def gae(rollout, last_values, discount, gae_lambda, ends):
    """A_t backwards through each environment; `ends`: whether a done ends what follows."""
    num_steps, num_envs = rollout["rewards"].shape
    advantages = np.zeros((num_steps, num_envs))
    for env in range(num_envs):
        advantage, following = 0.0, last_values[env]
        for t in reversed(range(num_steps)):
            goes_on = not (ends and rollout["dones"][t, env])
            value = rollout["values"][t, env]
            delta = rollout["rewards"][t, env] + discount * following * goes_on - value
            advantage = delta + discount * gae_lambda * goes_on * advantage
            advantages[t, env] = advantage
            following = value
    return advantages, advantages + rollout["values"]


def ppo_loss(steps, agent, entropy_coeff):
    """The loss and its parts.

    Args:
        steps: a list of (logits, value, action, old log-prob, old value, advantage, target).
        agent: its hyper-parameters are read.
        entropy_coeff: the coefficient of the entropy.
    """
    all_advantages = [step[5] for step in steps]
    mean = sum(all_advantages) / len(steps)
    std = math.sqrt(sum((a - mean) ** 2 for a in all_advantages) / len(steps))
    eps = agent.clip_epsilon
    sums = dict.fromkeys(LOSSES[1:], 0.0)
    for logits, value, action, old_log_prob, old_value, advantage, target in steps:
        log_probs = log_softmax(logits)
        advantage = (advantage - mean) / (std + 1e-8)
        log_ratio = log_probs[action] - old_log_prob
        ratio = math.exp(log_ratio)
        clipped = min(max(ratio, 1 - eps), 1 + eps)
        sums["loss_policy"] -= min(ratio * advantage, clipped * advantage)
        error = (target - value) ** 2
        if agent.clip_value:
            near = old_value + min(max(value - old_value, -eps), eps)
            error = max(error, (target - near) ** 2)
        sums["loss_value"] += error
        sums["entropy"] -= sum(math.exp(x) * x for x in log_probs)
        sums["approx_kl"] += ratio - 1 - log_ratio
        sums["clip_fraction"] += abs(ratio - 1) > eps
    parts = {name: total / len(steps) for name, total in sums.items()}
    parts["loss_total"] = (
        parts["loss_policy"]
        + agent.value_coeff * parts["loss_value"]
        - entropy_coeff * parts["entropy"]
    )
    return parts


def tabular_loss(table, rollout, advantages, targets, cells, agent, entropy_coeff):
    """`ppo_loss` of the steps in `cells`, pairs (t, env), for a table `[observations, A + 1]`."""
    steps = []
    for cell in cells:
        row = table[rollout["observations"][cell]]
        steps.append(
            (
                row[:-1].tolist(),
                float(row[-1]),
                rollout["actions"][cell],
                rollout["log_probs"][cell],
                rollout["values"][cell],
                advantages[cell],
                targets[cell],
            )
        )
    return ppo_loss(steps, agent, entropy_coeff)


def finite_differences(function, x, step=1e-6):
    """The gradient of a float64 function, to about 1e-9."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        values = []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * step
            values.append(function(moved))
        gradient[index] = (values[0] - values[1]) / (2 * step)
    return gradient


class Adam:
    """Adam (Kingma & Ba 2015) after clipping the gradient to a norm."""

    def __init__(self, agent, shape):
        self.agent = agent
        self.count = 0
        self.mean, self.square = np.zeros(shape), np.zeros(shape)

    def step(self, params, gradient, learning_rate):
        norm = math.sqrt((gradient**2).sum())
        if norm > self.agent.max_gradient_norm:
            gradient = gradient * self.agent.max_gradient_norm / norm
        self.count += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.999 * self.square + 0.001 * gradient**2
        mean = self.mean / (1 - 0.9**self.count)
        square = self.square / (1 - 0.999**self.count)
        return params - learning_rate * mean / (np.sqrt(square) + self.agent.adam_epsilon)


def random_rollout(seed, num_steps=NUM_STEPS, num_envs=NUM_ENVS):
    """A rollout of a policy unlike the one that learns from it, so that much is clipped."""
    rng = np.random.default_rng(seed)
    shape = (num_steps, num_envs)
    dones = np.zeros(shape, bool)
    dones[-1] = True
    # Every observation comes up, so that no gradient is too small to be told from rounding.
    observations = rng.permutation(np.arange(num_steps * num_envs) % NUM_OBSERVATIONS)
    return {
        "observations": observations.reshape(shape),
        "actions": rng.integers(0, NUM_ACTIONS, shape),
        "rewards": rng.normal(size=shape),
        "log_probs": np.log(rng.uniform(0.35, 0.75, shape)),
        "values": rng.normal(size=shape),
        "dones": dones,
    }


def random_table(seed):
    return 0.5 * np.random.default_rng(seed).normal(size=(NUM_OBSERVATIONS, NUM_ACTIONS + 1))


LAST_OBSERVATIONS = np.arange(NUM_ENVS) % NUM_OBSERVATIONS


def as_sample(rollout, hiddens=None):
    if hiddens is None:
        hiddens = np.zeros((*rollout["rewards"].shape, 0))
    return Sample(
        **{
            name: jnp.array(leaf, None if leaf.dtype == bool else jnp.float32)
            for name, leaf in rollout.items()
            if name not in ("observations", "actions")
        },
        observations=jnp.array(rollout["observations"], jnp.int32),
        actions=jnp.array(rollout["actions"], jnp.int32),
        hiddens=jnp.array(hiddens, jnp.float32),
    )


def start(agent, params=None):
    """A fresh state, with other parameters where given."""
    state = agent.init(jax.random.key(0))
    if params is not None:
        state = dataclasses.replace(state, params=params)
    return state


def as_params(table):
    return {"table": jnp.array(table, jnp.float32)}


def with_learning_rate(state, learning_rate):
    hyperparams = {**state.opt_state.hyperparams, "learning_rate": jnp.float32(learning_rate)}
    return dataclasses.replace(state, opt_state=state.opt_state._replace(hyperparams=hyperparams))


def update(agent, state, rollout, key=0, last_observations=LAST_OBSERVATIONS):
    """`agent.update`, compiled once per agent; returns (state, metrics)."""
    if not hasattr(agent, "compiled_update"):
        agent.compiled_update = jax.jit(agent.update)
    num_envs = rollout["rewards"].shape[1]
    memory = agent.initial_memory(agent.initial_hidden(num_envs))
    key = jax.random.key(key)
    last_observations = jnp.array(last_observations[:num_envs])
    state, _, metrics = agent.compiled_update(
        as_sample(rollout), last_observations, state, memory, key
    )
    return state, metrics


class Reference:
    """The tabular agent in numpy."""

    def __init__(self, agent, table):
        self.agent = agent
        self.table = table.astype(np.float64)
        self.adam = Adam(agent, table.shape)
        self.learning_rate = agent.learning_rate

    def advantages(self, rollout):
        agent = self.agent
        last_values = self.table[LAST_OBSERVATIONS[: rollout["rewards"].shape[1]], -1]
        ends = not agent.bootstrap_on_time_limit
        rollout = {**rollout, "rewards": agent.reward_scale * rollout["rewards"]}
        return gae(rollout, last_values, agent.discount, agent.gae_lambda, ends)

    def step(self, rollout, advantages, targets, cells, entropy_coeff):
        """One gradient step on some cells of the rollout; returns the loss before it and the gradient."""

        def loss(table):
            return tabular_loss(
                table, rollout, advantages, targets, cells, self.agent, entropy_coeff
            )

        before = loss(self.table)
        gradient = finite_differences(lambda table: loss(table)["loss_total"], self.table)
        self.table = self.adam.step(self.table, gradient, self.learning_rate)
        return before, gradient

    def update(self, rollout, entropy_coeff=None):
        """All epochs, each with the whole rollout as its minibatch."""
        entropy_coeff = self.agent.entropy_coeff if entropy_coeff is None else entropy_coeff
        advantages, targets = self.advantages(rollout)
        cells = list(np.ndindex(rollout["rewards"].shape))
        return [
            self.step(rollout, advantages, targets, cells, entropy_coeff)
            for _ in range(self.agent.num_epochs)
        ]


@pytest.mark.parametrize(
    ("clip_value", "bootstrap", "scale"), ((True, True, 1.0), (False, False, 0.7))
)
def test_three_updates_are_those_of_numpy(clip_value, bootstrap, scale):
    """Losses, gradient, its clipping and Adam, from one update to the next."""
    agent = agent_of(
        clip_value=clip_value,
        bootstrap_on_time_limit=bootstrap,
        reward_scale=scale,
        learning_rate=0.05,
        entropy_coeff=0.1,
        value_coeff=0.7,
        discount=0.9,
        gae_lambda=0.8,
        max_gradient_norm=0.1,
    )
    table = random_table(1)
    reference, state = Reference(agent, table), start(agent, as_params(table))
    for seed in range(3):
        rollout = random_rollout(seed)
        [(losses, gradient)] = reference.update(rollout)
        state, metrics = update(agent, state, rollout, key=seed)
        # The rollout is such that clipping matters, and does not swallow everything.
        assert 0.2 < losses["clip_fraction"] < 0.9
        norm = math.sqrt((gradient**2).sum())
        assert norm > agent.max_gradient_norm
        for name in LOSSES:
            np.testing.assert_allclose(metrics[name], losses[name], **TOLERANCE, err_msg=name)
        np.testing.assert_allclose(metrics["gradient_norm"], norm, **TOLERANCE)
        np.testing.assert_allclose(state.params["table"], reference.table, **TOLERANCE)
        assert int(state.updates) == seed + 1


def test_a_small_gradient_is_not_clipped():
    agent = agent_of(max_gradient_norm=1e6, learning_rate=0.05)
    table = random_table(2)
    reference, state = Reference(agent, table), start(agent, as_params(table))
    rollout = random_rollout(3)
    [(_, gradient)] = reference.update(rollout)
    state, _ = update(agent, state, rollout)
    np.testing.assert_allclose(state.params["table"], reference.table, **TOLERANCE)
    # Adam hides the length of the first gradient, except in its running mean.
    mean = optax.tree.get(state.opt_state, "mu")["table"]
    np.testing.assert_allclose(mean, 0.1 * gradient, **TOLERANCE)


def test_clipping_the_value_makes_a_difference():
    """Otherwise the comparisons above would show nothing about it."""
    rollout, table = random_rollout(0), random_table(1)
    losses = [
        Reference(agent, table).update(rollout)[0][0]["loss_value"]
        for agent in (agent_of(clip_value=False), agent_of(clip_value=True))
    ]
    assert losses[1] > losses[0] + 0.1


def test_what_follows_a_time_limit_counts_only_with_bootstrap():
    """One step, reward 1, and a last observation that is worth 10."""
    rollout = {
        "observations": np.zeros((1, 1), int),
        "actions": np.zeros((1, 1), int),
        "rewards": np.ones((1, 1)),
        "log_probs": np.full((1, 1), math.log(0.5)),
        "values": np.zeros((1, 1)),
        "dones": np.ones((1, 1), bool),
    }
    table = np.zeros((NUM_OBSERVATIONS, NUM_ACTIONS + 1))
    table[3, -1] = 10.0
    for bootstrap, target in ((True, 1 + 0.9 * 10), (False, 1.0)):
        agent = agent_of(bootstrap_on_time_limit=bootstrap, discount=0.9, clip_value=False)
        state = start(agent, as_params(table))
        _, metrics = update(agent, state, rollout, last_observations=np.array([3]))
        np.testing.assert_allclose(metrics["loss_value"], target**2, rtol=1e-6)


def ordered_halves(cells):
    """Every way to cut four cells into a first and a second minibatch of two."""
    for first in itertools.combinations(cells, 2):
        yield first, tuple(cell for cell in cells if cell not in first)


def test_every_epoch_cuts_all_steps_into_minibatches_anew():
    """Four steps, two minibatches, two epochs: 36 ways, and the result is that of one of them."""
    agent = agent_of(num_epochs=2, num_minibatches=2, learning_rate=0.05)
    table, rollout = random_table(4), random_rollout(5, num_steps=2, num_envs=2)
    cells = [(0, 0), (0, 1), (1, 0), (1, 1)]

    def epochs(reference, left):
        """(cuts so far, table) of every way to go on."""
        if not left:
            yield (), reference.table
            return
        for halves in ordered_halves(cells):
            branch = Reference(agent, reference.table)
            branch.adam.__dict__.update(reference.adam.__dict__)
            for half in halves:
                branch.step(rollout, advantages, targets, half, agent.entropy_coeff)
            for cuts, result in epochs(branch, left - 1):
                yield (halves[0], *cuts), result

    advantages, targets = Reference(agent, table).advantages(rollout)
    ways = list(epochs(Reference(agent, table), agent.num_epochs))
    assert len(ways) == 36
    seen = set()
    for key in range(12):
        state, _ = update(agent, start(agent, as_params(table)), rollout, key=key)
        result = np.asarray(state.params["table"])
        distances = [abs(result - expected).max() for _, expected in ways]
        assert min(distances) < 2e-5
        assert sorted(distances)[1] > 1e-4  # No other way comes near.
        seen.add(ways[int(np.argmin(distances))][0])
    assert len(seen) > 5
    assert any(first != second for first, second in seen)


def test_entropy_coefficient_follows_its_schedule():
    """From .5 to .1 over 120 environment steps, of which an update sees 48."""
    agent = agent_of(entropy_coeff=0.5, entropy_coeff_end=0.1, entropy_coeff_horizon=120)
    table, rollout = random_table(1), random_rollout(0)
    reference, state = Reference(agent, table), start(agent, as_params(table))
    for expected in (0.5, 0.5 - 0.4 * 48 / 120, 0.5 - 0.4 * 96 / 120, 0.1, 0.1):
        [(losses, _)] = reference.update(rollout, entropy_coeff=expected)
        state, metrics = update(agent, state, rollout)
        np.testing.assert_allclose(metrics["entropy_coeff"], expected, rtol=1e-6)
        np.testing.assert_allclose(metrics["loss_total"], losses["loss_total"], **TOLERANCE)


def test_entropy_coefficient_is_constant_without_a_horizon():
    agent = agent_of(entropy_coeff=0.5, entropy_coeff_end=0.1)
    state = dataclasses.replace(start(agent), updates=jnp.int32(1000))
    _, metrics = update(agent, state, random_rollout(0))
    np.testing.assert_allclose(metrics["entropy_coeff"], 0.5, rtol=1e-6)


def test_learning_rate_falls_with_every_optimiser_step():
    """To 0 over 5 steps, of which an update takes 2."""
    agent = agent_of(num_epochs=2, learning_rate=0.1, learning_rate_horizon=5)
    table, rollout = random_table(1), random_rollout(0)
    reference, state = Reference(agent, table), start(agent, as_params(table))
    advantages_of, cells = reference.advantages, list(np.ndindex(rollout["rewards"].shape))
    tables = []
    for first in range(0, 8, 2):
        advantages, targets = advantages_of(rollout)
        for step in (first, first + 1):
            reference.learning_rate = 0.1 * max(0, 5 - step) / 5
            reference.step(rollout, advantages, targets, cells, agent.entropy_coeff)
        state, _ = update(agent, state, rollout)
        np.testing.assert_allclose(state.params["table"], reference.table, **TOLERANCE)
        tables.append(np.asarray(state.params["table"]))
    assert abs(tables[2] - tables[1]).max() > 1e-3  # the fifth step still moves
    np.testing.assert_allclose(tables[3], tables[2], rtol=0, atol=1e-7)


@pytest.mark.parametrize("horizon", (0, 10))
def test_the_learning_rate_of_the_state_is_the_one_that_applies(horizon):
    """A task replaces it there; the one in the agent is where it starts."""
    agent = agent_of(learning_rate=0.01, learning_rate_horizon=horizon)
    table, rollout = random_table(1), random_rollout(0)
    state = start(agent, as_params(table))
    np.testing.assert_allclose(state.opt_state.hyperparams["learning_rate"], 0.01, rtol=1e-6)
    for learning_rate in (0.3, 0.0):
        reference = Reference(agent, table)
        reference.learning_rate = learning_rate
        reference.update(rollout)
        new, _ = update(agent, with_learning_rate(state, learning_rate), rollout)
        np.testing.assert_allclose(new.params["table"], reference.table, **TOLERANCE)
        np.testing.assert_allclose(
            new.opt_state.hyperparams["learning_rate"], learning_rate, rtol=1e-6
        )


# The recurrent network. Parameters are drawn at random: at first its heads cannot tell actions apart.

HIDDEN = 3
GRU_STEPS, GRU_ENVS = 12, 3
EPISODE_END = 4  # The first episode ends after the fifth step, within a sequence of 3, 4, 6 or 12.


def gru_agent(sequence_length, **options):
    return agent_of(PPOMemory, hidden_size=HIDDEN, sequence_length=sequence_length, **options)


@pytest.fixture(scope="module")
def gru():
    """(parameters, rollout, stored memories, last observations, last memory) of a play by hand."""
    agent = gru_agent(1)
    rng = np.random.default_rng(7)
    params = jax.tree.map(
        lambda leaf: jnp.array(rng.normal(size=leaf.shape), jnp.float32),
        agent.init(jax.random.key(0)).params,
    )
    state = start(agent, params)
    memory = agent.initial_memory(agent.initial_hidden(GRU_ENVS))
    observations = rng.integers(0, NUM_OBSERVATIONS, (GRU_STEPS + 1, GRU_ENVS))
    policy = jax.jit(agent.policy)
    hiddens, played = [], []
    for t in range(GRU_STEPS):
        hiddens.append(np.asarray(memory.hidden))
        actions, memory = policy(state, jnp.array(observations[t]), memory, jax.random.key(t))
        played.append(
            [np.asarray(x) for x in (actions, memory.extras["log_probs"], memory.extras["values"])]
        )
        if t == EPISODE_END:
            memory = agent.reset_memory(memory)
            assert (np.asarray(memory.hidden) == 0).all()
    dones = np.zeros((GRU_STEPS, GRU_ENVS), bool)
    dones[EPISODE_END] = True
    actions, log_probs, values = (np.stack(leaves) for leaves in zip(*played, strict=True))
    rollout = {
        "observations": observations[:-1],
        "actions": actions,
        "rewards": rng.normal(size=dones.shape),
        "log_probs": log_probs,
        "values": values,
        "dones": dones,
    }
    return params, rollout, np.stack(hiddens), observations[-1], memory


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru_step(params, hidden, observations):
    """(hidden, logits, values) after one step, from the formulas of Cho et al. (2014)."""
    cell, heads = params["cell"], params["heads"]
    features = np.eye(NUM_OBSERVATIONS)[observations]

    def dense(layer, inputs):
        return inputs @ layer["kernel"] + layer.get("bias", 0.0)

    inputs = np.split(dense(cell["input"], features), 3, axis=-1)
    own = np.split(hidden @ cell["kernel"], 3, axis=-1)
    reset, keep = sigmoid(inputs[0] + own[0]), sigmoid(inputs[1] + own[1])
    new = np.tanh(inputs[2] + reset * (own[2] + cell["bias"]))
    hidden = (1 - keep) * new + keep * hidden
    return hidden, dense(heads["policy"], hidden), dense(heads["value"], hidden)[:, 0]


def as_float64(params):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)


def gru_loss(params, rollout, hiddens, advantages, targets, length, agent):
    """The loss of sequences of `length`, each unrolled from its stored memory."""
    steps = []
    for first in range(0, GRU_STEPS, length):
        hidden = hiddens[first].astype(np.float64)
        for t in range(first, first + length):
            hidden, logits, values = gru_step(params, hidden, rollout["observations"][t])
            hidden = np.where(rollout["dones"][t][:, None], 0.0, hidden)
            steps += [
                (
                    logits[env].tolist(),
                    float(values[env]),
                    rollout["actions"][t, env],
                    rollout["log_probs"][t, env],
                    rollout["values"][t, env],
                    advantages[t, env],
                    targets[t, env],
                )
                for env in range(GRU_ENVS)
            ]
    return ppo_loss(steps, agent, agent.entropy_coeff)


def gru_gradient(params, *arguments):
    leaves, structure = jax.tree.flatten(as_float64(params))
    gradients = []
    for index, leaf in enumerate(leaves):

        def loss(moved, index=index):
            others = [*leaves[:index], moved, *leaves[index + 1 :]]
            return gru_loss(structure.unflatten(others), *arguments)["loss_total"]

        gradients.append(finite_differences(loss, leaf))
    return structure.unflatten(gradients)


def test_the_gru_is_that_of_numpy(gru):
    params, rollout, hiddens, _, _ = gru
    for t in range(GRU_STEPS):
        hidden, logits, values = gru_step(
            as_float64(params), hiddens[t], rollout["observations"][t]
        )
        log_probs = [
            log_softmax(row.tolist())[action]
            for row, action in zip(logits, rollout["actions"][t], strict=True)
        ]
        np.testing.assert_allclose(values, rollout["values"][t], **TOLERANCE)
        np.testing.assert_allclose(log_probs, rollout["log_probs"][t], **TOLERANCE)
        if t + 1 < GRU_STEPS:
            expected = np.zeros_like(hidden) if t == EPISODE_END else hidden
            np.testing.assert_allclose(hiddens[t + 1], expected, **TOLERANCE)


@pytest.mark.parametrize("first", (0, 3, EPISODE_END, EPISODE_END + 1))
def test_unrolling_from_a_stored_memory_repeats_the_play(gru, first):
    params, rollout, hiddens, _, _ = gru
    observations, dones, actions = (
        jnp.array(rollout[name][first:]) for name in ("observations", "dones", "actions")
    )
    unroll = gru_agent(1).unroll
    distribution, values = unroll(params, hiddens[first], observations, dones)
    np.testing.assert_allclose(values, rollout["values"][first:], **TOLERANCE)
    np.testing.assert_allclose(
        distribution.log_prob(actions), rollout["log_probs"][first:], **TOLERANCE
    )
    if first <= EPISODE_END:  # Without the zero at the end of the episode it is another play.
        _, values = unroll(params, hiddens[first], observations, jnp.zeros_like(dones))
        after = slice(EPISODE_END + 1 - first, None)
        assert abs(np.asarray(values - rollout["values"][first:])[after]).max() > 0.01


def update_gru(agent, params, rollout, hiddens, last_observations, memory):
    sample = as_sample(rollout, hiddens)
    state, after, metrics = jax.jit(agent.update)(
        sample, jnp.array(last_observations), start(agent, params), memory, jax.random.key(0)
    )
    jax.tree.map(np.testing.assert_array_equal, after, memory)  # It learns; it does not play.
    return state, metrics


@pytest.mark.parametrize("length", (4, 12))
def test_losses_and_gradients_of_sequences_are_those_of_numpy(gru, length):
    """The gradient stops at the first memory of a sequence, which is stored and does not change."""
    params, rollout, hiddens, last_observations, memory = gru
    agent = gru_agent(length, max_gradient_norm=1e6, learning_rate=0.1, entropy_coeff=0.1)
    # The play by the same parameters would clip nothing.
    noise = np.random.default_rng(8).normal(size=(2, GRU_STEPS, GRU_ENVS)) * 0.3
    rollout = {
        **rollout,
        "log_probs": rollout["log_probs"] + noise[0],
        "values": rollout["values"] + noise[1],
    }
    _, _, last_values = gru_step(as_float64(params), np.asarray(memory.hidden), last_observations)
    advantages, targets = gae(rollout, last_values, agent.discount, agent.gae_lambda, ends=False)
    arguments = (rollout, hiddens, advantages, targets)
    losses = gru_loss(as_float64(params), *arguments, length, agent)
    assert 0.1 < losses["clip_fraction"] < 0.9
    expected = gru_gradient(params, *arguments, length, agent)

    state, metrics = update_gru(agent, params, rollout, hiddens, last_observations, memory)
    for name in LOSSES:
        np.testing.assert_allclose(metrics[name], losses[name], **TOLERANCE, err_msg=name)
    # After one step, Adam's running mean is a tenth of the gradient.
    actual = jax.tree.map(lambda leaf: 10.0 * leaf, optax.tree.get(state.opt_state, "mu"))
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, **TOLERANCE), actual, expected)
    other = gru_gradient(params, *arguments, {4: 12, 12: 4}[length], agent)
    differences = jax.tree.map(lambda a, b: abs(a - b).max(), expected, other)
    assert max(jax.tree.leaves(differences)) > 1e-3  # What is cut off is no trifle.


# Errors.


@pytest.mark.parametrize(("steps", "envs", "minibatches"), ((150, 1, 7), (100, 3, 11), (13, 1, 4)))
def test_minibatches_that_do_not_divide_name_a_number_that_does(steps, envs, minibatches):
    for cls, length in ((PPO, 1), (Tabular, 1), (PPOMemory, {150: 10, 100: 20, 13: 13}[steps])):
        agent = agent_of(cls, num_minibatches=minibatches, sequence_length=length)
        with pytest.raises(ConfigError) as error:
            agent.check_rollout(steps, envs)
        message = str(error.value)
        what = f"{steps * envs // length} " + (
            f"sequences of {length} steps" if length > 1 else "steps"
        )
        assert f"num_minibatches is {minibatches} in {cls.__name__}" in message
        assert f"does not divide the {what} of a rollout" in message
        named = int(re.search(r"change it to (\d+)", message)[1])
        assert steps * envs // length % named == 0
        agent_of(cls, num_minibatches=named, sequence_length=length).check_rollout(steps, envs)


def test_rollouts_of_a_billion_steps_are_checked_at_once():
    """Whoever asks for too much is to hear so from the check of memory, minutes earlier."""
    agent = agent_of(PPO, num_minibatches=7)
    with pytest.raises(
        ConfigError, match="does not divide the 10000000000 steps .* change it to 8,"
    ):
        agent.check_rollout(100, 10**8)
    assert divisors(360) == [each for each in range(1, 361) if 360 % each == 0]
    assert divisors(36) == [1, 2, 3, 4, 6, 9, 12, 18, 36]
    assert divisors(1) == [1] and divisors(13) == [1, 13]


@pytest.mark.parametrize(("steps", "length"), ((150, 20), (100, 16), (13, 10), (7, 100)))
def test_sequences_that_do_not_divide_name_a_length_that_does(steps, length):
    agent = gru_agent(length)
    with pytest.raises(ConfigError) as error:
        agent.check_rollout(steps, 4)
    message = str(error.value)
    assert (
        f"sequence_length is {length} in PPOMemory and does not divide the {steps} steps" in message
    )
    named = int(re.search(r"change sequence_length to (\d+)", message)[1])
    assert steps % named == 0
    gru_agent(named).check_rollout(steps, 4)
    # A network without memory has no sequences.
    agent_of(PPO, sequence_length=length).check_rollout(steps, 4)


def test_hyperparameters_out_of_range_are_refused():
    for name in ("num_epochs", "num_minibatches", "hidden_size"):
        with pytest.raises(ConfigError, match=f"^{name} is 0 in PPO: give at least 1"):
            agent_of(PPO, **{name: 0})
    with pytest.raises(ConfigError, match="^sequence_length is -1 in PPO: give 0 or more"):
        agent_of(PPO, sequence_length=-1)
    for discount in (-0.1, 1.5, math.nan):
        with pytest.raises(ConfigError, match=f"^discount is {discount} in Tabular: give 0 to 1"):
            agent_of(discount=discount)
    with pytest.raises(
        ConfigError, match="^network is 'cnn' in PPO: choose one of mlp, table, gru"
    ):
        agent_of(PPO, network="cnn")


def test_spaces_that_do_not_fit_are_refused():
    with pytest.raises(
        ConfigError, match=r"^PPO: actions are Dict\(.*a policy needs Discrete ones, or a Box$"
    ):
        PPO(Discrete(5), Dict((("a", Box((2, 3))),)))
    with pytest.raises(
        ConfigError, match=r"^conv_channels is \(4,\) in PPO, and .* no image: use ()"
    ):
        PPO(Box((4, 4)), Discrete(2), conv_channels=(4,))
    for spaces in ((Box((5,)), Discrete(2)), (Discrete(5), Box((2,)))):
        with pytest.raises(ConfigError, match="^Tabular keeps a table and needs discrete observ"):
            Tabular(*spaces)


def test_an_entropy_that_is_only_reported_is_estimated():
    """Samples of another policy, weighted, tell the entropy of this one; the loss has none of it."""
    agent = PPO(Box((3,)), Box((2,), -1.0, 1.0), entropy_coeff=0.0)
    params = [agent.init(jax.random.key(seed)).params for seed in range(2)]
    seen = jax.random.normal(jax.random.key(2), (20_000, 1, 3))
    hidden = agent.initial_hidden(20_000)
    behaviour, _ = agent.unroll(params[0], hidden, seen[:, 0][None], jnp.zeros((1, 20_000), bool))
    actions = behaviour.sample(jax.random.key(3))[0][:, None]
    zeros = jnp.zeros((20_000, 1))
    log_probs = behaviour.log_prob(actions[:, 0][None])[0][:, None]
    batch = Sequences(seen, actions, zeros > 0, log_probs, zeros, zeros, zeros, hidden)
    policy, _ = agent.unroll(params[1], hidden, seen[:, 0][None], jnp.zeros((1, 20_000), bool))
    total, metrics = agent.loss(params[1], batch, jnp.float32(0.0))
    np.testing.assert_allclose(metrics["entropy"], policy.entropy().mean(), atol=0.03)
    expected = metrics["loss_policy"] + agent.value_coeff * metrics["loss_value"]
    np.testing.assert_allclose(total, expected, rtol=1e-6)
