"""Ends training when there is nothing left to learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pax.callbacks.callback import Callback
from pax.checks import COUNT, NUMBER, check_choice, check_kind, check_number

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer


class EarlyStop(Callback):
    """Stops when a metric of training, averaged over the chunk, has been good enough for long enough.

    A run that it has ended stays as it is when its command is repeated. With more `patience` it goes on
    counting; with more iterations to train for it goes on and counts anew.

    Args:
        monitor: the metric.
        threshold: what it has to reach.
        mode: whether it should be at least ("max") or at most ("min") the threshold.
        patience: how many times in a row it has to be there.
        every: iterations between looks at it.
    """

    priority = 60

    def __init__(
        self,
        monitor: str,
        threshold: float,
        mode: Literal["max", "min"] = "max",
        patience: int = 3,
        every: int = 10,
    ):
        check_kind("monitor", monitor, "", "EarlyStop")
        check_number("threshold", threshold, NUMBER, "EarlyStop")
        check_choice("mode", mode, ("max", "min"), "EarlyStop")
        check_number("patience", patience, COUNT, "EarlyStop")
        self.monitor = monitor
        self.threshold = threshold
        self.mode = mode
        self.patience = patience
        self.every = self._every = every
        self._times = 0
        self._asked_at = 0

    def check(self, trainer: MetaTrainer) -> None:
        check_choice("monitor", self.monitor, trainer.metric_names(), "EarlyStop")

    def on_chunk_end(
        self, trainer: MetaTrainer, state: Any, step: int, metrics: Mapping[str, Any]
    ) -> None:
        if step % self._every >= trainer.chunk:
            # The last iteration counts only if it is due: a run that trains on must not have looked twice.
            return
        value = float(metrics[self.monitor].mean())
        sign = 1.0 if self.mode == "max" else -1.0
        reached = sign * value >= sign * self.threshold
        self._times = self._times + 1 if reached else 0
        self._stop_if_reached(trainer)

    def on_fit_start(self, trainer: MetaTrainer, state: Any) -> None:
        if trainer.num_iters > self._asked_at > 0 and self._times >= self.patience:
            self._times = 0
        self._stop_if_reached(trainer)

    def _stop_if_reached(self, trainer: MetaTrainer) -> None:
        if self._times >= self.patience:
            self._asked_at = trainer.num_iters
            trainer.request_stop(
                f"{self.monitor} reached {self.threshold:g} {self.patience} times in a row"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"times": self._times, "asked_at": self._asked_at, "goal": self._goal()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        is_same = state.get("goal", self._goal()) == self._goal()
        self._times = state["times"] if is_same else 0
        self._asked_at = state.get("asked_at", 0)

    def _goal(self) -> list[Any]:
        return [self.monitor, self.threshold, self.mode]
