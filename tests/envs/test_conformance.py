"""What every game keeps to. A new one is tested as soon as it is in `ENVS`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.envs import ENVS
from pax.envs.jaxmarl import JaxMARL
from pax.errors import ConfigError
from pax.testing import assert_in_space, random_values

STEPS = 6
NUM_ENVS = 3
# Constructor arguments, besides the number of steps, with which a game is tested; by default none.
VARIANTS = {
    "IteratedMatrixGame": ({}, {"one_hot": True}, {"show_payoff_to": (1,)}),
    "IteratedTensorGame": ({}, {"num_players": 4}, {"num_players": 2, "one_hot": True}),
    "Rice": ({}, {"has_mediator": True}),
    "ClubRice": ({}, {"has_mediator": True}),
    "SarlRice": ({}, {"fixed_mitigation_rate": 0.25}),
    "CoinGame": (
        {},
        {"cnn": True, "egocentric": True},
        {"tabular": True, "size": 2},
        {"one_coin": True, "egocentric": True, "size": 4},
    ),
    "CleanUpLite": ({}, {"rows": 3, "columns": 2}),
    "CleanUp": ({}, {"map": "clean_up_small", "num_players": 3, "window": 5}),
    "CommonsHarvest": ({}, {"map": "harvest_small", "num_players": 3, "window": 5}),
    "InTheMatrix": ({}, {"fixed_coin_location": False, "num_players": 3}),
    "Cournot": ({}, {"num_players": 3}),
    "Fishery": ({}, {"num_players": 3}),
    "Negotiation": ({}, {"item_values": "uniform", "proportional": True}),
}
# Where games are chaotic, rounding differs visibly between one compiled program and another within few steps.
TOLERANCES = dict.fromkeys(("Rice", "ClubRice", "SarlRice"), 0.02)
CASES = [(name, variant) for name in ENVS for variant in VARIANTS.get(name, ({},))]


class Game:
    """A game, its usual parameters, and its functions compiled once for all tests."""

    def __init__(self, name, variant):
        self.env = ENVS[name](num_inner_steps=STEPS, **variant)
        self.params = self.env.default_params
        self.tolerance = TOLERANCES.get(name, 1e-5)
        self.reset = jax.jit(self.env.reset)
        self.reset_batch = jax.jit(jax.vmap(self.env.reset, (0, None)))
        self.step = jax.jit(self.env.step)
        self.scan = jax.jit(self._scan)
        self.scan_batch = jax.jit(jax.vmap(self._scan, (0, 0, 0, None)))
        self.random_actions = jax.jit(self._random_actions, static_argnums=1)

    def _scan(self, keys, state, actions, params):
        """As many steps as there are keys; returns (state, (observations, rewards, done, info))."""

        def step(state, inputs):
            observations, state, *outputs = self.env.step(inputs[0], state, inputs[1], params)
            return state, (observations, *outputs)

        return jax.lax.scan(step, state, (keys, actions))

    def _random_actions(self, key, num_steps=STEPS):
        """One array `[num_steps, ...]` per player, uniform where the space is bounded."""
        return tuple(
            random_values(jax.random.fold_in(key, player), self.env.action_space(player), num_steps)
            for player in range(self.env.num_players)
        )


# Of the games that take longest to compile, what they have in common is enough.
SLOW = ("Rice", "ClubRice", "SarlRice", "InTheMatrix")
# All of it: their own tests compare them with a second implementation.
SLOWEST = ("CommonsHarvest", "CleanUp")
make = functools.cache(lambda case: Game(*CASES[case]))


@pytest.fixture(
    params=[
        pytest.param(
            case,
            id=f"{name}{variant or ''}",
            marks=pytest.mark.slow if (variant and name in SLOW) or name in SLOWEST else (),
        )
        for case, (name, variant) in enumerate(CASES)
    ]
)
def game(request):
    return make(request.param)


@pytest.fixture(
    params=[
        pytest.param(case, id=name, marks=pytest.mark.slow if name in SLOWEST else ())
        for case, (name, variant) in enumerate(CASES)
        if not variant
    ]
)
def plain_game(request):
    """As it is by default: for what depends on little else."""
    return make(request.param)


def assert_same(actual, expected, tolerance=1e-5):
    """Equal structure, shapes, dtypes and values: floats to `tolerance`, everything else exactly."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a, b = jnp.asarray(a), jnp.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if jnp.issubdtype(a.dtype, jnp.floating):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(a, b)


