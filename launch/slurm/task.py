"""What a task of a Slurm job does. It imports little, as it only watches over another process."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from typing import Any

LINGER_SECONDS = 60.0
"""How long a task that has saved waits for the first one to have the job requeued."""


@dataclasses.dataclass
class Training:
    """`pax.main` as a process that gets to know when its time is up.

    Slurm announces the end of a job, or that it is preempted, by SIGTERM or by the signal that submitit asks
    it for, and often only to the process that it started, which is this one. Either is passed on as SIGTERM,
    as are SIGHUP and SIGUSR1; on it `pax.main` saves and ends. Then submitit requeues the job, unless Slurm
    has cancelled it, or has requeued it already. What comes back is the same command on the same folder, so
    it goes on.
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

        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, ask_to_requeue):
            if signal.getsignal(number) != signal.SIG_IGN:
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
        # With a time of grace before it is preempted, a job that ends by itself counts as finished.
        wanted = ask_to_requeue in received or (signal.SIGTERM in received and _is_running())
        if wanted and callable(requeue):
            # In the first task, submitit requeues the job and ends the process. The others must outlive that.
            requeue(ask_to_requeue, None)
            time.sleep(LINGER_SECONDS)
        raise subprocess.CalledProcessError(code, command)

    def checkpoint(self) -> Any:
        """Returns what submitit requeues: the same again, as all that was learned is in the run's folder."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Training(self.arguments))


def _is_running() -> bool:
    """Returns whether Slurm takes the job for one that runs, and has neither cancelled nor requeued it."""
    command = ["scontrol", "show", "job", os.environ["SLURM_JOB_ID"]]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as e:
        print("It is not known whether the job is to come back:", e, file=sys.stderr, flush=True)
        return False
    return re.search(r"\bJobState=RUNNING\b", told.stdout) is not None
