"""The quantity game against the economics of it, worked out in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.envs.cournot import Cournot, EnvParams, collusive_total, nash_total
from pax.envs.spaces import Box
from pax.errors import ConfigError

KEY = jax.random.key(0)
STEPS = {num: jax.jit(Cournot(num, 5).step) for num in (1, 2, 3, 5)}


def sell(quantities, a=100.0, b=1.0, cost=10.0):
    """(observations, state, rewards) of one step from the start."""
    env = Cournot(len(quantities), 5)
    params = env.make_params(a=a, b=b, marginal_cost=cost)
    _, state = env.reset(KEY, params)
    actions = tuple(jnp.array([quantity], jnp.float32) for quantity in quantities)
    observations, state, rewards, _, _ = STEPS[len(quantities)](KEY, state, actions, params)
    return observations, state, np.array(rewards)


def test_two_firms_in_equilibrium():
    params = Cournot().default_params
    assert nash_total(params) == 60
    observations, state, rewards = sell([30, 30])
    assert state.price == 40
    assert rewards.tolist() == [900, 900]
    for observation in observations:
        assert observation.tolist() == [30, 30, 40]


def test_two_firms_in_collusion():
    assert collusive_total(Cournot().default_params) == 45
    rewards = sell([20, 25])[2]
    assert rewards.sum() == 2025
    assert rewards.tolist() == [45 * 20, 45 * 25]


@pytest.mark.parametrize("num_players", STEPS)
def test_nobody_gains_by_leaving_the_equilibrium(num_players):
    rng = np.random.default_rng(num_players)
    for _ in range(3):
        cost, b = rng.uniform(0, 20), rng.uniform(0.5, 3)
        a = cost + rng.uniform(10, 100)
        params = EnvParams(a=a, b=b, marginal_cost=cost)
        share = float(nash_total(params, num_players)) / num_players
        in_equilibrium = sell([share] * num_players, a, b, cost)[2][0]
        for factor in (0.0, 0.8, 0.97, 1.03, 1.2, 2.0):
            leaving = sell([factor * share] + [share] * (num_players - 1), a, b, cost)[2][0]
            assert leaving < in_equilibrium
        # A cartel earns more, but not more than any other total.
        best = float(collusive_total(params))
        totals = np.array([best, 0.9 * best, 1.1 * best, share * num_players])
        earned = [sell([q / num_players] * num_players, a, b, cost)[2].sum() for q in totals]
        assert earned[0] > max(earned[1:3])
        assert earned[0] >= earned[3] * (1 - 1e-6)
        assert num_players == 1 or earned[0] > earned[3]


def test_equilibrium_totals_of_more_firms():
    params = Cournot(num_players=3).default_params
    totals = [float(nash_total(params, num)) for num in (1, 2, 3, 4, 5, 8)]
    np.testing.assert_allclose(totals, [45, 60, 67.5, 72, 75, 80])


@pytest.mark.parametrize("num_players", STEPS)
def test_random_quantities_in_random_markets(num_players):
    rng = np.random.default_rng(num_players)
    for _ in range(20):
        cost, b = rng.uniform(0, 20), rng.uniform(0.1, 3)
        a = cost + rng.uniform(1, 100)
        quantities = rng.uniform(0, 60, num_players)
        observations, state, rewards = sell(quantities, a, b, cost)
        price = a - b * quantities.sum()
        np.testing.assert_allclose(rewards, (price - cost) * quantities, rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(state.price, price, rtol=1e-5, atol=1e-4)
        for observation in observations:
            np.testing.assert_allclose(observation, [*quantities, price], rtol=1e-5, atol=1e-4)


def test_negative_quantities_are_none():
    observations, _, rewards = sell([-5, 20])
    assert observations[0].tolist() == [0, 20, 80]
    assert rewards.tolist() == [0, 70 * 20]


def test_too_much_costs_everybody():
    """The price is not cut off at 0."""
    observations, _, rewards = sell([100, 20])
    assert observations[1].tolist() == [100, 20, -20]
    assert rewards.tolist() == [-3000, -600]


def test_actions_may_be_scalars():
    env = Cournot()
    params = env.default_params
    state = env.reset(KEY, params)[1]
    for actions in ((30.0, 30.0), (jnp.float32(30), 30), (np.array([30]), jnp.array([30.0]))):
        _, _, rewards, done, _ = env.step(KEY, state, actions, params)
        assert [float(reward) for reward in rewards] == [900, 900]
        assert all(reward.shape == () for reward in rewards)
        assert bool(done)


def test_an_episode_starts_with_an_empty_market():
    env = Cournot(3, 5)
    params = env.make_params(a=80.0)
    observations, state = env.reset(KEY, params)
    assert len(observations) == 3
    for player, observation in enumerate(observations):
        assert observation.tolist() == [0, 0, 0, 80]
        assert env.observation_space(player) == Box((4,))
        assert env.action_space(player) == Box((1,), 0.0)
    assert int(state.inner_t) == 0


def test_the_game_as_published_is_the_default():
    env = Cournot()
    assert (env.num_inner_steps, env.num_players) == (1, 2)
    params = env.default_params
    assert (params.a, params.b, params.marginal_cost) == (100, 1, 10)


@pytest.mark.parametrize(
    ("settings", "message"),
    (
        ({"a": 10}, "a is 10: give a number above marginal_cost (10.0), or nothing is sold"),
        ({"a": np.nan}, "a is nan: give a number above marginal_cost (10.0), or nothing is sold"),
        ({"a": "x"}, "a is 'x': give a number above marginal_cost (10.0), or nothing is sold"),
        ({"b": 0.0}, "b is 0.0: give a number above 0"),
        ({"b": -1}, "b is -1: give a number above 0"),
        ({"b": 1e-60}, "b is 1e-60: give a number above 0"),
        ({"b": (1, 2)}, "b is (1, 2): give a number above 0"),
        ({"b": ((1, 2), 3)}, "b is ((1, 2), 3): give a number above 0"),
        ({"b": None}, "b is None: give a number above 0"),
        ({"b": 10**40}, f"b is {10**40}: give a number above 0"),
        ({"marginal_cost": -0.5}, "marginal_cost is -0.5: give a number of at least 0"),
        ({"marginal_cost": np.inf}, "marginal_cost is inf: give a number of at least 0"),
    ),
    ids=str,
)
def test_a_market_that_is_none_is_refused(settings, message):
    env = Cournot()
    whole = {"a": 100.0, "b": 1.0, "marginal_cost": 10.0, **settings}
    for check in (
        lambda: env.make_params(**settings),
        lambda: env.check_params(EnvParams(**whole)),
    ):
        with pytest.raises(ConfigError) as error:
            check()
        assert str(error.value) == message


@pytest.mark.parametrize("num_players", (0, -2))
def test_a_market_without_firms_is_refused(num_players):
    with pytest.raises(ConfigError, match=f"^num_players is {num_players}: give at least 1"):
        Cournot(num_players, 1)


def test_statistics_are_means_over_steps():
    env = Cournot(3, 4)
    params = env.make_params(a=50.0, b=2.0, marginal_cost=10.0)
    rng = np.random.default_rng(0)
    quantities = rng.uniform(-2, 12, size=(3, 4, 6, 1)).astype(np.float32)
    state = env.reset(KEY, params)[1]
    batch = jax.vmap(jax.vmap(env.step, (None, None, 0, None)), (None, None, 0, None))
    actions = tuple(jnp.array(own) for own in quantities)
    observations, _, _, _, infos = batch(KEY, state, actions, params)
    metrics = env.statistics_metrics(env.episode_statistics(observations, actions, infos))
    sold = np.maximum(quantities[..., 0], 0)
    total = sold.sum(axis=0)
    expected = {
        "cournot/average_quantity": sold.mean(),
        "cournot/total_quantity": total.mean(),
        "cournot/price": (50 - 2 * total).mean(),
        # Three firms sell 3 (50 - 10) / (4 x 2) in equilibrium.
        "cournot/distance_to_nash": abs(total - 15).mean(),
        **{f"cournot/quantity/player_{player + 1}": sold[player].mean() for player in range(3)},
    }
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)


def test_a_picture_shows_quantities_and_prices_beside_equilibrium_and_cartel():
    env = Cournot(2, 3)
    params = env.default_params
    states = [env.reset(KEY, params)[1]]
    for quantities in ((10, 20), (30, 40), (0, 5)):
        states.append(env.step(KEY, states[-1], quantities, params)[1])
    figure = env.render(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), params)
    panels = [
        {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in axes.lines}
        for axes in figure.axes
    ]
    assert panels == [
        {
            "player 1": [0, 10, 30, 0],
            "player 2": [0, 20, 40, 5],
            "total": [0, 30, 70, 5],
            "Nash": [60, 60],
            "collusion": [45, 45],
        },
        {"price": [100, 70, 30, 95], "Nash": [40, 40], "collusion": [55, 55]},
    ]
