"""One run over several processes of this machine.

    python -m launch.local --num_processes=2 -- --config=configs/ipd.py:shaper --workdir=exp/two
    python -m launch.local --num_processes=2 --devices_per_process=4 -- --config=... [flags of pax.main]
    python -m launch.local --num_processes=2 --dry_run -- --config=...

Shows what process 0 prints, and of the others only why one failed. Signals that ask to stop (Ctrl-C, SIGTERM,
SIGHUP, SIGUSR1) go to all of them. If one dies, the others end.
"""

from __future__ import annotations

import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from types import FrameType
from typing import IO

from absl import flags

from pax.checks import Limit, check_number, folder
from pax.config.command_line import run_program
from pax.config.flags import definer
from pax.config.recorded import todays
from pax.config.run_arguments import parse
from pax.errors import ConfigError
from pax.loop.xla import available_cores, is_told_devices
from pax.run.directory import check_run
from pax.run.interrupt import STOP_SIGNALS, heeded, how_it_ended
from pax.run.remote import is_url

SECONDS_TO_END = 60.0
"""What the others have to end by themselves when one has died, and once more before they are killed."""
LINES_OF_FAILURE = 20
MAX_PROCESSES, MAX_DEVICES = 1000, 1000
"""The largest number of processes, and of devices per process, that one machine is asked to start."""
HOST = "127.0.0.1"


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this program."""
    define = definer(flag_values)
    define("num_processes", 2, "Processes to start.")
    define(
        "devices_per_process",
        0,
        "Devices of each process: the next that many GPUs, and on a CPU that many of JAX's CPU devices; "
        "0 = a fair share of the cores.",
    )
    define("dry_run", False, "Print the commands, and exit.")


def main(arguments: list[str], given: flags.FlagValues) -> int:
    """Starts the processes; returns the exit code of the first that failed."""
    starts = plan(arguments, given.num_processes, given.devices_per_process, free_port())
    if not given.dry_run:
        return run(starts)
    # Otherwise the processes do so themselves.
    _check(arguments)
    for settings, command in starts:
        print(" ".join(f"{key}={value}" for key, value in settings.items()), shlex.join(command))
    return 0


def _check(arguments: Sequence[str]) -> None:
    """Raises what the processes would find wrong before they train."""
    given = parse(arguments)
    if given.workdir and not is_url(given.workdir):
        check_run(folder("--workdir", given.workdir), given.config.to_dict(), todays)


def plan(
    arguments: Sequence[str], num_processes: int, devices_per_process: int, port: int
) -> list[tuple[dict[str, str], list[str]]]:
    """Returns environment variables and command of each process.

    Args:
        arguments: of `pax.main`.
        num_processes: how many to start.
        devices_per_process: 0 for a share of the cores.
        port: that process 0 listens on.

    Raises:
        ConfigError: if a number is out of range, or an argument is not for training.
    """
    check_number("--num_processes", num_processes, Limit(1, MAX_PROCESSES, whole=True))
    check_number("--devices_per_process", devices_per_process, Limit(0, MAX_DEVICES, whole=True))
    if not arguments:
        raise ConfigError(
            "there is nothing to run: put flags of pax.main after --, as in -- --config=configs/ipd.py:ppo"
        )
    for argument in arguments:
        if argument.lstrip("-").partition("=")[0] == "distributed":
            raise ConfigError(f"{argument} is what this program sets itself: leave it out")
        if argument.lstrip("-") in ("mode=evaluate", "mode=export"):
            raise ConfigError(f"{argument} takes one process: use python -m pax.main")
    starts = []
    for index in range(num_processes):
        settings = {}
        if devices_per_process:
            first = index * devices_per_process
            settings["JAX_NUM_CPU_DEVICES"] = str(devices_per_process)
            settings["JAX_LOCAL_DEVICE_IDS"] = ",".join(
                str(first + i) for i in range(devices_per_process)
            )
        elif not is_told_devices():
            cores = available_cores()
            settings["JAX_NUM_CPU_DEVICES"] = str(max(1, cores // num_processes))
        command = [sys.executable, "-m", "pax.main"]
        command += [f"--distributed={HOST}:{port},{num_processes},{index}", *arguments]
        starts.append((settings, command))
    return starts


def free_port() -> int:
    """Returns a port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


def run(starts: Sequence[tuple[dict[str, str], list[str]]]) -> int:
    """Starts the processes and waits for their end; returns the exit code of the first that failed."""
    processes: list[subprocess.Popen[bytes]] = []

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    with tempfile.TemporaryDirectory() as folder:
        logs: list[IO[bytes] | None] = []
        for index in range(len(starts)):
            logs.append(None if index == 0 else (pathlib.Path(folder) / str(index)).open("w+b"))
        for (settings, command), log in zip(starts, logs, strict=True):
            processes.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, **settings},
                    stdout=log,
                    stderr=log,
                    # Ctrl-C in a terminal goes to every process of a session: they get it from here, once.
                    start_new_session=True,
                )
            )
        for number in heeded():
            signal.signal(number, forward)
        failed = _wait(processes)
        if failed is not None:
            _explain(failed, processes[failed].returncode, logs[failed])
        for log in logs:
            if log is not None:
                log.close()
    code = 0 if failed is None else processes[failed].returncode
    return code if code >= 0 else 128 - code


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Waits for all; returns the first that ended with an error, after which the others have to end too."""
    failed, deadline, killed = None, float("inf"), False
    while any(process.poll() is None for process in processes):
        time.sleep(0.1)
        for index, process in enumerate(processes):
            if failed is None and process.poll():
                failed, deadline = index, time.monotonic() + SECONDS_TO_END
        if time.monotonic() > deadline:
            for process in processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL if killed else signal.SIGTERM)
            killed, deadline = True, time.monotonic() + SECONDS_TO_END
    codes = [process.returncode for process in processes]
    return next((i for i, code in enumerate(codes) if code), None) if failed is None else failed


def _explain(index: int, code: int, log: IO[bytes] | None) -> None:
    """Says which process failed first, and the end of what it said unless it was seen."""
    stopped = [128 + number for number in STOP_SIGNALS]
    if code in stopped:
        return
    if log is not None:
        log.seek(0)
        for line in log.read().decode(errors="replace").splitlines()[-LINES_OF_FAILURE:]:
            print(f"[{index}] {line}", file=sys.stderr)
    print(f"Process {index} {how_it_ended(code)}, and with it the run.", file=sys.stderr)


if __name__ == "__main__":
    run_program(main, define_flags)
