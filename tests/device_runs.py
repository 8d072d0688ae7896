"""Runs of one config on different numbers of devices, in a process that has as many as there are.

    python tests/device_runs.py '<variant of ipd.py>' '{"num_devices": [1, 2, 8], "num_seeds": 8}'

Prints JSON: by number of devices, the placement, metrics of all iterations, and the collectives of the
program, with whether they are in a loop of as many rounds as an episode has steps, as rollouts are.
"""

import json
import sys

import numpy as np

from configs.ipd import get_config
from launch.hlo import collectives, loops
from pax.build import build_trainer

NUM_STEPS = 20
ITERATIONS = 10


def main(variant, settings):
    result = {}
    for number in settings.pop("num_devices"):
        config = get_config(f"{variant},quicktest")
        config.update(settings)
        config.num_devices, config.chunk, config.num_inner_steps = number, ITERATIONS, NUM_STEPS
        config.num_iters = ITERATIONS
        for callback in config.callbacks.values():
            callback.enabled = False
        trainer = build_trainer(config, None)
        program = trainer.compiled_loop.compile(ITERATIONS).as_text()
        _, metrics = trainer.compiled_loop.run(trainer.compiled_loop.initial_state(), ITERATIONS)
        result[number] = {
            "placement": str(trainer.placement),
            "metrics": {name: np.asarray(values).tolist() for name, values in metrics.items()},
            "num_rollouts": loops(program).count(NUM_STEPS),
            "collectives": [
                {"kind": collective.kind, "in_rollout": NUM_STEPS in collective.loops}
                for collective in collectives(program)
            ],
        }
        print(number, trainer.placement, trainer.compile_seconds, file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
