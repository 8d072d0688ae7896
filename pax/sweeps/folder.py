"""The folder of a sweep: which runs it has, what they are called, how far they are."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pax.checks import brief
from pax.config.command_line import as_flags
from pax.errors import ConfigError
from pax.run.directory import describe_differences
from pax.run.files import contents, read_regular, write_whole
from pax.run.status import read_status
from pax.sweeps.sweep import Overrides

SWEEP_FILE = "sweep.json"
POPULATION = "population"
"""In that file, whether the runs take over from each other."""


@dataclasses.dataclass(frozen=True)
class SweepRun:
    """One run of a sweep."""

    index: int
    overrides: Overrides
    folder: pathlib.Path
    """That of the sweep."""
    config: str
    common: Overrides
    """What is overridden in all runs."""

    @property
    def name(self) -> str:
        """`007`."""
        return f"{self.index:03d}"

    @property
    def workdir(self) -> pathlib.Path:
        """The folder of the run."""
        return self.folder / self.name

    @property
    def log(self) -> pathlib.Path:
        """What it printed; outside its folder, which must be empty when it begins."""
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def arguments(self) -> list[str]:
        """Those of `pax.main`."""
        return [
            f"--config={self.config}",
            *as_flags(self.common),
            *as_flags(self.overrides),
            f"--workdir={self.workdir}",
        ]

    @property
    def command(self) -> list[str]:
        """A process that trains it, or goes on with it."""
        return [sys.executable, "-m", "pax.main", *self.arguments]

    @property
    def state(self) -> str:
        """`waiting` if it never began; else as training last said, see `pax.run.status`."""
        status = read_status(self.workdir)
        return status.state if status else "waiting"

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.state == "done"

    @property
    def has_ended_early(self) -> bool:
        """Whether a callback ended it, so that it has no further iterations to train."""
        status = read_status(self.workdir)
        return status is not None and status.state == "done" and status.reason is not None

    def has_reached(self, at: int) -> bool:
        """Returns whether it has trained until an iteration and is saved, or a callback ended it before.

        A checkpoint is told of when it is on its way to the disk, where it is not if the run was killed then:
        that it is there says the end of a run, or a run that went on from it.
        """
        status = read_status(self.workdir)
        if status is None:
            return False
        if status.state == "done":
            return status.reason is not None or status.iteration >= at
        return status.iteration > at or (status.iteration == at and status.num_iters > at)

    @property
    def iteration(self) -> int:
        """Iterations done, as it last said."""
        status = read_status(self.workdir)
        return status.iteration if status else 0

    @property
    def fraction(self) -> float:
        """How much of it is done, 0 to 1, as it last said."""
        status = read_status(self.workdir)
        if status is None:
            return 0.0
        return 1.0 if status.state == "done" else status.iteration / max(status.num_iters, 1)


def runs_of(
    folder: pathlib.Path, config: str, common: Mapping[str, Any], sweep: Sequence[Overrides]
) -> list[SweepRun]:
    """Returns the runs of a sweep.

    Raises:
        ConfigError: if a setting is overridden in all of them and in one.
    """
    for key, value in common.items():
        if any(key in overrides for overrides in sweep):
            raise ConfigError(
                f"--config.{key}={brief(value)} is a setting that the sweep sets: take it away"
            )
    return [
        SweepRun(index, overrides, folder, config, common) for index, overrides in enumerate(sweep)
    ]


def claim(
    runs: Sequence[SweepRun], are_the_first: bool = False, are_population: bool = False
) -> None:
    """Makes the folder one of this sweep, unless it is of others; a sweep may grow at its end.

    Args:
        runs: of the sweep.
        are_the_first: whether the folder may have more of them.
        are_population: whether they take over from each other, so that none is what its settings made of it.

    Raises:
        ConfigError: if it holds something else, or cannot be written.
    """
    record = check_folder(runs, are_the_first, are_population)
    folder = runs[0].folder
    try:
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        write_whole(folder / SWEEP_FILE, json.dumps(record, indent=2) + "\n")
    except OSError as e:
        raise _unusable(folder, e) from e


def check_folder(
    runs: Sequence[SweepRun], are_the_first: bool = False, are_population: bool = False
) -> dict[str, Any]:
    """Checks that the folder can be one of this sweep, and writes nothing; returns what is to be recorded.

    Raises:
        ConfigError: if it holds something else, or cannot be read.
    """
    folder = runs[0].folder
    record = json.loads(
        json.dumps(
            {
                "config": runs[0].config,
                "overrides": runs[0].common,
                "runs": [run.overrides for run in runs],
                **({POPULATION: True} if are_population else {}),
            }
        )
    )
    path = folder / SWEEP_FILE
    try:
        if path.exists():
            old = _read(path)
            if are_the_first:
                record["runs"] += old["runs"][len(runs) :]
            _check_same(folder, old, record)
            _check_kind(folder, POPULATION in old, are_population)
        elif folder.exists() and (not folder.is_dir() or contents(folder)):
            raise ConfigError(
                f"--workdir={folder} is not empty and holds no sweep: name another folder"
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        if isinstance(e, ConfigError):
            raise
        raise _unusable(folder, e) from e
    return record


def recorded_runs(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the overrides of the runs that a folder has recorded, as JSON has them; none if there is none.

    Raises:
        ConfigError: if its record cannot be read.
    """
    path = folder / SWEEP_FILE
    if not path.exists():
        return []
    runs = _read(path).get("runs")
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise ConfigError(f"{path} lists no runs: name another folder")
    return runs


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return dict(json.loads(read_regular(path)))
    except (ValueError, TypeError, RecursionError) as e:
        raise ConfigError(
            f"{path} cannot be read ({e}): without it, nobody knows which settings the runs have; name "
            "another folder"
        ) from e


def _unusable(folder: pathlib.Path, error: Exception) -> ConfigError:
    return ConfigError(f"--workdir={folder} cannot be used ({error}): name another folder")


def _check_same(folder: pathlib.Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    kept = new["runs"][: len(old["runs"])]
    differences = describe_differences(
        {**old, POPULATION: None, "runs": _by_name(old["runs"])},
        {**new, POPULATION: None, "runs": _by_name(kept)},
    )
    if differences:
        more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ConfigError(
            f"--workdir={folder} holds another sweep ({'; '.join(differences[:3])}{more}): name another "
            "folder, or add runs at the end only"
        )


def _by_name(runs: Sequence[Overrides]) -> dict[str, Overrides]:
    return {f"{index:03d}": run for index, run in enumerate(runs)}


def _check_kind(folder: pathlib.Path, were_population: bool, are_population: bool) -> None:
    if are_population and not were_population:
        raise ConfigError(
            f"--workdir={folder} holds a sweep whose runs train apart, and with --search=pbt they take over "
            "from each other: name another folder"
        )
    if were_population and not are_population:
        raise ConfigError(
            f"--workdir={folder} holds a population, whose runs took over from each other: give "
            "--search=pbt, or name another folder"
        )
