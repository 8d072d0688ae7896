"""Evaluating the checkpoints of a run: one of them, or each as training saves it."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator, Sequence

import jax
from ml_collections import ConfigDict

from pax.config.build import build_trainer
from pax.config.recorded import config_of_run
from pax.errors import CheckpointError, ConfigError, nearest
from pax.evaluation.follower import Follower, Waiting, evaluate
from pax.evaluation.results import EVALUATION_FILE, FOLDER, Results, describe, mirroring
from pax.run.directory import CHECKPOINTS, RUN_FILE
from pax.run.remote import Copy
from pax.run.status import STATUS_FILE
from pax.trainer import MetaTrainer


def evaluate_checkpoint(
    workdir: pathlib.Path,
    config: ConfigDict | None = None,
    step: int | None = None,
    names: Sequence[str] | None = None,
    allow_imports: Sequence[str] = (),
) -> None:
    """Evaluates one checkpoint; prints the metrics and records them in the run directory.

    Args:
        workdir: the run directory.
        config: of the run; None: the one that the run has recorded.
        step: the iteration of the checkpoint; None for the newest that is not damaged.
        names: the evaluations to run; None for all of the config.
        allow_imports: modules that the recorded config may have imported: see `config_of_run`.

    Raises:
        ConfigError: if there is no such run or evaluation.
        CheckpointError: if there is no such checkpoint, or it is damaged.
    """
    trainer = trainer_of_run(workdir, config, allow_imports)
    names = choose(names, trainer.evaluations)
    if not trainer.restore(step):
        raise CheckpointError(f"there is no checkpoint in {workdir}: train there first")
    results = Results(workdir)
    for row in evaluate(trainer, names):
        results.record([row])
        print(f"evaluation/{row['evaluation']} at iteration {row['iteration']}")
        for line in describe(row):
            print(f"  {line}")
    with mirroring(workdir, results) as mirror:
        if mirror:
            mirror.sync()


def follow(
    workdir: pathlib.Path,
    config: ConfigDict | None = None,
    names: Sequence[str] | None = None,
    poll_seconds: float = 5.0,
    allow_imports: Sequence[str] = (),
    copy: Copy | None = None,
) -> None:
    """Evaluates every checkpoint once, as it appears, until training says in the folder that it is done.

    What `evaluation.jsonl` has is not evaluated again, whoever evaluated it. Training may be killed and go
    on, and so may this. A checkpoint that is deleted before its turn is logged, and so is a damaged one.

    Args:
        workdir: the run directory, which training may still have to make.
        config: of the run; None: the one that the run has recorded.
        names: the evaluations to run; None for all of the config.
        poll_seconds: between looks at the folder.
        allow_imports: modules that the recorded config may have imported: see `config_of_run`.
        copy: of a run on a bucket: `workdir` is its path, and it is brought up to date before each look.

    Raises:
        ConfigError: if the folder holds no run, there is no such evaluation, or another process follows.
        CheckpointError: if a checkpoint is of another configuration, or results cannot be written.
    """
    waiting = Waiting(poll_seconds)
    # Before training has made the folder its own it must stay empty, or training would not take it.
    signs = (RUN_FILE,) if config is None else (RUN_FILE, STATUS_FILE)
    refresh(copy, may_be_missing=True)
    while not any((workdir / name).exists() for name in signs):
        refresh(copy, may_be_missing=True)
        waiting.for_("training to start: %s holds no run yet", workdir)
    trainer = trainer_of_run(workdir, config, allow_imports)
    follower = Follower(
        trainer,
        choose(names, trainer.evaluations),
        waiting,
        refresh=lambda: refresh(copy),
        keep=lambda: upload_results(copy),
    )
    print(follower.run())


@contextlib.contextmanager
def kept_alike(copy: Copy | None) -> Iterator[None]:
    """Fetches a run from a bucket, if it is on one, and uploads the results of what is evaluated within."""
    refresh(copy)
    yield
    upload_results(copy)


def refresh(copy: Copy | None, may_be_missing: bool = False) -> None:
    """Fetches what is new of a run on a bucket; None stands for a run of this machine.

    Raises:
        ConfigError: if the bucket cannot be reached, or there is no run unless it `may_be_missing`.
    """
    if copy is not None:
        copy.refresh(_is_evaluated, may_be_missing)


def upload_results(copy: Copy | None) -> None:
    """Writes the results of evaluations to the bucket that the run is on; None stands for none.

    Raises:
        ConfigError: if they cannot be written.
    """
    if copy is not None:
        copy.upload(lambda path: path == EVALUATION_FILE or path.startswith(f"{FOLDER}/"))


def _is_evaluated(path: str) -> bool:
    """Returns whether a file of a run is one that evaluations read."""
    files = (RUN_FILE, STATUS_FILE, EVALUATION_FILE)
    return path in files or path.startswith(f"{CHECKPOINTS}/")


def choose(names: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    """Returns the evaluations that were asked for, all that are known if `names` is None.

    Raises:
        ConfigError: if one is unknown, or none is left.
    """
    if names is None:
        return tuple(known)
    if not names:
        raise ConfigError("--evaluations is empty: leave it out to run all")
    for name in names:
        if name not in known:
            raise ConfigError(
                f"--evaluations names {name!r}, and this run has no such evaluation: "
                f"{nearest(name, known)}"
            )
    return tuple(dict.fromkeys(names))


def trainer_of_run(
    workdir: pathlib.Path, config: ConfigDict | None, allow_imports: Sequence[str] = ()
) -> MetaTrainer:
    """Returns a trainer that can restore the checkpoints of a run, whose roles begin with nothing of others.

    Args:
        workdir: the run directory.
        config: of the run; None: the one that the run has recorded.
        allow_imports: modules that the recorded config may have imported: see `config_of_run`.

    Raises:
        ConfigError: if there is no such run.
    """
    if config is None:
        config = config_of_run(workdir, allow_imports)
    config = config.copy_and_resolve_references()
    for section in config.values():
        if isinstance(section, ConfigDict) and "warm_start" in section:
            # What a role began with is in the checkpoints, and may be gone from where it was.
            section.warm_start = section.warm_start_parts = ""
    # Where it is evaluated there may be fewer devices than where it is trained.
    if isinstance(config.get("num_devices"), int) and config.num_devices > jax.device_count():
        config.num_devices = 0
    return build_trainer(config, str(workdir))
