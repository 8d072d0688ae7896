"""Jobs of Slurm, by submitit: resources as flags, one job for one run, one array for a sweep."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from launch.slurm.task import Training
from pax.checks import MAX_INT, brief, short
from pax.config.flags import check_forms, definer
from pax.errors import ConfigError
from pax.run.files import read_regular, write_whole
from pax.sweeps.folder import SweepRun, check_folder, claim
from pax.sweeps.table import write_table

INSTALL = 'pip install -e ".[launch]"'
LOG_LEVEL = "SUBMITIT_LOG_LEVEL"
JOBS_FILE = "slurm.json"
RESOURCES = {
    "partition": "where to run.",
    "account": "who pays.",
    "qos": "quality of service.",
    "constraint": "features that nodes must have, as in a100.",
    "mem": "memory per node, as in 32G.",
}
NAME = "give a name, without blanks and quotes"
FORMS = {
    **{key: (r"[\w.,:+@/-]+", NAME) for key in RESOURCES},
    "constraint": (r"[\w.,&|*()\[\]:=+-]+", NAME),
    "mem": (r"(?a:[1-9]\d*[KMGT]?B?)", "give memory as in 32G"),
}


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of what a job asks for."""
    define = definer(flag_values)
    define("nodes", 1, "Slurm: nodes per run.", low=1, high=MAX_INT)
    define("gpus_per_node", 0, "Slurm: GPUs per node.", low=0, high=MAX_INT)
    define("cpus_per_task", 0, "Slurm: cores per task. 0: its default.", low=0, high=MAX_INT)
    define(
        "time", "60", "Slurm: minutes, or [days-]hours:minutes:seconds, until a run is requeued."
    )
    for name, text in RESOURCES.items():
        define(name, None, f"Slurm: {text}")
    define("save_seconds", 120, "Slurm: how long before the end a run is told to save.", low=1)
    define("max_timeouts", 100, "Slurm: how often a run whose time is up is requeued.", low=0)
    define("sbatch", (), "Slurm: any other option of sbatch, as in --sbatch=gres=gpu:1.")
    define("setup", (), "Slurm: a shell command before the run, as in 'module load cuda'.")


def is_distributed(given: flags.FlagValues) -> bool:
    """Returns whether a run has several processes."""
    return given.nodes > 1


def parameters(given: flags.FlagValues, name: str, max_parallel: int = 0) -> dict[str, Any]:
    """Returns what the flags ask for, in submitit's words."""
    check_forms(given, FORMS)
    asked: dict[str, Any] = {
        "job_name": name,
        "nodes": given.nodes,
        "time": minutes(given.time),
        "signal_delay_s": given.save_seconds,
        # With several nodes, JAX takes one GPU per task on Slurm; on one node, Pax spreads over all it sees.
        "ntasks_per_node": max(given.gpus_per_node, 1) if is_distributed(given) else 1,
        **{key: given[key].value for key in RESOURCES if given[key].value},
    }
    if given.gpus_per_node:
        asked["gpus_per_node"] = given.gpus_per_node
    if given.cpus_per_task:
        asked["cpus_per_task"] = given.cpus_per_task
    if given.setup:
        asked["setup"] = list(given.setup)
    if max_parallel:
        asked["array_parallelism"] = max_parallel
    extra: dict[str, Any] = {"requeue": True, "chdir": os.getcwd()}
    for option in given.sbatch:
        key, is_assigned, value = option.removeprefix("--").partition("=")
        if not re.fullmatch(r"[a-z][a-z-]*", key):
            raise ConfigError(
                f"--sbatch={option} is no option of sbatch: give one as in gres=gpu:1"
            )
        extra[key] = value if is_assigned else True
    asked["additional_parameters"] = extra
    check_lines("Slurm", asked)
    return asked


def check_lines(where: str, asked: Any, key: str = "") -> None:
    """Raises ConfigError if some text would be more than one line of a script, or of a manifest."""
    if isinstance(asked, Mapping):
        for name, value in asked.items():
            check_lines(where, value, str(name))
    elif isinstance(asked, (list, tuple)):
        for value in asked:
            check_lines(where, value, key)
    elif isinstance(asked, str) and not asked.isprintable():
        raise ConfigError(f"{key} is {short(asked)}, which is no single line for {where}: give one")


