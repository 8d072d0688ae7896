"""One seed of gradient learning on several cores: its environments in parts, a part per device.

The environments of a policy that learns across trials are as well played in several sets of opponents, which
a run can spread over devices; then these add up their gradients in every minibatch. Each setting is measured
in a process of its own, with the same number of environments on 1, 2, 4 and 8 devices in turns:

    python -m launch.benchmark.devices '{"name": "cartpole ppo, 64 envs", "sizes": {...}}'
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax

from launch.benchmark.apart import quiet_config, run_apart, training_call
from launch.benchmark.timing import Row, Sizes, rates, take_turns
from launch.benchmark.training import from_json, variables
from pax.config.build import build_trainer
from pax.loop.xla import available_cores

DEVICES = (1, 2, 4, 8)


@dataclasses.dataclass(frozen=True)
class Setting:
    """A config that one seed trains on each number of devices."""

    config: str
    num_envs: int
    """In all; every number of devices divides it."""
    iterations: int
    """Per compiled call."""


SETTINGS: dict[str, Setting] = {
    "cartpole ppo, 8 envs": Setting("configs/sarl.py:cartpole", 8, 5),
    "cartpole ppo, 64 envs": Setting("configs/sarl.py:cartpole", 64, 1),
    "coin game ppo_memory, 128 envs": Setting("configs/coin_game.py:ppo_memory", 128, 20),
    "coin game ppo_memory, 2048 envs": Setting("configs/coin_game.py:ppo_memory", 2048, 2),
    "fishery ppo, 64 envs": Setting("configs/fishery.py:ppo", 64, 2),
    "rice ppo, 64 envs": Setting("configs/rice.py:ppo", 64, 2),
    "harvest ppo, 16 envs": Setting("configs/harvest.py:ppo,small", 16, 1),
}


def measure(name: str, sizes: Sizes) -> list[Row]:
    """Measures steps per second of a setting on every number of devices there is."""
    setting, numbers = SETTINGS[name], [n for n in DEVICES if n <= jax.device_count()]
    iterations = 1 if sizes.quick else setting.iterations
    calls: dict[str, Callable[[int], Any]] = {}
    details: dict[str, dict[str, Any]] = {}
    for number in numbers:
        sized = {"num_opps": number, "num_envs": setting.num_envs // number, "num_devices": number}
        config = f"{setting.config}{',quicktest' * sizes.quick}"
        trainer = build_trainer(quiet_config(config, {**sized, "num_seeds": 1}), None)
        trainer.compiled_loop.compile(iterations)
        key = f"{name}, {number} device{'s' * (number > 1)}"
        calls[key] = training_call(trainer, iterations)
        steps = trainer.env_steps_per_iteration * iterations
        details[key] = {"devices": number, "placement": str(trainer.placement), "steps": steps}
    seconds = take_turns(calls, sizes.repeats, sizes.min_seconds)
    rows = []
    for key, values in seconds.items():
        what = f"{setting.config}, {details[key]['placement']}"
        of_key = rates(details[key]["steps"], values)
        rows.append(Row("devices", key, "steps/s", of_key, what, details=details[key]))
    for row in rows:
        pairs = zip(row.values, rows[0].values, strict=True)
        row.details["times_one"] = sorted(ours / one for ours, one in pairs)[len(row.values) // 2]
        row.details["cores"] = available_cores()
    return rows


def measure_apart(name: str, sizes: Sizes) -> list[Row]:
    """Runs `measure` in a process of its own, which takes the cores for as many devices as are wanted.

    Raises:
        ProcessError: if it fails.
    """
    wanted = f"--xla_force_host_platform_device_count={max(DEVICES)}"
    environment: Mapping[str, str | None] = {
        **variables(None),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {wanted}".strip(),
    }
    job = json.dumps({"name": name, "sizes": dataclasses.asdict(sizes)})
    printed = run_apart("launch.benchmark.devices", job, environment=environment)
    return [from_json(fields) for fields in json.loads(printed.splitlines()[-1])]


def rows(sizes: Sizes) -> dict[str, Callable[[], list[Row]]]:
    """Returns what there is to measure."""
    return {name: functools.partial(measure_apart, name, sizes) for name in SETTINGS}


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    print(json.dumps([row.to_json() for row in measure(job["name"], Sizes(**job["sizes"]))]))
