"""What training says of itself in the run directory, for programs that run beside it."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING, Any

from absl import logging

from pax.run.files import is_full, read_regular, write_whole

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer

STATUS_FILE = "training.json"


@dataclasses.dataclass(frozen=True)
class Status:
    """How far training is, as it last said."""

    state: str
    """`training` (also if it was killed since), `done`, `stopped` (by a signal) or `failed`."""
    iteration: int
    """Iterations done when it said so: at the start, at a checkpoint or at the end."""
    num_iters: int
    """Iterations that it trains for."""
    reason: str | None = None
    """Why it ended early, if it did."""
    saved: tuple[int, ...] = ()
    """Iterations of all checkpoints that were handed to the writer, the ones deleted since included."""


class StatusReport:
    """Writes the status of one fit, whose context it is; each write replaces the file as a whole.

    A full disk costs the reports, never the training.
    """

    def __init__(self, trainer: MetaTrainer):
        self._trainer = trainer
        self._has_begun = False
        self._saved: list[int] = []

    def begin(self) -> None:
        """Notes that the trainer has its state: unless nothing is left to do, the run is not done."""
        trainer = self._trainer
        if trainer.workdir is None or not trainer.is_lead:
            return
        self._has_begun = True
        before = read_status(trainer.workdir)
        # What was saved after the point of resumption will be saved again.
        self._saved = [step for step in before.saved if step <= trainer.step] if before else []
        if not trainer.is_done:
            self._write("training")

    def saved(self) -> None:
        """Notes that a checkpoint of the trainer's step is on its way to the disk."""
        if self._trainer.step not in self._saved[-1:]:
            self._saved.append(self._trainer.step)
        self._write("training")

    def __enter__(self) -> StatusReport:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, traceback: Any) -> None:
        trainer = self._trainer
        if isinstance(error, KeyboardInterrupt):
            self._write("stopped", "SIGINT")
        elif error is not None:
            self._write("failed", " ".join(str(error).split()) or type(error).__name__)
        elif trainer.is_done:
            is_early = trainer.step < trainer.num_iters
            self._write("done", trainer.stop_reason if is_early else None)
        else:
            self._write("stopped", trainer.stop_reason)

    def _write(self, state: str, reason: str | None = None) -> None:
        trainer = self._trainer
        if not self._has_begun or trainer.workdir_is_gone:
            return
        workdir = trainer.workdir
        assert workdir is not None
        status = Status(state, trainer.step, trainer.num_iters, reason, tuple(self._saved))
        try:
            write_whole(workdir / STATUS_FILE, json.dumps(dataclasses.asdict(status)) + "\n")
        except OSError as e:
            if state == "failed" and is_full(e):
                # That is most likely how it failed, and is told.
                return
            logging.warning("%s in %s could not be written: %s.", STATUS_FILE, workdir, e)


def read_status(workdir: pathlib.Path) -> Status | None:
    """Reads what training last said in a run directory; None if it said nothing that can be read."""
    try:
        status: dict[str, Any] = json.loads(read_regular(workdir / STATUS_FILE))
        return Status(**{**status, "saved": tuple(status["saved"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