def minutes(time: str) -> int:
    """Minutes of `90`, `1:30:00` or `2-12:00:00`, rounded up.

    Raises:
        ConfigError: if it is none of these.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)|(\d+)", time[:100], re.ASCII)
    if found and found[5]:
        total = int(found[5])
    elif found:
        days, hours, mins, seconds = (int(part or 0) for part in found.groups()[:4])
        total = (days * 24 + hours) * 60 + mins + -(-seconds // 60)
    else:
        total = 0
    if not 1 <= total <= MAX_INT:
        raise ConfigError(f"--time={brief(time)}: give minutes, or [days-]hours:minutes:seconds")
    return total


def executor(folder: pathlib.Path, given: flags.FlagValues, asked: dict[str, Any]) -> Any:
    """Returns the executor of submitit for Slurm.

    Raises:
        ConfigError: if submitit is not installed, this is no cluster, or a parameter is not right.
    """
    # Unless told not to, submitit sets up logging for the whole process, and closes handlers of others.
    level = os.environ.get(LOG_LEVEL)
    os.environ[LOG_LEVEL] = "NOCONFIG"
    try:
        from submitit.slurm.slurm import SlurmExecutor
    except ImportError as e:
        raise ConfigError(f"submitit is not installed, which submits jobs: {INSTALL}") from e

    finally:
        # Jobs inherit the environment.
        del os.environ[LOG_LEVEL]
        if level is not None:
            os.environ[LOG_LEVEL] = level

    class Executor(SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            # Scripts can be looked at anywhere.
            return 2 if given.dry_run else super().affinity()

    try:
        made = Executor(folder=folder, max_num_timeout=given.max_timeouts)
        made.update_parameters(**asked)
    except RuntimeError as e:
        raise ConfigError(
            "there is no srun here: run this where jobs are submitted, or add --dry_run to see the script"
        ) from e
    except (ValueError, TypeError) as e:
        raise ConfigError(f"submitit refuses these parameters: {e}") from e
    return made


def script(made: Any, num_runs: int) -> str:
    """Returns the batch file that submitit hands to sbatch, for one run or for an array."""
    if num_runs > 1:
        made.parameters["map_count"] = num_runs
    return made._make_submission_file_text(made._submitit_command_str, "dry_run")


def submit(
    folder: pathlib.Path,
    arguments: Sequence[Sequence[str]],
    given: flags.FlagValues,
    asked: dict[str, Any],
) -> list[str]:
    """Submits one run, or several as an array; returns their job ids, none with `--dry_run`.

    Args:
        folder: for scripts and what jobs print; must not be that of a run.
        arguments: by run, those of `pax.main`.
        given: the flags.
        asked: see `parameters`.
    """
    check_lines("Slurm", arguments, "an argument of pax.main")
    made = executor(folder, given, asked)
    if is_distributed(given):
        arguments = [[*each, "--distributed=auto"] for each in arguments]
    if given.dry_run:
        print(script(made, len(arguments)))
        for index, each in enumerate(arguments):
            task = f"array task {index}" if len(arguments) > 1 else "the job"
            print(f"# {task} runs: {shlex.join(['python', '-m', 'pax.main', *each])}")
        return []
    try:
        with made.batch():
            jobs = [made.submit(Training(list(each))) for each in arguments]
    except (RuntimeError, OSError, subprocess.SubprocessError) as e:
        raise ConfigError(f"sbatch did not take the job: {' '.join(str(e).split())}") from e
    return [job.job_id for job in jobs]


def submit_sweep(runs: Sequence[SweepRun], given: flags.FlagValues) -> int:
    """Submits the runs of a sweep that are neither done nor queued, and tells of all; returns 0."""
    folder = runs[0].folder
    asked = parameters(given, f"pax-{folder.name}", given.max_parallel)
    check_folder(runs)
    if given.dry_run:
        submit(folder / "logs" / "slurm", [run.arguments for run in runs], given, asked)
        return 0
    claim(runs)
    done = [run for run in runs if run.is_done]
    path = folder / JOBS_FILE
    jobs = _read_jobs(path) if path.exists() else {}
    active = queued_jobs() if jobs else set()
    queued = [run for run in runs if run not in done and jobs.get(run.name) in active]
    rest = [run for run in runs if run not in done and run not in queued]
    if rest:
        ids = submit(folder / "logs" / "slurm", [run.arguments for run in rest], given, asked)
        jobs |= {run.name: job for run, job in zip(rest, ids, strict=True)}
        write_whole(path, json.dumps(jobs, indent=2) + "\n")
        print(f"Submitted {len(rest)} runs as job {ids[0].partition('_')[0]}.")
    print(write_table(runs, given.metric, given.ascending))
    left = len(runs) - len(done)
    more = f" {left} are queued or training: the same command looks again." if left else ""
    print(f"\n{len(done)} of {len(runs)} runs are done.{more}")
    return 0


def _read_jobs(path: pathlib.Path) -> dict[str, str]:
    """Returns the ids of jobs by the name of their run, as they were recorded."""
    try:
        jobs = json.loads(read_regular(path))
        if isinstance(jobs, dict) and all(isinstance(job, str) for job in jobs.values()):
            return jobs
        reason = "it holds no ids of jobs"
    except (OSError, ValueError, RecursionError) as e:
        reason = str(e)
    raise ConfigError(
        f"{path} cannot be read ({reason}): take it away once none of its jobs is queued (squeue --me)"
    )


def queued_jobs() -> set[str]:
    """Returns the ids of this user's jobs that wait or run, elements of arrays one by one."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as e:
        raise ConfigError(f"squeue does not tell which runs are queued: {e}") from e
    return set(told.stdout.split())
