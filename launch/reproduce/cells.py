"""Rows of a table of the literature, and how one that is trained from a config is measured."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from pax.callbacks.callback import Callback
from pax.config.build import build_trainer, check_settings
from pax.config.files import load_config
from pax.config.recorded import todays
from pax.run.directory import open_run

ROOT = pathlib.Path(__file__).parents[2]
REWARDS = tuple(f"train/reward_per_timestep/player_{player}" for player in (1, 2))


def as_name(text: str) -> str:
    """Returns a text as the name of a file."""
    return re.sub(r"\W", "_", text)


@dataclasses.dataclass(frozen=True)
class Curve:
    """Where the learning curve of a row is drawn."""

    panel: str
    """The title of a plot, which rows share."""
    metric: str
    """The name of the metric that is drawn, in `metrics.jsonl`."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A row of a table: one experiment."""

    label: str
    published: tuple[float | None, ...]
    measure: Callable[[pathlib.Path], np.ndarray]
    """Returns samples `[seeds, columns]`; may keep what it needs to go on in the folder that it is given,
    one of its own in the folder of all runs."""
    curve: Curve | None = None
    """None: none is drawn."""
    runs: str = ""
    """The folder of its run within that of all runs; by default its own."""

    @property
    def key(self) -> str:
        """Its name in files."""
        return as_name(self.label)

    def folder(self, runs: pathlib.Path) -> pathlib.Path:
        """Returns where its run is, given the folder of all."""
        return runs / (self.runs or self.key)


@dataclasses.dataclass(frozen=True)
class PublishedTable:
    """A table of experiments, one per row."""

    title: str
    unit: str
    first: str
    """The heading of the first column, which names the rows."""
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]
    has_one_scale: bool = True
    """Whether rows have the same scale: only then are they drawn in one figure."""
    draw: Callable[[Sequence[Mapping[str, Any]], pathlib.Path], None] | None = None
    """Draws the results of the rows into a file, in place of that figure."""

    @property
    def is_published(self) -> bool:
        """Whether there is something published to compare any of its rows with."""
        return any(known is not None for cell in self.cells for known in cell.published)


def trained(
    label: str,
    published: tuple[float | None, ...],
    config: str,
    num_seeds: int,
    quick: bool,
    *,
    settings: Mapping[str, Any] | None = None,
    starts: Mapping[str, str] | None = None,
    metrics: Sequence[str] = REWARDS,
    panel: str = "",
    runs: str = "",
) -> Cell:
    """Returns a row that trains once, all seeds side by side: means over the last tenth of it.

    Args:
        label: the name of the row.
        published: what it is compared with.
        config: of the checkout, such as `configs/ipd.py:ppo`.
        num_seeds: 0, 1, ...
        quick: whether to train the `quicktest` of the config.
        settings: of the config, by their dotted names.
        starts: settings that are policies of rows before it, as paths in the folder of all runs.
        metrics: what the columns are, of those in `metrics.jsonl`.
        panel: the plot of the first of them, if any.
        runs: where the run is, of several rows of the same one.
    """

    def measure(folder: pathlib.Path) -> np.ndarray:
        runs_folder = folder.parent.absolute()
        policies = {name: str(runs_folder / path) for name, path in (starts or {}).items()}
        given = {**(settings or {}), **policies}
        return train(config_of(config, num_seeds, quick, given), config, folder, metrics)

    return Cell(label, published, measure, Curve(panel, metrics[0]) if panel else None, runs)


def config_of(
    name: str, num_seeds: int, quick: bool, settings: Mapping[str, Any] | None = None
) -> ConfigDict:
    """Returns a config that trains some seeds, and reports nothing but metrics.

    `name` is one of the checkout, or has the absolute path of another file.
    """
    file, _, variant = name.partition(":")
    options = [*filter(None, [variant, "quicktest" if quick else ""])]
    config = load_config(":".join([str(ROOT / file), *filter(None, [",".join(options)])]))
    check_settings(config)
    config.num_seeds = num_seeds
    config.callbacks.evaluation.enabled = config.callbacks.progress.enabled = False
    config.update_from_flattened_dict(settings or {})
    return config


def command() -> str:
    """Returns the command that this process was started by."""
    return shlex.join(["python", "-m", "launch.reproduce", *sys.argv[1:]])


class LastTenth(Callback):
    """Averages the metrics over the last tenth of a run, for each seed by itself."""

    # Before the checkpoint of the same step, which keeps the sums.
    priority = 10
    when_interrupted = "if_due"

    def __init__(self, num_iters: int):
        """Takes the iterations of the run."""
        self.num_iters = num_iters
        self.sums: dict[str, list[float]] = {}
        self.counts: dict[str, list[int]] = {}

    def on_chunk_end(self, trainer: Any, state: Any, step: int, metrics: Any) -> None:
        for name, values in metrics.per_seed.items():
            first = step - len(values) + 1
            last = values[np.arange(first, step + 1) > 0.9 * self.num_iters]
            # Where no trial was of the kind that a metric is about, it is undefined.
            sums, counts = np.nansum(last, axis=0), (~np.isnan(last)).sum(axis=0)
            self.sums[name] = (sums + self.sums.get(name, 0)).tolist()
            self.counts[name] = (counts + self.counts.get(name, 0)).tolist()

    def mean(self, name: str) -> np.ndarray:
        """Returns that of a metric, `[seeds]`; NaN where it was never defined."""
        counts = np.array(self.counts[name], float)
        return self.sums[name] / np.where(counts == 0, np.nan, counts)

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self.sums, "counts": self.counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sums, self.counts = state["sums"], state["counts"]


def train(
    config: ConfigDict, name: str, workdir: pathlib.Path, metrics: Sequence[str] = REWARDS
) -> np.ndarray:
    """Trains, or goes on training, and returns the means of metrics over the last tenth of the run.

    Args:
        config: what is trained.
        name: the config of the checkout that it was made of, such as `configs/ipd.py:ppo`.
        workdir: the folder of the run, a run like any other.
        metrics: of those in `metrics.jsonl`.

    Returns:
        `[seeds, metrics]`.
    """
    settings = {"num_iters": config.num_iters}
    config.extra_callbacks = ((f"{LastTenth.__module__}.{LastTenth.__name__}", settings),)
    trainer = build_trainer(config, str(workdir))
    open_run(workdir, config.to_dict(), name, upgrade=todays, command=command())
    trainer.fit()
    last = next(callback for callback in trainer.callbacks if isinstance(callback, LastTenth))
    return np.stack([last.mean(name) for name in metrics], axis=-1)
