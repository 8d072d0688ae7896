"""Training: the project's own configs and compiled loop, each in a process of its own.

A process per setting, so that its peak memory and its compile time are its own:

    python -m launch.benchmark.training '{"name": "ipd ppo", "sizes": {...}}'
"""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from launch.benchmark import loop as benchmark_loop
from launch.benchmark.apart import quiet_config, run_apart, training_call
from launch.benchmark.machine import count
from launch.benchmark.timing import Row, Sizes, rates, take_turns
from pax.config.build import build_trainer
from pax.describe.cost import num_bytes
from pax.errors import PaxError
from pax.loop.xla import use_all_cores
from pax.trainer import MetaTrainer


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is trained."""

    config: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """By name with dots."""
    iterations: int = 1
    """Per compiled call."""
    aim: float = 0.0
    """Steps per second that two cores should do."""
    loop: bool = False
    """Whether its limit is measured by a plain loop of the game, and not computed from operation counts."""


META = {"num_opps": 10, "num_envs": 2, "agent1.learner.popsize": 50}
SETTINGS: dict[str, Setting] = {
    "ipd ppo": Setting("ipd.py:ppo", iterations=100, aim=5e6),
    "ipd tabular": Setting("ipd.py:tabular", iterations=100, aim=10e6, loop=True),
    "ipd shaper": Setting("ipd.py:shaper", META, aim=15e6),
    "ipd m-fos": Setting("ipd.py:mfos_es", META, aim=6e6),
    "ipd coala": Setting("ipd.py:coala,small", iterations=5, aim=0.2e6),
    "coin game ppo_memory": Setting(
        "coin_game.py:ppo_memory", {"num_envs": 50}, iterations=100, aim=1e6
    ),
    "coin game ppo_memory, 8 seeds": Setting(
        "coin_game.py:ppo_memory", {"num_envs": 50, "num_seeds": 8}, iterations=20, aim=2e6
    ),
    "coin game shaper": Setting(
        "coin_game.py:shaper",
        {"num_outer_steps": 100, "num_envs": 20, "agent1.learner.popsize": 32},
        aim=2e6,
    ),
    "in the matrix shaper": Setting(
        "ipditm.py:shaper",
        {"num_outer_steps": 20, "num_envs": 8, "agent1.learner.popsize": 16},
        aim=0.15e6,
    ),
    # The one that is shaped keeps a table, as in ipd shaper.
    "3 players, 2 shapers": Setting("nplayer_ipd.py:shaper,shapers=2,small,opponent=ppo", aim=4e6),
    "3 players, 2 shapers, ppo_memory": Setting("nplayer_ipd.py:shaper,shapers=2,small"),
    # The config takes twice as many epochs, with which it learns from a third of the steps.
    "cartpole ppo, 4 epochs": Setting(
        "sarl.py:cartpole", {"agent1.num_epochs": 4}, iterations=10, aim=0.4e6
    ),
    "cartpole ppo, 8 epochs": Setting("sarl.py:cartpole", iterations=10),
    "fishery ppo": Setting("fishery.py:ppo", iterations=10, aim=3e6),
    "harvest ppo": Setting("harvest.py:ppo,small"),
    "clean up ppo": Setting("clean_up.py:ppo,small"),
    "rice ppo": Setting("rice.py:ppo", iterations=10, aim=0.06e6),
}
LARGE: dict[str, Setting] = {"ipd shaper, 1000 candidates": Setting("ipd.py:shaper", aim=200e6)}
"""What takes a CPU minutes per iteration."""


def make_trainer(setting: Setting, sizes: Sizes) -> tuple[MetaTrainer, dict[str, int]]:
    """Makes the trainer of a setting at a scale, and the sizes of its batch."""
    name = f"configs/{setting.config}{',quicktest' * sizes.quick}"
    config = quiet_config(name, {} if sizes.quick else setting.overrides)
    # The axis that may grow without changing what is learned.
    evolving = [name for name in config.roles if config[name].learner.type == "evolution"]
    for name in evolving:
        config[name].learner.popsize = sizes.multiple(config[name].learner.popsize)
    if not evolving and sizes.scale > 1:
        config.num_seeds = round(config.num_seeds * sizes.scale)
    batch = {name: config[name] for name in ("num_envs", "num_opps", "num_outer_steps")}
    return build_trainer(config, None), batch


def measure(name: str, sizes: Sizes, with_limit: bool = True) -> Row:
    """Steps per second as the trainer counts them, compile time, peak memory, and counts of `BOUNDS`.

    Raises:
        PaxError: if the device has too little memory, before anything is run.
    """
    setting = {**SETTINGS, **LARGE}[name]
    trainer, batch = make_trainer(setting, sizes)
    iterations = 1 if sizes.quick else min(setting.iterations, sizes.most_iterations)
    loop = trainer.compiled_loop
    program = loop.compile(iterations)
    memory: Any = program.memory_analysis()
    check_memory(num_bytes(program))
    train = training_call(trainer, iterations)
    calls: dict[str, Callable[[int], Any]] = {"ours": train}
    jax.block_until_ready(train(0))
    # Before anything else asks for memory.
    details: dict[str, Any] = {
        "compile_seconds": trainer.compile_seconds,
        "peak_memory_mib": _peak_memory() / 2**20,
        "temporary_mib": memory.temp_size_in_bytes / 2**20,
        "program_mib": num_bytes(program) / 2**20,
        "device": jax.devices()[0].device_kind,
        "placement": str(trainer.placement),
        "aim": None if sizes.quick else setting.aim,
        "env_steps_per_iteration": trainer.env_steps_per_iteration,
    }
    steps = trainer.num_seeds * trainer.env_steps_per_iteration * iterations
    if with_limit and setting.loop:
        try:
            # As many steps in one call: starting the threads would count for more than so short a game.
            envs = batch["num_envs"]
            calls["limit"] = benchmark_loop.matrix_game(envs, steps // envs)
        except ImportError:
            details["no_limit"] = 'numba is not installed: pip install -e ".[benchmark]"'
    seconds = take_turns(calls, sizes.repeats, sizes.min_seconds)
    if with_limit:
        counts = count(loop.trace(1))
        per_step = trainer.num_seeds * trainer.env_steps_per_iteration
        details["per_step"] = {bound: number / per_step for bound, number in counts.items()}
    row = Row("training", name, "steps/s", rates(steps, seconds["ours"]), details=details)
    row.what = (
        f"configs/{setting.config}, {iterations} iterations of {steps // iterations} steps per call"
    )
    if "limit" in seconds:
        values = rates(steps, seconds["limit"])
        row.limit = Row("training", f"{name}: bare", "steps/s", values, benchmark_loop.WHAT)
    return row


def check_memory(needed: int) -> None:
    """Raises PaxError if a program needs more bytes than a device has, where devices tell that."""
    available = (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
    if available is not None and needed > available:
        raise PaxError(
            f"the program needs {needed / 2**20:.0f} MiB, and the device has {available / 2**20:.0f} MiB"
        )


def _peak_memory() -> int:
    """Bytes, of the accelerator's memory or, on a CPU, of the process."""
    statistics = jax.devices()[0].memory_stats() or {}
    return int(statistics.get("peak_bytes_in_use", peak_of_process()))