def shapes(tree):
    return jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), tree)


# By NumPy, as each operation of JAX is compiled for every shape.
def stack(trees):
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *trees)


def play(game, key, reset, step):
    """An episode of random actions in a plain loop; returns (states, one tuple per step)."""
    reset_key, step_key, action_key = jax.random.split(key, 3)
    observations, state = reset(reset_key, game.params)
    actions = jax.tree.map(np.asarray, game.random_actions(action_key))
    states, seen = [state], [observations]
    outputs = []
    for t in range(STEPS):
        joint = jax.tree.map(lambda leaf, t=t: leaf[t], actions)
        observations, state, rewards, done, info = step(
            jax.random.fold_in(step_key, t), state, joint, game.params
        )
        states.append(state)
        seen.append(observations)
        outputs.append((observations, rewards, done, info))
    return states, seen, outputs


def test_observations_are_in_their_space_from_reset_to_the_last_step(game):
    _, seen, _ = play(game, jax.random.key(0), game.reset, game.step)
    assert len(seen) == STEPS + 1
    for observations in seen:
        assert isinstance(observations, tuple) and len(observations) == game.env.num_players
        for player, observation in enumerate(observations):
            space = game.env.observation_space(player)
            assert_in_space(observation, space, f"what player {player + 1} sees")


def test_rewards_are_finite_scalars_and_done_is_true_on_the_last_step_only(game):
    _, _, outputs = play(game, jax.random.key(1), game.reset, game.step)
    for t, (_, rewards, done, info) in enumerate(outputs):
        assert isinstance(rewards, tuple) and len(rewards) == game.env.num_players
        for reward in rewards:
            assert (reward.shape, reward.dtype) == ((), jnp.float32)
            assert np.isfinite(reward)
        assert (done.shape, done.dtype) == ((), jnp.bool_)
        assert bool(done) == (t == STEPS - 1)
        assert isinstance(info, dict)


def test_shapes_and_dtypes_of_the_state_never_change(game):
    states, _, outputs = play(game, jax.random.key(2), game.reset, game.step)
    for state in states:
        assert shapes(state) == shapes(states[0])
    for output in outputs:
        assert shapes(output) == shapes(outputs[0])
    if isinstance(game.env, JaxMARL):
        return  # Its states are those of others.
    # Narrower counters wrap around in long episodes.
    for leaf in jax.tree.leaves(states):
        assert leaf.dtype in (jnp.int32, jnp.float32, jnp.bool_) or jnp.issubdtype(
            leaf.dtype, jax.dtypes.prng_key
        )


def test_the_same_without_jit(plain_game):
    key = jax.random.key(3)
    plain = play(plain_game, key, plain_game.env.reset, plain_game.env.step)
    assert_same(
        play(plain_game, key, plain_game.reset, plain_game.step), plain, plain_game.tolerance
    )


def test_the_same_from_the_same_key(game):
    once, again = (play(game, jax.random.key(4), game.reset, game.step) for _ in range(2))
    for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_was_drawn_ahead_stands_for_the_key(game):
    draw, transition = game.env.split_step()

    def step(key, state, joint, params):
        return transition(draw(key, params), state, joint, params)

    key = jax.random.key(7)
    ahead = play(game, key, game.reset, jax.jit(step))
    assert_same(ahead, play(game, key, game.reset, game.step), game.tolerance)


def test_a_batch_is_as_many_environments_played_one_by_one(game):
    keys = jax.random.split(jax.random.key(5), NUM_ENVS)
    step_keys = jax.random.split(jax.random.key(6), (NUM_ENVS, STEPS))
    actions = stack([game.random_actions(key) for key in keys])
    starts = game.reset_batch(keys, game.params)
    batch = game.scan_batch(step_keys, starts[1], actions, game.params)
    one_by_one = []
    for index, key in enumerate(keys):
        own = jax.tree.map(lambda leaf, i=index: leaf[i], actions)
        start = game.reset(key, game.params)
        one_by_one.append((start, game.scan(step_keys[index], start[1], own, game.params)))
    assert_same((starts, batch), stack(one_by_one), game.tolerance)


