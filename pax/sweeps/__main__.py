"""Sweeps: all runs that the `get_sweep()` of a config file lists, a few at a time on this machine.

    python -m pax.sweeps --config=configs/ipd.py:ppo --workdir=exp/rates
    python -m pax.sweeps --config=configs/ipd.py:ppo --workdir=exp/rates --max_parallel=2
    tensorboard --logdir=exp/rates

Run <nnn> is `python -m pax.main` in <workdir>/<nnn>. The same command goes on: what is done is left alone,
what was interrupted resumes. Ends with a table of overrides and final metrics, also in sweep.md and
sweep.csv. `--config.<key>=<value>` holds for all runs. The exit code is 1 if a run failed.
"""

from __future__ import annotations

import re
import shlex
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from pax.callbacks.checkpoint import MONITOR
from pax.checks import folder
from pax.config.command_line import config_name, print_error, run_program
from pax.config.flags import definer
from pax.errors import ConfigError
from pax.loop.xla import enable_compilation_cache
from pax.sweeps.curves import PICTURE, draw_curves
from pax.sweeps.folder import SweepRun, check_folder, claim, runs_of
from pax.sweeps.halving import Halving
from pax.sweeps.one_program import OneProgram
from pax.sweeps.pool import Pool
from pax.sweeps.population import Population
from pax.sweeps.search import SEARCHES, draw_runs
from pax.sweeps.suggested import Suggested
from pax.sweeps.sweep import Overrides, check_metric, check_sweep, load_sweep
from pax.sweeps.table import NAME, write_table

ONE_PER_PROCESS = ("pax.callbacks.WandB", "pax.callbacks.Profile")
"""Callbacks that a process can have once only."""
Submit = Callable[[Sequence[SweepRun], flags.FlagValues], int]
"""Hands runs, and the flags, to something else than this machine; returns the exit code."""
OF_SEARCH = {
    "num_runs": ("random", "optuna"),
    "search_seed": ("random", "pbt", "optuna"),
    "factor": ("halving",),
    "exploit_every": ("pbt",),
    "exploit_fraction": ("pbt",),
}
"""The searches to which a flag belongs."""


def define_flags(flag_values: flags.FlagValues, elsewhere: Sequence[str] = ()) -> None:
    """Defines the flags of this program."""
    define = definer(flag_values)
    text = "The sweep: a config file with a get_sweep(), and a variant, as in configs/ipd.py:ppo."
    define("config", None, text, kind=ConfigDict)
    define("workdir", None, "The folder of the sweep, with one folder per run.")
    define("executor", "local", "Where runs are trained.", choices=["local", *elsewhere])
    define("gpus", [], "GPUs of this machine, as in 0,1: each run gets one of them.")
    define(
        "retries",
        1,
        "How often a run that died is started again; it resumes from its last checkpoint.",
        low=0,
    )
    define(
        "in_one_program",
        None,
        "Train the runs in this process: those that differ in numbers only are compiled once, and train side "
        "by side. --noin_one_program: each run in a process of its own. Default: in one program where more "
        "than one run fits into it, and neither --max_parallel nor --gpus is given.",
        kind=bool,
    )
    define(
        "side_by_side",
        0,
        "In one program: how many runs train at once. 0: on a CPU, as many as its caches hold, at least one "
        "per core; on other devices all, or as many as their memory holds.",
        low=0,
    )
    define(
        "search",
        "grid",
        "Which runs of the sweep are trained. grid: all; random: --num_runs of them, drawn; halving: all, of "
        "which the best 1 / --factor by --metric go on, again and again, each time --factor times as far; "
        "pbt: all, of which the worst take over from the best every --exploit_every iterations; optuna: "
        "--num_runs with settings that Optuna suggests, within those of the sweep.",
        choices=SEARCHES,
    )
    define("num_runs", 0, "With --search=random and --search=optuna: how many.", low=0)
    define("search_seed", 0, "Of what is drawn by --search=random, pbt and optuna.", low=0)
    define(
        "factor",
        3,
        "With --search=halving: how many times as far the runs of a rung train as those of the one before, "
        "and of how many of these one goes on.",
        low=2,
    )
    define(
        "exploit_every",
        0,
        "With --search=pbt: after so many iterations, a multiple of chunk, the worst runs by --metric go on "
        "from what the best have learned, with their settings, changed a little. 0: a tenth of the run.",
        low=0,
    )
    define(
        "exploit_fraction",
        0.25,
        "With --search=pbt: of the runs, how many are the worst, and how many the best. At least one is.",
        low=0.0,
        high=0.5,
    )
    define_common_flags(flag_values)


