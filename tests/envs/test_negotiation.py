"""The negotiation against numbers worked out by hand, and against a plain loop in float64."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.agents import NegotiationCooperator, NegotiationDefector
from pax.config.build import build_trainer
from pax.config.files import load_config
from pax.envs import CoinGame, Negotiation
from pax.envs.negotiation import EnvState, Items
from pax.envs.spaces import Box
from pax.errors import ConfigError

ROOT = pathlib.Path(__file__).parents[2]
KEY = jax.random.key(0)
ROUNDS = 40
SETTINGS = [
    {"item_values": values, "proportional": proportional}
    for values in ("high_contrast", "uniform")
    for proportional in (False, True)
]


def state_of(values, quantities=(1, 1, 1), proposals=((0, 0, 0), (0, 0, 0))):
    """A state before the first round; whole numbers of both players."""
    numbers = (jnp.array(part, jnp.float32) for part in (quantities, values, proposals))
    quantities, values, proposals = numbers
    return EnvState(jnp.int32(0), Items(quantities, values), proposals)


def play(env, state, *proposals):
    drawn = env.draw(KEY, ())
    return env.transition(drawn, state, tuple(jnp.array(p, jnp.float32) for p in proposals), ())


@functools.cache
def playing(proportional, item_values):
    """Plays proposals `[T, 2, 3]` from a key: observations, rewards and infos of each round, compiled."""
    env = Negotiation(ROUNDS, item_values, proportional)

    def run(key, proposals):
        def step(carry, inputs):
            (observations, state), (key, asked) = carry, inputs
            after, new, rewards, done, info = env.step(key, state, tuple(asked), ())
            seen = (jnp.stack(observations), state.items, jnp.stack(rewards), done, info)
            return (after, new), seen

        keys = jax.random.split(key, ROUNDS)
        return jax.lax.scan(step, env.reset(key, ()), (keys, proposals))[1]

    return jax.jit(run)


def test_rewards_by_hand():
    env = Negotiation()
    state = state_of([[5, 1, 5], [1, 5, 1]])
    # Of the first all asked is 4, so each gets what it asks, 3/5 and 1/5; of the second 10, so half each.
    _, after, rewards, _, info = play(env, state, [3, 5, 0], [1, 5, 0])
    np.testing.assert_allclose(rewards[0], (0.6 * 5 + 0.5 * 1) / 15, rtol=1e-6)
    np.testing.assert_allclose(rewards[1], (0.2 * 1 + 0.5 * 5) / 15, rtol=1e-6)
    np.testing.assert_allclose(info["efficiency"], (3.5 + 2.7) / 15, rtol=1e-6)
    # A fifth of the first, and all of the third.
    np.testing.assert_allclose(info["unclaimed"], (0.2 + 1) / 3, rtol=1e-6)
    assert after.proposals.tolist() == [[3, 5, 0], [1, 5, 0]]


def test_rewards_by_hand_where_shares_are_proportional():
    env = Negotiation(proportional=True)
    state = state_of([[5, 1, 5], [1, 5, 1]])
    rewards = play(env, state, [3, 5, 0], [1, 5, 0])[2]
    np.testing.assert_allclose(rewards[0], (0.75 * 5 + 0.5 * 1) / 15, rtol=1e-6)
    np.testing.assert_allclose(rewards[1], (0.25 * 1 + 0.5 * 5) / 15, rtol=1e-6)


def test_quantities_count():
    state = state_of([[4, 2, 3], [1, 2, 5]], quantities=(2, 5, 1))
    _, _, rewards, _, info = play(Negotiation(item_values="uniform"), state, [5, 0, 0], [0, 2.5, 5])
    np.testing.assert_allclose(rewards, (2 * 4 / 15, (0.5 * 5 * 2 + 5) / 15), rtol=1e-6)
    np.testing.assert_allclose(info["efficiency"], (8 + 5 + 5) / (8 + 10 + 5), rtol=1e-6)


def test_what_is_asked_beyond_the_bounds_counts_as_the_bound():
    env, state = Negotiation(), state_of([[5, 1, 5], [1, 5, 1]])
    beyond = play(env, state, [9, -3, 5], [5, 7, -1])
    within = play(env, state, [5, 0, 5], [5, 5, 0])
    jax.tree.map(np.testing.assert_array_equal, beyond, within)


def test_an_observation_has_all_that_both_may_know():
    state = state_of([[5, 1, 5], [1, 5, 1]], (1, 2, 3), [[0.5, 1, 2], [3, 4, 5]])
    env = Negotiation()
    (first, second), *_ = env.transition(state.items, state, tuple(state.proposals), ())
    quantities, values, others = [1, 2, 3], [5, 1, 5], [1, 5, 1]
    expected = [*quantities, *values, 0.5, 1, 2, *others, 3, 4, 5]
    np.testing.assert_allclose(first, np.array(expected) / 10, rtol=1e-6)
    expected = [*quantities, *others, 3, 4, 5, *values, 0.5, 1, 2]
    np.testing.assert_allclose(second, np.array(expected) / 10, rtol=1e-6)
    assert env.observation_space(0) == env.observation_space(1) == Box((15,), 0.0, 0.5)
    assert env.action_space(0) == env.action_space(1) == Box((3,), 0.0, 5.0)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_random_proposals_in_random_games(settings):
    """What is earned, and what is seen before."""
    rng = np.random.default_rng(1)
    for seed in range(3):
        # Some at the bounds, some beyond, some zero.
        proposals = np.clip(rng.uniform(-3, 8, (ROUNDS, 2, 3)), -1, 6).astype(np.float32)
        observations, items, rewards, dones, infos = playing(**settings)(
            jax.random.key(seed), jnp.asarray(proposals)
        )
        asked = np.clip(proposals.astype(np.float64), 0, 5)
        last = np.zeros((2, 3))
        for t in range(ROUNDS):
            quantities, values = (np.asarray(x[t]) for x in (items.quantities, items.values))
            earned, best = np.zeros(2), 0.0
            for item in range(3):
                total = asked[t, 0, item] + asked[t, 1, item]
                best += quantities[item] * max(values[:, item])
                for player in (0, 1):
                    divisor = total if settings["proportional"] else max(total, 5.0)
                    share = asked[t, player, item] / divisor if divisor else 0.0
                    earned[player] += share * quantities[item] * values[player, item]
            np.testing.assert_allclose(rewards[t], earned / 15, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(infos["efficiency"][t], earned.sum() / best, rtol=1e-5)
            for own, other in ((0, 1), (1, 0)):
                seen = (quantities, values[own], last[own], values[other], last[other])
                np.testing.assert_allclose(
                    observations[t, own], np.concatenate(seen) / 10, rtol=1e-6
                )
            last = asked[t]
        assert dones.tolist() == [False] * (ROUNDS - 1) + [True]
        assert (np.asarray(infos["efficiency"]) <= 1 + 1e-6).all()


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_players_can_be_exchanged(settings):
    env = Negotiation(**settings)
    rng = np.random.default_rng(2)
    for seed in range(5):
        state = env.reset(jax.random.key(seed), ())[1]
        drawn = env.draw(jax.random.key(seed + 100), ())

        def exchanged(items):
            return Items(items.quantities, items.values[::-1])

        actions = tuple(jnp.array(rng.uniform(0, 5, (2, 3)), jnp.float32))
        observations, _, rewards, *_ = env.transition(drawn, state, actions, ())
        mirrored = EnvState(state.inner_t, exchanged(state.items), state.proposals[::-1])
        others, _, theirs, *_ = env.transition(exchanged(drawn), mirrored, actions[::-1], ())
        np.testing.assert_array_equal(observations, others[::-1])
        np.testing.assert_array_equal(rewards, theirs[::-1])


@pytest.mark.parametrize("values", ("high_contrast", "uniform"))
def test_items_are_drawn_evenly_and_anew(values):
    env = Negotiation(item_values=values)
    items = jax.vmap(lambda key: env.draw(key, ()))(jax.random.split(KEY, 4000))
    if values == "high_contrast":
        assert (np.asarray(items.quantities) == 1).all()
        assert (np.asarray(items.values).sum(axis=1) == 6).all()
        kinds, columns = np.array([1, 5]), np.asarray(items.values)[:, 0]
    else:
        kinds = np.arange(1, 6)
        columns = np.concatenate(
            [np.asarray(items.quantities), np.asarray(items.values).reshape(-1, 6)], axis=1
        )
    counts = np.stack([(columns == kind).mean(axis=0) for kind in kinds])
    # Five standard errors of a share of 4000.
    np.testing.assert_allclose(counts, 1 / len(kinds), atol=0.04)
    np.testing.assert_allclose(counts.sum(axis=0), 1.0, rtol=1e-6)
    # Independent from item to item, and, where they are uniform, of players.
    correlations = np.corrcoef(columns.T) - np.eye(columns.shape[1])
    assert np.abs(correlations).max() < 0.08


@pytest.mark.parametrize(
    ("players", "expected"),
    [
        ((NegotiationCooperator, NegotiationCooperator), (0.5, 0.5)),
        ((NegotiationDefector, NegotiationDefector), (0.3, 0.3)),
        ((NegotiationDefector, NegotiationCooperator), (0.55, 0.25)),
        ((NegotiationCooperator, NegotiationDefector), (0.25, 0.55)),
    ],
)
def test_what_strategies_earn_from_each_other(players, expected):
    """The mean over the eight ways in which three items can be divided, each as likely."""
    env = Negotiation()
    agents = [player.for_env(env, seat) for seat, player in enumerate(players)]
    rewards = []
    for number in range(8):
        own = np.array([5 if number >> item & 1 else 1 for item in range(3)])
        state = state_of([own, 6 - own], proposals=[[1, 2, 3], [4, 5, 0]])
        observations = env.transition(state.items, state, tuple(state.proposals), ())[0]
        actions = [
            agent.act(None, seen[None], None, None)[0][0]
            for agent, seen in zip(agents, observations, strict=True)
        ]
        rewards.append(env.transition(state.items, state, tuple(actions), ())[2])
    np.testing.assert_allclose(np.mean(rewards, axis=0), expected, rtol=1e-6)


def test_a_cooperator_asks_for_half_of_what_both_value_alike():
    own, others = jnp.array([[4.0, 2.0, 3.0]]) / 10, jnp.array([[1.0, 2.0, 5.0]]) / 10
    cooperator = NegotiationCooperator.for_env(Negotiation(item_values="uniform"))
    assert cooperator.proposals(own, others).tolist() == [[5.0, 2.5, 0.0]]


def test_strategies_play_no_other_game():
    with pytest.raises(ConfigError, match="NegotiationDefector plays the negotiation only"):
        NegotiationDefector.for_env(CoinGame())


@pytest.mark.parametrize(
    ("settings", "message"),
    (
        (
            {"item_values": "low_contrast"},
            "item_values is 'low_contrast' in Negotiation: choose one of high_contrast, uniform",
        ),
        ({"proportional": 1}, "proportional is 1 in Negotiation: give True or False"),
        ({"num_inner_steps": 0}, "num_inner_steps is 0: give at least 1"),
        ({"num_inner_steps": "50"}, "num_inner_steps is '50': give a whole number"),
    ),
    ids=str,
)
def test_a_game_that_is_none_is_refused(settings, message):
    with pytest.raises(ConfigError) as error:
        Negotiation(**settings)
    assert str(error.value).startswith(message)


def test_statistics_tell_what_is_asked_of_whose_items():
    env = Negotiation(2)
    values = jnp.array([[[5, 1, 3], [1, 5, 3.0]], [[5, 5, 2], [1, 1, 2.0]]])[:, None]
    proposals = jnp.array([[[4, 1, 9], [2, 3, 9.0]], [[5, 3, 9], [1, 0, 9.0]]])[:, None]
    infos = {
        "values": values,
        "proposals": proposals,
        "efficiency": jnp.array([[0.5], [1.0]]),
        "unclaimed": jnp.array([[0.25], [0.0]]),
    }
    statistics = env.episode_statistics((), (), infos)
    metrics = env.statistics_metrics(jax.tree.map(jnp.add, statistics, statistics))
    expected = {
        "efficiency": 0.75,
        "unclaimed": 0.125,
        # Of items that both value alike, nothing is told.
        "asked_of_own/player_1": (4 + 5 + 3) / 3,
        "asked_of_own/player_2": 3,
        "asked_of_others/player_1": 1,
        "asked_of_others/player_2": (2 + 1 + 0) / 3,
    }
    assert {f"negotiation/{name}" for name in expected} == set(metrics)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[f"negotiation/{name}"], value, rtol=1e-6, err_msg=name)


def test_pictures_show_what_was_asked_and_earned():
    env = Negotiation(2)
    states = [state_of([[5, 1, 1], [1, 5, 5]]), state_of([[5, 5, 5], [1, 1, 1]])]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    actions = (jnp.array([[5, 1, 2], [5, 5, 5.0]]), jnp.array([[4, 5, 3], [0, 0, 6.0]]))
    axes = env.render_episode(states, actions, ()).axes
    lines = [[line.get_ydata().tolist() for line in each.lines] for each in axes]
    np.testing.assert_allclose(lines[0], [[5, 5], [4, np.nan]])
    np.testing.assert_allclose(lines[1], [[1.5, np.nan], [4, 5 / 3]])
    # Points beside rounds without such items are seen, too.
    assert [line.get_marker() for line in axes[1].lines] == ["o", ""]
    first = 5 * 5 / 9 + 1 * 1 / 6 + 1 * 2 / 5, 4 / 9 + 5 * 5 / 6 + 5 * 3 / 5
    np.testing.assert_allclose(np.array(lines[2])[:, 0], np.array(first) / 15, rtol=1e-6)
    np.testing.assert_allclose(np.array(lines[2])[:, 1], [12.5 / 15, 0.5 / 15], rtol=1e-6)
    table = env.render(env.reset(KEY, ())[1], ()).axes[0].images[0].get_array()
    assert table.shape == (2, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "low", "high"),
    [("ppo", 0.29, 0.37), ("common", 0.46, 0.51), ("advantage_alignment", 0.4, 0.51)],
)
def test_what_is_learned(variant, low, high):
    """Two who ask for everything get .3; at best they get .5."""
    config = load_config(f"{ROOT}/configs/negotiation.py:{variant},small")
    for callback in config.callbacks:
        config.callbacks[callback].enabled = False
    metrics = build_trainer(config, None).fit()
    assert low < metrics["train/reward_per_timestep/player_1"] < high
    cooperates = variant != "ppo"
    assert (metrics["negotiation/asked_of_others/player_1"] < 2.0) == cooperates
    assert metrics["negotiation/asked_of_own/player_1"] > 4.0
