"""What a trainer has reported so far, in memory: a table with a row per iteration and seed."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging
from numpy.typing import ArrayLike

from pax.errors import ConfigError
from pax.metrics.json_writer import (
    METRICS_FILE,
    SEEDS_FILE,
    STEP_KEY,
    read_metrics,
    read_seed_metrics,
)
from pax.metrics.scalar_writer import ScalarWriter, as_number

SEED_KEY = "seed"
MAX_VALUES = 2_000_000
"""Numbers of training that are kept: with more, every second iteration is dropped, again and again."""
MAX_BLOCKS = 200
"""Chunks that are kept as they come: then they are put into one array per metric, which takes less room."""


Block = tuple[np.ndarray, dict[str, np.ndarray]]
"""Iterations `[n]`, and metrics of training by name, `[n, S]` or `[n]`."""


class History(ScalarWriter):
    """Keeps the metrics of training of each iteration and seed, and whatever else is written.

    It is a writer beside those of files, so that it has evaluations and the scalars of users' callbacks too.

    Args:
        num_seeds: runs that train side by side.
        seed: of the first one.
        max_values: numbers of training to keep.
    """

    def __init__(self, num_seeds: int, seed: int, max_values: int = MAX_VALUES):
        self._num_seeds, self._first_seed, self._max_values = num_seeds, seed, max_values
        self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self._blocks: list[Block] = []
        self._num_values = 0
        self._trained: dict[str, None] = {}
        self._written: dict[int, dict[str, Any]] = {}
        self._stride = 1
        self._earlier: tuple[pathlib.Path, int] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was reported so far, here or before."""
        return not (self._blocks or self._written or self._earlier)

    def go_back(self, workdir: pathlib.Path | None, step: int) -> None:
        """Forgets what came after an iteration; what a run's folder has up to it is read when needed."""
        if workdir is not None and (workdir / METRICS_FILE).exists():
            self.clear()
            self._earlier = (workdir, step)
            return
        self._blocks = [
            (at[at <= step], {name: values[at <= step] for name, values in block.items()})
            for at, block in self._blocks
        ]
        self._written = {at: row for at, row in self._written.items() if at <= step}

    def add_chunk(self, last: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Adds what training did in a chunk of iterations.

        Args:
            last: the last of them.
            metrics: by name, of each seed `[chunk, S]`, or of all together `[chunk]`.
        """
        self._trained |= dict.fromkeys(metrics)
        size = len(next(iter(metrics.values())))
        self._keep(np.arange(last - size + 1, last + 1), metrics)
        if len(self._blocks) > MAX_BLOCKS:
            self._blocks = _joined(self._blocks)
        if self._num_values > self._max_values:
            self._stride *= 2
            blocks, self._blocks, self._num_values = _joined(self._blocks), [], 0
            for at, block in blocks:
                self._keep(at, block)

    def _keep(self, at: np.ndarray, metrics: Mapping[str, np.ndarray]) -> None:
        kept = at % self._stride == 0
        if kept.any():
            self._blocks.append(
                (at[kept], {name: values[kept] for name, values in metrics.items()})
            )
            self._num_values += int(kept.sum()) * self._num_seeds * len(metrics)

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Keeps scalars that are no metrics of training, or means of these."""
        row = {
            name: as_number(name, value)
            for name, value in scalars.items()
            if name not in self._trained and name.removesuffix("/std") not in self._trained
        }
        if row:
            self._written.setdefault(int(step), {}).update(row)

    def write_seeds(self, step: int, per_seed: Mapping[str, ArrayLike]) -> None:
        """Keeps metrics of each seed, `[S]`, in place of their means."""
        new = {name: values for name, values in per_seed.items() if name not in self._trained}
        if new:
            _put(self._written.setdefault(int(step), {}), new)

    def table(self) -> dict[str, np.ndarray]:
        """Returns columns of equal length by name: iterations in order, and within each the seeds.

        Numbers of all seeds together, such as the speed, are the same in the rows of one iteration. What was
        not reported, or is undefined, is NaN.
        """
        self._read_earlier()
        iterations = np.unique(
            np.concatenate([np.array(list(self._written), int), *(at for at, _ in self._blocks)])
        )
        shape = (len(iterations), self._num_seeds)
        place = {int(at): index for index, at in enumerate(iterations)}
        columns: dict[str, np.ndarray] = {}

        def column(name: str) -> np.ndarray:
            if name not in columns:
                columns[name] = np.full(shape, np.nan)
            return columns[name]

        for at, block in self._blocks:
            rows = np.searchsorted(iterations, at)
            for name, values in block.items():
                column(name)[rows] = values if values.ndim == 2 else values[:, None]
        for step, row in self._written.items():
            for name, value in row.items():
                column(name)[place[step]] = value
        seeds = self._first_seed + np.arange(self._num_seeds)
        return {
            STEP_KEY: np.repeat(iterations, self._num_seeds),
            SEED_KEY: np.tile(seeds, len(iterations)),
            **{name: values.reshape(-1) for name, values in columns.items()},
        }

    def _read_earlier(self) -> None:
        """Reads what the folder of a resumed run has of the iterations before."""
        if self._earlier is None:
            return
        (workdir, last), self._earlier = self._earlier, None
        try:
            rows = read_metrics(workdir)
            seed_rows = read_seed_metrics(workdir) if (workdir / SEEDS_FILE).exists() else []
        except ConfigError as e:
            logging.warning("The history lacks what was reported before: %s.", e)
            return
        sizes = {len(values) for row in seed_rows for key, values in row.items() if key != STEP_KEY}
        if sizes - {self._num_seeds}:
            logging.warning(
                "The history lacks what was reported before: %s has a run of %d seeds, and this trainer %d.",
                workdir,
                *sizes,
                self._num_seeds,
            )
            return
        for row in rows:
            if row[STEP_KEY] <= last:
                self._written.setdefault(row.pop(STEP_KEY), {}).update(_numbers(row))
        for row in seed_rows:
            if row[STEP_KEY] <= last:
                _put(self._written.setdefault(row.pop(STEP_KEY), {}), _numbers(row))


def _joined(blocks: list[Block]) -> list[Block]:
    """Returns one block for those of the same metrics; their order does not matter."""
    alike: dict[tuple[str, ...], list[Block]] = {}
    for block in blocks:
        alike.setdefault(tuple(block[1]), []).append(block)
    return [
        (
            np.concatenate([at for at, _ in group]),
            {name: np.concatenate([block[name] for _, block in group]) for name in names},
        )
        for names, group in alike.items()
    ]


def _put(row: dict[str, Any], per_seed: Mapping[str, Any]) -> None:
    """Replaces means and deviations in a row by the numbers of each seed."""
    for name in per_seed:
        row.pop(f"{name}/std", None)
    row.update(per_seed)


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a row of a file holds, NaN where it is null."""
    return {name: np.asarray(value, np.float64) for name, value in row.items()}
