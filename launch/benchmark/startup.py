"""From the start of a process to its first iteration, and compiling, with and without a compilation cache."""

from __future__ import annotations

import atexit
import functools
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from launch.benchmark.apart import run_apart
from launch.benchmark.timing import Row, Sizes
from launch.benchmark.training import measure_apart
from pax.callbacks.callback import Callback

CONFIG = "configs/ipd.py:ppo"
COMPILED = "in the matrix shaper"


class FirstIteration(Callback):
    """Writes down when the first chunk was done, and ends the run.

    Args:
        path: the file for the time, seconds since the epoch.
    """

    priority = 1

    def __init__(self, path: str = ""):
        self.path = path

    def on_chunk_end(self, trainer: Any, state: Any, step: int, metrics: Mapping[str, Any]) -> None:
        now = time.time()
        if not pathlib.Path(self.path).exists():
            pathlib.Path(self.path).write_text(str(now))
        trainer.request_stop("the first iteration is done")


def seconds_to_first_iteration(cache: pathlib.Path, quick: bool) -> float:
    """Measures the app, with the compilation cache in a folder.

    Raises:
        ProcessError: if the app fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        stamp = pathlib.Path(folder) / "stamp"
        callback = f"(('launch.benchmark.startup.FirstIteration', {{'path': {str(stamp)!r}}}),)"
        started = time.time()
        run_apart(
            "pax.main",
            f"--config={CONFIG}{',quicktest' * quick}",
            f"--workdir={folder}/run",
            f"--config.extra_callbacks={callback}",
            environment={"XDG_CACHE_HOME": str(cache), "JAX_COMPILATION_CACHE_DIR": None},
        )
        return float(stamp.read_text()) - started


def rows(sizes: Sizes) -> dict[str, Callable[[], Row]]:
    """Returns what there is to measure, the cold one first: it fills the cache."""
    folder = pathlib.Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

    def start(is_warm: bool) -> Row:
        repeats = 1 if sizes.quick else min(3, sizes.repeats)
        values = []
        for repeat in range(repeats + is_warm):
            own = folder / ("warm" if is_warm else f"cold-{repeat}")
            values.append(seconds_to_first_iteration(own, sizes.quick))
        # The first of the warm ones fills the cache.
        return Row(
            "startup",
            f"first iteration, {'warm' if is_warm else 'cold'}",
            "s",
            values[is_warm:],
            f"python -m pax.main --config={CONFIG}, from the start of the process",
            details={"aim": 2.5 if is_warm else 4.0},
        )

    def compiling(is_warm: bool) -> Row:
        own = folder / "compile"
        few = Sizes(repeats=1, quick=sizes.quick, min_seconds=0.0)
        if is_warm and not own.exists():
            measure_apart(COMPILED, few, str(own), with_limit=False)
        row = measure_apart(COMPILED, few, str(own), with_limit=False)
        return Row(
            "startup",
            f"compiling {COMPILED}, {'warm' if is_warm else 'cold'}",
            "s",
            [row.details["compile_seconds"]],
            "tracing, lowering and compiling one iteration",
            details={"aim": 1.0 if is_warm else 10.0},
        )

    return {
        f"{name}, {'warm' if is_warm else 'cold'}": functools.partial(function, is_warm)
        for name, function in (("first iteration", start), (f"compiling {COMPILED}", compiling))
        for is_warm in (False, True)
    }
