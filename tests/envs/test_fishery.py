"""The fishery against its economics, and against a plain loop in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.envs.fishery import EnvParams, Fishery, open_access
from pax.envs.spaces import Box
from pax.errors import ConfigError

KEY = jax.random.key(0)
USUAL = {"g": 0.15, "e": 0.009, "P": 200.0, "w": 0.9, "s_0": 0.5, "s_max": 1.0}


@functools.cache
def scan(num_players):
    """(final state, (observations, rewards, dones, infos)) of efforts `[T, num_players]`, compiled."""
    env = Fishery(num_players, 300)

    def play(efforts, params):
        def step(state, efforts):
            actions = tuple(efforts[:, None])
            observations, state, rewards, done, info = env.step(KEY, state, actions, params)
            return state, (jnp.stack(observations), jnp.stack(rewards), done, info)

        return jax.lax.scan(step, env.reset(KEY, params)[1], efforts)

    return jax.jit(play)


def fish(efforts, g, e, P, w, s_0, s_max):  # noqa: N803 - its name in the literature
    """(stocks, harvests, rewards) in float64, `[T]`, `[T]`, `[T, num_players]`."""
    stock, outcomes = s_0, []
    for efforts_t in np.maximum(np.asarray(efforts, np.float64), 0):
        total = efforts_t.sum()
        growth = g * stock * (1 - stock / s_max)
        harvest = min(total * stock * e, stock + growth)
        stock = stock + growth - harvest
        rewards = [
            P * effort / total * harvest - w * effort if total > 0 else 0.0 for effort in efforts_t
        ]
        outcomes.append((stock, harvest, rewards))
    return tuple(np.array(part) for part in zip(*outcomes, strict=True))


@pytest.mark.parametrize("num_players", (1, 2, 3))
def test_open_access_ends_where_fishing_pays_nobody(num_players):
    """Effort follows profit: it grows by .4 times the total reward."""
    env = Fishery(num_players, 300)
    params = env.make_params(s_0=1.0)

    def step(carry, _):
        state, effort = carry
        actions = (effort / num_players,) * num_players
        _, state, rewards, done, info = env.step(KEY, state, actions, params)
        return (state, effort + 0.4 * sum(rewards)), (effort, info["harvest"], done)

    start = (env.reset(KEY, params)[1], jnp.float32(1))
    (state, _), (efforts, harvests, dones) = jax.jit(
        lambda start: jax.lax.scan(step, start, length=300)
    )(start)
    np.testing.assert_allclose(state.stock, 0.5, atol=1e-3)
    np.testing.assert_allclose(harvests[-1], 0.0375, atol=1e-4)
    np.testing.assert_allclose(efforts[-1], 25 / 3, atol=0.02)
    assert dones.tolist() == [False] * 299 + [True]
    np.testing.assert_allclose(open_access(params), (0.5, 25 / 3), rtol=1e-6)


def test_open_access_is_a_state_of_rest_in_any_sea():
    rng = np.random.default_rng(0)
    for _ in range(10):
        s_max, g, price, cost = rng.uniform((1, 0.05, 50, 0.5), (9, 0.5, 300, 2))
        params = {"g": g, "e": cost / (price * s_max * 0.4), "P": price, "w": cost, "s_max": s_max}
        stock, effort = (float(x) for x in open_access(EnvParams(**params, s_0=0.0)))
        stocks, _, rewards = fish([[effort / 2] * 2] * 5, **params, s_0=stock)
        np.testing.assert_allclose(stocks, stock, rtol=1e-6)
        np.testing.assert_allclose(rewards, 0, atol=1e-6 * cost * effort)


def test_nobody_fishes_where_a_full_sea_does_not_pay():
    stock, effort = open_access(Fishery().make_params(w=3.0, s_max=1.5))
    assert (float(stock), float(effort)) == (1.5, 0.0)


@pytest.mark.parametrize("num_players", (1, 2, 3))
def test_random_efforts_in_random_seas(num_players):
    rng = np.random.default_rng(num_players)
    for _ in range(5):
        s_max = rng.uniform(0.5, 5)
        settings = {
            "g": rng.uniform(0, 0.6),
            "e": rng.uniform(0.001, 0.02),
            "P": rng.uniform(10, 300),
            "w": rng.uniform(0, 2),
            "s_0": rng.uniform(0, s_max),
            "s_max": s_max,
        }
        efforts = rng.normal(5, 5, size=(300, num_players)) / num_players
        params = Fishery().make_params(**settings)
        state, (observations, rewards, dones, infos) = scan(num_players)(
            jnp.array(efforts, jnp.float32), params
        )
        stocks, harvests, earned = fish(efforts, **settings)
        np.testing.assert_allclose(infos["stock"], stocks, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(infos["harvest"], harvests, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(rewards, earned, rtol=1e-3, atol=1e-3)
        for player in range(num_players):
            own = observations[:, player]
            np.testing.assert_allclose(own[:, :num_players], np.maximum(efforts, 0), rtol=1e-6)
            np.testing.assert_array_equal(own[:, num_players], infos["stock"])
            np.testing.assert_array_equal(own[:, num_players + 1], player)
        assert dones.tolist() == [False] * 299 + [True]
        assert state.stock == infos["stock"][-1]


def test_shares_of_the_catch_are_those_of_effort():
    _, (_, rewards, _, infos) = scan(3)(jnp.array([[1.0, 3.0, 0.0]]), Fishery().default_params)
    # Of .009 x 4 x .5 = .018, sold at 200; costs .9 per unit of effort.
    np.testing.assert_allclose(infos["harvest"], [0.018], rtol=1e-6)
    np.testing.assert_allclose(rewards, [[0.9 - 0.9, 2.7 - 2.7, 0.0]], atol=1e-6)
    np.testing.assert_allclose(infos["stock"], [0.5 + 0.15 * 0.5 * 0.5 - 0.018], rtol=1e-6)


def test_without_effort_nothing_is_earned_and_the_stock_recovers():
    efforts = jnp.array([[0.0, 0.0], [-3.0, -1.0], [0.0, -0.0]])
    _, (_, rewards, _, infos) = scan(2)(efforts, Fishery().default_params)
    assert (np.asarray(rewards) == 0).all()
    np.testing.assert_allclose(infos["stock"], [0.5375, 0.574789, 0.61145], rtol=1e-4)


def test_a_sea_fished_empty_stays_empty():
    efforts = jnp.array([[1e4, 1e4], [2.0, 1.0], [0.0, 0.0]])
    _, (_, rewards, _, infos) = scan(2)(efforts, Fishery().default_params)
    assert infos["stock"].tolist() == [0, 0, 0]
    # All there is, with what grew in this step, is caught once.
    np.testing.assert_allclose(infos["harvest"], [0.5375, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(rewards[1], [-1.8, -0.9], rtol=1e-6)


@pytest.mark.parametrize("g", (0.15, 1.0, 2.9, 3.0))
def test_the_stock_is_never_negative(g):
    rng = np.random.default_rng(0)
    params = Fishery().make_params(g=g, s_0=1.0, e=0.2)
    for scale in (0.0, 0.3, 10.0):
        efforts = jnp.array(rng.exponential(scale, size=(300, 2)), jnp.float32)
        stocks = np.asarray(scan(2)(efforts, params)[1][3]["stock"])
        assert (stocks >= 0).all()
        assert (stocks <= (1 + g) ** 2 / (4 * g) + 1e-5).all()


def test_actions_may_be_scalars():
    env = Fishery()
    params = env.default_params
    state = env.reset(KEY, params)[1]
    outcomes = [
        env.step(KEY, state, actions, params)
        for actions in ((2.0, 3), (jnp.float32(2), np.array([3])), (jnp.array([2.0]), 3.0))
    ]
    for outcome in outcomes[1:]:
        jax.tree.map(np.testing.assert_array_equal, outcome, outcomes[0])


def test_an_episode_starts_with_the_first_stock():
    env = Fishery(num_players=3)
    params = env.make_params(s_0=0.75)
    observations, state = env.reset(KEY, params)
    assert env.num_inner_steps == 300
    assert [observation.tolist() for observation in observations] == [
        [0, 0, 0, 0.75, player] for player in range(3)
    ]
    assert (float(state.stock), int(state.inner_t)) == (0.75, 0)
    assert env.observation_space(0) == Box((5,), 0.0)
    assert env.action_space(2) == Box((1,), 0.0)


def test_the_game_as_published_is_the_default():
    params = Fishery().default_params
    for name, value in USUAL.items():
        assert getattr(params, name) == np.float32(value)
        assert getattr(params, name).dtype == jnp.float32


@pytest.mark.parametrize(
    ("settings", "message"),
    (
        ({"g": -0.1}, "g is -0.1: give a number from 0 to 3"),
        ({"g": 3.5}, "g is 3.5: give a number from 0 to 3"),
        ({"e": 0.0}, "e is 0.0: give a number above 0"),
        ({"P": np.nan}, "P is nan: give a number above 0"),
        ({"w": -1}, "w is -1: give a number of at least 0"),
        ({"s_0": -0.5}, "s_0 is -0.5: give a number of at least 0"),
        ({"s_0": 2.0}, "s_0 is 2.0: give a stock up to s_max (1.0)"),
        ({"s_max": 0}, "s_max is 0: give a number above 0"),
        ({"s_max": "big"}, "s_max is 'big': give a number above 0"),
    ),
    ids=str,
)
def test_a_sea_that_is_none_is_refused(settings, message):
    env = Fishery()
    for check in (
        lambda: env.make_params(**settings),
        lambda: env.check_params(EnvParams(**{**USUAL, **settings})),
    ):
        with pytest.raises(ConfigError) as error:
            check()
        assert str(error.value) == message


@pytest.mark.parametrize("num_players", (0, -2))
def test_a_sea_without_fishers_is_refused(num_players):
    with pytest.raises(ConfigError, match=f"^num_players is {num_players}: give at least 1"):
        Fishery(num_players, 1)


@pytest.mark.parametrize("spread", (1.0, 1e-3, 0.0))
def test_statistics_are_means_and_standard_deviations_over_all_steps(spread):
    """Also where a quantity hardly moves, so that sums of its squares would drown in rounding."""
    env = Fishery(2, 30)
    rng = np.random.default_rng(0)
    stock, harvest = 0.5 + spread * 0.1 * rng.uniform(size=(2, 30, 50))
    # The second fisher does a little more.
    efforts = 4 + spread * (np.array([0, 0.5]) + rng.normal(size=(30, 50, 2)))
    infos = {"stock": stock, "harvest": harvest, "efforts": efforts}
    infos = {name: np.float32(values) for name, values in infos.items()}
    halves = [
        env.episode_statistics((), (), {name: jnp.array(v[:, part]) for name, v in infos.items()})
        for part in (slice(0, 20), slice(20, None))
    ]
    metrics = env.statistics_metrics(jax.tree.map(jnp.add, *halves))
    series = {
        "stock": infos["stock"],
        "harvest": infos["harvest"],
        "total_effort": infos["efforts"].sum(axis=-1),
        "effort/player_1": infos["efforts"][..., 0],
        "effort/player_2": infos["efforts"][..., 1],
    }
    expected = {"fishery/final_stock": infos["stock"][-1].mean()}
    for name, values in series.items():
        expected[f"fishery/{name}"] = values.mean(dtype=np.float64)
        metric, slash, player = name.partition("/")
        expected[f"fishery/{metric}_std{slash}{player}"] = values.std(dtype=np.float64)
    expected["fishery/effort_mean"] = infos["efforts"].mean(dtype=np.float64)
    expected["fishery/effort_std"] = infos["efforts"].std(dtype=np.float64)
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        # What is lost to rounding is small beside the mean; the square of a float32 is right to 1e-7.
        mean = expected.get(name.replace("_std", ""), 4)
        tolerance = {"rtol": 1e-5, "atol": 5e-4 * mean if "_std" in name else 0}
        np.testing.assert_allclose(metrics[name], value, **tolerance, err_msg=name)


def test_statistics_of_episodes_that_differ_from_each_other_only():
    env = Fishery(2, 5)
    stock = jnp.tile(jnp.array([0.2, 0.4, 0.9]), (5, 1))
    infos = {"stock": stock, "harvest": 0 * stock, "efforts": jnp.zeros((5, 3, 2))}
    metrics = env.statistics_metrics(env.episode_statistics((), (), infos))
    np.testing.assert_allclose(metrics["fishery/stock_std"], np.std([0.2, 0.4, 0.9]), rtol=1e-5)
    assert metrics["fishery/harvest_std"] == 0


def test_a_picture_shows_stock_and_efforts_beside_open_access():
    env = Fishery(2, 2)
    params = env.default_params
    states = [env.reset(KEY, params)[1]]
    for efforts in ((1, 2), (3, 4)):
        states.append(env.step(KEY, states[-1], efforts, params)[1])
    figure = env.render(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), params)
    panels = [
        {line.get_label(): np.asarray(line.get_ydata()) for line in axes.lines}
        for axes in figure.axes
    ]
    assert [list(panel) for panel in panels] == [
        ["stock", "open access"],
        ["player 1", "player 2", "total", "open access"],
    ]
    assert panels[0]["stock"].tolist() == [float(state.stock) for state in states]
    assert panels[1]["player 1"].tolist() == [0, 1, 3]
    assert panels[1]["total"].tolist() == [0, 3, 7]
    np.testing.assert_allclose(panels[1]["open access"], 25 / 3, rtol=1e-6)
