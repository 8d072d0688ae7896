"""Metrics as JSON Lines: one object per iteration, for any tool to read."""

import errno
import itertools
import json
import math
import os
import pathlib
import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging
from numpy.typing import ArrayLike

from pax import checks
from pax.checks import MAX_INT
from pax.errors import ConfigError
from pax.metrics.scalar_writer import ScalarWriter, as_number
from pax.run.files import parse_object, read_regular, split_lines, write_whole
from pax.run.remote import local_path

STEP_KEY = "iteration"
METRICS_FILE = "metrics.jsonl"
SEEDS_FILE = "metrics_seeds.jsonl"
"""Beside `METRICS_FILE`, of a run with several seeds: the same metrics, of each of them."""


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Returns the rows of a file that `JsonLinesWriter` writes, or wrote.

    A last line that is incomplete, as a killed run leaves it, is left out.

    Args:
        path: the file, or the folder of a run; also on a bucket, as in `gs://bucket/run`.

    Returns:
        One dict per iteration, `{"iteration": step, name: number or None}`; None stands for a
        number that is not finite.

    Raises:
        ConfigError: `path` is no path, the file cannot be read or is no regular one, or a line other than
            the last is not a row.
    """
    return _read(path, METRICS_FILE)


def read_seed_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Returns the rows of a file that `SeedLinesWriter` writes, or wrote, as `read_metrics` does.

    Args:
        path: the file, or the folder of a run with several seeds.

    Returns:
        One dict per iteration, `{"iteration": step, name: [number or None of each seed]}`.

    Raises:
        ConfigError: as `read_metrics` does; also if a metric of a row is no list of numbers, or has another
            number of seeds than the others.
    """
    rows = _read(path, SEEDS_FILE)
    for row in rows:
        lists = [value for key, value in row.items() if key != STEP_KEY]
        if not all(isinstance(value, list) and all(map(_is_number, value)) for value in lists):
            raise ConfigError(
                f"{path}: the row of iteration {row[STEP_KEY]} has a metric that is no list of numbers: give "
                "a file that Pax wrote"
            )
    sizes = {len(value) for row in rows for key, value in row.items() if key != STEP_KEY}
    if len(sizes) > 1:
        told = " and ".join(map(str, sorted(sizes)))
        raise ConfigError(f"{path} has metrics of {told} seeds: give a file that Pax wrote")
    return rows


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _read(path: str | os.PathLike[str], name: str) -> list[dict[str, Any]]:
    """Returns the rows of a file, or of the file `name` in a folder."""
    checks.file("path", path)
    path = local_path("path", path)
    if path.is_dir():
        path = path / name
    try:
        lines = split_lines(read_regular(path))
    except OSError as e:
        raise ConfigError(
            f"metrics {path} cannot be read ({e.strerror}): give the folder of a run, or its {name}"
        ) from e
    rows = [_parse(line) for line in lines]
    if rows and rows[-1] is None:
        rows.pop()
    for number, row in enumerate(rows, start=1):
        if row is None:
            raise ConfigError(
                f"{path}, line {number} is not an object with an {STEP_KEY!r} from 0 to {MAX_INT}: give a "
                "file that Pax wrote"
            )
    return [row for row in rows if row is not None]


