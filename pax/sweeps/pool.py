"""Runs of a sweep as processes of this machine, a few at a time.

The executor that submitit has for one machine starts all that is submitted at once, ends it after a time
limit, and lets it outlive the program, so that Ctrl-C does not reach it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence

from absl import logging

from pax.run.interrupt import how_it_ended, stop_on_signals
from pax.sweeps.folder import SweepRun
from pax.sweeps.progress import SweepProgress
from pax.sweeps.sweep import describe

try:
    import fcntl
except ImportError:  # Not on Windows.
    fcntl = None  # type: ignore[assignment]

POLL_SECONDS = 0.2


@dataclasses.dataclass
class Child:
    """A process that trains a run."""

    run: SweepRun
    process: subprocess.Popen
    device: str | None


class Pool:
    """Trains runs until all are done, have failed, or somebody asks to stop.

    Args:
        runs: those of the sweep; the ones that are done are passed over.
        max_parallel: processes at a time.
        retries: how often a run that died is started again.
        gpus: devices to share out, one per process; empty: all processes see all of them.
        say: prints a line.

    Attributes:
        failed: runs that are given up.
    """

    def __init__(
        self,
        runs: Sequence[SweepRun],
        *,
        max_parallel: int = 1,
        retries: int = 1,
        gpus: Sequence[str] = (),
        say: Callable[[str], None] = print,
    ):
        self._runs = runs
        self._max_parallel = max_parallel
        self._retries = retries
        self._gpus = list(gpus)
        self._say = say
        self._children: list[Child] = []
        self._waiting: list[SweepRun] = []
        self._elsewhere: list[SweepRun] = []
        self._died: dict[int, int] = {}
        self._stopped_by: signal.Signals | None = None
        self._progress = SweepProgress({run.index: run.fraction for run in runs})
        self.failed: list[SweepRun] = []

    def work(self) -> signal.Signals | None:
        """Trains them; returns the signal that ended it early, if one did."""
        self._waiting = [run for run in self._runs if not run.is_done]
        passed = len(self._runs) - len(self._waiting)
        if passed:
            self._tell(f"{passed} of {len(self._runs)} runs were done before.")
        try:
            with stop_on_signals(self._stop):
                while self._children or (
                    (self._waiting or self._elsewhere) and not self._stopped_by
                ):
                    self._start()
                    running = [child.run for child in self._children]
                    self._progress.show({run.index: run.fraction for run in running})
                    time.sleep(POLL_SECONDS)
                    self._collect()
        except KeyboardInterrupt:
            # The second one: they leave at once, and so does this.
            self._stop(signal.SIGINT)
        except BaseException:
            self._stop(signal.SIGTERM)
            raise
        finally:
            for child in self._children:
                child.process.wait()
            self._progress.clear()
        return self._stopped_by

    def _tell(self, line: str) -> None:
        self._progress.clear()
        self._say(line)

    def _stop(self, number: signal.Signals) -> None:
        self._stopped_by = number
        for child in self._children:
            child.process.send_signal(number)

    def _start(self) -> None:
        """Starts as many as may run. One that another process trains counts, and is looked at again later."""
        if self._stopped_by:
            return
        for run in [*self._elsewhere, *self._waiting]:
            if (
                len(self._children) + len(self._elsewhere) - (run in self._elsewhere)
                >= self._max_parallel
            ):
                continue
            with _claimed(run) as lock:
                if lock is None:
                    if run in self._waiting:
                        self._waiting.remove(run)
                        self._elsewhere.append(run)
                        self._tell(
                            f"{run.name} is being trained by another process: waiting for it"
                        )
                    continue
                for queue in (self._waiting, self._elsewhere):
                    if run in queue:
                        queue.remove(run)
                # It may have ended since.
                if run.is_done:
                    self._done(run)
                else:
                    self._children.append(self._spawn(run, lock))

    def _spawn(self, run: SweepRun, lock: int) -> Child:
        taken = [child.device for child in self._children]
        device = next((gpu for gpu in self._gpus if gpu not in taken), None)
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": device} if device else None
        with run.log.open("ab") as log:
            process = subprocess.Popen(
                run.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                # It holds the lock for as long as it lives, even if this program is killed.
                pass_fds=[lock],
                # The terminal's Ctrl-C is passed on once; a second one would be too many.
                start_new_session=True,
            )
        return Child(run, process, device)

    def _collect(self) -> None:
        for child in list(self._children):
            code = child.process.poll()
            if code is None:
                continue
            self._children.remove(child)
            run = child.run
            if code == 0 and run.is_done:
                self._done(run)
            elif self._stopped_by:
                self._tell(f"{run.name} stopped with exit code {code}")
            else:
                self._retry(run, code)

    def _done(self, run: SweepRun) -> None:
        self._progress.done(run.index)
        self._tell(f"{run.name} done ({self._progress}): {describe(run.overrides)}")

    def _retry(self, run: SweepRun, code: int) -> None:
        died = self._died[run.index] = self._died.get(run.index, 0) + 1
        how = how_it_ended(code)
        # What is wrong with the command line stays wrong.
        if died <= self._retries and code != 2:
            self._tell(
                f"{run.name} {how}: starting it again, try {died + 1} of {self._retries + 1}"
            )
            self._waiting.append(run)
        else:
            self._progress.failed(run.index)
            self.failed.append(run)
            self._tell(f"{run.name} {how}, see {run.log}: {last_line(run)}")


def last_line(run: SweepRun) -> str:
    """Returns the last words of a run."""
    try:
        lines = [line for line in run.log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return lines[-1] if lines else "it printed nothing"


@contextlib.contextmanager
def _claimed(run: SweepRun) -> Iterator[int | None]:
    """Returns a descriptor of the lock of a run, None if a process that trains it holds it.

    The lock is that of the open file: whoever inherits the descriptor holds it too.
    """
    path = run.folder / "logs" / f"{run.name}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        # Not a lock of `pax.run.locks`: these cannot be inherited. Without any, the lock of the run keeps
        # two processes apart.
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        except OSError as e:
            logging.warning("%s cannot be locked (%s): start one sweep.", path, e.strerror)
        yield descriptor
    finally:
        os.close(descriptor)
