"""Runs of one config on different numbers of devices, in a process that has as many as there are.

    python tests/loop/device_runs.py '<variant of ipd.py>' '{"num_devices": [1, 2, 8], "num_seeds": 8}'

Prints JSON: by number of devices, the placement, metrics of ten iterations, and the collectives of the
program, with whether they are in a loop of as many rounds as an episode has steps, as rollouts are.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from launch.benchmark.hlo import collectives, loops
from pax.config.build import build_trainer
from pax.configs.ipd import get_config

NUM_STEPS = 20
ITERATIONS = 10


def main(variant, settings):
    result: dict = {}
    # Of the first number of devices, before every iteration: all others start each iteration there.
    # Run freely, one action in thousands differs after some updates, as rounding does, and then the rest.
    states: list = []
    for number in settings.pop("num_devices"):
        config = get_config(f"{variant},quicktest")
        config.update(settings)
        config.num_devices, config.chunk, config.num_inner_steps = number, 1, NUM_STEPS
        config.num_iters = ITERATIONS
        for callback in config.callbacks.values():
            callback.enabled = False
        trainer = build_trainer(config, None)
        loop = trainer.compiled_loop
        program = loop.compile(1).as_text()
        places = jax.tree.map(lambda leaf: leaf.sharding, loop.abstract_state())
        metrics = []
        for iteration in range(ITERATIONS):
            if not states:
                states.append(loop.initial_state())
            # Donated, and needed again.
            state = jax.tree.map(jnp.copy, jax.device_put(states[iteration], places))
            state, found = loop.run(state, 1)
            found |= {
                f"average{jax.tree_util.keystr(path)}": leaf
                for path, leaf in jax.tree.leaves_with_path(state.averages)
            }
            metrics.append({name: np.asarray(values)[0].tolist() for name, values in found.items()})
            if len(states) == iteration + 1:
                states.append(state)
        result[number] = {
            "placement": str(trainer.placement),
            "metrics": metrics,
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
