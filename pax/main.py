"""Pax: learning among learners.

Train:          python -m pax.main --config=configs/ipd.py:ppo
Change things:  python -m pax.main --config=configs/ipd.py:ppo,opponent=defect --config.num_envs=50
Go on:          the same command with --workdir=<the folder it printed>
Evaluate:       python -m pax.main --mode=evaluate --workdir=<that folder> [--step=N | --follow]
Several hosts:  the same command on each, with --distributed=HOST:PORT,N,I (see docs/scale.md)
What there is:  python -m pax.main --list
Look:           tensorboard --logdir=exp
"""

from __future__ import annotations

import faulthandler
import logging as python_logging
import os
import pathlib
import shlex
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from pax.callbacks.callback import CallbackError
from pax.checks import folder
from pax.config.build import build_trainer
from pax.config.command_line import flag_values, one_line, parse_flags, print_error
from pax.config.files import list_variants
from pax.config.imports import folders_to_record
from pax.errors import ConfigError, PaxError
from pax.evaluation.job import evaluate_checkpoint, follow
from pax.loop.xla import enable_compilation_cache, use_all_cores
from pax.run import distributed
from pax.run.directory import check_run, default_workdir, keep_record, make_workdir, open_run
from pax.trainer import CHECKPOINTS, MetaTrainer

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "What to run: a config file and, after a colon, a variant, as in configs/ipd.py:ppo. Every "
    "setting can be overridden after it, as in --config.num_envs=50.",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The run's folder. The same command on the same folder goes on with the run. Default: "
    "exp/<config>-<variant>-<time>.",
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate"],
    "Whether to train until the iterations of the config are done, or to evaluate the newest checkpoint in "
    "--workdir (or another one, or all: --step, --follow), which needs no --config.",
)
_STEP = flags.DEFINE_integer(
    "step",
    None,
    "With --mode=evaluate: the iteration whose checkpoint is evaluated.",
    lower_bound=0,
)
_EVALUATIONS = flags.DEFINE_list(
    "evaluations", None, "With --mode=evaluate: those of config.evaluation to run, as in a,b."
)
_FOLLOW = flags.DEFINE_bool(
    "follow",
    False,
    "With --mode=evaluate: evaluate every checkpoint once, as training saves it, until training is done.",
)
_POLL_SECONDS = flags.DEFINE_float(
    "poll_seconds", 5.0, "With --follow: seconds between looks for checkpoints.", lower_bound=0.1
)
_ALLOW_IMPORTS = flags.DEFINE_list(
    "allow_imports",
    [],
    "With --mode=evaluate: modules that are not of Pax and that the run may have imported, as in mygame. "
    "If a run names any, an error tells which; a run from elsewhere may name anything.",
)
_DISTRIBUTED = flags.DEFINE_string(
    "distributed",
    distributed.OFF,
    "How this process joins others that train the same run: HOST:PORT,N,I (where process 0 can be reached, "
    "how many there are, which one this is), auto (what Slurm, Open MPI, Kubernetes or a TPU says), or off.",
)
_LIST = flags.DEFINE_bool("list", False, "List the variants of all configs, and exit.")


def main(argv: Sequence[str]) -> None:
    """Runs what the flags say; an error that the user can correct is one sentence, and exit code 1."""
    try:
        if len(argv) > 1:
            raise ConfigError(f"{argv[1]!r} is no flag: flags start with --, see --help")
        if _WORKDIR.value == "":
            raise ConfigError("--workdir is empty: name a folder, or leave it out for a new one")
        if _LIST.value:
            print("\n".join(list_variants()))
            return
        # It tells of every accelerator that this machine does not have.
        python_logging.getLogger("jax._src.xla_bridge").setLevel(python_logging.WARNING)
        logging.set_verbosity(logging.INFO)
        if _is_one_of_several():
            if not distributed.is_lead():
                # They would all say the same.
                logging.set_verbosity(logging.ERROR)
            # JAX ends a process whose lead is gone; pages of stacks would hide what it says then.
            faulthandler.disable()
        enable_compilation_cache()
        if _MODE.value == "evaluate":
            if _DISTRIBUTED.value != distributed.OFF:
                raise ConfigError(
                    f"--distributed={_DISTRIBUTED.value} is of no use with --mode=evaluate: one process "
                    "evaluates"
                )
            evaluate()
        else:
            for flag in (_STEP, _EVALUATIONS, _FOLLOW, _ALLOW_IMPORTS):
                if flag.value not in (None, False, []):
                    raise ConfigError(
                        f"--{flag.name} is of no use in training: add --mode=evaluate"
                    )
            if _CONFIG.value is None:
                raise ConfigError("--config is missing: give one of those that --list shows")
            train()
    except KeyboardInterrupt:
        # While it was being set up, or evaluated: there is nothing to save.
        _fail("interrupted by SIGINT", 128 + signal.SIGINT)
    except PaxError as e:
        if isinstance(e, CallbackError) and e.__cause__ is not None:
            # The bug is in code that the user wrote: show where.
            traceback.print_exception(e.__cause__)
        _fail(one_line(e), 1)
    except Exception as e:
        if not _is_one_of_several():
            raise
        if distributed.is_lost(e):
            _fail(one_line(distributed.lost(e)), 1)
        traceback.print_exc()
        _fail("stopped by the error above", 1)