def test_parameters_may_differ_between_environments(plain_game):
    """A batch of parameters is one more axis, whatever they are."""
    params = stack([jax.tree.map(jnp.asarray, plain_game.params)] * NUM_ENVS)
    keys = jax.random.split(jax.random.key(7), NUM_ENVS)
    step_keys = jax.random.split(jax.random.key(8), (NUM_ENVS, STEPS))
    actions = stack([plain_game.random_actions(key) for key in keys])
    starts = jax.jit(jax.vmap(plain_game.env.reset))(keys, params)
    batch = jax.jit(jax.vmap(plain_game._scan))(step_keys, starts[1], actions, params)
    shared = plain_game.scan_batch(step_keys, starts[1], actions, plain_game.params)
    assert_same(batch, shared, plain_game.tolerance)


def test_six_steps_are_three_and_three(plain_game):
    keys = jax.random.split(jax.random.key(9), STEPS)
    actions = plain_game.random_actions(jax.random.key(10))
    _, start = plain_game.reset(jax.random.key(11), plain_game.params)
    half = STEPS // 2
    first, second = (
        (keys[part], jax.tree.map(lambda leaf, part=part: leaf[part], actions))
        for part in (slice(None, half), slice(half, None))
    )
    whole, outputs = plain_game.scan(keys, start, actions, plain_game.params)
    middle, early = plain_game.scan(first[0], start, first[1], plain_game.params)
    end, late = plain_game.scan(second[0], middle, second[1], plain_game.params)
    assert_same(end, whole, plain_game.tolerance)
    joined = jax.tree.map(lambda a, b: np.concatenate([a, b]), early, late)
    assert_same(joined, outputs, plain_game.tolerance)


def test_default_parameters_are_valid_and_what_empty_settings_make(game):
    game.env.check_params(game.params)
    assert_same(game.env.make_params(), game.params)
    for leaf in jax.tree.leaves(game.params):
        assert leaf.dtype in (jnp.float32, jnp.int32, jnp.bool_)


def test_statistics_of_two_batches_add_up_to_those_of_both(game):
    """The loop adds statistics up leaf by leaf, over episodes and environments."""

    def episodes(key):
        keys = jax.random.split(key, NUM_ENVS)
        actions = stack([game.random_actions(key) for key in keys])
        starts = game.reset_batch(keys, game.params)
        step_keys = jax.random.split(key, (NUM_ENVS, STEPS))
        _, (later, _, _, infos) = game.scan_batch(step_keys, starts[1], actions, game.params)
        seen = jax.tree.map(
            lambda first, rest: np.concatenate(
                [np.asarray(first)[:, None], np.asarray(rest)[:, :-1]], axis=1
            ),
            starts[0],
            later,
        )
        return jax.tree.map(
            lambda leaf: np.swapaxes(np.asarray(leaf), 0, 1), (seen, actions, infos)
        )

    batches = [episodes(jax.random.key(seed)) for seed in (12, 13)]
    both = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *batches)
    statistics = jax.jit(game.env.episode_statistics)
    parts = [statistics(*batch) for batch in batches]
    assert_same(jax.tree.map(np.add, *parts), statistics(*both))
    metrics = game.env.statistics_metrics(parts[0])
    for name, value in metrics.items():
        assert isinstance(name, str)
        assert (value.shape, value.dtype) == ((), jnp.float32), name
    players = [f"player_{number}" for number in range(1, game.env.num_players + 1)]
    regions = [f"region_{number}" for number in range(1, getattr(game.env, "num_regions", 0) + 1)]
    for name in metrics:
        parts = name.split("/")
        # Whatever is numbered is a player or a region, and each of them has the metric.
        for part in parts:
            group = next((group for group in (players, regions) if part in group), None)
            assert group or not part[-1].isdigit(), name
            for other in group or ():
                assert "/".join(other if own == part else own for own in parts) in metrics


@pytest.mark.parametrize("name", ENVS)
def test_an_episode_has_at_least_one_step(name):
    with pytest.raises(ConfigError, match="num_inner_steps is 0"):
        ENVS[name](num_inner_steps=0)
