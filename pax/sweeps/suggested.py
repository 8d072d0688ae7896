"""Searches by Optuna: batches of runs with settings that it suggests, after what the earlier ones came to."""

from __future__ import annotations

import json
import math
import signal
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from pax.errors import ConfigError
from pax.sweeps.folder import SweepRun, claim, recorded_runs, runs_of
from pax.sweeps.one_program import OneProgram
from pax.sweeps.search import SEED, value_at
from pax.sweeps.sweep import Overrides

BATCH = 8
"""Runs that are suggested at once."""
DECADES = 10.0
"""By how many times the largest value of a setting exceeds the smallest where its logarithm is searched."""


class Suggested:
    """Trains runs with settings that Optuna suggests (optuna.org), within those of a sweep.

    A batch of runs is suggested, trained in one program, and told to Optuna's sampler (TPE). The sampler
    draws the same for the same seed and the same results, so nothing of it is kept: the same command suggests
    the same again, finds it done, and goes on. Where a run has come to something else since (it failed, and
    was trained after all), what was suggested after it stays as the folder has it.

    Args:
        space: the runs of the sweep, see `choices_of`.
        config: what they have in common.
        metric: by which runs are compared.
        ascending: whether the smallest is best.
        num_runs: how many are trained.
        seed: of what is suggested.
        side_by_side: how many train at once.
        say: prints a line.

    Attributes:
        failed: runs that ended with an error.

    Raises:
        ConfigError: if Optuna is not installed, or there is nothing to choose.
    """

    def __init__(
        self,
        space: Sequence[SweepRun],
        config: ConfigDict,
        *,
        metric: str,
        ascending: bool,
        num_runs: int,
        seed: int = 0,
        side_by_side: int = 0,
        say: Callable[[str], None] = print,
    ):
        try:
            import optuna
        except ImportError as e:
            raise ConfigError(
                f"--search=optuna needs Optuna ({e}): pip install 'optuna>=4,<5', or the extra pax-rl[optuna]"
            ) from e
        if num_runs < 1:
            raise ConfigError("--search=optuna trains --num_runs runs: give how many")
        self._optuna: Any = optuna
        self._choices = choices_of([run.overrides for run in space])
        self._space, self._config, self._say = space, config, say
        self._metric, self._ascending = metric, ascending
        self._num_runs, self._seed, self._side_by_side = num_runs, seed, side_by_side
        self._runs: list[SweepRun] = []
        self.failed: list[SweepRun] = []

    @property
    def runs(self) -> list[SweepRun]:
        """Those that were suggested."""
        return list(self._runs)

    def work(self) -> signal.Signals | None:
        """Trains them; returns the signal that ended it early, if one did."""
        study = self._study()
        while len(self._runs) < self._num_runs:
            num = min(BATCH, self._num_runs - len(self._runs))
            trials = [study.ask(self._distributions()) for _ in range(num)]
            first = self._space[0]
            begun = [run.overrides for run in self._runs]
            # The first batch follows from the seed alone.
            recorded = recorded_runs(first.folder)[len(begun) : len(begun) + num] if begun else []
            overrides = [self._overrides(trial) for trial in trials]
            for place, kept in enumerate(map(self._as_suggested, recorded)):
                if kept is not None and kept != overrides[place]:
                    study.tell(trials[place], state=self._optuna.trial.TrialState.FAIL)
                    trials[place], overrides[place] = None, kept
            self._runs = runs_of(first.folder, first.config, first.common, [*begun, *overrides])
            batch = self._runs[-num:]
            self._say(f"Runs {batch[0].name} to {batch[-1].name} of {self._num_runs}.")
            claim(self._runs, are_the_first=True)
            program = OneProgram(
                batch, self._config, side_by_side=self._side_by_side, say=self._say
            )
            if stopped_by := program.work():
                return stopped_by
            self.failed += program.failed
            for trial, run in zip(trials, batch, strict=True):
                value = value_at(run, self._metric, run.iteration)
                has_failed = run in program.failed or math.isnan(value)
                if trial is None:
                    if not has_failed:
                        study.add_trial(self._trial(run.overrides, value))
                elif has_failed:
                    study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
                else:
                    study.tell(trial, value)
        return None

    def _as_suggested(self, recorded: Mapping[str, Any]) -> Overrides | None:
        """Returns settings that a folder has, as they are suggested; None if they never are."""
        settings: dict[str, Any] = {}
        for key, values in self._choices.items():
            if key not in recorded:
                return None
            if is_range(values):
                settings[key] = recorded[key]
                continue
            # JSON has lists for tuples.
            alike = [value for value in values if json.loads(json.dumps(value)) == recorded[key]]
            if not alike:
                return None
            settings[key] = alike[0]
        return settings if len(settings) == len(recorded) else None

    def _trial(self, overrides: Overrides, value: float) -> Any:
        """Returns a finished trial of settings."""
        params = {
            key: overrides[key] if is_range(values) else values.index(overrides[key])
            for key, values in self._choices.items()
        }
        return self._optuna.trial.create_trial(
            params=params, distributions=self._distributions(), value=value
        )

    def _study(self) -> Any:
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            # Without it, the runs of a batch are nearly the same.
            sampler = self._optuna.samplers.TPESampler(seed=self._seed, constant_liar=True)
        direction = "minimize" if self._ascending else "maximize"
        return self._optuna.create_study(direction=direction, sampler=sampler)

    def _distributions(self) -> dict[str, Any]:
        make = self._optuna.distributions
        return {
            key: make.FloatDistribution(
                values[0], values[-1], log=values[0] > 0 and values[-1] / values[0] >= DECADES
            )
            if is_range(values)
            # By their numbers, as they may be anything.
            else make.CategoricalDistribution(range(len(values)))
            for key, values in self._choices.items()
        }

    def _overrides(self, trial: Any) -> Overrides:
        """Returns the settings that were suggested."""
        return {
            key: float(f"{trial.params[key]:.6g}")
            if is_range(values)
            else values[trial.params[key]]
            for key, values in self._choices.items()
        }


def is_range(values: Sequence[Any]) -> bool:
    """Returns whether anything between the first of some values and the last may be suggested."""
    return len(values) > 1 and all(isinstance(value, float) for value in values)


def choices_of(sweep: Sequence[Overrides]) -> dict[str, list[Any]]:
    """Returns what may be suggested, by setting: the values that a sweep has of it.

    Of floats, all between the smallest and the largest may be; of anything else, these. The seed is none of
    them, as the search would be for a lucky one.

    Raises:
        ConfigError: if some runs do not have a setting, or there is nothing to choose.
    """
    choices: dict[str, list[Any]] = {}
    for key in dict.fromkeys(key for overrides in sweep for key in overrides):
        missing = [number for number, overrides in enumerate(sweep) if key not in overrides]
        if missing:
            raise ConfigError(
                f"--search=optuna chooses each setting by itself, and run {missing[0]:03d} of the sweep does "
                f"not have {key}, which others have: give it to all of them"
            )
        values: list[Any] = []
        for overrides in sweep:
            if overrides[key] not in values:
                values.append(overrides[key])
        if key != SEED and len(values) > 0:
            choices[key] = sorted(values) if is_range(values) else values
    if not any(len(values) > 1 for values in choices.values()):
        raise ConfigError(
            "--search=optuna chooses among the values of a sweep, and this one has one of each setting but "
            "the seed: give it more"
        )
    return choices
