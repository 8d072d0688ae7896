"""How many runs of a group train at once: as many as fit into caches or memory."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import jax
from absl import logging

from pax.loop.loop_of_runs import LoopOfRuns
from pax.loop.memory import free_bytes, no_room
from pax.loop.numbers import Numbers
from pax.trainer import MetaTrainer
from pax.types import take

CACHE_BYTES = 4 * 2**20
"""Of rollouts that train side by side on a core: with more, each step of a run takes longer than alone."""
SHARE_OF_MEMORY = 0.9
"""That programs may take of what is free."""
FILES_PER_RUN = 16
"""That a run has open while it trains."""


def make_loops(
    trainers: Sequence[MetaTrainer], numbers: Numbers, side_by_side: int, names: str
) -> tuple[LoopOfRuns, int]:
    """Returns the program of a group, compiled, with as many runs side by side as fit into memory.

    On a CPU each core has a few runs, as many as its cache holds. Other devices have all runs, or as many as
    their memory holds: the first program says what it needs, and is compiled again for fewer if that is too
    much.

    Args:
        trainers: of the group.
        numbers: in which they differ.
        side_by_side: how many train at once; 0: see above.
        names: what messages call them.

    Returns:
        The program, and the bytes that it needs on all devices together.

    Raises:
        ConfigError: if there is no room for one run.
    """
    first = trainers[0]
    most = min(side_by_side or len(trainers), len(trainers))
    num_devices = min(first.placement.asked or jax.local_device_count(), most)
    per_device = -(-most // num_devices)
    recorded, free = rollout_bytes(first), free_bytes()
    if free is not None and recorded > SHARE_OF_MEMORY * free:
        # To compile it for so many could take for ever.
        raise no_room(f"a run of {names}", recorded, free)
    if not side_by_side and jax.default_backend() == "cpu":
        per_device = min(per_device, max(1, CACHE_BYTES // max(recorded, 1)))
    size = max(trainer.next_chunk for trainer in trainers)
    while True:
        # The last few should not have to wait for places that nobody fills.
        rounds = -(-len(trainers) // (per_device * num_devices))
        per_device = -(-len(trainers) // (rounds * num_devices))
        loops = LoopOfRuns(
            [trainer.parts for trainer in trainers],
            numbers,
            [trainer.seed for trainer in trainers],
            first.num_seeds,
            per_device=per_device,
            num_devices=num_devices,
        )
        needed = loops.bytes_needed(size)
        free = free_bytes()
        if free is None or needed <= SHARE_OF_MEMORY * free:
            return loops, needed
        if per_device == 1 and num_devices == 1:
            raise no_room(f"a run of {names}", needed, free)
        fits = math.floor(per_device * SHARE_OF_MEMORY * free / needed)
        if per_device == 1:
            num_devices = max(1, num_devices // 2)
        per_device = max(1, min(fits, per_device - 1))


def rollout_bytes(trainer: MetaTrainer) -> int:
    """Returns the size of what a run records in an iteration: the rollouts of all its trials."""
    loop = trainer.parts.loop
    state = trainer.compiled_loop.abstract_state()

    def play(state: Any) -> Any:
        learners, inner = take((state.learners, state.inner), 0)
        return loop.single_trial(state.keys[0], learners, inner)[0].rollouts

    leaves = jax.tree.leaves(jax.eval_shape(play, state))
    trials = trainer.num_seeds * loop.num_candidates * loop.num_opps
    return trials * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def allow_files(num_runs: int) -> None:
    """Lets this process have as many files open as some runs need at once, if the system does."""
    with contextlib.suppress(ImportError):  # Not on Windows.
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 256 + FILES_PER_RUN * num_runs
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return
        new = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))
        if new < wanted:
            logging.warning(
                "%d runs at once may need %d open files, and the system allows %d: use --side_by_side.",
                num_runs,
                wanted,
                new,
            )
