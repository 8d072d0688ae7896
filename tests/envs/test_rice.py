"""The rules of the climate-economy games, against published figures and a second implementation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.envs.rice import ClubRice, Rice, SarlRice
from tests.envs.rice_reference import play_club, play_planner, play_rice
from tests.programs import AS_USERS_DO

KEY = jax.random.key(0)
# 5 regions, no mediator, every action .5: utilities, outputs, balances after the step, temperatures, carbon.
HALVES = {
    1: (
        (1.51573, 0.0944802, 2.17395, 0.330606, 0.224506),
        (48.8934, 1.95523, 22.6839, 4.68506, 4.37023),
        (1.222, -4.888, 1.222, 1.222, 1.222),
        (0.988661, 0.02788),
        (865.808, 471.289, 1740.67),
    ),
    2: (
        (1.6233, 0.0403267, 2.68998, 0.650656, 0.504394),
        (67.4009, 4.3588, 33.7472, 6.97552, 8.02975),
        (-1.15578, 4.62311, -1.15578, -1.15578, -1.15578),
        (1.12145, 0.0518995),
        (892.734, 482.064, 1741.42),
    ),
    3: (
        (1.68498, 0.322931, 3.00938, 0.591417, 0.495274),
        (79.6748, 6.46299, 42.835, 8.71327, 10.718),
        (-5.54441, -1.54071, -2.1196, 4.60236, 4.60236),
        (1.25629, 0.0786383),
        (927.623, 493.885, 1742.24),
    ),
    4: (
        (1.68611, 0.273425, 3.13402, 0.990315, 0.668386),
        (87.8259, 7.96579, 50.0514, 9.98103, 12.5796),
        (-1.68769, 3.92827, 1.3878, -1.81419, -1.81419),
        (1.39705, 0.10808),
        (967.384, 507.493, 1743.15),
    ),
    5: (
        (1.7366, 0.35215, 3.49491, 0.719748, 0.568856),
        (93.4012, 8.97993, 55.6513, 10.9276, 13.8657),
        (-4.1076, -1.36604, -4.16056, 4.8171, 4.8171),
        (1.54494, 0.140304),
        (1010.02, 523.112, 1744.15),
    ),
    8: (
        (1.76023, 0.311931, 3.44928, 1.15929, 0.721744),
        (102.236, 10.4647, 65.5976, 12.7649, 15.875),
        (-3.14693, 4.53913, 0.819627, -1.10591, -1.10591),
        (2.02563, 0.254696),
        (1145.25, 580.819, 1747.84),
    ),
    10: (
        (1.77143, 0.316832, 3.52699, 1.21606, 0.731318),
        (104.967, 10.8694, 68.7895, 13.5946, 16.4807),
        (-3.23606, 4.72442, 0.223823, -0.856095, -0.856095),
        (2.36538, 0.346355),
        (1237.31, 626.023, 1751),
    ),
    15: (
        (1.78537, 0.374919, 3.88444, 1.02572, 0.643606),
        (107.955, 11.2444, 71.9566, 15.1951, 17.1383),
        (-3.41681, -1.39235, -5.50828, 5.15872, 5.15872),
        (3.22455, 0.62845),
        (1468.38, 751.388, 1761.78),
    ),
    20: (
        (1.78935, 0.321685, 3.61652, 1.44427, 0.748253),
        (109.034, 11.3383, 72.7979, 16.5507, 17.3833),
        (-3.28655, 5.0299, 2.35385, -4.13912, 0.0419202),
        (4.04616, 0.977735),
        (1700.8, 884.657, 1776.98),
    ),
}


@functools.cache
def player(cls, x64, **variant):
    """A function that plays a whole episode, compiled for one float type."""
    env = cls(**variant)

    # How much of balances float32 keeps depends on how programs are compiled: see `assert_alike`. The game as
    # it was published, which has no settings, is compared to more digits.
    @functools.partial(jax.jit, compiler_options=None if x64 or variant else AS_USERS_DO)
    def episode(params, joint_actions):
        def step(state, joint):
            observations, state, rewards, _, info = env.step(KEY, state, tuple(joint), params)
            return state, (jnp.stack(observations), state, jnp.stack(rewards), info)

        _, state = env.reset(KEY, params)
        return jax.lax.scan(step, state, joint_actions)[1]

    return env, episode


def play(cls, joint_actions, x64=False, settings=None, **variant):
    """Plays actions `[T, players, size]`.

    Returns:
        Of every step the observations `[T, players, ...]`, states, rewards `[T, players]` and infos.
    """
    env, episode = player(cls, x64, **variant)
    dtype = np.float64 if x64 else np.float32
    with jax.enable_x64(x64):
        params = env.make_params(**settings or {})
        played = jax.device_get(episode(params, jnp.asarray(joint_actions, dtype)))
    assert {leaf.dtype for leaf in jax.tree.leaves(played)} == {np.dtype(dtype), np.dtype(np.int32)}
    return played


def random_actions(env, seed, num_steps=20):
    """A float32 sequence per player; what matters most is tried at its ends too."""
    rng = np.random.default_rng(seed)
    joint = rng.uniform(size=(num_steps, env.num_players, env.action_size)).astype(np.float32)
    some = rng.uniform(size=joint.shape) < 0.15
    return np.where(some, np.round(joint), joint)


@pytest.mark.parametrize(("x64", "rtol"), ((True, 1e-5), (False, 1e-3)))
def test_twenty_steps_of_halves_go_as_published(x64, rtol):
    _, state, rewards, _ = play(Rice, np.full((20, 5, 13), 0.5), x64)
    actual = (rewards, state.gross_output, state.balance, state.temperature, state.carbon)
    for t, expected in HALVES.items():
        for got, want in zip(actual, expected, strict=True):
            np.testing.assert_allclose(got[t - 1], want, rtol=rtol, err_msg=f"step {t}")


def test_the_first_step_of_halves_in_detail():
    seen, state, _, info = play(Rice, np.full((20, 5, 13), 0.5), x64=True)
    damages, abatement, _ = seen[0, :, 54:57].T
    np.testing.assert_allclose(damages, 0.998298, rtol=1e-6)
    np.testing.assert_allclose(
        abatement, [0.00713991, 0.0403898, 0.0252187, 0.0240167, 0.011325], rtol=1e-5
    )
    np.testing.assert_allclose(info["carbon_price"][0], 0.183402, rtol=1e-5)
    np.testing.assert_allclose(
        state.capital[0], [162.113, 5.40243, 72.9508, 15.4072, 12.2439], rtol=1e-5
    )


def assert_alike(played, reference, x64):
    """Observations and rewards of all players at all steps are those of `reference`.

    Balances are chaotic: near the end of a small region's credit, an error in one comes back a hundredfold in
    the next. So float32 cannot keep a few of them, and what they lead to, to more than two digits.
    """
    expected = [np.array(part) for part in zip(*reference, strict=True)]
    for actual, truth in zip((played[0], played[2]), expected, strict=True):
        assert actual.shape == truth.shape
        if x64:
            np.testing.assert_allclose(actual, truth, rtol=1e-6, atol=1e-9)
            continue
        error = np.abs(actual - truth) / (np.abs(truth) + 1e-3)
        assert np.quantile(error, 0.98) < 1e-4
        np.testing.assert_allclose(actual, truth, rtol=0.02, atol=0.02)


VARIANTS = pytest.mark.parametrize(("num_regions", "has_mediator"), ((5, False), (27, True)))


@pytest.mark.parametrize("x64", (True, False))
@VARIANTS
def test_rice_keeps_to_the_rules(num_regions, has_mediator, x64):
    variant = {"num_regions": num_regions, "has_mediator": has_mediator}
    for seed in range(2):
        joint = random_actions(Rice(**variant), seed)
        reference = play_rice(num_regions, has_mediator, joint)
        assert_alike(play(Rice, joint, x64, **variant), reference, x64)


@pytest.mark.parametrize("x64", (True, False))
@VARIANTS
def test_the_club_keeps_to_the_rules(num_regions, has_mediator, x64):
    variant = {"num_regions": num_regions, "has_mediator": has_mediator}
    weights = {"mediator_climate_weight": 2.5, "mediator_utility_weight": 0.75}
    for seed in range(2):
        joint = random_actions(ClubRice(**variant), seed)
        reference = play_club(num_regions, has_mediator, joint, *weights.values())
        assert_alike(play(ClubRice, joint, x64, weights, **variant), reference, x64)


@pytest.mark.parametrize("x64", (True, False))
@pytest.mark.parametrize(("num_regions", "fixed"), ((5, None), (27, 0.4)))
def test_the_planner_keeps_to_the_rules(num_regions, fixed, x64):
    variant = {"num_regions": num_regions, "fixed_mitigation_rate": fixed}
    for seed in range(2):
        joint = random_actions(SarlRice(**variant), seed)
        reference = play_planner(num_regions, fixed, joint[:, 0])
        assert_alike(play(SarlRice, joint, x64, **variant), reference, x64)


def test_actions_outside_their_range_are_those_at_its_ends():
    wild = np.random.default_rng(0).normal(scale=2, size=(20, 5, 13)).astype(np.float32)
    seen, _, rewards, _ = play(Rice, wild)
    expected, _, same, _ = play(Rice, wild.clip(0, 1))
    np.testing.assert_array_equal(seen, expected)
    np.testing.assert_array_equal(rewards, same)


def test_a_mediator_of_rice_changes_nothing_and_gets_what_all_get():
    joint = random_actions(Rice(has_mediator=True), 0)
    _, _, rewards, _ = play(Rice, joint, x64=True, has_mediator=True)
    _, _, alone, _ = play(Rice, joint[:, 1:], x64=True)
    np.testing.assert_allclose(rewards[:, 1:], alone, rtol=1e-12)
    np.testing.assert_allclose(rewards[:, 0], alone.sum(axis=1), rtol=1e-12)


def test_tariffs_are_collected_by_the_importer_one_step_later():
    """Region 0 taxes imports from region 2 fully; nobody taxes anything else."""
    joint = np.full((20, 5, 13), 0.5)
    joint[:, :, 3:8] = 0.0
    joint[:, 0, 3 + 2] = 1.0
    revenue = play(Rice, joint, x64=True)[3]["tariff_revenue"]
    np.testing.assert_array_equal(revenue[0], np.zeros(5))
    assert revenue[1, 0] > 0.05
    np.testing.assert_array_equal(revenue[1:, 1:], np.zeros((19, 4)))


def test_a_region_in_debt_beyond_its_credit_sells_and_imports_nothing():
    """In the first step of halves, region 1 borrows 4.9 on a credit of .087."""
    _, state, _, _ = play(Rice, np.full((20, 5, 13), 0.5), x64=True)
    before, after = state.balance[:2]
    assert before[1] < -4.8
    gained = after - 1.1 * before
    # It consumes less than it earns, and all others the other way round.
    assert gained[1] > 9
    assert (gained[[0, 2, 3, 4]] < -2).all()
    np.testing.assert_allclose(gained.sum(), 0, atol=1e-9)


def test_members_of_the_club_mitigate_alike_and_do_not_tax_each_other():
    joint = np.full((20, 5, 14), 0.05)
    joint[:, :, 3:8] = [[0.05], [0.6], [0.05], [0.05], [0.6]]
    joint[:, :, 1] = [0.9, 0.8, 0.7, 0.6, 0.5]
    joint[:, :, -1] = [0.51, 0.51, 0.5, 0.0, 1.0]
    _, state, _, _ = play(ClubRice, joint)
    np.testing.assert_allclose(state.mitigation_rate[0], [0.3, 0.3, 0.7, 0.6, 0.3], rtol=1e-6)
    np.testing.assert_array_equal(state.club_membership[0], [1, 1, 0, 0, 1])
    expected = [
        [0, 0, 0.1, 0.1, 0],
        [0, 0, 0.6, 0.6, 0],
        [0.05, 0.05, 0, 0.05, 0.05],
        [0.05, 0.05, 0.05, 0, 0.05],
        [0, 0, 0.6, 0.6, 0],
    ]
    np.testing.assert_allclose(state.tariffs[0], expected, rtol=1e-6)


def test_without_saving_trading_or_mitigating_all_output_is_consumed_at_home():
    _, state, rewards, _ = play(Rice, np.zeros((20, 5, 13)), x64=True)
    # Domestic goods count half under a square root.
    np.testing.assert_allclose(state.consumption, 0.25 * state.gross_output, rtol=1e-12)
    people = np.array([1153.559429, 285.952538, 4031.540324, 1545.816991, 618.130152]) / 1000
    per_head = state.consumption[0] / people
    expected = people * (1 - (1 + per_head) ** -0.45) / 0.45
    np.testing.assert_allclose(rewards[0], expected, rtol=1e-12)


def test_a_region_that_saves_everything_and_imports_nothing_consumes_nothing():
    joint = np.full((20, 5, 13), 0.5)
    joint[:, 2, 0] = 1.0
    joint[:, 2, 8:] = 0.0
    _, state, rewards, _ = play(Rice, joint)
    np.testing.assert_array_equal(state.consumption[:, 2], np.zeros(20))
    np.testing.assert_array_equal(rewards[:, 2], np.zeros(20))
