"""Fixed strategies against tables and games written out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import AGENTS, Altruistic, Defect, Grim, Random, TitForTat
from pax.agents.distributions import Categorical
from pax.envs import IteratedMatrixGame
from pax.envs.spaces import Box, Discrete
from pax.errors import ConfigError

C, D = 0, 1
FIXED = (TitForTat, Defect, Altruistic, Grim)
# What is done after CC, CD, DC, DD and in START, own action first.
TABLES = {
    TitForTat: (C, D, C, D, C),
    Defect: (D, D, D, D, D),
    Altruistic: (C, C, C, C, C),
    Grim: (C, D, D, D, C),
}
KEY = jax.random.key(0)
GAMES = {
    one_hot: IteratedMatrixGame(num_inner_steps=8, one_hot=one_hot) for one_hot in (False, True)
}


def observe(states, one_hot):
    states = jnp.array(states)
    return jnp.eye(5)[states] if one_hot else states


@pytest.mark.parametrize("one_hot", (False, True))
@pytest.mark.parametrize("strategy", TABLES)
def test_actions_are_those_of_the_table(strategy, one_hot):
    agent = strategy.for_env(GAMES[one_hot])
    states = [0, 1, 2, 3, 4, 3, 1]
    state, memory = agent.make_initial_state(KEY, agent.initial_hidden(len(states)))
    for seed in range(3):
        actions, after = agent.policy(state, observe(states, one_hot), memory, jax.random.key(seed))
        assert actions.dtype == jnp.int32
        assert actions.tolist() == [TABLES[strategy][s] for s in states]
        assert jax.tree.structure(after) == jax.tree.structure(memory)


def play(first, second):
    """The actions `[T]` of two players; each is an agent or a list of actions."""
    env = GAMES[False]
    params = env.default_params
    agents = [
        None if isinstance(p, list) else p.for_env(env, s) for s, p in enumerate((first, second))
    ]
    states = [agent and agent.make_initial_state(KEY, agent.initial_hidden(1)) for agent in agents]
    observations, env_state = env.reset(KEY, params)
    played, done = [], False
    while not done:
        actions = []
        for seat, script in enumerate((first, second)):
            if agents[seat] is None:
                actions.append(script[len(played)])
                continue
            state, memory = states[seat]
            action, memory = agents[seat].policy(state, observations[seat][None], memory, KEY)
            states[seat] = (state, memory)
            actions.append(int(action[0]))
        observations, env_state, _, done, _ = env.step(KEY, env_state, tuple(actions), params)
        played.append(tuple(actions))
    return [list(actions) for actions in zip(*played, strict=True)]


SCRIPT = [C, D, D, C, D, C, C, C]


def test_tit_for_tat_copies_in_either_seat():
    copied = [C, C, D, D, C, D, C, C]
    assert play(TitForTat, SCRIPT) == [copied, SCRIPT]
    assert play(SCRIPT, TitForTat) == [SCRIPT, copied]
    assert play(TitForTat, TitForTat) == [[C] * 8, [C] * 8]
    assert play(TitForTat, Defect) == [[C] + [D] * 7, [D] * 8]


def test_grim_never_forgives_in_either_seat():
    forgotten = [C, C, D, D, D, D, D, D]
    assert play(Grim, SCRIPT) == [forgotten, SCRIPT]
    assert play(SCRIPT, Grim) == [SCRIPT, forgotten]
    assert play(Grim, Grim) == [[C] * 8, [C] * 8]
    assert play(Grim, Altruistic) == [[C] * 8, [C] * 8]
    # Tit-for-tat would cooperate again after each of these, grim does not.
    assert play(Grim, [D, C, C, C, C, C, C, C])[0] == [C] + [D] * 7


@pytest.mark.parametrize("one_hot", (False, True))
def test_random_is_even_in_every_state_and_follows_the_key(one_hot):
    agent = Random.for_env(GAMES[one_hot])
    repeats = 4000
    states = observe(np.tile(np.arange(5), repeats), one_hot)
    state, memory = agent.make_initial_state(KEY, agent.initial_hidden(5 * repeats))
    policy = jax.jit(agent.policy)
    draws = [
        np.asarray(policy(state, states, memory, jax.random.key(seed))[0]) for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert draws[0].dtype == np.int32 and set(draws[0].tolist()) == {C, D}
    # Standard deviations: .0079 per state, .0035 for agreement between keys and between neighbours.
    np.testing.assert_allclose(draws[0].reshape(repeats, 5).mean(axis=0), 0.5, atol=0.035)
    assert abs((draws[0] == draws[2]).mean() - 0.5) < 0.016
    assert abs((draws[0][1:] == draws[0][:-1]).mean() - 0.5) < 0.016


@pytest.mark.parametrize("strategy", FIXED)
def test_they_play_matrix_games_only(strategy):
    for observations, actions in (
        (Discrete(4), Discrete(2)),
        (Discrete(5), Discrete(3)),
        (Discrete(5), Box((2,))),
        (Box((3, 3, 4)), Discrete(2)),
        (Box(()), Discrete(2)),
    ):
        with pytest.raises(
            ConfigError, match=f"^{strategy.__name__} plays two-player matrix games"
        ):
            strategy(observations, actions)


def test_their_names():
    assert {AGENTS[strategy.__name__] for strategy in FIXED} == set(FIXED)
    assert not any(strategy.learns for strategy in FIXED)


PROBABILITIES = np.array(
    (
        (0.5, 0.5, 0.0),
        (0.2, 0.3, 0.5),
        (0.0, 1.0, 0.0),
        (0.9, 0.09, 0.01),
        (0.0, 0.0, 1.0),
    )
)


def categorical():
    # Logits are free up to a constant, and 1e-30 stands for never.
    logits = np.log(np.maximum(PROBABILITIES, 1e-30)) + np.arange(5.0)[:, None]
    return Categorical.from_logits(jnp.array(logits, jnp.float32))


def test_log_probabilities_and_entropy_of_a_categorical():
    distribution = categorical()
    clipped = np.maximum(PROBABILITIES, 1e-30)
    for action in range(3):
        actions = jnp.full(5, action)
        np.testing.assert_allclose(
            distribution.log_prob(actions), np.log(clipped[:, action]), rtol=1e-5, atol=1e-5
        )
    mixed = jnp.array((2, 0, 1, 1, 0))
    np.testing.assert_allclose(
        distribution.log_prob(mixed), np.log(clipped[np.arange(5), mixed]), rtol=1e-5, atol=1e-5
    )
    entropy = -(PROBABILITIES * np.log(clipped)).sum(axis=1)
    np.testing.assert_allclose(distribution.entropy(), entropy, atol=1e-5)


def test_samples_of_a_categorical_have_its_frequencies():
    distribution, num = categorical(), 20_000
    keys = jax.random.split(KEY, num)
    draws = jax.jit(jax.vmap(distribution.sample))(keys)
    assert (draws.shape, draws.dtype) == ((num, 5), jnp.int32)
    frequencies = np.eye(3)[np.asarray(draws)].mean(axis=0)
    deviation = np.sqrt(PROBABILITIES * (1 - PROBABILITIES) / num)
    assert (abs(frequencies - PROBABILITIES) <= 4.5 * deviation).all()


def test_samples_of_one_call_are_independent_and_follow_the_key():
    num = 20_000
    distribution = Categorical.from_logits(jnp.zeros((num, 4)))
    first, again, other = (distribution.sample(jax.random.key(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    # Standard deviation .0031.
    assert abs((first == other).mean() - 0.25) < 0.014
    assert abs((first[1:] == first[:-1]).mean() - 0.25) < 0.014
    np.testing.assert_allclose(np.bincount(first, minlength=4) / num, 0.25, atol=0.014)
