"""Ends training when there is nothing left to learn, or no time left to learn it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pax.callbacks.callback import Callback
from pax.checks import (
    COUNT,
    COUNT_OR_NONE,
    NOT_NEGATIVE,
    NUMBER,
    check_choice,
    check_kind,
    check_number,
)
from pax.errors import ConfigError
from pax.run import distributed

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer


class EarlyStop(Callback):
    """Stops when a metric is good enough, when it has stopped improving, or when time is over.

    A run that it has ended stays as it is when its command is repeated. With more `patience`, `plateau` or
    `max_seconds` it goes on counting; with more iterations to train for it goes on and counts anew.

    Args:
        monitor: the metric of training that `threshold` and `plateau` are about, averaged over seeds and over
            the iterations of a chunk.
        threshold: what it has to reach; None: nothing.
        mode: whether the metric should be large ("max") or small ("min").
        patience: how many times in a row it has to be there.
        plateau: looks without an improvement after which to stop; 0: never.
        min_improvement: over the best value so far, to count as an improvement.
        max_seconds: of training, those before an interruption included; 0: no limit.
        every: iterations between looks at the metric and the clock.
    """

    priority = 60

    def __init__(
        self,
        monitor: str = "train/reward_per_timestep/player_1",
        threshold: float | None = None,
        mode: Literal["max", "min"] = "max",
        patience: int = 3,
        plateau: int = 0,
        min_improvement: float = 0.0,
        max_seconds: float = 0.0,
        every: int = 10,
    ):
        check_kind("monitor", monitor, "", "EarlyStop")
        if threshold is not None:
            check_number("threshold", threshold, NUMBER, "EarlyStop")
        check_choice("mode", mode, ("max", "min"), "EarlyStop")
        check_number("patience", patience, COUNT, "EarlyStop")
        check_number("plateau", plateau, COUNT_OR_NONE, "EarlyStop")
        check_number("min_improvement", min_improvement, NOT_NEGATIVE, "EarlyStop")
        check_number("max_seconds", max_seconds, NOT_NEGATIVE, "EarlyStop")
        if threshold is None and not plateau and not max_seconds:
            raise ConfigError(
                "EarlyStop has nothing to stop for: give it a threshold, a plateau or max_seconds"
            )
        self.monitor = monitor
        self.threshold = threshold
        self.mode = mode
        self.patience = patience
        self.plateau = plateau
        self.min_improvement = min_improvement
        self.max_seconds = max_seconds
        self.every = self._every = every
        self._times = 0
        self._best = -math.inf
        self._since_best = 0
        self._asked_at = 0

    def check(self, trainer: MetaTrainer) -> None:
        if self.threshold is not None or self.plateau:
            check_choice("monitor", self.monitor, trainer.metric_names(), "EarlyStop")

    def on_chunk_end(
        self, trainer: MetaTrainer, state: Any, step: int, metrics: Mapping[str, Any]
    ) -> None:
        if step % self._every >= trainer.chunk:
            # The last iteration counts only if it is due: a run that trains on must not have looked twice.
            return
        if self.threshold is not None or self.plateau:
            sign = 1.0 if self.mode == "max" else -1.0
            value = sign * float(metrics[self.monitor].mean())
            is_good = self.threshold is not None and value >= sign * self.threshold
            self._times = self._times + 1 if is_good else 0
            # What is undefined is no improvement.
            is_better = value > self._best + (self.min_improvement if self._best > -math.inf else 0)
            self._best = value if is_better else self._best
            self._since_best = 0 if is_better else self._since_best + 1
        self._stop_if_due(trainer)

    def on_fit_start(self, trainer: MetaTrainer, state: Any) -> None:
        if not self._asked_at:
            return
        if trainer.num_iters > self._asked_at:
            self._times = self._since_best = 0
        self._stop_if_due(trainer)

    def _stop_if_due(self, trainer: MetaTrainer) -> None:
        reason = self._reason(trainer)
        if reason:
            self._asked_at = trainer.num_iters
            trainer.request_stop(reason)

    def _reason(self, trainer: MetaTrainer) -> str:
        """Returns why to stop, or nothing."""
        if self.threshold is not None and self._times >= self.patience:
            return f"{self.monitor} reached {self.threshold:g} {self.patience} times in a row"
        if self.plateau and self._since_best >= self.plateau:
            return f"{self.monitor} did not improve {self.plateau} times in a row"
        if self.max_seconds:
            # Processes that train one run together have to stop together.
            seconds = float(distributed.from_lead(str(trainer.wall_time)))
            if seconds >= self.max_seconds:
                return f"max_seconds={self.max_seconds:g} are over"
        return ""

    def state_dict(self) -> dict[str, Any]:
        best = self._best if math.isfinite(self._best) else None
        return {
            "times": self._times,
            "best": best,
            "since_best": self._since_best,
            "asked_at": self._asked_at,
            "goal": self._goal(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._asked_at = state.get("asked_at", 0)
        if state.get("goal", self._goal()) != self._goal():
            return
        self._times = state["times"]
        best = state.get("best")
        self._best = -math.inf if best is None else best
        self._since_best = state.get("since_best", 0)

    def _goal(self) -> list[Any]:
        return [self.monitor, self.threshold, self.mode]
