"""Results of evaluations in the run directory: `evaluation.jsonl`, and its mirror for TensorBoard."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging

from pax.errors import CheckpointError
from pax.metrics.bootstrap import estimate_where_defined
from pax.metrics.json_writer import is_iteration
from pax.metrics.seeds import of_evaluation, over_seeds
from pax.metrics.writers import ConciseLoggingWriter, SummaryWriter
from pax.run.files import parse_object, read_regular, split_lines, write_whole
from pax.run.locks import FOLLOWER_LOCK, RECORD_LOCK, FileLock, holding

EVALUATION_FILE = "evaluation.jsonl"
FOLDER = "evaluation"
SECONDS_TO_RECORD = 60.0
"""How long to wait for another process that records; it takes a moment."""
# What a row says besides metrics.
ABOUT = ("iteration", "evaluation", "wall_time", "evaluated_at", "seconds")

Row = dict[str, Any]
Key = tuple[int, str]


class Results:
    """The rows of `evaluation.jsonl`: one JSON object per iteration and evaluation.

    Any number of processes may record: each takes a lock of the run directory for the moment. A row is
    either whole in the file or not there, whatever is killed.

    Args:
        workdir: the run directory.
    """

    def __init__(self, workdir: pathlib.Path):
        self._workdir = workdir
        self._path = workdir / EVALUATION_FILE
        self._seen: tuple[int, ...] = ()
        self._rows: dict[Key, Row] = {}

    def rows(self) -> dict[Key, Row]:
        """Returns all rows by iteration and name of the evaluation, in the order of the file.

        Lines that are not rows, as a killed process may leave one, are passed over.

        Raises:
            CheckpointError: if there is such a file, and it cannot be read.
        """
        try:
            stat = self._path.stat()
            seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if seen != self._seen:
                self._rows = {
                    _key(row): row
                    for row in map(parse_row, split_lines(read_regular(self._path)))
                    if row
                }
                self._seen = seen
        except FileNotFoundError:
            return {}
        except OSError as e:
            raise CheckpointError(
                f"{self._path} cannot be read ({e.strerror}): take it away"
            ) from e
        return self._rows

    def record(self, new: Sequence[Row]) -> None:
        """Adds rows; one of the same iteration and evaluation is replaced.

        Raises:
            CheckpointError: if the file cannot be written.
        """
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in new).encode()
        try:
            with holding(self._workdir / RECORD_LOCK, wait_seconds=SECONDS_TO_RECORD) as lock:
                if lock is None:
                    holder = FileLock(self._workdir / RECORD_LOCK).holder()
                    raise CheckpointError(
                        f"the evaluation could not be written to {self._workdir}: {holder} has had the "
                        f"lock for {SECONDS_TO_RECORD:g} s; end it"
                    )
                before = read_regular(self._path) if self._path.exists() else b""
                lines = split_lines(before)
                rows = [parse_row(line) for line in lines]
                replaced = {_key(row) for row in new}
                kept = [
                    line
                    for line, row in zip(lines, rows, strict=True)
                    if row and _key(row) not in replaced
                ]
                if kept == lines and before[-1:] in (b"", b"\n"):
                    with self._path.open("ab", buffering=0) as file:
                        file.write(text)
                    return
                if None in rows[:-1]:
                    logging.warning("%s: dropping lines that are not rows.", self._path)
                write_whole(self._path, b"".join(line + b"\n" for line in kept) + text)
        except OSError as e:
            raise CheckpointError(
                f"the evaluation could not be written to {self._workdir}: {e}"
            ) from e


class Mirror:
    """Shows the rows of `evaluation.jsonl` in TensorBoard, as a run of its own, `<run>/evaluation`.

    TensorBoard reads the event files of a folder one after the other and never goes back, and a resumed run
    drops the later points of its folder: two processes that write at the same time need two folders.

    The event file only repeats what is recorded. A new one, which has all rows and makes TensorBoard drop
    what it has read, is begun at the start and when a row comes that is not the latest: so none is lost
    with a killed process, and none is shown twice.
    """

    def __init__(self, workdir: pathlib.Path, results: Results):
        self._folder = workdir / FOLDER
        self._results = results
        self._shown: dict[Key, Row] = {}
        self._writer: SummaryWriter | None = None
        self._log = ConciseLoggingWriter()

    def sync(self, log: bool = False) -> None:
        """Writes the rows that are not shown yet; `log` says so, a line each."""
        rows = self._results.rows()
        new = {key: row for key, row in rows.items() if self._shown.get(key) != row}
        if not new:
            return
        latest = max((iteration for iteration, _ in self._shown), default=0)
        if self._writer is None or any(key in self._shown or key[0] < latest for key in new):
            self.close()
            self._writer = SummaryWriter(self._folder, purge_step=0)
            self._write(self._writer, rows)
        else:
            self._write(self._writer, new)
        self._writer.flush()
        if log:
            for (iteration, name), row in sorted(new.items()):
                self._log.write_scalars(iteration, as_scalars(name, row))
        self._shown = dict(rows)

    def close(self) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @staticmethod
    def _write(writer: SummaryWriter, rows: dict[Key, Row]) -> None:
        for (iteration, name), row in sorted(rows.items(), key=lambda item: item[0]):
            writer.write_scalars(iteration, as_scalars(name, row))
            writer.write_seeds(iteration, of_evaluation(name, _metrics(row)))


def as_scalars(name: str, row: Row) -> dict[str, Any]:
    """Returns the metrics of a row, as the callback `Evaluation` names them, seeds averaged."""
    return of_evaluation(name, over_seeds(_metrics(row)))


def _metrics(row: Row) -> dict[str, np.ndarray]:
    """Returns the metrics of a row; what is null in the file is NaN here."""
    return {key: np.asarray(value, float) for key, value in row.items() if key not in ABOUT}


def describe(row: Row) -> list[str]:
    """Returns a line for each metric of a row: its number, or an estimate from its seeds, and these."""
    lines = []
    for key, values in _metrics(row).items():
        if values.ndim == 0:
            lines.append(f"{key:36} {np.array2string(values, precision=4)}")
            continue
        found = estimate_where_defined(values)
        middle, low, high = (f"{float(end):.4g}" for end in found[:3])
        told = f"{middle} [{low}, {high}]" if np.isfinite(found.low) else middle
        lines.append(f"{key:36} {told:28} seeds {np.array2string(values, precision=4)}")
    return lines


@contextlib.contextmanager
def mirroring(workdir: pathlib.Path, results: Results) -> Iterator[Mirror | None]:
    """Gives the mirror of a run, or None while another process has it and shows what is recorded.

    Raises:
        CheckpointError: if its folder cannot be made.
    """
    folder = workdir / FOLDER
    with holding(workdir / FOLLOWER_LOCK) as lock:
        if lock is None:
            yield None
            return
        try:
            folder.mkdir(exist_ok=True)
        except OSError as e:
            raise CheckpointError(f"{folder} cannot be made: {e.strerror}") from e
        with contextlib.closing(Mirror(workdir, results)) as mirror:
            yield mirror


def _key(row: Row) -> Key:
    return row["iteration"], row["evaluation"]


def parse_row(line: bytes) -> Row | None:
    """Returns the row that a line of `evaluation.jsonl` holds, or None if it holds none."""
    row = parse_object(line)
    if row is None or not isinstance(row.get("evaluation"), str):
        return None
    return row if is_iteration(row.get("iteration")) else None
