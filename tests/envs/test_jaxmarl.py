"""Environments of JaxMARL: whose observation is whose, and which of them are played."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax.config import base_config, game
from pax.config.build import build_env
from pax.config.files import load_config
from pax.configs import jaxmarl as configs
from pax.envs.jaxmarl import JaxMARL
from pax.envs.spaces import Box, Dict, Discrete
from pax.errors import ConfigError, MissingLibraryError
from pax.interface import check_game
from pax.testing import check_environment

jaxmarl = pytest.importorskip("jaxmarl")
# Warnings of theirs.
pytestmark = pytest.mark.filterwarnings("ignore")
QUICK = ("storm", "storm_np", "MPE_simple_crypto_v3")
"""One of each kind: arrays of all players in two ways, and agents in another order than their names."""
NEED_MORE = (
    "LearnedPolicyEnemySMAX",
    "ant",
    "halfcheetah",
    "hopper",
    "humanoid",
    "walker",
    "JaxRobotarium",
)


def make(name):
    return JaxMARL(name, 4)


def with_env(env):
    config = base_config()
    config.env, config.num_inner_steps = env, 4
    return config


def test_arrays_of_all_players_are_taken_apart():
    """storm: windows by player, and an inventory with a column for each; storm_np: windows."""
    windows = np.arange(2 * 5 * 5 * 16.0).reshape(2, 5, 5, 16)
    # One player holds 1 and 2 coins and has enough to play, which it shows; the other nothing yet.
    inventory = np.array([[1, 0], [2, 0], [1, 0], [1, 0], [2, 0]])
    shown = make("storm")._parts({"observations": windows, "inventory": inventory})
    for player, held in enumerate(([1, 2, 1, 1, 2], [0, 0, 0, 0, 0])):
        np.testing.assert_array_equal(shown[player]["observations"], windows[player])
        np.testing.assert_array_equal(shown[player]["inventory"], held)


@pytest.mark.slow
def test_players_of_storm_see_their_own_window_and_inventory():
    env = make("storm")
    _, state = env.reset(jax.random.key(0), {})
    held = np.array([[1, 2], [3, 4]])
    inner = state.inner.replace(
        agent_inventories=jnp.asarray(held, state.inner.agent_inventories.dtype)
    )
    stay = (jnp.int32(4), jnp.int32(4))
    step = jax.jit(env.step)
    seen, state, rewards, _, _ = step(jax.random.key(1), state.replace(inner=inner), stay, {})
    raw, _, raw_rewards, _, _ = env._env.step_env(
        jax.random.split(jax.random.key(1))[0], inner, stay
    )
    for player in range(2):
        # Coins lie where nobody stands: staying picks up none.
        np.testing.assert_array_equal(seen[player]["inventory"][:2], held[player])
        assert seen[player]["observations"].shape == (5, 5, 16)
        np.testing.assert_array_equal(seen[player]["observations"], raw["observations"][player])
        assert rewards[player] == raw_rewards[player]
    assert env.observation_space(0) == Dict(
        (("inventory", Box((5,))), ("observations", Box((5, 5, 16))))
    )


def test_players_are_in_the_order_of_the_agents():
    env = make("MPE_simple_crypto_v3")
    sizes = [env.observation_space(player).shape for player in range(3)]
    assert (env._agents, sizes) == (["eve_0", "alice_0", "bob_0"], [(4,), (8,), (8,)])


class Fake:
    """As little of an environment as the adapter looks at."""

    def __init__(self, agents, shown):
        self.agents, self.shown = agents, shown

    def reset(self, key):
        return self.shown, jnp.int32(0)

    def step_env(self, key, state, actions):
        return self.shown, state, {}, {}, {}

    def action_space(self, agent):
        raise AssertionError("observations come first")


@pytest.mark.parametrize(
    ("agents", "shown", "found"),
    [
        (["a", "b"], {"x": np.zeros(3), "y": np.zeros(3)}, "under x, y"),
        ([0, 1], np.zeros((2, 3)), r"as an array of shape \(2, 3\)"),
        (["a", "b"], [np.zeros(3)] * 3, "as a list of 3"),
        (["a", "b"], {"a": np.zeros(3), "world_state": np.zeros(3)}, "under a, world_state"),
    ],
)
def test_what_is_not_one_entry_per_player_is_not_guessed(monkeypatch, agents, shown, found):
    monkeypatch.setattr(jaxmarl, "make", lambda name, **settings: Fake(agents, shown))
    with pytest.raises(
        ConfigError, match=f"coin_game of JaxMARL gives observations {found}, and its pla"
    ):
        JaxMARL("coin_game")


@pytest.mark.parametrize("agents", [["a", "b"], [0, 1]])
def test_sequences_and_dicts_by_agent_are_taken(monkeypatch, agents):
    parts = [np.zeros(3), np.zeros(2)]
    fake_make, names = jaxmarl.make, dict(zip(agents, parts, strict=True))
    action_space = fake_make("coin_game").action_space("0")
    for shown in (names, tuple(parts)):
        fake = Fake(agents, shown)
        fake.action_space = lambda agent: action_space
        monkeypatch.setattr(jaxmarl, "make", lambda name, fake=fake, **settings: fake)
        env = JaxMARL("coin_game")
        assert [env.observation_space(player) for player in range(2)] == [Box((3,)), Box((2,))]
        assert env.action_space(1) == Discrete(5)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in jaxmarl.registered_envs
    ],
)
def test_every_environment_is_played_or_refused_in_a_sentence(name):
    if name.startswith(NEED_MORE):
        with pytest.raises(ConfigError, match=f"^JaxMARL cannot make {name.split('|')[0]}"):
            make(name)
    elif name in QUICK:
        check_game(make(name), {})
    else:
        check_environment(make(name))


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("coin_game", 3, "settings is 3: give a dict of what coin_game of JaxMARL takes"),
        (
            "coin_game",
            {"num_inner_step": 3},
            "num_inner_step is no setting of coin_game of JaxMARL: did you mean num_inner_steps?",
        ),
        # It swallows what it does not know.
        (
            "MPE_simple_spread_v3",
            {"num_agent": 2},
            "num_agent is no setting of MPE_simple_spread_v3 of JaxMARL: did you mean num_agents?",
        ),
        (
            "overcooked",
            {"layout": "cramped"},
            "layout is 'cramped' in overcooked of JaxMARL: did you mean cramped_room?",
        ),
        (
            "storm_np",
            {"num_agents": "3"},
            "num_agents is '3' in storm_np of JaxMARL: give a number",
        ),
    ],
)
def test_settings_that_are_none_of_an_environment_are_refused(name, settings, sentence):
    with pytest.raises(ConfigError) as refused:
        JaxMARL(name, 5, settings=settings)
    assert str(refused.value).startswith(sentence)


def test_the_config_has_what_the_constructor_takes():
    config = game("JaxMARL", name="storm_np", settings={"num_agents": 3})
    assert (config.settings.num_agents, config.settings.grid_size) == (3, 8)
    assert build_env(with_env(config))[0].num_players == 3
    config = game("JaxMARL", name="overcooked", settings={"layout": "forced_coord"})
    # That kitchen is 5 x 5, and the usual one 5 x 4; its name is in the config, for the shell to change.
    assert game("JaxMARL", name="overcooked").settings.layout == "cramped_room"
    assert build_env(with_env(config))[0].observation_space(0).shape == (5, 5, 26)


def test_defaults_of_a_class_come_before_those_of_the_class_above():
    settings = game("JaxMARL", name="MPE_simple_spread_v3").settings
    assert (settings.num_agents, settings.num_landmarks, settings.max_steps) == (3, 3, 25)
    changed = JaxMARL("MPE_simple_spread_v3", 4, {"num_landmarks": 1})
    assert changed._env.num_landmarks == 1


@pytest.mark.slow
def test_shaped_rewards_count_as_much_as_the_config_says():
    config = game("JaxMARL", name="overcooked", shaped_reward=0.5)
    env, params = build_env(with_env(config))
    assert params == {"shaped_reward": 0.5}
    _, state = env.reset(jax.random.key(0), params)

    def paid(rewards, shaped):
        """Steps of an environment that always pays the same."""
        original = env._env.step_env

        def step_env(key, inner, actions):
            seen, inner, _, dones, _ = original(key, inner, actions)
            by_agent = [dict(zip(env._agents, each, strict=True)) for each in (rewards, shaped)]
            return seen, inner, by_agent[0], dones, {"shaped_reward": by_agent[1]}

        env._env.step_env = step_env
        try:
            return [float(r) for r in env.step(jax.random.key(1), state, (4, 4), params)[2]]
        finally:
            env._env.step_env = original

    assert paid((20.0, 20.0), (3.0, 5.0)) == [21.5, 22.5]
    with pytest.raises(ConfigError, match="shaped_reward is no setting of JaxMARL"):
        make("storm_np").make_params(shaped_reward=1.0)


def test_a_learner_that_the_config_does_not_have_is_told():
    with pytest.raises(ConfigError) as told:
        configs.get_config("MPE_simple_spread_v3,lola_dice")
    assert str(told.value).startswith(
        "'lola_dice' comes after MPE_simple_spread_v3, and is no learner or shaper there: "
    )
    config = configs.get_config("MPE_simple_spread_v3,quicktest")
    assert [config[name].type for name in config.roles] == ["PPO"]


def test_where_jaxmarl_is_missing_its_config_tells_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "jaxmarl", None)
    with pytest.raises(MissingLibraryError, match="^JaxMARL cannot be imported .*: pip install"):
        load_config("configs/jaxmarl.py:hanabi")
