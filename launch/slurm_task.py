"""What a task of a Slurm job does. It imports little, as it only watches over another process."""

from __future__ import annotations

import dataclasses
import functools
import os
import shlex
import signal
import subprocess
import sys
import time
from typing import Any

LINGER_SECONDS = 600.0
"""How long a task that has saved waits for Slurm to end or to requeue its job."""


@dataclasses.dataclass
class Training:
    """`pax.main` as a process that gets to know when its time is up.

    Slurm announces the end of a job, or that it is preempted, by SIGTERM or by the signal that submitit asks
    it for, and only to the process that it started, which is this one. Either is passed on as SIGTERM, on
    which `pax.main` saves and ends. If submitit's signal came, submitit requeues the job; else that is up to
    Slurm. What comes back is the same command on the same folder, so it goes on.
    """

    arguments: list[str]
    """Those of `pax.main`."""

    def __call__(self) -> int:
        """Trains; returns 0.

        Raises:
            subprocess.CalledProcessError: with the exit code of `pax.main`, if it is another one.
        """
        name = os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")
        ask_to_requeue = getattr(signal, f"SIG{name}")
        requeue = signal.getsignal(ask_to_requeue)
        received: list[int] = []
        process: subprocess.Popen | None = None

        def stop(number: int, frame: Any) -> None:
            del frame
            # Once: a second signal has pax.main leave without saving.
            if process is not None and not received:
                process.send_signal(signal.SIGTERM)
            received.append(number)

        for number in (signal.SIGTERM, ask_to_requeue):
            signal.signal(number, stop)
        command = [sys.executable, "-m", "pax.main", *self.arguments]
        print("Running", shlex.join(command), flush=True)
        process = subprocess.Popen(
            command,
            # Some Slurms send it to all processes, and it ends those that do not know it.
            preexec_fn=functools.partial(signal.signal, ask_to_requeue, signal.SIG_IGN),
        )
        if received:
            process.send_signal(signal.SIGTERM)
        code = process.wait()
        if code == 0:
            return code
        if signal.SIGTERM in received:
            # A job that ends by itself now may count as finished, and not come back.
            _wait(lambda: ask_to_requeue in received)
        if ask_to_requeue in received and callable(requeue):
            # In the first task, submitit requeues the job and ends the process. The others must outlive that.
            requeue(ask_to_requeue, None)
            _wait(lambda: False)
        raise subprocess.CalledProcessError(code, command)

    def checkpoint(self) -> Any:
        """What submitit requeues: the same again, as all that was learned is in the folder of the run."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Training(self.arguments))


def _wait(is_over: Any) -> None:
    end = time.monotonic() + LINGER_SECONDS
    while not is_over() and time.monotonic() < end:
        time.sleep(0.1)