def _fail(sentence: str, code: int) -> None:
    """Says what was wrong, and ends."""
    code = print_error(sentence, code)
    if _is_one_of_several():
        # An orderly end would wait for the others, who wait for this one.
        distributed.leave_at_once("", code)
    sys.exit(code)


def _is_one_of_several() -> bool:
    return jax.distributed.is_initialized()


def train() -> None:
    """Trains, or goes on with the run in `--workdir`."""
    config = _CONFIG.value
    config_path = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = folder(
        "workdir", distributed.from_lead(_WORKDIR.value or str(default_workdir(config_path)))
    )
    distributed.check_same("config", repr(config.to_dict()))
    # Everything is checked before the folder is touched.
    trainer = build_trainer(config, str(workdir))
    trainer.check()
    distributed.by_lead(lambda: check_run(workdir, config.to_dict()))
    if not _WORKDIR.value:
        workdir = trainer.workdir = _make_workdir(workdir)
    imports = folders_to_record(config.to_dict())
    with trainer.claim():
        recorded: dict[str, Any] = {}

        def record() -> None:
            recorded.update(open_run(workdir, config.to_dict(), config_path, imports))

        distributed.by_lead(record)
        logging.info("Run directory: %s", workdir)
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
        metrics = trainer.fit(pass_on_signals=False)
        # What is left takes a moment: one more Ctrl-C would only break it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        # The second Ctrl-C; the first one waits for the chunk to end, and saves.
        _say_stopped(trainer, "SIGINT", workdir)
        sys.stderr.flush()
        # At once, as asked: an orderly end in the middle of compiling crashes.
        os._exit(128 + signal.SIGINT)
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


def evaluate() -> None:
    """Evaluates one checkpoint of `--workdir`, or each that training leaves there."""
    if not _WORKDIR.value:
        raise ConfigError("--workdir is missing: name the run to evaluate")
    workdir = folder("workdir", _WORKDIR.value)
    if not _FOLLOW.value:
        evaluate_checkpoint(
            workdir, _CONFIG.value, _STEP.value, _EVALUATIONS.value, _ALLOW_IMPORTS.value
        )
        return
    if _STEP.value is not None:
        raise ConfigError(
            f"--step={_STEP.value} is one checkpoint, and --follow all: give one flag"
        )
    try:
        follow(
            workdir, _CONFIG.value, _EVALUATIONS.value, _POLL_SECONDS.value, _ALLOW_IMPORTS.value
        )
    except KeyboardInterrupt:
        logging.flush()
        print("Stopped by SIGINT; the same command goes on where it was.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _say_stopped(trainer: MetaTrainer, by: str, workdir: pathlib.Path) -> None:
    is_saved = (workdir / CHECKPOINTS / str(trainer.step)).is_dir()
    arguments = sys.argv[1:] if _WORKDIR.value else [*sys.argv[1:], f"--workdir={workdir}"]
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
    rewards = [
        f"{name.rpartition('/')[2]} {value:.3f}"
        for name, value in metrics.items()
        if name.startswith("train/reward_per_timestep/") and not name.endswith("/std")
    ]
    print(
        f"Done{reason} at iteration {trainer.step} after {trainer.wall_time:.1f} s. "
        + (f"Reward per step: {', '.join(rewards)}. " if rewards else "")
        + f"{nothing}Look at it: tensorboard --logdir={workdir}"
    )


def run() -> None:
    """Runs the program."""
    use_all_cores()
    app.run(main, flags_parser=_join_and_parse_flags)


def _join_and_parse_flags(argv: list[str]) -> list[str]:
    """Loading a config may already ask JAX for a device, and then it is too late to join others."""
    try:
        if "evaluate" not in flag_values(argv, "mode"):
            distributed.join(([distributed.OFF, *flag_values(argv, "distributed")])[-1])
    except PaxError as e:
        _fail(one_line(e), 1)
    return parse_flags(argv)


if __name__ == "__main__":
    run()
