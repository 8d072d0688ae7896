"""Reading checkpoints, also those of a run that another process goes on with: nothing is written.

See `pax.checkpoints.writer` for what a checkpoint consists of.
"""

from __future__ import annotations

import json
import logging as python_logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from pax.checkpoints.tree import PyTree, describe_leaves, first_difference, flatten_leaves, is_jax
from pax.errors import CheckpointError
from pax.run.directory import CHECKPOINTS, CHECKSUMS
from pax.run.files import find_irregular, open_regular, read_regular

__all__ = ["CHECKPOINTS", "CHECKSUMS", "CheckpointReader", "Restored"]

SCHEMA = 1

STEP = "step"
"""The key in it of the step: a copied folder has another name. Other keys are paths with a slash."""
ITEMS = ("state", "callbacks", "meta")
"""The folders of a checkpoint."""


class Restored(NamedTuple):
    """What `CheckpointReader.restore` returns."""

    step: int
    state: PyTree
    callbacks: dict[str, Any]
    meta: dict[str, Any]


class CheckpointReader:
    """Finds and restores checkpoints, bit for bit.

    Args:
        directory: Where the checkpoints are; it may be missing.
    """

    def __init__(self, directory: str | Path) -> None:
        # Imported late: Orbax is slow to import, and most imports of this module never use it.
        import orbax.checkpoint as ocp

        # Adding the same filter twice is a no-op.
        logging.get_absl_logger().addFilter(_is_told)
        self._ocp: Any = ocp
        self._directory = Path(directory).absolute()
        self._damaged: set[int] = set()
        # Its manager would keep a list of checkpoints of its own, which another process changes.
        self._reader = ocp.Checkpointer(ocp.CompositeCheckpointHandler())

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints on disk, ascending."""
        try:
            names = [path.name for path in self._directory.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        # While it is written, a checkpoint has a longer name.
        return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)

    def latest_step(self) -> int | None:
        """Returns the newest step, or None if there is no checkpoint."""
        return max(self.steps(), default=None)

    def restore(self, abstract_state: PyTree, step: int | None = None) -> Restored:
        """Restores a checkpoint.

        Args:
            abstract_state: A pytree like the saved one, with arrays or `jax.ShapeDtypeStruct` leaves,
              whose shardings the restored arrays get (the default device where there is none).
              Leaves that are neither come back as numpy arrays.
            step: Which checkpoint; None for the newest. If that one is damaged, a warning is logged
              and the one before is restored, and so on.

        Returns:
            The step, the state, and what `save` was given as `callbacks` and `meta`.

        Raises:
            CheckpointError: There is no such checkpoint, it is damaged (if all are, with `step`
              None), was written by a version of Pax with another schema, or does not fit
              `abstract_state`.
        """
        available = self.steps()
        if step is not None and step not in available:
            raise CheckpointError(
                f"no checkpoint of step {step} in {self._directory}: "
                f"choose one of {available or 'none'}."
            )
        if not available:
            raise CheckpointError(f"no checkpoint in {self._directory}: nothing was saved there.")
        damages: dict[int, str] = {}
        for candidate in reversed(available) if step is None else [step]:
            damage = self.find_damage(candidate)
            if damage is None:
                return self._read(candidate, abstract_state)
            damages[candidate] = damage
            if step is None:
                self._damaged.add(candidate)
                logging.warning(
                    "Checkpoint %d in %s is damaged (%s): trying the one before.",
                    candidate,
                    self._directory,
                    damage,
                )
        if step is not None:
            others = [other for other in available if other != step]
            raise CheckpointError(
                f"checkpoint {step} in {self._directory} is damaged ({damages[step]}): "
                f"choose one of {others or 'none'}."
            )
        told = ", ".join(f"{candidate} ({damage})" for candidate, damage in damages.items())
        raise CheckpointError(
            f"all checkpoints in {self._directory} are damaged: {told}; "
            "restore them from a copy or start in another directory."
        )

    def find_damage(self, step: int) -> str | None:
        """Returns what is wrong with the files of a checkpoint in a few words, or None."""
        path = self._directory / str(step)
        try:
            if irregular := find_irregular(path):
                return f"{irregular.relative_to(path)} is no regular file"
            checksums = json.loads(read_regular(path / CHECKSUMS))
            own_step = checksums.pop(STEP, step)
            if own_step != step:
                return f"it is a copy of that of step {own_step}"
            if not {name.split("/")[0] for name in checksums} >= set(ITEMS):
                return f"{CHECKSUMS} does not name the files of {', '.join(ITEMS)}"
            for name, (size, crc) in checksums.items():
                found_size, found_crc = checksum(path / name)
                if found_size != size:
                    return f"{name} has {found_size} bytes instead of {size}"
                if found_crc != crc:
                    return f"{name} has changed since it was written"
        except FileNotFoundError as e:
            return f"{Path(e.filename).relative_to(path)} is missing"
        except OSError as e:
            return f"{e.filename} cannot be read: {e.strerror}"
        except (ValueError, TypeError, AttributeError):
            return f"{CHECKSUMS} is not readable"
        return None

    def _restore(self, step: int, args: Any) -> Any:
        return self._reader.restore(self._directory / str(step), args=args)

    def _read_meta(self, step: int) -> dict[str, Any]:
        args = self._ocp.args
        return self._restore(step, args=args.Composite(meta=args.JsonRestore())).meta

    def _read(self, step: int, abstract_state: PyTree) -> Restored:
        """Reads a checkpoint that is not damaged."""
        meta = self._read_meta(step)
        if meta.get("schema") != SCHEMA:
            raise CheckpointError(
                f"checkpoint {step} in {self._directory} has schema {meta.get('schema')}, and this "
                f"version of Pax reads schema {SCHEMA}: use the version that wrote it, or start in "
                "another directory."
            )
        expected_leaves = describe_leaves(abstract_state)
        saved, wanted = _num_seeds(meta["leaves"]), _num_seeds(expected_leaves)
        if saved is not None and wanted is not None and saved != wanted:
            raise CheckpointError(
                f"checkpoint {step} in {self._directory} is of a run with num_seeds {saved}, and num_seeds "
                f"is {wanted} here: set it to {saved}, or start in another directory."
            )
        difference = first_difference(expected_leaves, meta["leaves"])
        if difference is not None:
            raise CheckpointError(
                f"checkpoint {step} in {self._directory} is of another configuration or version of "
                f"the code: {difference}; use the configuration that wrote it, or start in another "
                "directory."
            )
        # Matched by name: the order of fields may change between versions of the code.
        expected = [
            (leaf, meta["leaves"][name].get("number"))
            for name, leaf in flatten_leaves(abstract_state).items()
        ]
        targets = {number: _target(leaf) for leaf, number in expected if number is not None}
        args = self._ocp.args
        try:
            restored = self._restore(
                step,
                args=args.Composite(
                    state=args.StandardRestore(targets or NO_ARRAYS),
                    callbacks=args.JsonRestore(),
                ),
            )
        except Exception as e:
            raise CheckpointError(
                f"checkpoint {step} in {self._directory} is intact but cannot be restored: {e}"
            ) from e
        leaves = [
            _empty(leaf) if number is None else restored.state[number] for leaf, number in expected
        ]
        state = jax.tree.unflatten(jax.tree.structure(abstract_state), leaves)
        return Restored(step, state, restored.callbacks, meta["meta"])


def _num_seeds(leaves: Mapping[str, Mapping[str, Any]]) -> int | None:
    """Returns how many keys the state of a run has, one per seed; None for other trees."""
    shape = leaves.get("keys", {}).get("shape")
    return shape[0] if shape else None


# What Orbax gets when there is no array to store: it refuses an empty tree.
NO_ARRAYS = {"none": np.zeros(1)}


def _sharding(leaf: Any) -> jax.sharding.Sharding:
    return leaf.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


def _target(leaf: Any) -> Any:
    """Returns what tells Orbax how to restore a leaf."""
    if is_jax(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=_sharding(leaf))
    return np.array(leaf)


def _empty(leaf: Any) -> Any:
    """Returns an array without elements, like `leaf`."""
    if not is_jax(leaf):
        return np.array(leaf)
    # Made where it is to be: no process can send another one a part of it.
    return jax.jit(lambda: jnp.zeros(leaf.shape, leaf.dtype), out_shardings=_sharding(leaf))()


def checksum(path: Path) -> list[int]:
    """Returns the size and the CRC-32 of a file."""
    size, crc = 0, 0
    with open_regular(path) as file:
        while block := file.read(1 << 22):
            size += len(block)
            crc = zlib.crc32(block, crc)
    return [size, crc]


def _is_told(record: python_logging.LogRecord) -> bool:
    """Drops what Orbax logs below a warning, some forty lines per save, and errors that it raises as well.

    A save that fails is a stack of a hundred lines, once per thread that hears of it.
    """
    is_told = record.levelno >= python_logging.WARNING and not record.exc_info
    return is_told or "orbax" not in record.pathname
