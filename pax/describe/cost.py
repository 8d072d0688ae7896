"""Measures what a run will cost, on its own program and without a folder."""

from __future__ import annotations

import dataclasses
import os
import resource
import time
from typing import Any

import jax
from ml_collections import ConfigDict

from pax.config.build import build_trainer
from pax.trainer import MetaTrainer

ENOUGH_SECONDS = 3.0
"""Of measured iterations, after the first."""
MOST_SECONDS = 20.0
"""An iteration of evolution that takes longer is measured with fewer candidates."""
FEW_CANDIDATES = 8


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a run will take, if nothing else runs on the machine."""

    compile_seconds: float
    seconds_per_iteration: float
    """Of training, without what callbacks do."""
    evaluation_seconds: float
    """Of all evaluations during training, with compiling them."""
    num_iters: int
    memory: int
    """Bytes at most: of the process on a CPU, of each device else."""
    measured: str
    """On what the seconds were measured."""

    @property
    def seconds(self) -> float:
        """Seconds of the whole run."""
        training = self.num_iters * self.seconds_per_iteration
        return self.compile_seconds + training + self.evaluation_seconds


def measure(config: ConfigDict) -> Cost:
    """Compiles the program of a config, and times some of its iterations, whose results are thrown away.

    Evolution whose iterations take long is timed with `FEW_CANDIDATES` and four times as many, and what
    more of them take follows from the difference.
    """
    config = config.copy_and_resolve_references()
    evaluation = config.callbacks.get("evaluation")
    every = evaluation.every if evaluation is not None and evaluation.enabled else 0
    for name in config.callbacks:
        config.callbacks[name].enabled = False
    trainer = build_trainer(config, None)
    num_iters = trainer.num_iters
    per_iteration, measured = 0.0, ""
    evolving = [name for name in config.roles if config[name].learner.type == "evolution"]
    most = max((config[name].learner.popsize for name in evolving), default=0)
    if most > 4 * FEW_CANDIDATES:
        few, more = (
            _time(build_trainer(_with_candidates(config, evolving, number), None))
            for number in (FEW_CANDIDATES, 4 * FEW_CANDIDATES)
        )
        slope = (more - few) / (3 * FEW_CANDIDATES)
        per_iteration = more + max(slope, 0.0) * (most - 4 * FEW_CANDIDATES)
        measured = f"iterations of {FEW_CANDIDATES} and {4 * FEW_CANDIDATES} candidates"
    is_long = per_iteration > MOST_SECONDS
    loop = trainer.compiled_loop
    program = loop.compile(min(config.chunk, num_iters))
    bytes_of_program = num_bytes(program)
    before = _resident()
    if not is_long:
        per_iteration = _time(trainer)
        measured = "iterations whose results were thrown away"
    evaluating = 0.0
    if every and not is_long:
        trainer.fit(min(config.chunk, num_iters))
        times = []
        for _ in range(2):
            start = time.monotonic()
            trainer.evaluate()
            times.append(time.monotonic() - start)
        evaluating = times[0] + (-(-num_iters // every) - 1) * times[1]
    on_cpu = jax.default_backend() == "cpu"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    memory = max(peak, before + bytes_of_program) if on_cpu else bytes_of_program
    return Cost(
        trainer.compile_seconds, per_iteration, evaluating, num_iters, int(memory), measured
    )


def num_bytes(program: jax.stages.Compiled) -> int:
    """Returns what a program needs on one device: state, results, and what is only there in between."""
    memory: Any = program.memory_analysis()
    sizes = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return int(sizes + memory.temp_size_in_bytes)


def _with_candidates(config: ConfigDict, evolving: list[str], number: int) -> ConfigDict:
    config = config.copy_and_resolve_references()
    for name in evolving:
        learner = config[name].learner
        learner.popsize = min(number, learner.popsize)
        learner.top_k = min(learner.top_k, learner.popsize)
    config.chunk = 1
    return config


def _time(trainer: MetaTrainer) -> float:
    """Returns seconds per iteration, of chunks after a first one; of that, if the run has no other."""
    loop = trainer.compiled_loop
    size, num_chunks = min(trainer.chunk, trainer.num_iters), trainer.num_iters // trainer.chunk
    loop.compile(size)
    state = loop.initial_state()
    seconds: list[float] = []
    while len(seconds) < max(num_chunks, 1) and sum(seconds[1:]) < ENOUGH_SECONDS:
        start = time.monotonic()
        state, metrics = loop.run(state, size)
        jax.block_until_ready((state, metrics))
        seconds.append(time.monotonic() - start)
    seconds = seconds[1:] or seconds
    return sum(seconds) / (len(seconds) * size)


def _resident() -> int:
    """Returns the bytes of memory that the process has now."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
