"""What every agent keeps to. A new one is tested as soon as it is in `AGENTS`."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import AGENTS
from pax.envs import (
    CleanUp,
    CoinGame,
    CommonsHarvest,
    InfiniteMatrixGame,
    IteratedMatrixGame,
    Negotiation,
)
from pax.envs.spaces import Cells, Discrete
from pax.testing import random_values
from pax.types import MemoryState, Sample, TrainingState

NUM_STEPS, NUM_ENVS, NUM_COPIES = 4, 4, 2
# As small as can be; an agent gets those that it has.
OPTIONS = {"hidden_size": 4, "num_epochs": 1, "num_minibatches": 2, "sequence_length": 2}
NEED_DISCRETE_OBSERVATIONS = {"Tabular"}
# All others are tested in the iterated matrix game.
GAMES = {
    **dict.fromkeys(("HyperAltruistic", "HyperDefect", "HyperTFT"), InfiniteMatrixGame),
    **dict.fromkeys(("NaiveExact", "LOLAExact", "SOSExact", "Static"), InfiniteMatrixGame),
    **dict.fromkeys(("GoodGreedy", "EvilGreedy", "RandomGreedy", "OwnCoins", "Stay"), CoinGame),
    "AlwaysCooperate": CoinGame,
    **dict.fromkeys(("HarvestCooperator", "HarvestDefector"), CommonsHarvest),
    **dict.fromkeys(("CleanUpCooperator", "CleanUpDefector"), CleanUp),
    **dict.fromkeys(("NegotiationCooperator", "NegotiationDefector"), Negotiation),
    "Reciprocal": functools.partial(CoinGame, last_coin_players=(0, 1)),
}
# What they remember outlives an episode; all others forget.
REMEMBER = {"Shaper", "MFOS", "NaiveExact", "LOLAExact", "SOSExact", "Static"}
CASES = [
    (name, one_hot)
    for name in AGENTS
    for one_hot in (False, True)
    if not (one_hot and (name in NEED_DISCRETE_OBSERVATIONS or name in GAMES))
]
NUM_STATES = 5


class Case:
    """An agent and what came of its functions under transformations, each compiled once for all tests."""

    def __init__(self, name, one_hot):
        self.name, self.one_hot = name, one_hot
        variant = {"one_hot": True} if one_hot else {}
        env = GAMES.get(name, IteratedMatrixGame)(num_inner_steps=NUM_STEPS, **variant)
        fields = {field.name for field in dataclasses.fields(AGENTS[name])}
        options = {key: value for key, value in OPTIONS.items() if key in fields}
        self.agent = AGENTS[name].for_env(env, **options)
        self.agent.check_rollout(NUM_STEPS, NUM_ENVS)
        self.hidden = self.agent.initial_hidden(NUM_ENVS)
        self.keys = jax.random.split(jax.random.key(0), NUM_COPIES)
        self.init_batch = jax.jit(jax.vmap(self.agent.make_initial_state, (0, None)))
        # A population: [NUM_COPIES, ...].
        self.population = self.init_batch(self.keys, self.hidden)
        self.memory = take(self.population[1], 0)
        self.state = at_random(take(self.population[0], 0))
        self.observations = self.observe(0, NUM_STEPS)
        self.policy_keys = jax.random.split(jax.random.key(1), NUM_STEPS)
        self.play = jax.jit(self._play)
        # How the first one plays: memories [T, B, ...] before and after each step, and the rollout.
        self.before, self.after, self.rollout = self.play(
            self.state, self.memory, self.observations, self.policy_keys
        )

    def observe(self, seed, *shape):
        if self.name in GAMES:
            space = self.agent.observation_space
            if isinstance(space, Cells):
                return random_values(jax.random.key(seed), space, *shape, NUM_ENVS)
            return jax.random.uniform(jax.random.key(seed), (*shape, NUM_ENVS, *space.shape))
        states = jax.random.randint(jax.random.key(seed), (*shape, NUM_ENVS), 0, NUM_STATES)
        return jax.nn.one_hot(states, NUM_STATES) if self.one_hot else states

    def _play(self, state, memory, observations, keys):
        def step(memory, inputs):
            observation, key = inputs
            actions, after = self.agent.policy(state, observation, memory, key)
            sample = Sample(
                observation,
                actions,
                jax.random.normal(key, (NUM_ENVS,)),
                after.extras["log_probs"],
                after.extras["values"],
                jnp.zeros(NUM_ENVS, bool),
                memory.hidden,
            )
            return after, (memory, after, sample)

        _, (before, after, rollout) = jax.lax.scan(step, memory, (observations, keys))
        return before, after, rollout.replace(dones=rollout.dones.at[-1].set(True))

    @functools.cached_property
    def last(self):
        """(last observations, last memory)."""
        return self.observe(2), take(self.after, -1)

    @functools.cached_property
    def updates(self):
        """Updates from the same rollout, one after the other, `[NUM_COPIES, ...]`, compiled."""

        def step(carry, key):
            state, memory, metrics = self.agent.update(self.rollout, self.last[0], *carry, key)
            return (state, memory), (state, memory, metrics)

        scan = jax.jit(lambda *carry: jax.lax.scan(step, carry, self.keys)[1])
        return scan(self.state, self.last[1])


def at_random(state):
    """The state with parameters at random: at first some networks cannot tell actions apart."""
    leaves, structure = jax.tree.flatten(state.params)
    rng = np.random.default_rng(0)
    leaves = [leaf + jnp.array(rng.normal(size=leaf.shape), leaf.dtype) for leaf in leaves]
    return state.replace(params=structure.unflatten(leaves))


make = functools.cache(Case)


def name_of(case):
    return case[0] + ("-one_hot" if case[1] else "")


@pytest.fixture(params=CASES, ids=name_of)
def case(request):
    return make(*request.param)


@pytest.fixture(params=AGENTS)
def discrete(request):
    return make(request.param, False)


@pytest.fixture(params=[name for name, one_hot in CASES if one_hot])
def one_hot(request):
    return make(request.param, True)


# By NumPy, as each operation of JAX is compiled for every shape.
def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *trees)


def take(tree, index):
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[index]), tree)


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def assert_same(actual, expected, exactly=False):
    """Equal structure, shapes, dtypes and values: floats to 1e-4, everything else exactly.

    Adam divides a gradient by its own size, and so magnifies the rounding of a small one.
    """
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    assert shapes(actual) == shapes(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        if jnp.issubdtype(a.dtype, jnp.floating) and not exactly:
            np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4)
        else:
            np.testing.assert_array_equal(a, e)


def assert_memory(memory, width):
    assert isinstance(memory, MemoryState)
    expected = {"log_probs": (NUM_ENVS,), "values": (NUM_ENVS,)}
    assert {name: leaf.shape for name, leaf in memory.extras.items()} == expected
    assert memory.hidden.shape == (NUM_ENVS, width)
    for leaf in jax.tree.leaves(memory):
        assert leaf.dtype == jnp.float32 and np.isfinite(leaf).all()


def test_initial_state(discrete):
    init = jax.jit(discrete.agent.make_initial_state)
    state, memory = init(discrete.keys[0], discrete.hidden)
    assert isinstance(state, TrainingState)
    assert (state.updates.dtype, int(state.updates)) == (jnp.int32, 0)
    assert_memory(memory, discrete.agent.hidden_size_in_memory)
    # As one of a population, it is the same; and so it is once more.
    assert_same(take(discrete.population, 0), (state, memory))
    again = discrete.init_batch(discrete.keys, discrete.hidden)
    assert_same(again, discrete.population, exactly=True)


def test_initial_states_of_a_batch_share_the_training_state(discrete):
    """Memories get an axis and training states none; under `scan`, one after the other."""
    init = jax.vmap(discrete.agent.make_initial_state, (None, 0), (None, 0))
    hiddens = stack([discrete.hidden] * 3)
    scan = jax.jit(
        lambda keys: jax.lax.scan(lambda _, key: (None, init(key, hiddens)), None, keys)[1]
    )
    states, memories = scan(discrete.keys)
    assert_same(states, discrete.population[0])
    for index in range(3):
        own = jax.tree.map(lambda leaf, i=index: leaf[:, i], memories)
        assert_same(own, discrete.population[1])


def test_policy(case):
    arguments = (case.state, case.observations[0], case.memory, case.policy_keys[0])
    actions, memory = jax.jit(case.agent.policy)(*arguments)
    space = case.agent.action_space
    assert (actions.shape, actions.dtype) == ((NUM_ENVS, *space.shape), space.dtype)
    if isinstance(space, Discrete):
        assert ((actions >= 0) & (actions < space.n)).all()
    assert_memory(memory, case.agent.hidden_size_in_memory)
    assert (memory.extras["log_probs"] <= 0).all()
    # As the first step of a scan, it is the same.
    assert_same((case.rollout.actions[0], take(case.after, 0)), (actions, memory))


def test_what_was_drawn_ahead_stands_for_the_key(case):
    draw, act = case.agent.split_policy()
    drawn = draw(case.policy_keys[0], (NUM_ENVS,))
    after = jax.jit(act)(case.state, case.observations[0], case.memory, drawn)
    assert_same(after, (case.rollout.actions[0], take(case.after, 0)))


def test_the_same_play_from_the_same_keys(case):
    again = case.play(case.state, case.memory, case.observations, case.policy_keys)
    assert_same(again, (case.before, case.after, case.rollout), exactly=True)


def test_policy_under_scan_and_vmap_is_a_loop(case):
    """All steps of the play at once, each from its memory; they share a training state."""
    policy = jax.jit(jax.vmap(case.agent.policy, (None, 0, 0, 0)))
    actions, after = policy(case.state, case.observations, case.before, case.policy_keys)
    assert_same((actions, after), (case.rollout.actions, case.after))
    assert_same(case.rollout.hiddens, case.before.hidden)
    # What is remembered after a step is what there is before the next.
    for memories in (case.before, case.after):
        assert shapes(take(memories, 0)) == shapes(case.memory)
    assert_same(take(case.before, slice(1, None)), take(case.after, slice(None, -1)), exactly=True)


def test_update(discrete):
    """In a scan, it does what it does under vmap over states and memories."""
    case = discrete
    first, second = ((case.state, case.last[1]), take(case.updates[:2], 0))
    states, memories = stack([first, second])
    update = jax.jit(jax.vmap(case.agent.update, (None, None, 0, 0, 0)))
    assert_same(update(case.rollout, case.last[0], states, memories, case.keys), case.updates)


def test_one_hot_observations_teach_the_same(one_hot):
    """What the compiled update does is the same, whichever way a state is written down."""
    discrete = make(one_hot.name, False)
    indices = one_hot.observations.argmax(axis=-1)
    np.testing.assert_array_equal(indices, discrete.observations)
    assert_same(one_hot.population, discrete.population)
    assert_same((one_hot.state, one_hot.after), (discrete.state, discrete.after))
    assert_same(one_hot.updates, discrete.updates)


def test_update_changes_what_learns_and_nothing_else(case):
    states, memories, metrics = case.updates
    before = case.state
    for index in range(NUM_COPIES):
        state = take(states, index)
        assert_same(take(memories, index), case.last[1], exactly=True)
        assert shapes(state) == shapes(case.state)
        if not case.agent.learns:
            assert_same(state, case.state, exactly=True)
            continue
        assert int(state.updates) == index + 1
        changes = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), state.params, before.params)
        assert max(jax.tree.leaves(changes)) > 1e-4
        for leaf in jax.tree.leaves(state.params):
            assert np.isfinite(leaf).all()
        assert metrics["gradient_norm"][index] > 0.0
        before = state
    assert case.agent.learns or metrics == {}
    for name, value in metrics.items():
        assert (value.shape, value.dtype) == ((NUM_COPIES,), jnp.float32), name
        assert np.isfinite(value).all(), name


def test_a_new_trial_starts_with_the_first_memory(discrete):
    reset = discrete.agent.reset_memory
    first = discrete.agent.initial_memory(discrete.hidden)
    for either in (reset, jax.jit(reset, static_argnums=1)):
        assert_same(either(discrete.last[1], True, discrete.state), first, exactly=True)


def test_memory_is_zero_at_the_next_episode(discrete):
    memory = discrete.last[1]
    after = discrete.agent.reset_memory(memory, False, discrete.state)
    assert shapes(after) == shapes(memory)
    for leaf in after.extras.values():
        assert (leaf == 0).all()
    if discrete.agent.hidden_size_in_memory:
        assert (memory.hidden != 0).any()
    assert (discrete.name in REMEMBER) == bool((after.hidden != 0).any())
    reset = jax.jit(discrete.agent.reset_memory, static_argnums=1)
    assert_same(reset(memory, False, discrete.state), after)
    if discrete.name not in REMEMBER:
        assert_same(discrete.agent.reset_memory(memory), after)


def test_reset_memory_under_vmap_and_scan_is_a_loop(discrete):
    @jax.jit
    def reset(memory):
        return discrete.agent.reset_memory(memory, False, discrete.state)

    expected = stack([reset(take(discrete.after, t)) for t in range(NUM_STEPS)])
    assert_same(jax.vmap(reset)(discrete.after), expected)
    scan = jax.lax.scan(lambda _, memory: (None, reset(memory)), None, discrete.after)
    assert_same(scan[1], expected)


def test_a_description_is_plain_json(discrete):
    description = discrete.agent.describe()
    assert description["agent"] == type(discrete.agent).__name__
    assert json.loads(json.dumps(description)) == description
