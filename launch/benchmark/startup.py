"""From the start of a process to its first iteration, and compiling: cold, warm, and warm but traced anew."""

from __future__ import annotations

import atexit
import functools
import json
import os
import pathlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

from launch.benchmark.apart import run_apart
from launch.benchmark.timing import Row, Sizes
from launch.benchmark.training import SETTINGS
from pax.callbacks.callback import Callback
from pax.config.command_line import as_flags

CONFIG = "configs/ipd.py:ppo"
COMPILED = "in the matrix shaper"
STAMP = "PAX_BENCHMARK_STAMP"
ANEW = "warm, but traced anew"
"""With JAX's cache of compiled programs, and without the traced ones that Pax keeps."""


class FirstIteration(Callback):
    """Writes down when the first chunk was done, and ends the run.

    That is the time (seconds since the epoch), the processor time and that of compiling, in the file
    that the environment's `STAMP` names: a setting would be another one in each run.
    """

    priority = 1

    def on_chunk_end(self, trainer: Any, state: Any, step: int, metrics: Mapping[str, Any]) -> None:
        found = {
            "time": time.time(),
            "processor": time.process_time(),
            "compile": trainer.compile_seconds,
        }
        path = pathlib.Path(os.environ[STAMP])
        if not path.exists():
            path.write_text(json.dumps(found))
        trainer.request_stop("the first iteration is done")


def seconds_to_first_iteration(
    cache: pathlib.Path, arguments: list[str], traced: bool, limit: float | None = None
) -> dict[str, float]:
    """Measures the app, with its caches in a folder; returns what `FirstIteration` wrote.

    The time is that from the start of the process.

    Args:
        cache: the folder.
        arguments: flags that say what is trained.
        traced: whether programs that were traced are not kept.
        limit: seconds after which it is ended.

    Raises:
        ProcessError: if the app fails.
    """
    own: dict[str, str | None] = {"JAX_COMPILATION_CACHE_DIR": None}
    if traced:
        own["JAX_COMPILATION_CACHE_DIR"] = str(cache / "pax" / "xla")
        own["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    with tempfile.TemporaryDirectory() as folder:
        stamp = pathlib.Path(folder) / "stamp"
        started = time.time()
        run_apart(
            "pax.main",
            *arguments,
            f"--workdir={folder}/run",
            "--config.extra_callbacks=('launch.benchmark.startup.FirstIteration',)",
            environment={"XDG_CACHE_HOME": str(cache), STAMP: str(stamp), **own},
            limit=limit,
        )
        found = json.loads(stamp.read_text())
        return {**found, "time": found["time"] - started}


def flags_of(name: str, quick: bool) -> list[str]:
    """Returns what has the app train a setting of the training suite, an iteration at a time."""
    setting = SETTINGS[name]
    config = f"--config=configs/{setting.config}{',quicktest' * quick}"
    return [config, "--config.chunk=1", *as_flags({} if quick else setting.overrides)]


def rows(
    sizes: Sizes, limit: Callable[[], float | None] = lambda: None
) -> dict[str, Callable[[], Row | list[Row]]]:
    """Returns what there is to measure, the cold ones first: they fill the caches.

    `limit` is asked for the seconds that each process may take.
    """
    folder = pathlib.Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    repeats = 1 if sizes.quick else min(3, sizes.repeats)
    cases: dict[str, tuple[list[str], str, str, Mapping[str, float]]] = {
        "first iteration": (
            [f"--config={CONFIG}{',quicktest' * sizes.quick}"],
            "time",
            f"python -m pax.main --config={CONFIG}, from the start of the process",
            {"cold": 4.0, "warm": 1.2},
        ),
        f"compiling {COMPILED}": (
            flags_of(COMPILED, sizes.quick),
            "compile",
            "tracing, lowering and compiling one iteration, in the app",
            {"cold": 10.0, "warm": 1.2},
        ),
    }

    def measured(name: str, how: str, found: list[dict[str, float]]) -> Row:
        _, key, what, aims = cases[name]
        return Row(
            "startup",
            f"{name}, {how}",
            "s",
            [each[key] for each in found],
            what,
            details={
                "aim": aims.get(how, aims["warm"]),
                "processor_seconds": statistics.median(each["processor"] for each in found),
            },
        )

    def cold(name: str) -> Row:
        found = [
            seconds_to_first_iteration(
                folder / f"{name}-{repeat}", cases[name][0], traced=False, limit=limit()
            )
            for repeat in range(repeats if name == "first iteration" else 1)
        ]
        return measured(name, "cold", found)

    def warm(name: str) -> list[Row]:
        # In turns; the first of each fills its cache.
        ways: dict[str, list[dict[str, float]]] = {"warm": [], ANEW: []}
        for _ in range(repeats + 1):
            for how, found in ways.items():
                cache = folder / f"{name}-{how}"
                traced = how == ANEW
                found.append(seconds_to_first_iteration(cache, cases[name][0], traced, limit()))
        return [measured(name, how, found[1:]) for how, found in ways.items()]

    calls: dict[str, Callable[[], Row | list[Row]]] = {}
    for name in cases:
        calls[f"{name}, cold"] = functools.partial(cold, name)
        calls[f"{name}, warm"] = functools.partial(warm, name)
    return calls
