"""Saves what a run needs to go on, and the policies it has found."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pax.callbacks.callback import Callback
from pax.checkpoints.reader import CHECKPOINTS
from pax.checkpoints.writer import Checkpointer
from pax.checks import COUNT, COUNT_OR_NONE, check_choice, check_kind, check_number
from pax.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer

MONITOR = "train/reward_per_timestep/player_1"


class Checkpoint(Callback):
    """Keeps the latest checkpoints, the best, and every k-th.

    "Best" is judged by `monitor`. If that is a metric of an evaluation, it is one of the very state that is
    saved: a state that was not evaluated is never the best. After the last iteration, and when training is
    interrupted, the run is saved too, and the trained policies are exported to `policies/`.

    Args:
        every: iterations between checkpoints.
        keep_latest: how many of the newest to keep.
        keep_every: iterations between checkpoints that are kept for good; 0 for none.
        monitor: the metric that tells which one is best: of training, or `evaluation/<name>/...`.
        mode: whether `monitor` should be large ("max") or small ("min").
        export_every: iterations between exports of the policies to `policies/<iteration>/`, beside that at
            the end; 0 for none.
    """

    priority = 100
    when_interrupted = "always"

    def __init__(
        self,
        every: int = 100,
        keep_latest: int = 2,
        keep_every: int = 0,
        monitor: str = MONITOR,
        mode: Literal["max", "min"] = "max",
        export_every: int = 0,
    ):
        check_choice("mode", mode, ("max", "min"), "Checkpoint")
        check_kind("monitor", monitor, "", "Checkpoint")
        check_number("every", every, COUNT, "Checkpoint")
        check_number("keep_latest", keep_latest, COUNT, "Checkpoint")
        check_number("keep_every", keep_every, COUNT_OR_NONE, "Checkpoint")
        check_number("export_every", export_every, COUNT_OR_NONE, "Checkpoint")
        for name, value in {"keep_every": keep_every, "export_every": export_every}.items():
            if value % every:
                raise ConfigError(
                    f"{name} is {value} in Checkpoint, which saves every {every} iterations: "
                    f"give a multiple of {every}"
                )
        self.every = self._every = every
        self.keep_latest = keep_latest
        self.keep_every = keep_every
        self.export_every = export_every
        self.monitor = monitor
        self.mode = mode
        self._evaluated: dict[str, float] = {}
        self._evaluated_at: int | None = None

    def check(self, trainer: MetaTrainer) -> None:
        if trainer.workdir is None:
            raise ConfigError("Checkpoint has nowhere to save: give the trainer a workdir")
        if self.monitor.startswith("evaluation/"):
            name, _, metric = self.monitor.removeprefix("evaluation/").partition("/")
            where = f"Checkpoint ({self.monitor})"
            check_choice("the evaluation of monitor", name, trainer.evaluations, where)
            known = trainer.evaluation_metric_names(name)
            check_choice(f"what monitor takes of evaluation {name!r}", metric, known, "Checkpoint")
        # Every game has the default, which is not worth tracing an iteration.
        elif self.monitor != MONITOR:
            names = (*trainer.metric_names(), "evaluation/<name>/<metric>")
            check_choice("monitor", self.monitor, names, "Checkpoint")

    def setup(self, trainer: MetaTrainer) -> None:
        assert trainer.workdir is not None
        trainer.checkpointer = Checkpointer(
            trainer.workdir / CHECKPOINTS,
            keep_latest=self.keep_latest,
            keep_every=self.keep_every,
            maximise=self.mode == "max",
        )

    def on_evaluation_end(
        self, trainer: MetaTrainer, step: int, name: str, metrics: Mapping[str, Any]
    ) -> None:
        if step != self._evaluated_at:
            self._evaluated, self._evaluated_at = {}, step
        for key, value in metrics.items():
            self._evaluated[f"evaluation/{name}/{key}"] = float(value)

    def on_chunk_end(
        self, trainer: MetaTrainer, state: Any, step: int, metrics: Mapping[str, Any]
    ) -> None:
        # A run that is never stopped would not have saved here, and judges what it saves only.
        is_extra = trainer.is_interrupted and step % self._every >= trainer.chunk
        trainer.save(best_metric=None if is_extra else self._monitored(step, metrics))
        if self.export_every and step % self.export_every == 0:
            trainer.export_policies(str(step))

    def on_fit_end(self, trainer: MetaTrainer, state: Any, step: int) -> None:
        trainer.export_policies()

    def teardown(self, trainer: MetaTrainer) -> None:
        checkpointer, trainer.checkpointer = trainer.checkpointer, None
        if checkpointer is None:
            return
        assert trainer.workdir is not None
        # If only the file of the lock was deleted, the checkpoints are still those of the run.
        is_gone = trainer.workdir_is_gone and checkpointer.is_replaced()
        # If the folder is gone, the last save has failed, and that is told.
        with contextlib.suppress(*[CheckpointError] if is_gone else []):
            checkpointer.close()
        # That save may have made the folder once more.
        is_made_again = is_gone and checkpointer.remove_partial(last=True)
        if is_made_again:
            # Whatever this process still had to tell TensorBoard went there as well.
            for path in trainer.workdir.glob(f"events.out.tfevents.*.{os.getpid()}.*"):
                path.unlink(missing_ok=True)
        # One that holds nothing was made for a run that came to nothing.
        with contextlib.suppress(OSError):
            (trainer.workdir / CHECKPOINTS).rmdir()
            if is_made_again:
                trainer.workdir.rmdir()

    def _monitored(self, step: int, metrics: Mapping[str, Any]) -> float | None:
        if self.monitor in metrics:
            value = float(metrics[self.monitor][-1])
        elif self.monitor in self._evaluated and step == self._evaluated_at:
            value = self._evaluated[self.monitor]
        else:
            return None  # This state was not evaluated.
        return value if math.isfinite(value) else None
