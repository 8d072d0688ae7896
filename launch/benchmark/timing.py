"""Measuring: repeats of compiled calls that take turns, what machine it was, and what a measurement is."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from pax.errors import PaxError
from pax.loop.xla import available_cores

AXIS = "devices"
NUM_KEYS = 16
PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "evosax",
    "gymnax",
    "jaxmarl",
    "numba",
    "numpy",
    "rejax",
)


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is measured; a setting's own size is what `scale` 1 stands for."""

    repeats: int = 5
    scale: float = 1.0
    """Factor on the number of environments, of candidates or of seeds: larger machines need more."""
    num_envs: int = 1024
    """Environments that step at once in `envs`."""
    num_steps: int = 100
    """Steps of each of them, at least, in one call."""
    min_seconds: float = 0.2
    """A repeat calls often enough to take about as long: short ones tell more of the load."""
    quick: bool = False
    """A small part of the work, to see that it runs."""
    most_iterations: int = 1000
    """Per compiled call of training."""
    only: str = ""
    """Part of the names of what is measured."""
    minutes: float = 10.0
    """For all parts of `gpu`; what does not fit is left out."""
    rehearse: bool = False
    """Whether CPU devices stand in for the accelerator."""

    def names(self, name: str) -> bool:
        """Returns whether something of this name is to be measured."""
        return self.only.lower() in name.lower()

    @property
    def scaled_envs(self) -> int:
        """Environments at this scale, as many for every device."""
        return self.multiple(self.num_envs)

    def multiple(self, size: int) -> int:
        """Returns `size` at this scale, made a multiple of the number of devices."""
        devices = jax.device_count()
        return max(1, round(size * self.scale / devices)) * devices


class TimeIsUpError(PaxError):
    """What is left of the time does not suffice for a measurement."""


@dataclasses.dataclass
class Row:
    """One measured thing, as the JSON file has it."""

    suite: str
    name: str
    unit: str
    """Of `values`; a higher value is better if it is a rate, and worse if it is `s` or `MiB`."""
    values: list[float]
    """One per repeat."""
    what: str = ""
    """In one line, what was done, or computed."""
    limit: Row | None = None
    """The same work without what can be left out."""
    peer: Row | None = None
    """The same work done by others."""
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Adds the median and the range, which a reader would otherwise compute."""
        median, low, high = statistics.median(self.values), min(self.values), max(self.values)
        fields = dataclasses.asdict(self) | {"median": median, "low": low, "high": high}
        for name in ("limit", "peer"):
            other = getattr(self, name)
            fields[name] = None if other is None else other.to_json()
        return fields


def take_turns(
    calls: Mapping[str, Callable[[int], Any]], repeats: int, min_seconds: float = 0.0
) -> dict[str, list[float]]:
    """Seconds per call, `repeats` times in turns A B A B, so that all of them see the same load.

    Each is called twice before: the first call may compile, the second tells how many make a repeat.

    Args:
        calls: functions of a number that is new in every call; what they return is waited for.
        repeats: of each.
        min_seconds: what a repeat takes at least, about.
    """
    counts = {}
    for name, call in calls.items():
        jax.block_until_ready(call(0))
        started = time.perf_counter()
        jax.block_until_ready(call(1))
        once = time.perf_counter() - started
        counts[name] = max(1, math.ceil(min_seconds / max(once, 1e-6)))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    number = 1
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            for _ in range(counts[name]):
                number += 1
                result = call(number)
            jax.block_until_ready(result)
            seconds[name].append((time.perf_counter() - started) / counts[name])
    return seconds


def rates(amount: float, seconds: Sequence[float]) -> list[float]:
    """Returns `amount` per second of each repeat."""
    return [amount / value for value in seconds]


def compile_spread(
    run: Callable[[jax.Array], jax.Array],
) -> tuple[Callable[[int], jax.Array], float]:
    """Compiles `run(key) -> number` for all devices at once, each with its own key; and its compile time.

    The keys are arguments and the numbers results, so that nothing can be computed beforehand or left out.
    """
    devices = jax.devices()
    mesh, part = Mesh(np.array(devices), (AXIS,)), PartitionSpec(AXIS)

    def on_each(keys: jax.Array) -> jax.Array:
        return run(keys[0])[None]

    spread = jax.jit(
        jax.shard_map(on_each, mesh=mesh, in_specs=part, out_specs=part, check_vma=False)
    )
    where = NamedSharding(mesh, part)
    # Made beforehand: a call is to be the program and nothing else.
    keys = [
        jax.device_put(jax.random.split(jax.random.key(seed), len(devices)), where)
        for seed in range(NUM_KEYS)
    ]
    started = time.perf_counter()
    compiled = spread.lower(keys[0]).compile()
    seconds = time.perf_counter() - started
    return lambda number: compiled(keys[number % NUM_KEYS]), seconds


def describe_machine() -> dict[str, Any]:
    """Returns what the numbers depend on."""
    devices = jax.devices()
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _cpu_model(),
        "cores": available_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "num_devices": len(devices),
        "python": platform.python_version(),
        "versions": versions,
        "load_at_start": os.getloadavg()[0],
    }


def stolen_seconds() -> float:
    """Returns what the host of a virtual machine has given to others since its start, summed over cores.

    0 where nobody tells.
    """
    try:
        ticks = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]
    except (OSError, IndexError):
        return 0.0
    return int(ticks) / os.sysconf("SC_CLK_TCK")


def _cpu_model() -> str:
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
