"""Larger and larger batches of one setting, until its rate no longer grows, or memory or time end.

Each setting is a process of its own, which prints a row as soon as it has one:

    python -m launch.benchmark.growth '{"name": "ipd ppo", "sizes": {...}, "seconds": 60}'
"""

from __future__ import annotations

import dataclasses
import gc
import json
import statistics
import sys
import time
from collections.abc import Generator

import jax

from launch.benchmark.apart import ApartError, run_apart
from launch.benchmark.timing import Row, Sizes
from launch.benchmark.training import from_json, measure, variables
from pax.errors import PaxError
from pax.loop.xla import use_all_cores

SCALES = (1, 16, 256, 4096)
"""Times the setting's candidates, or seeds."""
GROWS = 1.2
"""Times the rate that sixteen times the batch must reach, for a still larger one to be tried."""
ENDED = "ended"
"""Among the details of a row: why no larger batch follows."""


def grow(name: str, sizes: Sizes, seconds: float) -> Generator[Row, None, str]:
    """Measures a setting at its own size and at larger ones; returns why no larger one follows.

    Args:
        name: of the setting.
        sizes: how much is measured.
        seconds: no size is begun that is expected to take longer than what is left of them.
    """
    started, before, last = time.monotonic(), 0.0, 0.0
    for scale in SCALES[:2] if sizes.quick else SCALES:
        began = time.monotonic()
        # A larger batch compiles as long and runs longer.
        if scale > 1 and began - started + 1.5 * last > seconds:
            return "the time is up"
        try:
            row = measure(name, dataclasses.replace(sizes, scale=scale), with_limit=scale == 1)
        except (PaxError, jax.errors.JaxRuntimeError) as e:
            if scale == 1 or (not isinstance(e, PaxError) and "RESOURCE_EXHAUSTED" not in str(e)):
                raise
            return f"memory, at {scale} times the size"
        last = time.monotonic() - began
        rate = statistics.median(row.values)
        if scale > 1:
            row.suite, row.name = "filling", f"{name}, x{scale}"
            row.details["gain"] = rate / before
        yield row
        if scale > 1 and rate < GROWS * before:
            return "the rate no longer grows"
        before = rate
        # The peak is to be that of the next size, without the arrays of this one.
        gc.collect()
    return "the largest size that is tried"


def grow_apart(name: str, sizes: Sizes, seconds: float, limit: float) -> list[Row]:
    """Runs `grow` in a process of its own; returns what it measured, also if it fails at a larger size.

    Args:
        name: of the setting.
        sizes: how much is measured.
        seconds: after which no larger size is begun.
        limit: seconds after which it is ended.

    Raises:
        ProcessError: if it fails at the setting's own size.
    """
    job = {"name": name, "sizes": dataclasses.asdict(sizes), "seconds": seconds}
    try:
        printed = run_apart(
            "launch.benchmark.growth", json.dumps(job), environment=variables(None), limit=limit
        )
    except ApartError as e:
        found = rows_of(e.printed)
        if not found:
            raise
        found[-1].details[ENDED] = str(e)
        return found
    return rows_of(printed)


def rows_of(printed: str) -> list[Row]:
    """Returns the rows among printed lines, the last one with why there are no more."""
    rows: list[Row] = []
    for line in printed.splitlines():
        if line.startswith(f'{{"{ENDED}"'):
            rows[-1].details |= json.loads(line)
        elif line.startswith("{"):
            rows.append(from_json(json.loads(line)))
    return rows


if __name__ == "__main__":
    use_all_cores()
    job = json.loads(sys.argv[1])
    growing = grow(job["name"], Sizes(**job["sizes"]), job["seconds"])
    while True:
        try:
            print(json.dumps(next(growing).to_json()), flush=True)
        except StopIteration as e:
            print(json.dumps({ENDED: e.value}), flush=True)
            break
