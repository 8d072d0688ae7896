"""Agents that remember a trial learn what they keep from one episode to the next."""

import logging
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import AGENTS, MFOS, PPO, Naive, PPOMemory, Shaper, Tabular
from pax.callbacks.callback import Callback
from pax.callbacks.callback_list import CallbackList
from pax.config.build import build_trainer
from pax.config.files import load_config
from pax.envs import IteratedMatrixGame
from pax.errors import ConfigError
from pax.learners import Gradient
from pax.roles import Role, check_roles

T, K, B, H = 3, 3, 2, 2
ROOT = pathlib.Path(__file__).parents[2]
ENV = IteratedMatrixGame(num_inner_steps=T)
FILES = ("ipd", "imp", "coin_game", "ipditm", "impitm", "nplayer_ipd", "cournot", "fishery")
FILES += ("rice", "c_rice", "infinite")
VARIANTS = [f"configs/{name}.py:{variant}" for name in FILES for variant in ("mfos_rl", "marl2")]
REMEMBER = (Shaper, MFOS)


# The gradient of M-FOS, from a float64 forward pass and finite differences.


def gru(cell, hidden, inputs):
    """One step of a gated recurrent unit (Cho et al. 2014)."""
    given = np.split(inputs @ cell["input"]["kernel"] + cell["input"]["bias"], 3, axis=-1)
    own = np.split(hidden @ cell["kernel"], 3, axis=-1)
    reset, keep = (1 / (1 + np.exp(-(given[i] + own[i]))) for i in range(2))
    new = np.tanh(given[2] + reset * (own[2] + cell["bias"]))
    return (1 - keep) * new + keep * hidden


def weighed_log_probs(params, first, observations, dones, actions, weights):
    """sum_t weights_t (log pi(a_t) + V_t) of M-FOS (Lu et al. 2022), step by step."""
    actor, critic, meta, theta = np.split(np.asarray(first, np.float64), 4, axis=-1)
    total = 0.0
    for seen, done, action, weight in zip(observations, dones, actions, weights, strict=True):
        states = []
        for name, before in (("actor", actor), ("critic", critic), ("meta", meta)):
            layer = params[f"{name}_embedding"]
            embedded = np.maximum(np.eye(5)[seen] @ layer["kernel"] + layer["bias"], 0)
            states.append(gru(params[f"{name}_gru"], before, embedded))
        actor, critic, meta = states
        logits = (theta * actor) @ params["policy"]["kernel"] + params["policy"]["bias"]
        log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        values = ((theta * critic) @ params["value"]["kernel"] + params["value"]["bias"])[:, 0]
        total += (weight * (log_probs[np.arange(B), action] + values)).sum()
        if done:
            logits = meta @ params["theta"]["kernel"] + params["theta"]["bias"]
            theta = 1 / (1 + np.exp(-logits))
            actor, critic, meta = (np.zeros_like(state) for state in states)
    return total


def test_the_gradient_of_mfos_reaches_back_across_episodes():
    """Only steps of later episodes are weighed, so that the meta-policy alone joins them to the first."""
    rng = np.random.default_rng(0)
    agent = MFOS.for_env(ENV, 0, hidden_size=H)
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape), agent.init(jax.random.key(0)).params
    )
    observations, actions = rng.integers(0, 5, (K * T, B)), rng.integers(0, 2, (K * T, B))
    dones = np.arange(1, K * T + 1) % T == 0
    weights = np.where(np.arange(K * T) < T, 0.0, 1.0)[:, None] * rng.normal(size=(K * T, B))
    first = agent.initial_hidden(B)
    inputs = first, observations, dones, actions, weights

    @jax.jit
    @jax.grad
    def gradient_of(params):
        distribution, values = agent.unroll(
            params, first, jnp.array(observations), jnp.tile(dones[:, None], B)
        )
        return (weights * (distribution.log_prob(jnp.array(actions)) + values)).sum()

    actual = gradient_of(jax.tree.map(jnp.float32, params))
    for name in ("theta", "meta_gru", "meta_embedding"):
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(actual[name])) > 1e-2, name
    leaves, structure = jax.tree.flatten(params)
    for number, (leaf, slopes) in enumerate(zip(leaves, jax.tree.leaves(actual), strict=True)):
        for index in np.ndindex(leaf.shape):
            around = []
            for step in (1e-6, -1e-6):
                moved = [np.array(other) for other in leaves]
                moved[number][index] += step
                around.append(weighed_log_probs(structure.unflatten(moved), *inputs))
            expected = (around[0] - around[1]) / 2e-6
            np.testing.assert_allclose(slopes[index], expected, rtol=1e-3, atol=1e-4)


# Sequences and discounts that do not reach the next episode.


@pytest.mark.parametrize("cls", REMEMBER)
def test_whole_trials_are_the_default(cls):
    agent = cls.for_env(ENV, 0, num_minibatches=2, discount=1.0)
    Gradient(agent).check(num_opps=1, num_outer_steps=7, num_steps=13, num_envs=2)


