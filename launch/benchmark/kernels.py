"""What an accelerator does in one iteration, from a profile: how many kernels per step, and what bounds them.

python -m launch.benchmark.kernels '{"name": "ipd ppo", "sizes": {...}}'
"""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax

from launch.benchmark.apart import run_apart, training_call
from launch.benchmark.timing import Row, Sizes
from launch.benchmark.training import SETTINGS, from_json, make_trainer, variables
from pax.errors import ProcessError
from pax.loop.xla import use_all_cores

SHORT = 5e-6
"""Seconds below which a kernel has hardly begun when it ends: starting it is what takes the time."""
EPISODES = 2
"""Of a trial at most: a profile of a hundred would be too large to be kept."""


class Kernel(NamedTuple):
    """One operation that a device ran.

    Attributes:
        name: as the compiler named it.
        start: seconds.
        seconds: how long it took.
    """

    name: str
    start: float
    seconds: float


def measure(name: str, sizes: Sizes) -> Row:
    """Profiles one iteration of a setting with few episodes; its time is taken without the profiler.

    Raises:
        ProcessError: if the profile has no kernels.
    """
    setting = SETTINGS[name]
    episodes = min(EPISODES, setting.overrides.get("num_outer_steps", EPISODES))
    few = dataclasses.replace(setting, overrides={**setting.overrides, "num_outer_steps": episodes})
    trainer, batch = make_trainer(few if not sizes.quick else setting, sizes)
    trainer.compiled_loop.compile(1)
    train = training_call(trainer, 1)
    for _ in range(2):
        jax.block_until_ready(train(0))
    times = []
    for _ in range(3):
        started = time.perf_counter()
        jax.block_until_ready(train(0))
        times.append(time.perf_counter() - started)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(train(0))
        found = read_kernels(pathlib.Path(folder))
    if not found:
        raise ProcessError(
            f"the profile of {name} has no kernels: the profiler does not see this device"
        )
    steps = batch["num_outer_steps"] * trainer.env.num_inner_steps
    seconds = sorted(times)[1]
    return Row(
        "kernels",
        name,
        "kernels/step",
        [len(found) / steps],
        f"{len(found)} kernels in an iteration of {steps} steps one after the other, learning included",
        details={
            "microseconds_per_step": 1e6 * seconds / steps,
            "microseconds_per_kernel": 1e6 * seconds / len(found),
            **summary(found),
        },
    )


def read_kernels(folder: pathlib.Path) -> list[Kernel]:
    """Returns what the devices ran, of the profile in a folder, in order of time.

    Those of GPUs, copies included, are on lines `Stream #...` of planes `/device:GPU:...`; those of a CPU are
    events of the host that name an operation of a program.
    """
    kernels = []
    for path in folder.rglob("*.xplane.pb"):
        for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
            is_gpu = plane.name.startswith("/device:GPU")
            for line in plane.lines:
                if is_gpu and not line.name.startswith("Stream"):
                    # Others repeat what streams have, by module and by operation.
                    continue
                for event in line.events:
                    if is_gpu or _is_operation(event):
                        start, seconds = event.start_ns / 1e9, event.duration_ns / 1e9
                        kernels.append(Kernel(event.name, start, seconds))
    return sorted(kernels, key=lambda kernel: kernel.start)


def _is_operation(event: Any) -> bool:
    """Returns whether an event of the host is one operation of a program, and not all those within a loop."""
    return "hlo_op" in dict(event.stats) and not event.name.startswith(("while", "conditional"))


def summary(kernels: Iterable[Kernel]) -> dict[str, Any]:
    """Returns what bounds kernels that are in order of time: shares of the time from the first to the last.

    `idle` is the share in which none runs, `short` that of kernels below `SHORT`, `long` that of the others;
    `top` names those that take most.
    """
    kernels = list(kernels)
    span = max(kernel.start + kernel.seconds for kernel in kernels) - kernels[0].start
    busy, end = 0.0, kernels[0].start
    by_name: collections.Counter[str] = collections.Counter()
    short = 0.0
    for kernel in kernels:
        stop = kernel.start + kernel.seconds
        own = max(0.0, stop - max(kernel.start, end))
        busy, end = busy + own, max(end, stop)
        short += own if kernel.seconds < SHORT else 0.0
        by_name[kernel.name] += kernel.seconds  # type: ignore[assignment]
    span = max(span, 1e-12)
    idle, short_share, long_share = 1.0 - busy / span, short / span, (busy - short) / span
    top = [(name, seconds / span) for name, seconds in by_name.most_common(5)]
    if idle + short_share >= 0.5:
        bound = "starting kernels"
    else:
        bound = f"the kernels themselves, {top[0][0][:40]} first ({top[0][1]:.0%})"
    return {"idle": idle, "short": short_share, "long": long_share, "top": top, "bound": bound}


def measure_apart(name: str, sizes: Sizes, limit: float) -> Row:
    """Runs `measure` in a process of its own, of so many seconds at most.

    Raises:
        ProcessError: if it fails.
    """
    job = {"name": name, "sizes": dataclasses.asdict(sizes)}
    printed = run_apart(
        "launch.benchmark.kernels", json.dumps(job), environment=variables(None), limit=limit
    )
    return from_json(json.loads(printed.splitlines()[-1]))


if __name__ == "__main__":
    use_all_cores()
    job = json.loads(sys.argv[1])
    print(json.dumps(measure(job["name"], Sizes(**job["sizes"])).to_json()))
