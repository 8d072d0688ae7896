"""Compares the results of two kinds of devices: of one iteration, and of runs that move between them.

python -m launch.benchmark.agreement '{"config": "configs/ipd.py:ppo", "start": "a.npz", "out": "b.json"}'
"""

from __future__ import annotations

import functools
import json
import math
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from launch.benchmark.apart import end_running, quiet_config, run_apart
from launch.benchmark.timing import Row
from pax.config.build import build_trainer
from pax.errors import ProcessError
from pax.loop.xla import available_cores
from pax.metrics.json_writer import read_metrics
from pax.types import PyTree

CONFIGS = (
    "configs/ipd.py:ppo",
    "configs/ipd.py:ppo_memory",
    "configs/ipd.py:tabular",
    "configs/ipd.py:shaper",
    "configs/ipd.py:coala",
    "configs/coin_game.py:ppo_memory",
    "configs/ipditm.py:shaper",
    "configs/sarl.py:cartpole",
    "configs/fishery.py:ppo",
    "configs/rice.py:ppo",
)
TOLERANCE = 1e-4
"""By which metrics may differ, relative to those above 1."""
RESUMED = "configs/ipd.py:ppo"
PRECISIONS = ("highest", "default")
"""The precision of matrix products: GPUs use TF32 by default, with ten bits of mantissa, and CPUs float32."""

Kinds = Mapping[str, Mapping[str, str | None]]
"""By kind of devices, the environment in which JAX has only such; the first is the reference."""


def one_iteration(config: str, start: str, out: str, kind: str) -> None:
    """Writes the metrics of one iteration, by precision, as JSON.

    Args:
        config: which `,quicktest` makes small.
        start: file of the state before it; made if it does not exist.
        out: file for the metrics.
        kind: the devices that there must be, `gpu` or `cpu`.

    Raises:
        ProcessError: if these are others.
    """
    if jax.default_backend() != kind:
        raise ProcessError(f"JAX has found no {kind}, only {jax.default_backend()}")
    metrics = {}
    for precision in PRECISIONS[: 1 if kind == "cpu" else None]:
        with jax.default_matmul_precision(precision):
            trainer = build_trainer(
                quiet_config(f"{config},quicktest", {"num_devices": 1, "chunk": 1}), None
            )
            loop = trainer.compiled_loop
            if not pathlib.Path(start).exists():
                np.savez(start, *map(as_numbers, jax.tree.leaves(loop.initial_state())))
            loop.compile(1)
            _, found = loop.run(with_numbers(loop.abstract_state(), start), 1)
        metrics[precision] = {name: float(np.mean(value)) for name, value in found.items()}
    pathlib.Path(out).write_text(json.dumps(metrics))


def as_numbers(leaf: jax.Array) -> np.ndarray:
    """Returns an array without JAX's type of random keys."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def with_numbers(shapes: PyTree, path: str) -> PyTree:
    """Returns arrays of a file where they belong."""
    with np.load(path) as file:
        numbers = [file[name] for name in file.files]
    leaves, tree = jax.tree.flatten(shapes)
    found = []
    for leaf, own in zip(leaves, numbers, strict=True):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = jax.random.wrap_key_data(own) if is_key else own
        found.append(jax.device_put(array, leaf.sharding))
    return jax.tree.unflatten(tree, found)


def largest_difference(
    ours: Mapping[str, float | None], others: Mapping[str, float | None]
) -> tuple[float, str]:
    """Returns the largest difference of two sets of metrics, relative to those above 1, and whose it is.

    Numbers that are undefined in both agree; what is so in one of them, or missing there, differs infinitely.
    """
    worst, where = 0.0, ""
    for name in sorted({*ours, *others}):
        a, b = (math.nan if x is None else x for x in (ours.get(name), others.get(name)))
        if math.isnan(a) and math.isnan(b):
            continue
        difference = abs(a - b) / max(1.0, abs(b))
        difference = math.inf if math.isnan(difference) else difference
        if difference > worst:
            worst, where = difference, name
    return worst, where


def compare_iteration(
    config: str, kinds: Kinds, backends: Mapping[str, str], limit: Callable[[], float]
) -> Row:
    """Compares one iteration on all kinds of devices, from the state of the first one.

    `limit` is asked for the seconds that each process may take.

    Raises:
        ProcessError: if one of them cannot compute it.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, environment in kinds.items():
            out = f"{folder}/{kind}.json"
            job = {"config": config, "start": f"{folder}/start.npz", "out": out}
            command = json.dumps({**job, "kind": backends[kind]})
            run_apart("launch.benchmark.agreement", command, environment=environment, limit=limit())
            found[kind] = json.loads(pathlib.Path(out).read_text())
    reference, other = found.values()
    worst, where = largest_difference(other["highest"], reference["highest"])
    by_default = None
    if "default" in other:
        by_default, _ = largest_difference(other["default"], reference["highest"])
    number = len(reference["highest"])
    what = f"{number} metrics of one iteration, {told(where)}"
    return judged(Row("agreement", config, "difference", [worst], what), by_default)


