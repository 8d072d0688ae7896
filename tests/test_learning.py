"""Learners reach the known outcomes of the matrix games, from their config files as they are."""

import importlib

import numpy as np
import pytest

from pax.callbacks.callback import Callback
from pax.callbacks.callback_list import CallbackList
from pax.config.build import build_trainer

NUM_SEEDS = 3
TOLERANCE = 0.02
LEARNERS = ("ppo", "ppo_memory", "tabular", "naive")
IPD_OUTCOMES = {
    "tit_for_tat": (-1.0, -1.0),
    "defect": (-2.0, -2.0),
    "always_cooperate": (0.0, -3.0),
    "self": (-2.0, -2.0),
}
IMP_OUTCOMES = {"tit_for_tat": (1.0, -1.0), "heads": (1.0, -1.0), "tails": (1.0, -1.0)}


class Rewards(Callback):
    """Keeps the reward per step of every iteration, player and seed."""

    def __init__(self):
        self.chunks = []

    def on_chunk_end(self, trainer, state, step, metrics):
        players = range(1, trainer.env.num_players + 1)
        names = [f"train/reward_per_timestep/player_{player}" for player in players]
        self.chunks.append(np.stack([metrics.per_seed[name] for name in names]))

    @property
    def per_seed(self):
        """`[players, iterations, seeds]`."""
        return np.concatenate(self.chunks, axis=1)


def train(game, variant, workdir):
    """Trains a config variant with three seeds; returns rewards `[players, iterations, seeds]`."""
    config = importlib.import_module(f"configs.{game}").get_config(variant)
    config.num_seeds = NUM_SEEDS
    for name in ("progress", "evaluation", "checkpoint"):
        config.callbacks[name].enabled = False
    trainer = build_trainer(config, str(workdir))
    rewards = Rewards()
    trainer.callbacks = CallbackList([*trainer.callbacks, rewards])
    trainer.fit()
    assert rewards.per_seed.shape == (2, config.num_iters, NUM_SEEDS)
    return rewards.per_seed


def check_outcome(rewards, expected):
    """Compares the last ten iterations of every seed with the known rewards of the two players."""
    measured = rewards[:, -10:].mean(axis=1)
    print(f"measured {measured.round(4).tolist()}, expected {expected}")
    np.testing.assert_allclose(measured, np.transpose([expected] * NUM_SEEDS), atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("opponent", IPD_OUTCOMES)
@pytest.mark.parametrize("learner", LEARNERS)
def test_learners_reach_the_outcomes_of_the_prisoners_dilemma(learner, opponent, tmp_path):
    rewards = train("ipd", f"{learner},opponent={opponent}", tmp_path)

    check_outcome(rewards, IPD_OUTCOMES[opponent])


@pytest.mark.slow
@pytest.mark.parametrize("opponent", IMP_OUTCOMES)
def test_ppo_exploits_predictable_opponents_in_matching_pennies(opponent, tmp_path):
    rewards = train("imp", f"ppo,opponent={opponent}", tmp_path)

    check_outcome(rewards, IMP_OUTCOMES[opponent])


@pytest.mark.slow
def test_ppo_against_itself_in_matching_pennies_wins_nothing_over_time(tmp_path):
    rewards = train("imp", "ppo,opponent=self", tmp_path)

    over_time = rewards[:, rewards.shape[1] // 2 :].mean(axis=1)
    print(f"measured {over_time.round(4).tolist()}")
    np.testing.assert_allclose(over_time[0], -over_time[1], atol=1e-5)
    np.testing.assert_allclose(over_time, 0.0, atol=0.15)


@pytest.mark.slow
def test_cartpole_is_solved_within_150_000_steps(tmp_path):
    config = importlib.import_module("configs.sarl").get_config("cartpole")
    config.num_seeds, config.num_iters = NUM_SEEDS, 37
    for name in ("scalars", "progress", "evaluation", "checkpoint"):
        config.callbacks[name].enabled = False
    trainer = build_trainer(config, str(tmp_path))
    returns = []
    keep = Callback()
    keep.on_chunk_end = lambda trainer, state, step, metrics: returns.append(
        metrics.per_seed["episode_return"]
    )
    trainer.callbacks = CallbackList([keep])
    trainer.fit()
    assert 37 * trainer.env_steps_per_iteration <= 150_000
    assert (np.concatenate(returns)[-10:].mean(axis=0) >= 450).all()


@pytest.mark.slow
def test_aligned_players_share_the_coins(tmp_path):
    """Both earn most of what two that only take their own coins earn (0.34)."""
    config = importlib.import_module("configs.coin_game").get_config("advantage_alignment")
    for name in ("progress", "evaluation", "checkpoint"):
        config.callbacks[name].enabled = False
    trainer = build_trainer(config, str(tmp_path))
    rewards = Rewards()
    trainer.callbacks = CallbackList([*trainer.callbacks, rewards])
    trainer.fit()
    assert (rewards.per_seed[:, -200:].mean(axis=(1, 2)) > 0.15).all()