def define_common_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of all programs that train a sweep."""
    define = definer(flag_values)
    text = "Runs of a sweep at a time. 0: as many as there are --gpus, else 1; on a cluster, all."
    define("max_parallel", 0, text, low=0)
    define("metric", MONITOR, "What the table of a sweep shows of each run, and is sorted by.")
    define("ascending", False, "Sort the table of a sweep by the smallest first.")
    define("dry_run", False, "Print the commands, and what else would be submitted, only.")


def sweep(
    given: flags.FlagValues, elsewhere: Mapping[str, Submit] = types.MappingProxyType({})
) -> int:
    """Runs the sweep that the flags describe; returns the exit code.

    Raises:
        PaxError: in one sentence, before anything starts.
    """
    in_one_program = is_in_one_program(given)
    runs = plan(given, builds=given.dry_run or not in_one_program)
    gpus, max_parallel = given.gpus, given.max_parallel or len(given.gpus) or 1
    if given.executor in elsewhere:
        if gpus:
            raise ConfigError(
                f"--gpus={','.join(gpus)} are of this machine, and --executor={given.executor}: give "
                "--gpus_per_node"
            )
        return elsewhere[given.executor](runs, given)
    check_gpus(gpus, max_parallel)
    if given.search != "optuna":
        check_folder(runs, are_population=given.search == "pbt")
    elif given.dry_run:
        raise ConfigError(
            "--dry_run prints commands, and --search=optuna suggests runs after what others came to: give "
            "one of the two"
        )
    if given.dry_run:
        print("\n".join(shlex.join(run.command) for run in runs))
        return 0
    pool: Pool | OneProgram | Suggested
    if in_one_program:
        enable_compilation_cache()
        options = {"side_by_side": given.side_by_side, "say": _say}
        if given.search == "halving":
            pool = Halving(
                runs,
                given.config,
                metric=given.metric,
                ascending=given.ascending,
                factor=given.factor,
                **options,
            )
        elif given.search == "pbt":
            pool = Population(
                runs,
                given.config,
                metric=given.metric,
                ascending=given.ascending,
                exploit_every=given.exploit_every,
                exploit_fraction=given.exploit_fraction,
                seed=given.search_seed,
                **options,
            )
        elif given.search == "optuna":
            pool = Suggested(
                runs,
                given.config,
                metric=given.metric,
                ascending=given.ascending,
                num_runs=given.num_runs,
                seed=given.search_seed,
                **options,
            )
        else:
            pool = OneProgram(runs, given.config, **options)
    else:
        pool = Pool(runs, max_parallel=max_parallel, retries=given.retries, gpus=gpus, say=_say)
    if not isinstance(pool, Suggested):
        claim(runs, are_population=given.search == "pbt")
    stopped_by = pool.work()
    if isinstance(pool, Population | Suggested):
        runs = pool.runs
    if stopped_by:
        done = sum(run.is_done for run in runs)
        print(
            f"Stopped by {stopped_by.name} with {done} of {len(runs)} runs done. The same command goes on.",
            file=sys.stderr,
        )
        return 128 + stopped_by
    text = write_table(runs, given.metric, given.ascending, given.search != "pbt")
    draw_curves(runs, given.metric, given.ascending)
    folder = runs[0].folder
    print(
        f"{text}\n\nWritten to {folder / NAME}.md and .csv, and drawn in {folder / PICTURE}. "
        f"Curves and settings: tensorboard --logdir={folder}"
    )
    if pool.failed:
        names = ", ".join(run.name for run in pool.failed)
        return print_error(
            f"{len(pool.failed)} of {len(runs)} runs failed ({names}), see {folder / 'logs'}: the same "
            "command tries them again",
            1,
        )
    return 0


def computes(argv: list[str]) -> bool:
    """Returns whether a command line may ask for runs in this process, and not in others that it starts."""
    given = [argument.partition("=")[0].lstrip("-") for argument in argv]
    return not {"noin_one_program", "max_parallel", "gpus", "executor", "dry_run"} & {*given}


def is_in_one_program(given: flags.FlagValues) -> bool:
    """Returns whether runs are trained in this process.

    Raises:
        ConfigError: if it was asked for together with what only processes can do.
    """
    of_processes = {
        "gpus": bool(given.gpus),
        "max_parallel": bool(given.max_parallel),
        "executor": given.executor != "local",
    }
    named = [name for name, is_given in of_processes.items() if is_given]
    if given.search in ("halving", "pbt", "optuna"):
        if named or given.in_one_program is False:
            raise ConfigError(
                f"--search={given.search} compares runs of this process, and "
                f"--{named[0] if named else 'noin_one_program'} asks for others: take it away"
            )
        if not given.metric:
            raise ConfigError(
                f"--search={given.search} compares runs by a metric: give one with --metric"
            )
        return True
    if given.side_by_side and (named or given.in_one_program is False):
        raise ConfigError(
            f"--side_by_side={given.side_by_side} is about runs in one program, and these are processes: "
            "give --max_parallel"
        )
    if given.in_one_program and named:
        raise ConfigError(
            f"--in_one_program trains all runs in this process, and --{named[0]} is about several: give "
            "one of the two"
        )
    alone = [name for name in callbacks_of(given.config) if name in ONE_PER_PROCESS]
    if given.in_one_program and alone:
        raise ConfigError(
            f"--in_one_program trains all runs in this process, which can have {alone[0]} once: take it "
            "away, or give --noin_one_program"
        )
    return not (named or alone) if given.in_one_program is None else given.in_one_program


def callbacks_of(config: ConfigDict | None) -> list[str]:
    """Returns the dotted paths of the callbacks that a config has, where they are named as they should be."""
    if config is None:
        return []
    sections = [each for each in config.get("callbacks", {}).values() if hasattr(each, "get")]
    extra = [
        each if isinstance(each, str) else each[0] for each in config.get("extra_callbacks", ())
    ]
    return [str(each.get("type")) for each in sections if each.get("enabled", True)] + extra


def check_gpus(gpus: Sequence[str], max_parallel: int) -> None:
    """Raises ConfigError unless GPUs are named as CUDA has it, once each, and there are enough of them."""
    told = f"--gpus={','.join(gpus)}"
    for gpu in gpus:
        if not re.fullmatch(r"\d{1,4}|(GPU|MIG)-[\w/-]+", gpu):
            raise ConfigError(
                f"{told} names {gpu!r}: give numbers of GPUs, as in 0,1, or their ids, as in GPU-1a2b"
            )
        if gpus.count(gpu) > 1:
            raise ConfigError(f"{told} names {gpu} twice: take one away")
    if gpus and max_parallel > len(gpus):
        raise ConfigError(
            f"--max_parallel={max_parallel} is more than the {len(gpus)} of {told}: give each run one"
        )


def plan(given: flags.FlagValues, builds: bool = True) -> list[SweepRun]:
    """Returns the runs that the flags ask for; if it `builds`, once it is clear that each can be built."""
    if given.config is None:
        raise ConfigError("--config is missing: give a config file with a get_sweep()")
    if not given.workdir:
        raise ConfigError("--workdir is missing: name a folder for the sweep")
    check_search_flags(given)
    name = config_name(given["config"])
    common = config_flags.get_override_values(given["config"])
    if given.search == "random":
        drawn = draw_runs(load_sweep(name), given.num_runs, given.search_seed)
    else:
        drawn = None
    return checked_runs(given.config, name, common, given.workdir, given.metric, builds, drawn)


def check_search_flags(given: flags.FlagValues) -> None:
    """Raises ConfigError if a flag is given of a search that was not asked for."""
    for flag, searches in OF_SEARCH.items():
        if given[flag].present and given.search not in searches:
            wanted = " or ".join(f"--search={search}" for search in searches)
            raise ConfigError(
                f"--{flag}={given[flag].value} says nothing with --search={given.search}: give {wanted}, or "
                "leave it out"
            )


def checked_runs(
    config: ConfigDict,
    name: str,
    common: Mapping[str, Any],
    workdir: str,
    metric: str,
    builds: bool = True,
    drawn: list[Overrides] | None = None,
) -> list[SweepRun]:
    """Returns the runs of a sweep in a folder, each of which can be built, and some report the metric."""
    found = load_sweep(name) if drawn is None else drawn
    runs = runs_of(folder("--workdir", workdir), name, common, found)
    if builds:
        check_sweep(config, found)
    check_metric(config, found, metric)
    return runs


def _say(line: str) -> None:
    print(line, flush=True)


def main(arguments: list[str], given: flags.FlagValues) -> int:
    """Runs the sweep; returns the exit code."""
    return sweep(given)


def run() -> None:
    """Runs the program."""
    run_program(main, define_flags, takes_arguments=False, computes=computes)


if __name__ == "__main__":
    run()