def peak_of_process() -> int:
    """Returns the most bytes of memory that this process has had."""
    try:
        status = pathlib.Path("/proc/self/status").read_text()
    except OSError:  # Not Linux.
        # In bytes on macOS, elsewhere in units of 1024.
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # `ru_maxrss` begins with what the process had that started this one.
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def measure_apart(
    name: str,
    sizes: Sizes,
    cache: str | None = None,
    with_limit: bool = True,
    limit: float | None = None,
) -> Row:
    """Runs `measure` in a process of its own.

    Args:
        name: of the setting.
        sizes: how much.
        cache: folder of compiled programs; None: everything is compiled.
        with_limit: whether its limit is measured too.
        limit: seconds after which it is ended.

    Raises:
        ProcessError: if it fails.
    """
    job = {"name": name, "sizes": dataclasses.asdict(sizes), "with_limit": with_limit}
    started = time.perf_counter()
    printed = run_apart(
        "launch.benchmark.training", json.dumps(job), environment=variables(cache), limit=limit
    )
    row = from_json(json.loads(printed.splitlines()[-1]))
    row.details["process_seconds"] = time.perf_counter() - started
    return row


def variables(cache: str | None) -> dict[str, str | None]:
    """Returns the environment of a process that trains: with this folder of compiled programs, or without."""
    return {
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_ENABLE_COMPILATION_CACHE": None,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        # It takes three quarters of an accelerator's memory at once, as it does for users.
        "XLA_PYTHON_CLIENT_PREALLOCATE": None,
    }


def from_json(fields: Mapping[str, Any]) -> Row:
    """Returns the row that `Row.to_json` wrote."""
    names = [field.name for field in dataclasses.fields(Row)]
    known = {name: fields[name] for name in names}
    for name in ("limit", "peer"):
        known[name] = None if known[name] is None else from_json(known[name])
    return Row(**known)


def rows(sizes: Sizes) -> dict[str, Callable[[], Row]]:
    """Returns what there is to measure."""
    return {name: functools.partial(measure_apart, name, sizes) for name in SETTINGS}


if __name__ == "__main__":
    use_all_cores()
    job = json.loads(sys.argv[1])
    row = measure(job["name"], Sizes(**job["sizes"]), job["with_limit"])
    print(json.dumps(row.to_json()))
