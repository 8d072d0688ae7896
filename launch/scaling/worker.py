"""What one config costs: time and memory of an iteration, and what its devices send each other.

Run by `launch.scaling` in a process of its own: `python -m launch.scaling.worker '<JSON>'`, with a list of
`{"config": "configs/ipd.py:shaper", "overrides": {"num_envs": 4}}`. Prints a list of costs as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import jax

from launch.benchmark.apart import quiet_config, training_call
from launch.benchmark.hlo import collectives
from pax.config.build import build_trainer
from pax.describe.cost import num_bytes
from pax.loop.xla import enable_compilation_cache, use_all_cores

SECONDS = 6.0
"""How long everything is repeated at least, after a first round that does not count."""
REPEATS = 5


def main(specifications: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Costs of each specification; they are timed in turn, so that a busy machine slows all alike."""
    trainers = [build_trainer(quiet_config(**each), None) for each in specifications]
    programs = [trainer.compiled_loop.compile(1) for trainer in trainers]
    calls = [training_call(trainer, 1) for trainer in trainers]
    seconds: list[list[float]] = [[] for _ in trainers]
    started = time.monotonic()
    while len(seconds[0]) <= REPEATS or time.monotonic() - started < SECONDS:
        for call, own in zip(calls, seconds, strict=True):
            begin = time.perf_counter()
            jax.block_until_ready(call(1))
            own.append(time.perf_counter() - begin)
    return [
        {
            "placement": str(trainer.placement),
            "env_steps": trainer.env_steps_per_iteration * trainer.num_seeds,
            "seconds": times[1:],
            "bytes": num_bytes(program),
            "sent": [found._asdict() for found in collectives(program.as_text() or "")],
        }
        for trainer, program, times in zip(trainers, programs, seconds, strict=True)
    ]


if __name__ == "__main__":
    use_all_cores()
    enable_compilation_cache()
    print(json.dumps(main(json.loads(sys.argv[1]))))
