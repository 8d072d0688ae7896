"""How the cost of an iteration grows with each batch axis, and what more devices change.

    python -m launch.scaling
    python -m launch.scaling --quick

Prints two tables, those of docs/scale.md. CPU devices beyond the number of cores share these: what such rows
show is memory and communication, not speed. `--quick` takes small sizes, to see that it runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from launch.benchmark.apart import run_apart
from pax.config.command_line import run_program
from pax.config.flags import definer
from pax.loop.xla import available_cores
from pax.metrics.tables import markdown
from pax.run.progress_line import ProgressLine

CANDIDATES, OPPONENTS = "agent1.learner.popsize", "num_opps"
NAMES = {
    CANDIDATES: "candidates",
    OPPONENTS: "opponents",
    "num_envs": "environments",
    "num_seeds": "seeds",
}
# By config: where growth starts from.
SHAPER, PPO = "configs/ipd.py:shaper", "configs/ipd.py:ppo"
BASE: Mapping[str, Mapping[str, int]] = {
    SHAPER: {CANDIDATES: 10, OPPONENTS: 10, "num_envs": 2, "num_seeds": 1, "num_outer_steps": 20},
    # With one opponent there is nothing to join.
    PPO: {OPPONENTS: 2, "num_envs": 100, "num_seeds": 1},
}
QUICK: Mapping[str, Mapping[str, int]] = {
    SHAPER: {
        CANDIDATES: 6,
        OPPONENTS: 2,
        "num_envs": 2,
        "num_seeds": 1,
        "num_outer_steps": 2,
        "num_inner_steps": 20,
    },
    PPO: {OPPONENTS: 2, "num_envs": 16, "num_seeds": 1, "num_inner_steps": 20},
}
# What is cut over devices, and sizes that eight divide.
CUT: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "candidates": (SHAPER, {CANDIDATES: 48}),
    "opponents": (PPO, {OPPONENTS: 8}),
    "seeds": (PPO, {OPPONENTS: 1, "num_seeds": 8}),
}
DEVICES = (1, 2, 4, 8)


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this program."""
    define = definer(flag_values)
    define("quick", False, "Small sizes, to see that it runs.")


def main(arguments: list[str], given: flags.FlagValues) -> None:
    """Measures and prints both tables."""
    base = QUICK if given.quick else BASE
    jobs = growth_jobs(base) + device_jobs(base)
    line, costs = ProgressLine("programs"), []
    for index, (job, num_devices) in enumerate(jobs):
        costs.append(measure(job, num_devices))
        line.count(index + 1, len(jobs))
    number = len(growth_jobs(base))
    print(growth_table(jobs[:number], costs[:number]))
    print()
    print(device_table(jobs[number:], costs[number:]))


Job = tuple[list[dict[str, Any]], int | None]
"""What runs in one process, and on how many CPU devices (None: one per core)."""


def growth_jobs(base: Mapping[str, Mapping[str, int]]) -> list[Job]:
    """Returns one process per row: the base and ten times of one size, timed in turn."""
    jobs: list[Job] = []
    for config, sizes in base.items():
        for key in NAMES:
            if key in sizes:
                overrides = [dict(sizes), {**sizes, key: 10 * sizes[key]}]
                jobs.append(([{"config": config, "overrides": o} for o in overrides], None))
    return jobs


def device_jobs(base: Mapping[str, Mapping[str, int]]) -> list[Job]:
    """Returns one process per number of devices, as a process has one number of them."""
    jobs: list[Job] = []
    for config, more in CUT.values():
        for number in DEVICES:
            overrides = {**base[config], **more, "num_devices": number}
            jobs.append(([{"config": config, "overrides": overrides}], number))
    return jobs


def measure(specifications: Sequence[Mapping[str, Any]], num_devices: int | None) -> list[Any]:
    """Returns what `launch.scaling.worker` finds.

    Raises:
        ProcessError: if it fails.
    """
    environment = {"JAX_NUM_CPU_DEVICES": str(num_devices)} if num_devices else {}
    job = json.dumps(specifications)
    printed = run_apart("launch.scaling.worker", job, environment=environment)
    return json.loads(printed.splitlines()[-1])


def growth_table(jobs: Sequence[Job], costs: Sequence[Any]) -> str:
    """Ratios of time and memory, in Markdown."""
    lines = []
    for (specifications, _), (one, ten) in zip(jobs, costs, strict=True):
        before, after = (specification["overrides"] for specification in specifications)
        key = next(key for key in before if before[key] != after[key])
        # Pairs that ran one after the other: what slows one slows the other.
        ratio = np.median(np.array(ten["seconds"]) / np.array(one["seconds"]))
        lines.append(
            [
                f"`{specifications[0]['config'].split('/')[1]}`",
                f"{NAMES[key]}, {before[key]} to {after[key]}",
                f"{_ms(one)} to {_ms(ten)}",
                f"{ratio:.1f}",
                f"{_mb(one)} to {_mb(ten)}",
                f"{ten['bytes'] / one['bytes']:.1f}",
            ]
        )
    columns = ("config", "ten times", "time of an iteration, ms", "times")
    return markdown((*columns, "memory of the program, MB", "times"), lines)


def device_table(jobs: Sequence[Job], costs: Sequence[Any]) -> str:
    """Returns time, memory and what is sent by number of devices, in Markdown."""
    lines = []
    for (_, number), (cost,) in zip(jobs, costs, strict=True):
        times = [int(np.prod(found["loops"])) for found in cost["sent"]]
        sent = sum(found["bytes"] * n for found, n in zip(cost["sent"], times, strict=True))
        cut = cost["placement"].partition(" over ")[0] if number != 1 else "(nothing)"
        told = (cut, number, _ms(cost), _mb(cost), sum(times), f"{sent / 1e3:.1f}")
        lines.append([str(cell) for cell in told])
    devices = f"devices ({available_cores()} cores)"
    columns = ("what is cut", devices, "time of an iteration, ms", "memory per device, MB")
    sent_columns = ("collective operations per iteration", "kB received per device")
    return markdown((*columns, *sent_columns), lines)


def _ms(cost: Mapping[str, Any]) -> str:
    return f"{np.median(cost['seconds']) * 1e3:.3g}"


def _mb(cost: Mapping[str, Any]) -> str:
    return f"{cost['bytes'] / 1e6:.3g}"


if __name__ == "__main__":
    run_program(main, define_flags, takes_arguments=False)
