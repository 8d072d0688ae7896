"""A state that survives an interruption: the best iteration of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from absl import logging

from pax.callbacks.callback import Callback


class BestSoFar(Callback):
    """Logs each iteration whose metric is better than all before.

    Args:
        monitor: the metric; the more, the better.
        every: iterations between looks at it.
    """

    def __init__(self, monitor: str = "train/reward_per_timestep/player_1", every: int = 10):
        self.monitor = monitor
        self.every = every
        self.best, self.iteration = -math.inf, 0

    def on_chunk_end(self, trainer: Any, state: Any, step: int, metrics: Mapping[str, Any]) -> None:
        value = float(metrics[self.monitor][-1])
        if value > self.best:
            self.best, self.iteration = value, step
            logging.info("Best so far: %s is %.3f in iteration %d.", self.monitor, value, step)

    def state_dict(self) -> dict[str, Any]:
        """Returns what goes into checkpoints, so that a resumed run does not forget its best."""
        return {"best": self.best, "iteration": self.iteration}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.iteration = state["best"], state["iteration"]
