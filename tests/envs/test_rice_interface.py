"""Numbers, sizes, limits, errors, statistics and pictures of the climate-economy games."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.envs.rice import ClubRice, Rice, SarlRice
from pax.envs.rice.calibration import load_regions
from pax.errors import ConfigError

KEY = jax.random.key(0)
COLUMNS = (
    "initial_productivity",
    "initial_capital",
    "initial_labor",
    "long_run_labor",
    "productivity_growth_decline",
    "productivity_growth",
    "labor_convergence",
    "initial_intensity",
)
# Sums over regions of the published tables, plain and with the regions counted 1, 2, 3, ...
SUMS = {
    5: (
        (27.890958, 104.401181, 7634.999434, 10566.326507, 0.86243, 0.666263, 0.309727, 3.09795),
        (65.128176, 187.981621, 23094.004201, 34855.532013, 2.438972, 1.911289, 0.894198, 9.064477),
    ),
    27: (
        (214.121482, 59.963401, 7763.498647, 10811.625696, 5.33179, 3.145392, 0.141518, 16.511897),
        (
            3118.888894,
            1080.253445,
            118304.097885,
            143812.794689,
            61.340481,
            43.301235,
            -1.566408,
            248.286031,
        ),
    ),
}


@pytest.mark.parametrize("num_regions", SUMS)
def test_regions_have_the_published_numbers(num_regions):
    regions = load_regions(num_regions)
    columns = np.array([regions.pop(name) for name in COLUMNS])
    np.testing.assert_allclose(columns.sum(axis=1), SUMS[num_regions][0], atol=1e-6)
    numbered = columns @ np.arange(1, num_regions + 1)
    np.testing.assert_allclose(numbered, SUMS[num_regions][1], atol=1e-6)
    same = {"damage_linear": 0.0, "damage_coefficient": 0.00236, "damage_exponent": 2.0}
    for name, value in {**same, "capital_share": 0.3}.items():
        assert regions.pop(name) == (value,) * num_regions
    assert not regions


@pytest.mark.parametrize(
    ("env", "players", "action_size", "observation_size"),
    (
        (Rice(), 5, 13, 122),
        (Rice(has_mediator=True), 6, 13, 135),
        (Rice(num_regions=27), 27, 57, 12 + 9 * 27 + 27 * 57),
        (ClubRice(), 5, 14, 34),
        (ClubRice(num_regions=27, has_mediator=True), 28, 58, 9 + 5 * 27),
        (SarlRice(), 1, 65, 78),
    ),
)
def test_sizes(env, players, action_size, observation_size):
    assert env.num_players == players
    assert env.num_inner_steps == 20
    assert env.action_space(0).shape == (action_size,)
    assert (env.action_space(0).low, env.action_space(0).high) == (0, 1)
    observations, _ = env.reset(KEY, env.default_params)
    assert {observation.shape for observation in observations} == {(observation_size,)}


def test_before_the_first_step_players_see_the_climate_and_the_rates_of_the_club_in_force():
    climate = np.array([0.85, 0.0068, 851, 460, 1740], np.float32)
    seen, _ = Rice().reset(KEY, Rice().default_params)
    np.testing.assert_array_equal(seen[3][:2], [3, 0])
    np.testing.assert_array_equal(seen[3][2:7], climate)
    np.testing.assert_array_equal(seen[3][7:9], np.zeros(2))
    np.testing.assert_array_equal(seen[3][19:], np.zeros(103))
    for has_mediator, rates in ((False, [0.3, 0.1]), (True, [0, 0])):
        env = ClubRice(has_mediator=has_mediator)
        seen, _ = env.reset(KEY, env.default_params)
        np.testing.assert_allclose(seen[-1][:4], [4, 0, *rates], rtol=1e-6)
        np.testing.assert_array_equal(seen[-1][4:9], climate)


def scan(env, params, key, num_steps):
    """Whether all numbers stay finite; random actions, half of them at an end of their range."""

    def step(carry, step_key):
        state, finite = carry
        shape = (env.num_players, env.action_size)
        actions = (4 * jax.random.uniform(step_key, shape) - 1.5).clip(0, 1)
        observations, state, rewards, _, info = env.step(KEY, state, tuple(actions), params)
        numbers = jax.tree.leaves((observations, state, rewards, info))
        finite &= jnp.stack([jnp.isfinite(leaf).all() for leaf in numbers]).all()
        return (state, finite), None

    _, state = env.reset(KEY, params)
    keys = jax.random.split(key, num_steps)
    return jax.lax.scan(step, (state, jnp.bool_(True)), keys)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "env", (Rice(), ClubRice(has_mediator=True), SarlRice()), ids=lambda env: type(env).__name__
)
def test_a_hundred_thousand_random_steps_are_finite(env):
    """5,000 episodes of 20 steps."""
    play = jax.vmap(lambda key: scan(env, env.default_params, key, 20)[1])
    assert jax.jit(play)(jax.random.split(KEY, 5000)).all()


@pytest.mark.slow
@pytest.mark.parametrize("cls", (Rice, ClubRice))
def test_an_episode_of_any_length_is_finite(cls):
    """10^5 steps, or half a million years, in which debts and productivity grow exponentially."""
    env = cls(num_inner_steps=100_000, has_mediator=True)
    episode = jax.jit(lambda key: scan(env, env.default_params, key, 100_000))
    state, finite = episode(KEY)
    assert finite
    assert int(state.inner_t) == 100_000
    assert float(jnp.abs(state.balance).max()) > 1e11


@pytest.mark.parametrize("cls", (Rice, ClubRice))
def test_gradients_of_rewards_are_finite_where_roots_have_none(cls):
    env = cls(num_inner_steps=3)
    params = env.default_params

    def welfare(actions):
        def step(state, joint):
            _, state, rewards, _, _ = env.step(KEY, state, tuple(joint), params)
            return state, sum(rewards)

        return jax.lax.scan(step, env.reset(KEY, params)[1], actions)[1].sum()

    gradient = jax.jit(jax.grad(welfare))
    for corner in (0.0, 1.0, 0.5):
        slope = gradient(jnp.full((3, 5, env.action_size), corner))
        assert jnp.isfinite(slope).all()
    # Consuming more in the end is worth more.
    assert (slope[2, :, 0] < 0).all()


def test_settings_of_one_number_hold_for_all_regions():
    params = Rice().make_params(initial_capital=3, initial_labor=(1, 2, 3, 4, 5), interest_rate=0)
    np.testing.assert_array_equal(params.initial_capital, [3] * 5)
    np.testing.assert_array_equal(params.initial_labor, [1, 2, 3, 4, 5])
    assert float(params.interest_rate) == 0
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}


def test_every_environment_of_a_batch_may_have_its_own_club():
    env = ClubRice()
    rates = (0.1, 0.6)
    params = [env.make_params(club_mitigation_rate=rate) for rate in rates]
    batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    _, state = env.reset(KEY, params[0])
    joint = tuple(jnp.ones((5, 14)))
    step = jax.jit(jax.vmap(env.step, (None, None, None, 0)))
    _, after, _, _, _ = step(KEY, state, joint, batch)
    np.testing.assert_allclose(after.mitigation_rate, [[rate] * 5 for rate in rates], rtol=1e-6)


WRONG = (
    ({"initial_capital": (1.0, 2.0)}, "initial_capital is (1.0, 2.0): give 5 numbers"),
    ({"initial_capital": ((1.0,), 2.0)}, "initial_capital is ((1.0,), 2.0): give 5 numbers"),
    ({"initial_labor": 0.0}, "initial_labor is (0.0, 0.0, 0.0, 0.0, 0.0): give positive numbers"),
    ({"carbon_transition": 1.0}, "carbon_transition is 1.0: give 3 x 3 numbers"),
    ({"interest_rate": float("nan")}, "interest_rate is nan: give finite numbers only"),
    ({"interest_rate": "high"}, "interest_rate is high: give one number"),
    ({"backstop_price": -1.0}, "backstop_price is -1.0: give no negative numbers"),
    ({"capital_depreciation": 1.5}, "capital_depreciation is 1.5: give numbers from 0 to 1"),
    ({"abatement_exponent": 1.0}, "abatement_exponent is 1.0: give a number above 1"),
    ({"risk_aversion": 1}, "risk_aversion is 1: give any other number"),
    ({"intrest_rate": 0.1}, "intrest_rate is no parameter of this game: did you mean interest_"),
    ({"club_tariff_rate": 0.1}, "club_tariff_rate is no parameter of this game"),
)


@pytest.mark.parametrize(("settings", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_parameters_that_make_no_game_are_refused(settings, message):
    with pytest.raises(ConfigError) as error:
        Rice().make_params(**settings)
    assert str(error.value).startswith(message)


def test_parameters_are_checked_as_arrays_too():
    env = ClubRice()
    params = env.default_params
    env.check_params(params)
    with pytest.raises(ConfigError, match="^club_tariff_rate is 1.5: give numbers from 0 to 1"):
        env.check_params(params.replace(club_tariff_rate=jnp.float32(1.5)))
    with pytest.raises(ConfigError, match="^initial_productivity is .*: give 27 numbers"):
        ClubRice(num_regions=27).check_params(params)


@pytest.mark.parametrize(
    ("make", "message"),
    (
        (lambda: Rice(num_inner_steps=0), "num_inner_steps is 0: give at least 1 step"),
        (lambda: ClubRice(num_regions=6), "num_regions is 6: there are numbers for 5 or 27 only"),
        (lambda: SarlRice(fixed_mitigation_rate=1.5), "fixed_mitigation_rate is 1.5: give a rate"),
        (lambda: SarlRice(fixed_mitigation_rate="a"), "fixed_mitigation_rate is 'a': give a rate"),
    ),
)
def test_games_that_do_not_exist_are_refused(make, message):
    with pytest.raises(ConfigError) as error:
        make()
    assert str(error.value).startswith(message)


def test_statistics_are_means_over_steps_and_final_values():
    env = ClubRice(num_inner_steps=4)
    params = env.default_params
    actions = jax.random.uniform(KEY, (4, 5, 3, 14))
    _, state = jax.vmap(env.reset, (0, None))(jax.random.split(KEY, 3), params)
    step = jax.jit(jax.vmap(env.step, (None, 0, 0, None)))
    states, infos, paid = [], [], []
    for t in range(4):
        _, state, rewards, _, info = step(KEY, state, tuple(actions[t]), params)
        states.append(state)
        infos.append(info)
        paid.append(np.stack(rewards, axis=-1))
    stack = functools.partial(jax.tree.map, lambda *leaves: np.stack(leaves))
    states, infos = stack(*states), stack(*infos)
    statistics = jax.jit(env.episode_statistics)((), (), infos)
    twice = jax.tree.map(jnp.add, statistics, statistics)
    for total in (statistics, twice):
        metrics = env.statistics_metrics(total)
        expected = {
            "temperature": states.temperature[..., 0].mean(),
            "ocean_temperature": states.temperature[..., 1].mean(),
            "carbon_atmosphere": states.carbon[..., 0].mean(),
            "carbon_upper_ocean": states.carbon[..., 1].mean(),
            "carbon_lower_ocean": states.carbon[..., 2].mean(),
            "final_temperature": states.temperature[-1, :, 0].mean(),
            "final_carbon_atmosphere": states.carbon[-1, :, 0].mean(),
            "utility": np.mean(paid),
            "utility/region_5": np.stack(paid)[..., 4].mean(),
            "savings_rate": actions[..., 0].mean(),
            "savings_rate/region_3": actions[:, 2, :, 0].mean(),
            "mitigation_rate/region_1": states.mitigation_rate[..., 0].mean(),
            "club_membership": (actions[..., -1] > 0.5).mean(),
            "gross_output/region_4": states.gross_output[..., 3].mean(),
            "capital": states.capital.mean(),
            "consumption": states.consumption.mean(),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
        assert all(np.isfinite(value) for value in metrics.values())


def test_a_picture_shows_climate_and_economy_by_year():
    env = Rice(num_inner_steps=3)
    params = env.default_params
    _, state = env.reset(KEY, params)
    states, step = [state], jax.jit(env.step)
    for t in range(3):
        joint = tuple(jnp.full((5, 13), 0.2 * (t + 1)))
        states.append(step(KEY, states[-1], joint, params)[1])
    figure = env.render(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states), params)
    panels = {axes.get_title(): axes.get_lines() for axes in figure.axes}
    assert len(panels) == 6
    air, _ = panels["Temperature (°C above 1900)"]
    np.testing.assert_array_equal(air.get_xdata(), [2015, 2020, 2025, 2030])
    np.testing.assert_allclose(
        air.get_ydata(), [float(state.temperature[0]) for state in states], rtol=1e-6
    )
    assert len(panels["Output (10¹² $ a year)"]) == 5
    for line in panels["Savings rate"]:
        np.testing.assert_array_equal(line.get_xdata(), [2020, 2025, 2030])
        np.testing.assert_allclose(line.get_ydata(), [0.2, 0.4, 0.6], rtol=1e-6)
    figure.draw_without_rendering()