class JsonLinesWriter(ScalarWriter):
    """Writes one JSON object per step, `{"iteration": step, name: number}`.

    Scalars that several calls write for one step (training, then evaluation) share its object. It
    reaches the file when a later step arrives, or at `flush` or `close`, in one system call: after
    `flush` it survives a killed process. Scalars that arrive for the last step after it was
    flushed are merged as well: its line, the last of the file, is replaced.

    The file is strict JSON: numbers that are not finite are null. Runs whose numbers are bit-equal
    write equal text.

    Args:
        path: the file; its folder is made if it is missing.
        resume_at: the step to go on from: rows of later steps, which the run will write again, and
            lines that a kill left incomplete are dropped. None begins an empty file; one that is
            there is kept, once, with `.old` added to its name.
    """

    def __init__(self, path: str | os.PathLike[str], resume_at: int | None = None) -> None:
        self._path = pathlib.Path(path)
        self._row: dict[str, Any] = {}
        self._offset = 0  # where the line of `_row` begins
        self._end = 0  # where the file ends
        self._dirty = False
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if resume_at is not None and self._path.exists():
            self._keep_until(resume_at)
        elif resume_at:
            logging.warning(
                "%s is missing: the metrics of iterations 1 to %d are lost.", self._path, resume_at
            )
        elif self._path.exists() and self._path.stat().st_size:
            os.replace(self._path, f"{self._path}.old")
        self._path.touch()
        # Without a buffer: what a full disk does not take would be tried again at the worst moments.
        self._file = self._path.open("r+b", buffering=0)
        self._folder = _identity(self._path.parent)

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Adds scalars to the object of a step.

        Args:
            step: the iteration; it never decreases.
            scalars: name to number, or to an array of one element. A name that the step already
                has gets the new value.

        Raises:
            ValueError: `step` is before the last one, a value is not one real number, or a name is
                "iteration".
        """
        numbers = {key: as_number(key, value) for key, value in scalars.items()}
        # JSON has no number for those that are not finite.
        self._merge(step, {k: n if math.isfinite(n) else None for k, n in numbers.items()})

    def _merge(self, step: int, values: Mapping[str, Any]) -> None:
        """Adds JSON values to the object of a step."""
        step = int(step)
        if STEP_KEY in values:
            raise ValueError(f"{STEP_KEY!r} is the key of the step: give the scalar another name")
        last = self._row.get(STEP_KEY, step)
        if step < last:
            raise ValueError(
                f"scalars for iteration {step} after those of {last} in {self._path}: pass the "
                "iteration of the run as the step, which never decreases"
            )
        if step > last:
            self._emit()
        if step > last or not self._row:
            self._row = {STEP_KEY: step}
            self._offset = self._end
        self._row |= values
        self._dirty = True

    def flush(self) -> None:
        """Hands all that was written to the operating system."""
        self._emit()

    def close(self) -> None:
        """Flushes and closes the file."""
        if not self._file.closed:
            try:
                self._emit()
            finally:
                self._file.close()

    def _emit(self) -> None:
        if not self._dirty:
            return
        line = _line(self._row)
        if not self._path.exists():
            if self._folder != _identity(self._path.parent):
                raise FileNotFoundError(
                    errno.ENOENT, "its folder was deleted or moved", os.fspath(self._path)
                )
            logging.warning(
                "%s was deleted: its rows are lost, and those to come are not.", self._path
            )
            self._file.close()
            self._file = self._path.open("x+b", buffering=0)
            self._offset = 0
        self._file.seek(self._offset)
        written = 0
        while written < len(line):
            # A full disk may take a part of it; the next call raises the error.
            written += self._file.write(line[written:])
        self._end = self._offset + len(line)
        # Only now, so that a kill in between cannot lose a row that was flushed before.
        self._file.truncate(self._end)
        self._dirty = False

    def _keep_until(self, step: int) -> None:
        """Drops rows after `step`, and invalid lines, by atomically replacing the file."""
        rows = [_parse(line) for line in split_lines(read_regular(self._path))]
        kept = _in_order(self._path, rows, step)
        kept_lines = [_line(row) for row in kept]
        self._end = sum(map(len, kept_lines))
        self._offset = self._end - (len(kept_lines[-1]) if kept_lines else 0)
        write_whole(self._path, b"".join(kept_lines))
        # The last row stays open: callbacks of `step` may write again what they wrote before.
        self._row = kept[-1] if kept else {}


class SeedLinesWriter(JsonLinesWriter):
    """Writes what each seed did, one JSON object per step, `{"iteration": step, name: [number, ...]}`.

    The file is kept as `JsonLinesWriter` keeps its own, and numbers are written as they would be of a run
    with that seed only. Scalars are left to that writer.
    """

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Does nothing."""

    def write_seeds(self, step: int, per_seed: Mapping[str, ArrayLike]) -> None:
        """Adds metrics to the object of a step.

        Args:
            step: the iteration; it never decreases.
            per_seed: by name, a number of each seed, `[S]`.

        Raises:
            ValueError: as `write_scalars` of `JsonLinesWriter` does.
        """
        self._merge(step, {key: _as_list(values) for key, values in per_seed.items()})


def _as_list(values: ArrayLike) -> list[int | float | None]:
    """Returns numbers `[S]` as `as_number` does, None for those that are not finite."""
    array = np.asarray(values)
    is_narrow = array.dtype.kind == "f" and array.dtype.itemsize < 8
    numbers = [float(str(value)) for value in array] if is_narrow else array.tolist()
    return [number if math.isfinite(number) else None for number in numbers]


def _identity(folder: pathlib.Path) -> tuple[int, int] | None:
    """Tells a folder from another one of its name; None if there is none."""
    try:
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _in_order(
    path: pathlib.Path, rows: list[dict[str, Any] | None], step: int
) -> list[dict[str, Any]]:
    """Returns one row per iteration up to `step`, in order; a warning says what was wrong or is missing."""
    broken = rows[:-1].count(None)
    if broken:
        logging.warning("%s: dropping %d lines that are not rows.", path, broken)
    by_step: dict[int, dict[str, Any]] = {}
    whole = [row for row in rows if row is not None and row[STEP_KEY] <= step]
    for row in whole:
        # The one that was written last is of the run that went furthest.
        by_step[row[STEP_KEY]] = row
    if len(by_step) < len(whole):
        logging.warning(
            "%s: dropping %d rows of iterations that have another one.",
            path,
            len(whole) - len(by_step),
        )
    if gaps := find_gaps(sorted(by_step), step):
        told = ", ".join(f"{first} to {last}" for first, last in gaps)
        logging.warning("%s: rows are missing between the iterations %s.", path, told)
    return [by_step[key] for key in sorted(by_step)]


def find_gaps(iterations: list[int], last: int) -> list[tuple[int, int]]:
    """Stretches without rows that are longer than those on both sides of them.

    Args:
        iterations: of the rows, ascending.
        last: the iteration that the run has reached.

    Returns:
        The iterations on both sides of each gap; 0 is the start, and `last` the end.
    """
    if not iterations:
        return [(0, last)] if last else []
    ends = [0, *iterations] if iterations[0] > 0 else iterations
    steps = [after - before for before, after in itertools.pairwise(ends)]
    # From some iteration on, rows may be rarer: then the last distance is the usual one.
    usual = max(statistics.mode(steps), steps[-1]) if steps else last
    gaps = []
    for index, length in enumerate(steps[:-1]):
        sides = [steps[index + 1], *steps[max(index - 1, 0) : index]]
        if length > max(sides):
            gaps.append((ends[index], ends[index + 1]))
    if last - ends[-1] > usual:
        gaps.append((ends[-1], last))
    return gaps


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    """Returns the row that a line holds, or None if it holds none."""
    row = parse_object(line)
    return row if row is not None and is_iteration(row.get(STEP_KEY)) else None


def is_iteration(value: Any) -> bool:
    """Returns whether a value is one that a run can have written for its iteration."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INT
