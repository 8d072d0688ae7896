"""Sweeps of trainers that a program makes, without configs."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from absl import logging

from pax.callbacks.callback_list import CallbackList
from pax.callbacks.progress import Progress
from pax.checks import COUNT_OR_NONE, check_instance, check_number, short
from pax.errors import ConfigError
from pax.run.interrupt import pass_on
from pax.sweeps.groups import group_runs
from pax.sweeps.progress import SweepProgress
from pax.sweeps.side_by_side import train_group
from pax.sweeps.sweep import product
from pax.trainer import MetaTrainer


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What came of a sweep."""

    settings: list[dict[str, Any]]
    """Of each run."""
    trainers: list[MetaTrainer]
    """Of each run, to evaluate, plot or train further."""
    errors: dict[int, BaseException]
    """By the number of the run, from 0, what ended it if it failed."""
    stop_reason: str | None = None
    """The signal that ended it early, if one did."""

    @property
    def table(self) -> dict[str, list[Any]]:
        """Columns by name, with a row per run: `pandas.DataFrame(sweep.table)` takes it.

        There are the settings, `iteration`, `error` (None if there was none), and the metrics of the last
        iteration.
        """
        keys = dict.fromkeys(key for settings in self.settings for key in settings)
        columns = {key: [settings.get(key) for settings in self.settings] for key in keys}
        columns["iteration"] = [trainer.step for trainer in self.trainers]
        errors = [self.errors.get(run) for run in range(len(self.trainers))]
        columns["error"] = [None if error is None else str(error) for error in errors]
        last = [trainer.last_metrics for trainer in self.trainers]
        for name in dict.fromkeys(name for metrics in last for name in metrics):
            columns[name] = [metrics.get(name) for metrics in last]
        return columns


class _Told:
    """Shows how far the runs of a group are, and keeps how they fail."""

    def __init__(
        self,
        runs: Sequence[int],
        trainers: Sequence[MetaTrainer],
        progress: SweepProgress,
        errors: dict[int, BaseException],
    ):
        self._runs, self._trainers = runs, trainers
        self._progress = progress
        self._errors = errors

    def advanced(self, steps: Mapping[int, int]) -> None:
        if all(trainer.quiet for trainer in self._trainers):
            return
        own = {self._runs[run]: step for run, step in steps.items()}
        self._progress.show(
            {run: step / self._trainers[run].num_iters for run, step in own.items()}
        )

    def done(self, run: int) -> None:
        self._progress.done(self._runs[run])

    def failed(self, run: int, error: BaseException) -> None:
        self._errors[self._runs[run]] = error
        self._progress.failed(self._runs[run])
        logging.warning("Run %d failed: %s", self._runs[run], error)


def train(
    make: Callable[..., MetaTrainer],
    *sweeps: Iterable[Mapping[str, Any]],
    side_by_side: int = 0,
    **axes: Iterable[Any],
) -> Sweep:
    """Trains a trainer for every combination of settings; those that differ in numbers only, side by side.

    Numbers are traced: a program is compiled once, whatever they are. Each run is as if alone, up to
    rounding, with a folder of its own if `make` gives it one. One that fails leaves the others alone.

    >>> def make(learning_rate, seed):
    ...     agents = [PPO.for_env(env, learning_rate=learning_rate), TitForTat.for_env(env)]
    ...     return MetaTrainer(env, agents, num_iters=200, seed=seed)
    >>> sweep = train(make, learning_rate=(0.01, 0.03), seed=range(4))
    >>> pandas.DataFrame(sweep.table)

    Args:
        make: takes the settings of a run and returns its trainer.
        *sweeps: lists of settings, as `product` and `zip` return them.
        side_by_side: how many runs train at once; 0: as many as fit into caches or memory.
        **axes: by setting, its values.

    Raises:
        ConfigError: if there is no such combination, two runs share a folder, or one finds no room.
    """
    if not callable(make):
        raise ConfigError(
            f"a sweep makes trainers by {short(make)}: give a function that takes its settings and returns a "
            "MetaTrainer"
        )
    check_number("side_by_side", side_by_side, COUNT_OR_NONE)
    settings = product(*sweeps, **axes)
    trainers = [make(**each) for each in settings]
    folders: dict[Any, int] = {}
    for run, trainer in enumerate(trainers):
        check_instance(
            f"the trainer of run {run}", trainer, MetaTrainer, "a function that returns one"
        )
        if any(trainer is other for other in trainers[:run]):
            raise ConfigError(f"run {run} has the trainer of another run: make a new one for each")
        if trainer.workdir is not None:
            other = folders.setdefault(trainer.workdir, run)
            if other != run:
                raise ConfigError(
                    f"runs {other} and {run} have the same workdir {trainer.workdir}: give each its own"
                )
        # There is one terminal.
        trainer.callbacks = CallbackList(
            [each for each in trainer.callbacks if not isinstance(each, Progress)]
        )
    errors: dict[int, BaseException] = {}
    stopped_by: signal.Signals | None = None
    progress = SweepProgress(
        {run: trainer.step / trainer.num_iters for run, trainer in enumerate(trainers)}
    )
    for group in group_runs(trainers):
        stopped_by = train_group(
            trainers,
            group,
            range(len(group.runs)),
            side_by_side=side_by_side,
            names=[str(run) for run in group.runs],
            around=lambda run: contextlib.nullcontext(),
            told=_Told(group.runs, trainers, progress, errors),
            say=logging.info,
        )
        if stopped_by:
            break
    progress.clear()
    reason = stopped_by.name if stopped_by else None
    pass_on(reason)
    return Sweep(settings, trainers, errors, reason)
