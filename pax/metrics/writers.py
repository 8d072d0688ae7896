"""Where the metrics of a run go: CLU's metric writers, without TensorFlow.

Import `metric_writers` from here, or import this module before any other part of CLU that uses
them (such as `clu.periodic_actions`): on its own, CLU imports TensorFlow.
"""

import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from absl import logging
from numpy.typing import ArrayLike

from pax.checks import COUNT_OR_NONE, NOT_NEGATIVE, check_number, folder
from pax.errors import ConfigError
from pax.metrics import tensorboard_writer
from pax.metrics.json_writer import (
    METRICS_FILE,
    SEEDS_FILE,
    JsonLinesWriter,
    SeedLinesWriter,
    read_metrics,
    read_seed_metrics,
)
from pax.metrics.scalar_writer import ScalarWriter, as_number
from pax.metrics.tensorboard_writer import SummaryWriter
from pax.run.files import not_writable

# `clu.metric_writers` imports TensorFlow through this one module, for its `SummaryWriter`. With
# ours in its place, the rest of CLU works as it is.
sys.modules.setdefault("clu.metric_writers.summary_writer", tensorboard_writer)
from clu import metric_writers  # noqa: E402

metric_writers.MetricWriter.register(SummaryWriter)
metric_writers.MetricWriter.register(ScalarWriter)

__all__ = [
    "METRICS_FILE",
    "SEEDS_FILE",
    "ConciseLoggingWriter",
    "JsonLinesWriter",
    "RunWriter",
    "SeedLinesWriter",
    "SummaryWriter",
    "create_writer",
    "metric_writers",
    "read_metrics",
    "read_seed_metrics",
]

_SPEED_KEY = "env_steps_per_second"


class RunWriter(metric_writers.MultiWriter):
    """CLU's writer to several others, which also takes what each seed of a run did."""

    def write_seeds(self, step: int, per_seed: Mapping[str, ArrayLike]) -> None:
        """Writes metrics of each seed, with those writers that take them; the others get means as scalars.

        Args:
            step: the iteration.
            per_seed: by name, a number of each seed, `[S]`.
        """
        for writer in self._writers:
            write = getattr(writer, "write_seeds", None)
            if write is not None:
                write(step, per_seed)


class ConciseLoggingWriter(ScalarWriter):
    """Logs one line per write: rewards, those of evaluations too, and the speed.

    For example `iteration 400 | reward_per_timestep player_1 -1.002 player_2 -1.003 | 5.1e6 env
    steps/s`. Rewards are the scalars with a part of their name, between slashes, that begins with
    `reward`; all others are left to the files. A write without any of them logs nothing.

    Args:
        min_seconds: between lines about training, which may be reported far more often than anybody
            can read. Evaluations are always logged.
    """

    def __init__(self, min_seconds: float = 0.0) -> None:
        self._min_seconds = min_seconds
        self._last_line = -math.inf

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Logs the rewards and the speed among the scalars of a step.

        Args:
            step: the iteration.
            scalars: name to number, or to an array of one element.

        Raises:
            ValueError: a value to log is not one real number.
        """
        is_training = any(key.startswith("train/") for key in scalars)
        if is_training and time.monotonic() - self._last_line < self._min_seconds:
            return
        groups: dict[str, list[str]] = {}
        for key, value in scalars.items():
            if any(part.startswith("reward") for part in key.split("/")):
                group, _, name = key.rpartition("/")
                groups.setdefault(group, []).append(f"{name} {as_number(key, value):.4g}")
        parts = [" ".join([group, *rewards]).strip() for group, rewards in groups.items()]
        if _SPEED_KEY in scalars:
            mantissa, exponent = f"{as_number(_SPEED_KEY, scalars[_SPEED_KEY]):.1e}".split("e")
            parts.append(f"{mantissa}e{int(exponent)} env steps/s")
        if is_training:
            self._last_line = time.monotonic()
        if parts:
            logging.info("%s", " | ".join([f"iteration {step}", *parts]))

    def flush(self) -> None:
        """Flushes the log."""
        logging.flush()


def create_writer(
    workdir: str | os.PathLike[str],
    *,
    resume_at: int | None = None,
    num_seeds: int = 1,
    log: bool = True,
    min_seconds: float = 0.0,
) -> RunWriter:
    """Returns the writer of a run: `metrics.jsonl`, TensorBoard events and the log.

    With several seeds it writes `metrics_seeds.jsonl` as well.

    Args:
        workdir: the folder of the run, made if it is missing.
        resume_at: the iteration of the checkpoint that the run goes on from: what was written for
            later iterations is dropped. None for a run from the start: what is there is put aside.
        num_seeds: how many runs train side by side.
        log: whether to log a line per write.
        min_seconds: between log lines about training.

    Raises:
        ConfigError: if nothing can be written there.
    """
    workdir = folder("workdir", workdir)
    if resume_at is not None:
        check_number("resume_at", resume_at, COUNT_OR_NONE)
    check_number("min_seconds", min_seconds, NOT_NEGATIVE)
    purge_step = 0 if resume_at is None else resume_at + 1
    try:
        writers: list[metric_writers.MetricWriter] = [
            JsonLinesWriter(workdir / METRICS_FILE, resume_at=resume_at),
            SummaryWriter(workdir, purge_step=purge_step),
        ]
        seeds_file = workdir / SEEDS_FILE
        if num_seeds > 1:
            writers.append(SeedLinesWriter(seeds_file, resume_at=resume_at))
        elif seeds_file.exists():
            # Of another run: it would be taken for this one's.
            os.replace(seeds_file, f"{seeds_file}.old")
    except OSError as e:
        raise ConfigError(not_writable(workdir, e)) from e
    if log:
        writers.append(ConciseLoggingWriter(min_seconds))
    return RunWriter(writers)
