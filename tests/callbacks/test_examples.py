"""The callbacks to copy do what they say, also when a run goes on."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

import callbacks
import pax.callbacks
from callbacks.best_so_far import BestSoFar
from callbacks.coins_in_a_trial import CoinsInATrial
from callbacks.learning_curves import LearningCurves
from callbacks.reward_gap import RewardGap
from pax.config.build import build_trainer
from pax.config.files import load_config
from pax.envs.coin_game.game import RIGHT, STAY, EnvState
from pax.errors import ConfigError
from pax.metrics.writers import read_metrics


def build(workdir, num_iters):
    config = load_config("configs/ipd.py:tabular,quicktest")
    config.num_iters = num_iters
    config.extra_callbacks = (
        "callbacks.reward_gap.RewardGap",
        ("callbacks.best_so_far.BestSoFar", {"every": 2}),
        ("callbacks.learning_curves.LearningCurves", {"num_trials": 3}),
    )
    return build_trainer(config, str(workdir))


def of(trainer, kind):
    return next(callback for callback in trainer.callbacks if isinstance(callback, kind))


def test_examples_report_remember_and_write(tmp_path):
    trainer = build(tmp_path, 4)
    trainer.fit()
    rows = [row for row in read_metrics(tmp_path) if "reward_gap" in row]
    assert len(rows) == 2 and of(trainer, RewardGap)
    for row in rows:
        rewards = [row[f"train/reward_per_timestep/player_{player}"] for player in (1, 2)]
        # A run of one opponent is one trial per iteration.
        np.testing.assert_allclose(row["reward_gap"], abs(rewards[0] - rewards[1]), atol=1e-6)
    curves = np.load(tmp_path / "learning_curves.npz")
    assert curves["as_trained"].shape == (1, 2) and of(trainer, LearningCurves).num_trials == 3
    own = {row["iteration"]: row["train/reward_per_timestep/player_1"] for row in rows}
    best = of(trainer, BestSoFar)
    # Files have six digits.
    assert best.best == pytest.approx(max(own.values()), rel=1e-5)
    assert own[best.iteration] == max(own.values())

    # What was better before an interruption stays the best.
    resumed = build(tmp_path, 6)
    resumed.restore()
    assert (of(resumed, BestSoFar).best, of(resumed, BestSoFar).iteration) == (
        best.best,
        best.iteration,
    )


def test_the_folder_of_experiments_names_the_stock_callbacks():
    assert set(callbacks.__all__) == set(pax.callbacks.__all__)
    assert callbacks.Video is pax.callbacks.Video


def test_coins_are_counted_at_both_ends_of_a_trial():
    # Ten episodes of one step in one environment. Both players stay but for the last two episodes, in which
    # blue steps from cell 0 onto the blue coin; before, it stands on the red one. Red never takes any.
    cells = {
        "red": [8] * 10,
        "blue": [0] * 10,
        "red_coin": [0] * 8 + [5] * 2,
        "blue_coin": [1] * 10,
    }
    columns = {name: jnp.array(values)[:, None, None] for name, values in cells.items()}
    states = EnvState(**columns, inner_t=jnp.zeros((10, 1, 1), jnp.int32))
    blue = jnp.array([STAY] * 8 + [RIGHT] * 2)[:, None, None]
    trial = types.SimpleNamespace(env_states=states, actions=(jnp.full_like(blue, STAY), blue))
    metrics = CoinsInATrial().probe(trial)
    # Own coins, the other's, and the share of own ones.
    expected = {
        "first_fifth": {"player_1": (0, 0, 0), "player_2": (0, 1, 0)},
        "last_fifth": {"player_1": (0, 0, 0), "player_2": (1, 0, 1)},
    }
    names = ("own_coins", "others_coins", "own_share")
    assert metrics == {
        f"{part}/{name}/{player}": value
        for part, players in expected.items()
        for player, values in players.items()
        for name, value in zip(names, values, strict=True)
    }


def test_coins_are_counted_in_the_coin_game_only():
    config = load_config("configs/ipd.py:tabular,quicktest")
    config.extra_callbacks = ("callbacks.coins_in_a_trial.CoinsInATrial",)
    with pytest.raises(ConfigError, match="size is 3 in CoinsInATrial, .* this is another game"):
        build_trainer(config, None).check()
