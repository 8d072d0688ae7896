"""Checkpoints: the whole train state on disk, by Orbax, behind one small class.

A checkpoint is a directory `<directory>/<step>` with three Orbax items and a list of checksums:

- `state`: the leaves of the train state, numbered;
- `callbacks`: the states of the callbacks, as JSON;
- `meta`: a schema number, the names and shapes of the leaves, and the caller's metadata, as JSON;
- `checksums.json`: the step, and size and CRC-32 of every file of the three.

The list of leaves tells a checkpoint of another configuration from a damaged one, and carries what
Orbax refuses to store: arrays without elements. The checksums find damage before Orbax reads
anything: Orbax does not notice a flipped bit in the data, and reports other damage from several
threads at once.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging

from pax.checkpoints.reader import (
    CHECKSUMS,
    NO_ARRAYS,
    SCHEMA,
    STEP,
    CheckpointReader,
    Restored,
    checksum,
)
from pax.checkpoints.tree import PyTree, describe_leaves, flatten_leaves, is_jax
from pax.checks import COUNT, COUNT_OR_NONE, check_number
from pax.errors import CheckpointError, PaxError
from pax.run import distributed
from pax.run.files import find_irregular

SECONDS_TO_REMOVE = 5.0
PARTIAL = ".orbax-checkpoint-tmp"
"""How the name of a checkpoint ends while it is written."""


class Checkpointer(CheckpointReader):
    """Saves train states in the background, keeps some of them and restores them bit for bit.

    Under several processes every process must make the same calls.

    Args:
        directory: Where the checkpoints are; created if need be.
        keep_latest: How many of the newest checkpoints to keep.
        keep_every: Also keep every checkpoint whose step is a multiple of this; 0 for none.
        keep_best: How many of the checkpoints with the best metric to keep as well.
        maximise: Whether a larger metric is better.

    Raises:
        ConfigError: A number is out of range.
        CheckpointError: The directory cannot be created.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        keep_latest: int = 2,
        keep_every: int = 0,
        keep_best: int = 1,
        maximise: bool = True,
    ) -> None:
        check_number("keep_latest", keep_latest, COUNT)
        check_number("keep_every", keep_every, COUNT_OR_NONE)
        check_number("keep_best", keep_best, COUNT_OR_NONE)
        super().__init__(directory)
        self._keep_latest = keep_latest
        self._keep_every = keep_every
        self._keep_best = keep_best
        self._sign = 1.0 if maximise else -1.0
        self._saving_step: int | None = None
        self._descriptor: int | None = None
        self._open(parents=True)

    def _open(self, parents: bool) -> None:
        """Makes the directory if it is missing, those above it only if told to, and what saves to it.

        Raises:
            CheckpointError: It cannot be made.
        """
        ocp = self._ocp
        try:
            self._directory.mkdir(parents=parents, exist_ok=True)
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
            # While it is open, no other directory gets its number. Windows opens none.
            with contextlib.suppress(PermissionError):
                self._descriptor = os.open(self._directory, os.O_RDONLY)
            self._manager = ocp.CheckpointManager(
                self._directory,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=_Policy(self),
                    async_options=ocp.AsyncOptions(
                        # Runs when all files are written, before the directory gets its final name.
                        post_finalization_callback=self._write_checksums
                    ),
                ),
            )
        except OSError as e:
            raise CheckpointError(
                f"cannot create the checkpoint directory {self._directory}: {e}."
            ) from e
        self._metrics = {step: self._read_metric(step) for step in self.steps()}

    def save(
        self,
        step: int,
        state: PyTree,
        *,
        callbacks: Mapping[str, Any],
        meta: Mapping[str, Any],
        best_metric: float | None = None,
    ) -> None:
        """Saves a checkpoint; returns once the state has been copied and may be donated.

        A checkpoint of the same step is replaced, and checkpoints that `restore` found damaged are
        removed.

        Args:
            step: Iterations done so far.
            state: Any pytree of arrays, typed PRNG keys included.
            callbacks: States of the callbacks, as JSON values.
            meta: Anything else, as JSON values.
            best_metric: What `keep_best` and `best_step` compare; None or NaN is never the best.

        Raises:
            CheckpointError: A value is not JSON, or this or the previous save failed.
        """
        callbacks_json = _as_json("callbacks", callbacks)
        metric = None if best_metric is None or math.isnan(best_metric) else float(best_metric)
        specs = describe_leaves(state)
        arrays: dict[str, Any] = {}
        for name, leaf in flatten_leaves(state).items():
            if math.prod(specs[name]["shape"]) > 0:
                specs[name]["number"] = number = str(len(arrays))
                # A copy, because the caller may write to a numpy array while it is being saved.
                arrays[number] = leaf if is_jax(leaf) else np.array(leaf)
        meta_json = {
            "schema": SCHEMA,
            "metric": metric,
            "leaves": specs,
            "meta": _as_json("meta", meta),
        }
        # The policy and the checksums ask for the step being saved, so saves must not overlap.
        try:
            self.wait()
        except CheckpointError:
            if not self.is_replaced():
                raise
        if self.is_replaced():
            self._begin_anew()
        self._saving_step = step
        self._metrics[step] = metric
        args = self._ocp.args
        try:
            if step in self.steps():
                self._manager.delete(step)
                self._damaged.discard(step)
            self._manager.save(
                step,
                args=args.Composite(
                    state=args.StandardSave(arrays or NO_ARRAYS),
                    callbacks=args.JsonSave(callbacks_json),
                    meta=args.JsonSave(meta_json),
                ),
                force=True,  # Orbax would skip a step below the newest one.
            )
        except Exception as e:
            raise self._save_failed(e) from e

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints, ascending, one being saved included."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """Returns the step with the best metric, the newest among equals; None without metrics."""
        return next(iter(self._ranking(self.steps())), None)

    def restore(self, abstract_state: PyTree, step: int | None = None) -> Restored:
        """Restores a checkpoint, once the last save is on disk: see `CheckpointReader.restore`."""
        self.wait()
        return super().restore(abstract_state, step)

    def wait(self) -> None:
        """Waits until the last save is on disk.

        Raises:
            CheckpointError: It failed.
            ProcessError: It failed because another process is gone.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as e:
            raise self._save_failed(e) from e

    def close(self) -> None:
        """Waits for the last save and releases the threads; call it once, last.

        Raises:
            CheckpointError: The last save failed.
        """
        try:
            self.wait()
        finally:
            self._manager.close()
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def is_replaced(self) -> bool:
        """Returns whether the directory was deleted or moved away; with several processes, False."""
        if self._descriptor is None or jax.process_count() > 1:
            return False
        try:
            return not os.path.samestat(os.fstat(self._descriptor), os.stat(self._directory))
        except FileNotFoundError:
            return True

    def _begin_anew(self) -> None:
        """Goes on in a new directory of the same name: the state that is to be saved is whole."""
        logging.warning(
            "%s was deleted or moved: earlier checkpoints are no longer there, and saving goes on.",
            self._directory,
        )
        with contextlib.suppress(Exception):
            self._manager.close()
        self.remove_partial()
        # If the folder of the run is gone too, that is another matter.
        self._open(parents=False)

    def remove_partial(self, last: bool = False) -> bool:
        """Removes what a save that failed has left; returns whether there was anything.

        A save makes the directories that it writes to, also where they have been deleted meanwhile.

        Args:
            last: Remove the last checkpoint also if it is whole: its directory was made by its save.
        """
        patterns = [f"*{PARTIAL}", *([str(self._saving_step)] if last else [])]
        found, quiet = False, 0
        deadline = time.monotonic() + SECONDS_TO_REMOVE
        # Other threads of the save may write on for a moment.
        while quiet < 4 and time.monotonic() < deadline:
            partial = [path for each in patterns for path in self._directory.glob(each)]
            for path in partial:
                shutil.rmtree(path, ignore_errors=True)
            found, quiet = found or bool(partial), 0 if partial else quiet + 1
            time.sleep(0.05)
        return found

    def _save_failed(self, error: Exception) -> PaxError:
        if distributed.is_lost(error):
            return distributed.lost(error)
        return CheckpointError(
            f"checkpoint {self._saving_step} could not be written to {self._directory}: {error}"
        )

    def _ranking(self, steps: Sequence[int]) -> list[int]:
        """Returns the steps that have a metric, best first, the newest first among equals."""
        keys = [
            (self._sign * metric, step)
            for step in steps
            if step not in self._damaged and (metric := self._metrics.get(step)) is not None
        ]
        return [step for _, step in sorted(keys, reverse=True)]

    def _is_kept(self, steps: Sequence[int]) -> list[bool]:
        """Tells which checkpoints outlive the save in progress."""
        # Damaged ones go, and must not push out intact ones by being newer.
        intact = sorted(set(steps) - self._damaged)
        kept = {self._saving_step, *intact[-self._keep_latest :]}
        kept.update(self._ranking(intact)[: self._keep_best])
        if self._keep_every:
            kept.update(step for step in intact if step % self._keep_every == 0)
        return [step in kept for step in steps]

    def _write_checksums(self) -> None:
        """Writes the checksums of the checkpoint that Orbax is about to commit."""
        name = str(self._saving_step)
        # Orbax renames the first to the second, except on file systems that cannot rename.
        for path in (*self._directory.glob(f"{name}.*-tmp*"), self._directory / name):
            if path.is_dir():
                # Files of the items only: those beside them are Orbax's notes, still to change.
                checksums = {
                    file.relative_to(path).as_posix(): checksum(file)
                    for file in sorted(path.glob("*/**/*"))
                    if file.is_file()
                }
                content = {STEP: self._saving_step, **checksums}
                (path / CHECKSUMS).write_text(json.dumps(content))
                return
        raise FileNotFoundError(f"no directory of checkpoint {name} in {self._directory}")

    def _read_metric(self, step: int) -> float | None:
        try:
            if find_irregular(self._directory / str(step)):
                # To open it could take for ever.
                raise OSError("it holds something that is no regular file")
            return self._read_meta(step)["metric"]
        except Exception as e:
            # Not worth more than a line: `restore` looks at it closely if anybody wants it.
            logging.warning(
                "Cannot read the metadata of checkpoint %d: %s.", step, type(e).__name__
            )
            return None


class _Policy:
    """Orbax's protocol for deciding which checkpoints to keep."""

    def __init__(self, checkpointer: Checkpointer) -> None:
        self._checkpointer = checkpointer

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Returns one decision per checkpoint."""
        del context
        return self._checkpointer._is_kept([checkpoint.step for checkpoint in checkpoints])


def _as_json(what: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a copy in JSON values: the caller may change its own while it is being saved."""
    copy = {}
    for key, item in value.items():
        try:
            copy[key] = json.loads(json.dumps(item))
        except (TypeError, ValueError) as e:
            raise CheckpointError(
                f"{what}[{key!r}] cannot be saved as JSON ({e}): use float(), int() or .tolist()."
            ) from e
    return copy