@pytest.mark.parametrize("cls", REMEMBER)
@pytest.mark.parametrize("length", (1, 5, 10))
def test_sequences_within_an_episode_are_refused(cls, length):
    check = {"num_opps": 2, "num_outer_steps": 6, "num_steps": 10, "num_envs": 2}

    def agent(length):
        options = {"num_minibatches": 2, "discount": 1.0}
        return cls.for_env(ENV, 0, sequence_length=length, **options)

    with pytest.raises(ConfigError) as error:
        Gradient(agent(length)).check(**check)
    assert str(error.value) == (
        f"sequence_length is {length} in {cls.__name__}, whose memory outlives the episodes of 10 steps, "
        "and what it keeps between them is learned from sequences that span their ends: use 12 or more "
        "steps that divide 60, or 0 for the whole trial"
    )
    # What is proposed in place of a length that does not divide the trial spans episodes too.
    with pytest.raises(ConfigError, match="change sequence_length to 12, or the steps"):
        Gradient(agent(11)).check(**check)
    for enough in (12, 20, 60, 0):
        Gradient(agent(enough)).check(**check)
    # One episode has no other; and who forgets has nothing to learn between them.
    Gradient(agent(length)).check(**{**check, "num_outer_steps": 1})
    forgets = PPOMemory.for_env(ENV, 0, sequence_length=length, num_minibatches=2)
    Gradient(forgets).check(**check)


@pytest.mark.parametrize(
    ("options", "warns"),
    [
        ({"discount": 0.96}, True),  # .96^100 = .017, .96^200 = .0003
        ({"discount": 0.995}, False),
        ({"discount": 1.0}, False),
        ({"discount": 1.0, "bootstrap_on_time_limit": False}, True),
    ],
)
def test_a_discount_that_does_not_reach_the_next_episode_is_told(options, warns, caplog):
    agent = MFOS.for_env(ENV, 0, num_minibatches=2, **options)
    with caplog.at_level(logging.WARNING, logger="absl"):
        Gradient(agent).check(num_opps=2, num_outer_steps=2, num_steps=200, num_envs=2)
    assert [("does not learn to shape" in text) for text in caplog.messages] == [True] * warns


def test_mfos_does_not_learn_within_a_trial():
    roles = [
        Role("me", MFOS.for_env(ENV, 0), (0,), learns_in_trial=True),
        Role("other", PPOMemory.for_env(ENV, 1), (1,)),
    ]
    with pytest.raises(ConfigError, match="^learns_in_trial is True in role me, and MFOS learns"):
        check_roles(roles, ENV)


# No part of a network is left out.

NETWORKS = [
    *((cls, {"network": network}) for cls in (PPO, Naive) for network in ("mlp", "table", "gru")),
    (PPO, {"separate_critic": True}),
    (PPOMemory, {"embed": True}),
    (PPOMemory, {"network": "linear"}),
    *((Shaper, {"context": context}) for context in ("none", "avg", "att")),
    (MFOS, {}),
    (MFOS, {"context": "avg"}),
    (MFOS, {"critic": False}),
    (MFOS, {"network": "linear"}),
]


def test_every_agent_that_learns_is_among_them():
    learn = {cls for cls in AGENTS.values() if cls.learns}
    assert learn - {Tabular} <= {cls for cls, _ in NETWORKS}  # Tabular is PPO with a table.


@pytest.mark.parametrize(("cls", "options"), NETWORKS, ids=str)
def test_every_parameter_gets_a_gradient(cls, options):
    """From what is done, and thought, over a trial of which everything is observed."""
    # A layer norm of two features tells no more than which is larger.
    agent = cls.for_env(ENV, 0, hidden_size=4, **options)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.float32(rng.normal(size=leaf.shape)), agent.init(jax.random.key(0)).params
    )
    observations, actions = rng.integers(0, 5, (8 * T, B)), rng.integers(0, 2, (8 * T, B))
    dones = np.tile((np.arange(1, 8 * T + 1) % T == 0)[:, None], B)
    weights = rng.normal(size=(2, 8 * T, B))

    @jax.jit
    @jax.grad
    def gradient_of(params):
        distribution, values = agent.unroll(params, agent.initial_hidden(B), observations, dones)
        return (weights[0] * distribution.log_prob(actions) + weights[1] * values).sum()

    # A softmax is the same whatever is added to all of its logits, as the bias of the keys is.
    useless = "['key']['bias']"
    for path, slopes in jax.tree_util.tree_flatten_with_path(gradient_of(params))[0]:
        assert np.abs(slopes).max() > 1e-5 or jax.tree_util.keystr(path) == useless


# What is shipped.


@pytest.mark.parametrize("name", VARIANTS)
def test_shipped_sequences_and_discounts_span_episodes(name):
    for size in ("", ",small", ",quicktest"):
        config = load_config(f"{ROOT}/{name}{size}")
        learner = config.agent1
        episode, trial = config.num_inner_steps, config.num_inner_steps * config.num_outer_steps
        assert learner.learner.type == "gradient" and config.num_outer_steps > 1
        assert episode < (learner.sequence_length or trial)
        assert learner.discount**episode > 0.1


class Start(Callback):
    """Keeps the parameters with which training begins."""

    def on_fit_start(self, trainer, state):
        self.params = jax.tree.map(np.asarray, state.learners["agent1"].params)


def check_every_parameter_moves(name):
    """In a few iterations of the short form; 1e-3 is more than rounding, and less than a step of Adam."""
    config = load_config(f"{ROOT}/{name},quicktest")
    config.num_iters = config.chunk = 5
    for callback in config.callbacks:
        config.callbacks[callback].enabled = False
    trainer, start = build_trainer(config, None), Start()
    trainer.callbacks = CallbackList([start])
    trainer.fit()
    end = trainer.state.learners["agent1"].params
    moves = jax.tree.map(lambda a, b: np.abs(a - b).max(), start.params, end)
    for path, move in jax.tree_util.tree_flatten_with_path(moves)[0]:
        assert move > 1e-3, jax.tree_util.keystr(path)
    if "mfos" in name:
        assert {"theta", "meta_gru", "meta_embedding"} < set(moves)


@pytest.mark.slow
def test_every_parameter_moves():
    check_every_parameter_moves("configs/ipd.py:mfos_rl")


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_of_every_variant_moves(name):
    check_every_parameter_moves(name)