def told(where: str) -> str:
    """Returns which metric differs most."""
    return f"{where} differing most" if where else "all equal"


def judged(row: Row, by_default: float | None = None) -> Row:
    """Returns a row that says what is wrong with it, if something is."""
    shown = "" if by_default is None else f"{by_default:.1e}"
    row.details |= {"by_default": shown, "tolerance": TOLERANCE}
    if not row.values[0] <= TOLERANCE:
        row.details["problem"] = (
            f"the largest difference is {row.values[0]:.1e}, above {TOLERANCE:.0e} ({row.what})"
        )
    return row


def compare_resumed(kinds: Kinds, first: str, limit: Callable[[], float]) -> Row:
    """Compares a run that begins on one kind and goes on with the other to one that stays.

    `limit` is asked for the seconds that each process may take.

    Raises:
        ProcessError: if one of the runs fails.
    """
    (other,) = [kind for kind in kinds if kind != first]

    def train(folder: pathlib.Path, kind: str, num_iters: int) -> None:
        run_apart(
            "pax.main",
            f"--config={RESUMED},quicktest",
            f"--workdir={folder}",
            f"--config.num_iters={num_iters}",
            "--config.num_devices=1",
            "--config.chunk=1",
            "--config.callbacks.scalars.every=1",
            "--config.callbacks.checkpoint.every=2",
            environment={**kinds[kind], "JAX_DEFAULT_MATMUL_PRECISION": "highest"},
            limit=limit(),
        )

    with tempfile.TemporaryDirectory() as name:
        stays, moves = pathlib.Path(name) / "stays", pathlib.Path(name) / "moves"
        train(stays, first, 2)
        shutil.copytree(stays, moves)
        train(stays, first, 3)
        train(moves, other, 3)
        rows = [read_metrics(folder) for folder in (moves, stays)]
    if [row["iteration"] for row in rows[0]] != [1, 2, 3]:
        raise ProcessError(
            f"a run of {first} that goes on with {other} has metrics of iterations "
            f"{[row['iteration'] for row in rows[0]]}, and 1 to 3 were to be done"
        )
    moved, stayed = (
        {name: value for name, value in of_run[-1].items() if name not in WITH_THE_CLOCK}
        for of_run in rows
    )
    worst, where = largest_difference(moved, stayed)
    what = f"iteration 3 of {RESUMED}, saved after the second, {told(where)}"
    return judged(Row("agreement", f"from {first} to {other}", "difference", [worst], what))


WITH_THE_CLOCK = ("wall_time", "env_steps_per_second")


def rows(
    kinds: Kinds,
    backends: Mapping[str, str],
    limit: Callable[[], float],
    wanted: Callable[[str], bool],
) -> dict[str, Callable[[], Row]]:
    """Returns what there is to compare; several are computed at a time, as none of them is timed.

    Args:
        kinds: two kinds of devices.
        backends: as JAX names theirs.
        limit: seconds that a process may take.
        wanted: which of these, by name; the others are not begun either.
    """

    def iteration(config: str) -> Row:
        return compare_iteration(config, kinds, backends, limit)

    def resumed(first: str) -> Row:
        return compare_resumed(kinds, first, limit)

    # Should there be no time for all, a config is missed least.
    calls = {f"a run that begins on {name}": functools.partial(resumed, name) for name in kinds}
    calls |= {f"one iteration of {name}": functools.partial(iteration, name) for name in CONFIGS}
    calls = {name: call for name, call in calls.items() if wanted(name)}
    pool = ThreadPoolExecutor(max(1, available_cores() // 3))
    futures: dict[str, Future[Row]] = {}

    def result(name: str) -> Row:
        if not futures:
            futures.update({name: pool.submit(call) for name, call in calls.items()})
        try:
            return futures[name].result()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            # Python ends when its threads do, and these wait for processes.
            end_running()
            raise

    return {name: functools.partial(result, name) for name in calls}


if __name__ == "__main__":
    job: dict[str, Any] = json.loads(sys.argv[1])
    one_iteration(job["config"], job["start"], job["out"], job["kind"])
