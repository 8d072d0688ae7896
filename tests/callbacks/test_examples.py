"""The callbacks to copy do what they say, also when a run goes on."""

import numpy as np
import pytest

import pax.callbacks
from pax.callbacks import examples as callbacks
from pax.callbacks.examples.best_so_far import BestSoFar
from pax.callbacks.examples.learning_curves import LearningCurves
from pax.callbacks.examples.reward_gap import RewardGap
from pax.config.build import build_trainer
from pax.config.files import load_config
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
