"""Pax: learning among learners.

Train:          python -m pax.main --config=configs/ipd.py:ppo
Change things:  python -m pax.main --config=configs/ipd.py:ppo,opponent=defect --config.num_envs=50
Go on:          the same command with --workdir=<the folder it printed>
Evaluate:       python -m pax.main --mode=evaluate --workdir=<that folder> [--step=N | --follow]
Old policies:   python -m pax.main --mode=export --workdir=<that folder> [--step=N]
Several hosts:  the same command on each, with --distributed=HOST:PORT,N,I (see docs/scale.md)
What there is:  python -m pax.main --list [word ...]
Its settings:   python -m pax.main --config=configs/ipd.py:ppo --describe
Look:           exp/*/curves.png, tensorboard --logdir=exp
Other programs: pax new, report, crossplay, tournament, exploit, zoo, sweep; each has --help
"""

from __future__ import annotations

import faulthandler
import pathlib
import shlex
import signal
import sys
import traceback
from typing import Any, NoReturn

import jax
from absl import flags, logging
from ml_collections import ConfigDict

from pax import completion
from pax.callbacks.callback import CallbackError
from pax.checkpoints.reader import CHECKPOINTS
from pax.checks import folder
from pax.config.build import build_trainer
from pax.config.command_line import config_name, flag_values, run_program
from pax.config.files import find_config
from pax.config.flags import definer
from pax.config.imports import folders_to_record
from pax.config.recorded import todays
from pax.describe import describe, variants_page
from pax.errors import ConfigError, PaxError
from pax.evaluation.export import export_checkpoints
from pax.evaluation.job import evaluate_checkpoint, follow, kept_alike, refresh
from pax.loop.xla import enable_compilation_cache
from pax.metrics.curves_page import CURVES_FILE
from pax.run import distributed
from pax.run.directory import (
    POLICIES,
    check_run,
    default_workdir,
    keep_record,
    make_workdir,
    open_run,
)
from pax.run.interrupt import end_at_once, leaving
from pax.run.remote import Copy, is_url, named_by
from pax.trainer import MetaTrainer

