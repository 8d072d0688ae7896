"""Other-regarding rewards: what players learn from, by hand, and that metrics report what they earn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pax import MetaTrainer
from pax.agents import Altruistic, Defect
from pax.config import base_config, game, rewards, role
from pax.config.build import build_trainer
from pax.envs import CoinGame, Fishery, Gymnax, IteratedMatrixGame, IteratedTensorGame
from pax.envs.environment import Environment
from pax.envs.rewards import (
    OWN_REWARDS,
    CommonReward,
    Exchange,
    InequityAversion,
    SocialValueOrientation,
)
from pax.envs.wrappers import Continuation, Noise
from pax.errors import ConfigError
from pax.tasks import shuffled_seats

EARNED = np.array([3.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("wrapper", "settings", "expected"),
    [
        (CommonReward, {}, [4.0, 4.0, 4.0]),
        (SocialValueOrientation, {"angle": 0.0}, EARNED),
        (SocialValueOrientation, {"angle": 90.0}, [0.5, 2.0, 1.5]),
        (
            SocialValueOrientation,
            {"angle": 30.0},
            0.75**0.5 * EARNED + 0.5 * np.array([0.5, 2, 1.5]),
        ),
        (Exchange, {"share": 0.25}, [0.75 + 0.375, 1.5, 0.25 + 1.125]),
        (Exchange, {"share": 1.0}, EARNED),
    ],
)
def test_what_players_learn_from(wrapper, settings, expected):
    env = wrapper(IteratedTensorGame(num_players=3), **settings)
    np.testing.assert_allclose(env.felt(jnp.array(EARNED)), expected, atol=1e-6)


def test_inequity_is_that_of_smoothed_rewards():
    """Two steps by hand: in the first, player 2 earns 5, in the second, both earn 1."""
    payoff = ((1.0, 0.0), (0.0, 5.0), (0.0, 1.0))
    plain = IteratedTensorGame(num_players=2)
    env = InequityAversion(plain, alpha=2.0, beta=0.5, decay=0.5)
    params = env.make_params(payoff=payoff)
    _, state = env.reset(jax.random.key(0), params)
    seen = []
    for actions in ((0, 1), (0, 0)):
        joint = tuple(map(jnp.int32, actions))
        _, state, felt, _, info = env.step(jax.random.key(1), state, joint, params)
        seen.append(([float(r) for r in felt], [float(r) for r in env.earned(felt, info)]))
    # Smoothed rewards: 0 and 5, then 1 and 3.5.
    assert seen == [([-10.0, 2.5], [0.0, 5.0]), ([1.0 - 5.0, 1.0 - 1.25], [1.0, 1.0])]


class Rounds(Environment):
    """Player 1 earns 1 in every step; an episode has two, and the next one begins at once."""

    num_players, num_inner_steps, auto_resets = 2, 4, True

    def reset(self, key, params):
        return (jnp.int32(0),) * 2, jnp.int32(0)

    def step(self, key, state, actions, params):
        rewards = (jnp.float32(1.0), jnp.float32(0.0))
        over = (state + 1) % 2 == 0
        info = {"terminated": (over, over), "truncated": jnp.bool_(False)}
        return (jnp.int32(0),) * 2, state + 1, rewards, state + 1 >= 4, info


def test_inequity_of_an_episode_is_nothing_to_the_next():
    env = InequityAversion(Rounds(), alpha=1.0, beta=0.0, decay=1.0)
    _, state = env.reset(jax.random.key(0), ())
    felt = []
    for _ in range(4):
        _, state, rewards, _, _ = env.step(jax.random.key(0), state, (jnp.int32(0),) * 2, ())
        felt.append(float(rewards[1]))
    assert felt == [-1.0, -2.0, -1.0, -2.0]


@pytest.mark.parametrize(
    ("wrap", "learned", "earned"),
    [
        (lambda env: Noise(CommonReward(env), 0.0), (-3.0, -3.0), (-3.0, 0.0)),
        (lambda env: CommonReward(Noise(env, 0.0)), (-3.0, -3.0), (-3.0, 0.0)),
        # Two steps, of which the first weighs 4 / 3 and the second 2 / 3.
        (lambda env: Continuation(CommonReward(env), 0.5), (-4.0, -4.0), (-4.0, 0.0)),
        (lambda env: CommonReward(Continuation(env, 0.5)), (-4.0, -4.0), (-4.0, 0.0)),
    ],
)
def test_wrappers_report_what_is_earned_in_any_order(wrap, learned, earned):
    env = wrap(IteratedMatrixGame(num_inner_steps=2))
    _, state = env.reset(jax.random.key(0), env.default_params)
    actions = (jnp.int32(0), jnp.int32(1))
    _, _, rewards, _, info = env.step(jax.random.key(0), state, actions, env.default_params)
    np.testing.assert_allclose(rewards, learned, rtol=1e-6)
    np.testing.assert_allclose(env.earned(rewards, info), earned, rtol=1e-6)


def test_what_is_earned_goes_to_the_player_whatever_its_seat():
    env = Noise(IteratedMatrixGame(num_inner_steps=2), 0.0)
    roles = [Altruistic.for_env(env), Defect.for_env(env, seat=1)]
    trainer = MetaTrainer(env, roles, samplers=[shuffled_seats(2)], num_envs=1, num_opps=8)
    metrics = trainer.fit(1)
    assert metrics["train/reward_per_timestep/player_1"] == -3.0
    assert metrics["train/reward_per_timestep/player_2"] == 0.0


def test_metrics_report_what_is_earned_and_players_learn_from_the_rest():
    config = base_config()
    config.env = game("IteratedTensorGame", num_players=3)
    config.num_inner_steps, config.num_envs, config.num_iters, config.chunk = 4, 2, 1, 1
    config.roles = ("agent1",)
    config.agent1 = role("Random", 0)
    config.agent1.seats = (0, 1, 2)
    config.callbacks = {}
    found = {}
    for kind in ("own", "common"):
        config.rewards = rewards(kind)
        trainer = build_trainer(config, None)
        assert (type(trainer.env) is CommonReward) == (kind == "common")
        found[kind] = trainer.fit()
    earned = {
        kind: {name: value for name, value in metrics.items() if "reward" in name}
        for kind, metrics in found.items()
    }
    assert earned["own"] and earned["own"] == earned["common"]


def test_rewards_that_exclude_each_other_are_refused():
    once = Continuation(Exchange(Fishery()), 0.9)
    with pytest.raises(
        ConfigError, match="rewards are Exchange and CommonReward at once: choose one"
    ):
        CommonReward(once)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: CommonReward(Gymnax()), "has one player: leave them as they are"),
        (lambda: Exchange(CoinGame(), 1.5), "share is 1.5 in Exchange"),
        (lambda: InequityAversion(CoinGame(), alpha=-1.0), "alpha is -1.0 in InequityAversion"),
        (lambda: InequityAversion(CoinGame(), decay=2.0), "decay is 2.0 in InequityAversion"),
        (lambda: rewards("comon"), "rewards.type is 'comon': did you mean common"),
        (lambda: rewards("exchange", angle=3.0), "exchange has no setting 'angle'"),
    ],
)
def test_rewards_that_cannot_be_are_refused(make, told):
    with pytest.raises(ConfigError, match=told):
        make()


def test_settings_of_rewards_without_a_type_are_refused():
    config = base_config()
    config.env = game("Fishery")
    config.roles, config.rewards = (), {"type": "own", "share": 0.5}
    with pytest.raises(ConfigError, match="rewards.share is 0.5, and rewards.type is own"):
        build_trainer(config, None)


def test_the_info_of_a_step_has_what_was_earned():
    env = CommonReward(IteratedTensorGame(num_players=3))
    params = env.default_params
    _, state = env.reset(jax.random.key(0), params)
    actions = (jnp.int32(0), jnp.int32(1), jnp.int32(0))
    _, _, felt, _, info = env.step(jax.random.key(0), state, actions, params)
    own = env.env.step(jax.random.key(0), state, actions, params)[2]
    assert info[OWN_REWARDS] == own
    assert [float(reward) for reward in felt] == [float(sum(own))] * 3
