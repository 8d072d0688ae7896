"""Evaluating beside training: every checkpoint once, as it appears, until training says it is done."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging

from pax.checkpoints.reader import CHECKPOINTS, CheckpointReader
from pax.errors import ConfigError
from pax.evaluation.results import Mirror, Results, Row, mirroring
from pax.run.locks import FOLLOWER_LOCK, FileLock
from pax.run.status import Status, read_status
from pax.trainer import MetaTrainer

SECONDS_BETWEEN_WAITING_LINES = 60.0
SECONDS_TO_DELETE = 0.5


class Follower:
    """Evaluates each checkpoint that training leaves in a run directory, once.

    The oldest comes first, as it is the next to be deleted. What `evaluation.jsonl` has is not evaluated
    again, whoever evaluated it: an iteration has the same result if training, rolled back, repeats it.

    Args:
        trainer: of the same configuration and with the same `workdir`; it does not train.
        names: those of its evaluations to run.
        waiting: how long to wait between looks.
        refresh: called before each look: it makes the folder as new as what it is a copy of.
        keep: called after each result: it writes it to where the folder is copied from.
    """

    def __init__(
        self,
        trainer: MetaTrainer,
        names: Sequence[str],
        waiting: Waiting,
        refresh: Callable[[], None] = lambda: None,
        keep: Callable[[], None] = lambda: None,
    ):
        if trainer.workdir is None:
            raise ConfigError("the trainer has no workdir: name the run to follow")
        self._trainer = trainer
        self._workdir = workdir = trainer.workdir
        self._names = names
        self._waiting = waiting
        self._refresh = refresh
        self._keep = keep
        self._results = Results(workdir)
        self._reader = CheckpointReader(workdir / CHECKPOINTS)
        self._seen: set[int] = set()
        self._missed: set[int] = set()
        # Damaged ones, as they were then: the trainer may save them again.
        self._damaged: dict[int, Any] = {}
        self._num_evaluated = 0

    def run(self) -> str:
        """Ends when training is done and nothing is left to evaluate; returns a sentence about it.

        Raises:
            ConfigError: if another process follows the run.
            CheckpointError: if a checkpoint is of another configuration, or results cannot be written.
        """
        with mirroring(self._workdir, self._results) as mirror:
            if mirror is None:
                holder = FileLock(self._workdir / FOLLOWER_LOCK).holder()
                raise ConfigError(
                    f"another process evaluates {self._workdir} already ({holder}): end it first, or let it "
                    "go on"
                )
            while True:
                self._refresh()
                # In this order: what was saved when training said that it is done is seen.
                status = read_status(self._workdir)
                steps = self._reader.steps()
                mirror.sync()
                self._tell_missed(status, steps)
                todo = [step for step in steps if self._is_to_do(step)]
                if todo:
                    self._evaluate(todo, mirror)
                elif status is not None and status.state == "done":
                    return self._summary(status)
                else:
                    self._wait(status)

    def _summary(self, status: Status) -> str:
        early = f" early ({status.reason})" if status.reason else ""
        on_disk = self._reader.steps()
        missed = [step for step in self._missed if self._lacking(step)]
        damaged = [step for step in on_disk if self._lacking(step)]
        notes = f", {len(missed)} were deleted before" if missed else ""
        notes += f", {len(damaged)} are damaged" if damaged else ""
        return (
            f"Training ended{early} at iteration {status.iteration}. Evaluated {self._num_evaluated} "
            f"checkpoints{notes}. Look at it: tensorboard --logdir={self._workdir}"
        )

    def _lacking(self, step: int) -> list[str]:
        rows = self._results.rows()
        return [name for name in self._names if (step, name) not in rows]

    def _is_to_do(self, step: int) -> bool:
        if not self._lacking(step):
            return False
        return step not in self._damaged or self._damaged[step] != self._identity(step)

    def _identity(self, step: int) -> Any:
        """Tells a checkpoint from another one that took its place; None if there is none."""
        try:
            stat = os.stat(self._workdir / CHECKPOINTS / str(step))
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns

    def _evaluate(self, todo: Sequence[int], mirror: Mirror) -> None:
        step, started = todo[0], time.monotonic()
        self._seen.update(todo)
        if not self._restore(step):
            return
        # One by one, so that what is done is not done again.
        for row in evaluate(self._trainer, self._lacking(step)):
            self._results.record([row])
            mirror.sync(log=True)
        self._keep()
        self._num_evaluated += 1
        seconds, left = time.monotonic() - started, len(todo) - 1
        more = f", {left} more on disk, ETA {left * seconds:.0f} s" if left else ""
        logging.info("Evaluated iteration %d in %.1f s%s.", step, seconds, more)
        self._waiting.reset()

    def _restore(self, step: int) -> bool:
        """Restores a checkpoint unless it is damaged, or training deletes it meanwhile."""
        before = self._identity(step)
        try:
            self._trainer.restore(step)
        except Exception:
            # Only if it was not deleted meanwhile, that is an error.
            if self._is_intact(step, before):
                raise
        else:
            # An array whose file was deleted while it was read could be full of zeros.
            if self._is_intact(step, before):
                self._damaged.pop(step, None)
                return True
        # What is being deleted looks damaged, but not for long.
        time.sleep(SECONDS_TO_DELETE)
        damage = self._reader.find_damage(step)
        if damage is not None and self._identity(step) == before is not None:
            self._damaged[step] = before
            logging.warning("Checkpoint %d is damaged (%s): not evaluated.", step, damage)
        return False

    def _is_intact(self, step: int, identity: Any) -> bool:
        return self._reader.find_damage(step) is None and self._identity(step) == identity

    def _tell_missed(self, status: Status | None, steps: Sequence[int]) -> None:
        """Logs, once, which checkpoints were deleted before they were evaluated."""
        saved = self._seen.union(status.saved if status else ())
        is_done = status is not None and status.state == "done"
        # What is newer than all on disk is still on its way there.
        newest = max(steps, default=-1)
        missed = [
            step
            for step in sorted(saved - self._missed - set(steps))
            if (is_done or step < newest) and self._lacking(step)
        ]
        if missed:
            self._missed.update(missed)
            logging.warning(
                "Deleted before they were evaluated: the checkpoints of the iterations %s. To have all, set "
                "callbacks.checkpoint.keep_every, or keep more (keep_latest).",
                ", ".join(map(str, missed)),
            )

    def _wait(self, status: Status | None) -> None:
        which = "next" if self._results.rows() else "first"
        if status is None:
            self._waiting.for_("the %s checkpoint: training has said nothing yet", which)
        elif status.state == "training":
            self._waiting.for_(
                "the %s checkpoint: training was at iteration %d of %d%s",
                which,
                status.iteration,
                status.num_iters,
                self._eta(status),
            )
        else:
            self._waiting.for_(
                "training to go on: it %s at iteration %d of %d (%s)",
                "was stopped" if status.state == "stopped" else "failed",
                status.iteration,
                status.num_iters,
                status.reason,
            )

    def _eta(self, status: Status) -> str:
        """Returns when training will be done, at its speed so far."""
        rows = self._results.rows().values()
        last = max(rows, key=lambda row: row["iteration"], default={"iteration": 0})
        if not last["iteration"] or "wall_time" not in last:
            return ""
        seconds = (status.num_iters - status.iteration) * last["wall_time"] / last["iteration"]
        return f", ETA {seconds:.0f} s"


class Waiting:
    """Waits, and says what for: when that changes, and once a minute."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self.reset()

    def reset(self) -> None:
        """Forgets the last line, so that the next one is said in any case."""
        self._line, self._said_at = "", 0.0

    def for_(self, what: str, *args: Any) -> None:
        """Waits until it is worth another look."""
        line, now = "Waiting for " + what % args, time.monotonic()
        if line != self._line or now - self._said_at > SECONDS_BETWEEN_WAITING_LINES:
            logging.info("%s.", line)
            self._line, self._said_at = line, now
        time.sleep(self._seconds)


def evaluate(trainer: MetaTrainer, names: Sequence[str]) -> Iterator[Row]:
    """Evaluates what the trainer has just restored: a row of `evaluation.jsonl` per evaluation."""
    trained_for = trainer.wall_time
    for name in names:
        started = time.monotonic()
        metrics = trainer.evaluate(names=[name])[name]
        now = datetime.datetime.now().astimezone()
        yield {
            "iteration": trainer.step,
            "evaluation": name,
            "wall_time": round(trained_for, 3),
            "evaluated_at": now.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - started, 3),
            **{key: _jsonable(value) for key, value in metrics.items()},
        }


def _jsonable(value: float | np.ndarray) -> float | list[float | None] | None:
    """Numbers as JSON has them: what is undefined is null, as NaN is none of them."""
    if np.ndim(value):
        return [_jsonable(item) for item in value]  # type: ignore[misc, union-attr]
    return float(value) if np.isfinite(value) else None
