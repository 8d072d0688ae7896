"""Runs of one config on different numbers of devices, in a process that has as many as there are.

    python tests/device_runs.py '<variant of ipd.py>' '{"num_devices": [1, 2, 8], "num_seeds": 8}'

Prints JSON: by number of devices, the placement, metrics of all iterations, and the collectives of the
program: all of them, and those within loops of as many rounds as an episode has steps, as rollouts are.
"""

import json
import re
import sys

import numpy as np

from configs.ipd import get_config
from pax.build import build_trainer

COLLECTIVE = re.compile(
    r" = .*? ((?:all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast)"
    r"(?:-start)?)\("
)
NUM_STEPS = 20
ITERATIONS = 10


def computations(hlo):
    """The lines of each computation of a module, by name."""
    found, name = {}, None
    for line in hlo.splitlines():
        if start := re.match(r"(?:ENTRY )?%?([\w.\-]+) .*\{$", line):
            name = start[1]
            found[name] = []
        elif name:
            found[name].append(line)
    return found


def reachable(bodies, name):
    """All lines that run when a computation does."""
    seen, todo = set(), [name]
    while todo:
        name = todo.pop()
        if name in seen or name not in bodies:
            continue
        seen.add(name)
        for line in bodies[name]:
            todo += re.findall(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)", line)
            for branches in re.findall(r"branch_computations=\{([^}]*)\}", line):
                todo += re.findall(r"[\w.\-]+", branches)
    return [line for name in seen for line in bodies[name]]


def collectives(hlo):
    bodies = computations(hlo)
    everywhere = [
        match[1]
        for lines in bodies.values()
        for line in lines
        for match in [COLLECTIVE.search(line)]
        if match
    ]
    rollouts = []
    num_rollouts = 0
    for lines in bodies.values():
        for line in lines:
            loop = re.search(r" while\(.*body=%?([\w.\-]+)", line)
            count = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', line)
            if loop and count and int(count[1]) == NUM_STEPS:
                num_rollouts += 1
                inside = reachable(bodies, loop[1])
                rollouts += [
                    match[1] for line in inside for match in [COLLECTIVE.search(line)] if match
                ]
    return {"everywhere": everywhere, "in_rollouts": rollouts, "num_rollouts": num_rollouts}


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
        trainer._compiled.compile(ITERATIONS)
        program = trainer._compiled._programs[ITERATIONS]
        _, metrics = trainer._compiled.run(trainer._compiled.initial_state(), ITERATIONS)
        result[number] = {
            "placement": str(trainer.placement),
            "metrics": {name: np.asarray(values).tolist() for name, values in metrics.items()},
            "collectives": collectives(program.as_text()),
        }
        print(number, trainer.placement, trainer.compile_seconds, file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
