"""A run, or a sweep, as a job of Slurm that saves and comes back when it is preempted or out of time.

    python -m launch.slurm --gpus_per_node=1 --time=8:00:00 -- --config=configs/ipd.py:shaper
    python -m launch.slurm --nodes=2 --gpus_per_node=4 -- --config=configs/ipd.py:shaper --workdir=exp/mine
    python -m launch.slurm --array --time=60 -- --config=configs/ipd.py:ppo --workdir=exp/rates
    python -m launch.slurm --dry_run -- --config=configs/ipd.py:ppo

What follows `--` are arguments of `pax.main`. With several nodes, the run has one process per GPU, or one
per node without GPUs. `--array` trains the sweep of the config (see launch.sweep), a run per task.
`--dry_run` prints the batch script and the commands. By submitit: pip install -e ".[launch]".
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from absl import flags

from launch.slurm import job as slurm_job
from pax.checks import folder
from pax.config.command_line import run_program
from pax.config.flags import definer
from pax.config.recorded import todays
from pax.config.run_arguments import parse
from pax.errors import ConfigError, PaxError
from pax.run.directory import check_run, default_workdir, make_workdir
from pax.sweeps.__main__ import checked_runs, define_common_flags


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this program."""
    define = definer(flag_values)
    define("name", None, "Name of the job. Default: pax-<folder>.")
    define("array", False, "Train the sweep of the config, as an array.")
    define_common_flags(flag_values)
    slurm_job.define_flags(flag_values)


def launch(arguments: Sequence[str], given: flags.FlagValues) -> int:
    """Submits the run that arguments of `pax.main` describe; returns the exit code.

    Raises:
        PaxError: in one sentence, before anything is submitted.
    """
    run = parse(arguments)
    if given.array:
        if not run.workdir:
            raise ConfigError("--workdir is missing after --: name a folder for the sweep")
        if run.others:
            raise ConfigError(f"{run.others[0]} has no use in a sweep: take it away")
        runs = checked_runs(run.config, run.config_path, run.overrides, run.workdir, given.metric)
        return slurm_job.submit_sweep(runs, given)
    if given.name == "":
        raise ConfigError("--name is empty: give one, or leave it out")
    workdir = folder("--workdir", run.workdir or default_workdir(run.config_path))
    if run.workdir:
        check_run(workdir, run.config.to_dict(), todays)
    asked = slurm_job.parameters(given, given.name or f"pax-{workdir.name}")
    if not run.workdir and not given.dry_run:
        # Here, as two jobs that are submitted in one second must not train in one folder.
        workdir = make_workdir(workdir)
    try:
        # Not in the folder of the run, which must be empty when it begins.
        logs = workdir.with_name(f"{workdir.name}-slurm")
        ids = slurm_job.submit(logs, [run.command_line(str(workdir))], given, asked)
    except PaxError:
        if not run.workdir:
            with contextlib.suppress(OSError):
                os.removedirs(workdir)
        raise
    if ids:
        print(f"Submitted job {ids[0]}: it trains in {workdir}, and what it prints is in {logs}.")
    return 0


if __name__ == "__main__":
    run_program(launch, define_flags)
