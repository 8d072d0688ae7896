"""Writes a result at the end of training: learning curves of the episodes of a trial."""

from __future__ import annotations

from typing import Any

import numpy as np

from pax.callbacks.callback import Callback


class LearningCurves(Callback):
    """Writes `learning_curves.npz`: by evaluation, rewards per step of the episodes of a trial.

    Each is `[K, players]`.

    Args:
        num_trials: trials to average over, with everybody who learns across trials frozen.
    """

    def __init__(self, num_trials: int = 8):
        self.num_trials = num_trials

    def on_fit_end(self, trainer: Any, state: Any, step: int) -> None:
        # Every process evaluates, and one of them writes.
        curves = trainer.learning_curves(self.num_trials)
        if trainer.is_lead and trainer.workdir is not None:
            np.savez(trainer.workdir / "learning_curves.npz", **curves)