READING = ("evaluate", "export")
"""The modes that read checkpoints, and train nothing."""


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this program."""
    define = definer(flag_values)
    define(
        "config",
        None,
        "What to run: a config file and, after a colon, a variant, as in configs/ipd.py:ppo. Every "
        "setting can be overridden after it, as in --config.num_envs=50.",
        kind=ConfigDict,
    )
    define(
        "workdir",
        None,
        "The run's folder; gs://bucket/run is one on a bucket (see docs/scale.md). The same command on the "
        "same folder goes on with the run. Default: exp/<config>-<variant>-<time>.",
    )
    define(
        "mode",
        "train",
        "Whether to train until the iterations of the config are done; to evaluate the newest checkpoint in "
        "--workdir (or another one, or all: --step, --follow), which needs no --config; or to export the "
        "policies of all checkpoints there (or of one: --step).",
        choices=["train", *READING],
    )
    define(
        "step",
        None,
        "With --mode=evaluate or export: the iteration whose checkpoint is read.",
        low=0,
        kind=int,
    )
    define(
        "evaluations",
        None,
        "With --mode=evaluate: those of config.evaluation to run, as in a,b.",
        kind=list,
    )
    define(
        "follow",
        False,
        "With --mode=evaluate: evaluate every checkpoint once, as training saves it, until training is done.",
    )
    define("poll_seconds", 5.0, "With --follow: seconds between looks for checkpoints.", low=0.1)
    define(
        "allow_imports",
        [],
        "With --mode=evaluate or export: modules that are not of Pax and that the run may have imported, "
        "as in mygame. If a run names any, an error tells which; a run from elsewhere may name anything.",
    )
    define(
        "distributed",
        distributed.OFF,
        "How this process joins others that train the same run: HOST:PORT,N,I (where process 0 can be "
        "reached, how many there are, which one this is), auto (what Slurm, Open MPI, Kubernetes or a "
        "TPU says), or off.",
    )
    define(
        "describe",
        False,
        "Print every setting of --config with its value, default and meaning, the roles, and what the run "
        "will cost, without training.",
    )
    define(
        "list",
        False,
        "List the variants of all configs, or, as in --list coin, those with these words, and exit.",
    )
    define(
        "completion",
        None,
        "Print a script that completes variants and settings of `pax`, and exit: source <(pax "
        "--completion=bash).",
        choices=completion.SHELLS,
    )


def main(arguments: list[str], given: flags.FlagValues) -> None:
    """Runs what the flags say."""
    if given.workdir == "":
        raise ConfigError("--workdir is empty: name a folder, or leave it out for a new one")
    if given.list:
        print(variants_page(arguments))
        return
    if given.completion:
        print(completion.script(), end="")
        return
    if arguments:
        raise ConfigError(f"{arguments[0]!r} is no flag: flags start with --, see --help")
    logging.set_verbosity(logging.INFO)
    if _is_one_of_several():
        if not distributed.is_lead():
            # They would all say the same.
            logging.set_verbosity(logging.ERROR)
        # JAX ends a process whose lead is gone; pages of stacks would hide what it says then.
        faulthandler.disable()
    enable_compilation_cache()
    try:
        _train_or_evaluate(given)
    except PaxError as e:
        if isinstance(e, CallbackError) and e.__cause__ is not None:
            # The bug is in code that the user wrote: show where.
            traceback.print_exception(e.__cause__)
        raise
    except Exception as e:
        if not _is_one_of_several():
            raise
        if distributed.is_lost(e):
            raise distributed.lost(e) from e
        traceback.print_exc()
        raise PaxError("stopped by the error above") from e


def _train_or_evaluate(given: flags.FlagValues) -> None:
    if given.mode in READING:
        if given.describe:
            raise ConfigError(f"--describe is about training: leave out --mode={given.mode}")
        if given.distributed != distributed.OFF:
            raise ConfigError(
                f"--distributed={given.distributed} is of no use with --mode={given.mode}, which is done by "
                "one process: leave it out"
            )
        if not given.workdir:
            raise ConfigError(f"--workdir is missing: name the run to {given.mode}")
        (evaluate if given.mode == "evaluate" else export)(given)
        return
    for name in ("step", "evaluations", "follow", "allow_imports"):
        if given[name].value not in (None, False, []):
            raise ConfigError(f"--{name} is of no use in training: add --mode=evaluate")
    if given.config is None:
        what = ", and --describe is about one" if given.describe else ""
        raise ConfigError(f"--config is missing{what}: give one of those that --list shows")
    if given.describe:
        logging.set_verbosity(logging.WARNING)
        describe(given.config, config_name(given["config"]))
        return
    train(given)


def _leave(code: int) -> NoReturn:
    """Ends the process after an error."""
    if _is_one_of_several():
        # An orderly end would wait for the others, who wait for this one.
        distributed.leave_at_once("", code)
    sys.exit(code)


def _is_one_of_several() -> bool:
    return jax.distributed.is_initialized()


def train(given: flags.FlagValues) -> None:
    """Trains, or goes on with the run in `--workdir`."""
    config = given.config
    config_path = config_name(given["config"])
    named = distributed.from_lead(given.workdir or str(default_workdir(config_path)))
    if not is_url(named):
        named = str(folder("workdir", named))
    distributed.check_same("config", repr(config.to_dict()))
    # Everything is checked before the folder is touched.
    trainer = build_trainer(config, named)
    trainer.check()
    config_file = find_config(config_path.partition(":")[0]).absolute()
    trainer.keep_programs(config_file)
    assert trainer.workdir is not None
    workdir = trainer.workdir
    if trainer.url is None:  # Else it is fetched first, and checked as it is opened.
        distributed.by_lead(lambda: check_run(pathlib.Path(named), config.to_dict(), todays))
    if not given.workdir:
        workdir = trainer.workdir = _make_workdir(workdir)
    imports = folders_to_record(config.to_dict())
    with trainer.claim():
        recorded: dict[str, Any] = {}

        def record() -> None:
            with named_by(workdir, trainer.url):
                recorded.update(open_run(workdir, config.to_dict(), config_path, imports, todays))

        distributed.by_lead(record)
        logging.info("Config: %s, of %s", config_path, config_file)
        where = f", of {trainer.url}" if trainer.url else ""
        logging.info("Run directory: %s%s", workdir, where)
        logging.info("Devices: %s", trainer.placement)
        try:
            _fit(trainer, workdir)
        finally:
            if recorded and not trainer.workdir_is_gone:
                keep_record(workdir, recorded)


def _make_workdir(base: pathlib.Path) -> pathlib.Path:
    """Makes a folder of its own for a new run; all processes get its name."""
    made = base

    def make() -> None:
        nonlocal made
        made = make_workdir(base)

    distributed.by_lead(make)
    return pathlib.Path(distributed.from_lead(str(made)))


def _fit(trainer: MetaTrainer, workdir: pathlib.Path) -> None:
    try:
        with leaving(lambda number: _say_stopped(trainer, number.name, workdir)):
            metrics = trainer.fit(pass_on_signals=False)
        # What is left takes a moment: one more Ctrl-C would only break it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        # The second Ctrl-C; the first one waits for the chunk to end, and saves.
        _say_stopped(trainer, "SIGINT", workdir)
        end_at_once(128 + signal.SIGINT)
    # A signal that came when all was done has changed nothing.
    stopped_by = trainer.stop_reason if trainer.is_interrupted and not trainer.is_done else None
    if trainer.is_lead:
        if stopped_by:
            _say_stopped(trainer, stopped_by, workdir)
        else:
            _report(trainer, metrics, workdir)
    jax.distributed.shutdown()
    if stopped_by:
        sys.exit(128 + signal.Signals[stopped_by])


def evaluate(given: flags.FlagValues) -> None:
    """Evaluates one checkpoint of `--workdir`, or each that training leaves there."""
    copy = Copy("workdir", given.workdir) if is_url(given.workdir) else None
    workdir = copy.path if copy else folder("workdir", given.workdir)
    config, names, imports = given.config, given.evaluations, given.allow_imports
    if not given.follow:
        with named_by(workdir, given.workdir if copy else None), kept_alike(copy):
            evaluate_checkpoint(workdir, config, given.step, names, imports)
        return
    if given.step is not None:
        raise ConfigError(f"--step={given.step} is one checkpoint, and --follow all: give one flag")
    try:
        follow(workdir, config, names, given.poll_seconds, imports, copy)
    except KeyboardInterrupt:
        logging.flush()
        print("Stopped by SIGINT; the same command goes on where it was.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def export(given: flags.FlagValues) -> None:
    """Exports the policies of checkpoints of `--workdir`."""
    for name in ("evaluations", "follow"):
        if given[name].value not in (None, False, []):
            raise ConfigError(f"--{name} is of no use with --mode=export: leave it out")
    copy = Copy("workdir", given.workdir) if is_url(given.workdir) else None
    workdir = copy.path if copy else folder("workdir", given.workdir)
    refresh(copy)
    with named_by(workdir, given.workdir if copy else None):
        paths = export_checkpoints(workdir, given.config, given.step, given.allow_imports)
    if copy is not None:
        copy.upload(lambda path: path.startswith(f"{POLICIES}/"))
    print("\n".join(paths))


def _say_stopped(trainer: MetaTrainer, by: str, workdir: pathlib.Path) -> None:
    is_saved = (workdir / CHECKPOINTS / str(trainer.step)).is_dir()
    arguments = (
        sys.argv[1:]
        if flag_values(sys.argv, "workdir")
        else [*sys.argv[1:], f"--workdir={workdir}"]
    )
    command = shlex.join(["python", "-m", "pax.main", *arguments])
    if jax.process_count() > 1:
        command = f"start all {jax.process_count()} processes again, with --workdir={workdir}"
    logging.flush()
    print(
        f"Stopped by {by} at iteration {trainer.step} of {trainer.num_iters}, "
        f"{'saved' if is_saved else 'unsaved'}. To go on: {command}",
        file=sys.stderr,
    )


def _report(trainer: MetaTrainer, metrics: dict[str, float], workdir: pathlib.Path) -> None:
    is_early = trainer.step < trainer.num_iters and trainer.stop_reason
    reason = f" early: {trainer.stop_reason}" if is_early else ""
    nothing = "Nothing was left to do. " if trainer.step == trainer.first_step else ""
    curves = f"{workdir / CURVES_FILE}, or " if (workdir / CURVES_FILE).exists() else ""
    rewards = [
        f"{name.rpartition('/')[2]} {value:.3f}"
        for name, value in metrics.items()
        if name.startswith("train/reward_per_timestep/") and not name.endswith("/std")
    ]
    print(
        f"Done{reason} at iteration {trainer.step} after {trainer.wall_time:.1f} s. "
        + (f"Reward per step: {', '.join(rewards)}. " if rewards else "")
        + f"{nothing}Look at it: {curves}tensorboard --logdir={workdir}"
    )


def run() -> None:
    """Runs the program."""
    run_program(main, define_flags, computes=True, before_flags=_join, leave=_leave)


def _join(argv: list[str]) -> None:
    """Joins others: loading a config may already ask JAX for a device, and then it is too late."""
    if not set(READING) & set(flag_values(argv, "mode")):
        distributed.join(([distributed.OFF, *flag_values(argv, "distributed")])[-1])


if __name__ == "__main__":
    run()
