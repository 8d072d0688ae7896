"""Checkpoints: the whole train state on disk, by Orbax, behind one small class.

A checkpoint is a directory `<directory>/<step>` with three Orbax items and a list of checksums:

- `state`: the leaves of the train state, numbered;
- `callbacks`: the states of the callbacks, as JSON;
- `meta`: a schema number, the names and shapes of the leaves, and the caller's metadata, as JSON;
- `checksums.json`: size and CRC-32 of every file of the three.

The list of leaves tells a checkpoint of another configuration from a damaged one, and carries what
Orbax refuses to store: arrays without elements. The checksums find damage before Orbax reads
anything: Orbax does not notice a flipped bit in the data, and reports other damage from several
threads at once.
"""

from __future__ import annotations

import json
import logging as python_logging
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from pax.errors import CheckpointError, ConfigError

SCHEMA = 1

PyTree = Any

_CHECKSUMS = "checksums.json"


class Restored(NamedTuple):
    """What `Checkpointer.restore` returns."""

    step: int
    state: PyTree
    callbacks: dict[str, Any]
    meta: dict[str, Any]


class Checkpointer:
    """Saves train states in the background, keeps some of them and restores them bit for bit.

    Under several processes every process must make the same calls.

    Args:
        directory: Where the checkpoints are; created if need be.
        keep_latest: How many of the newest checkpoints to keep.
        keep_every: Also keep every checkpoint whose step is a multiple of this.
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
        keep_every: int | None = None,
        keep_best: int = 1,
        maximise: bool = True,
    ) -> None:
        for key, value, least in (
            ("keep_latest", keep_latest, 1),
            ("keep_every", keep_every, 1),
            ("keep_best", keep_best, 0),
        ):
            if value is not None and value < least:
                raise ConfigError(f"{key} is {value}: give at least {least}.")
        # Imported late: Orbax is slow to import, and most imports of this module never save.
        import orbax.checkpoint as ocp

        _hush_orbax()
        self._ocp: Any = ocp
        self._directory = Path(directory).absolute()
        self._keep_latest = keep_latest
        self._keep_every = keep_every
        self._keep_best = keep_best
        self._sign = 1.0 if maximise else -1.0
        self._saving_step: int | None = None
        self._damaged: set[int] = set()
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
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
        for name, leaf in _flatten(state).items():
            if math.prod(specs[name]["shape"]) > 0:
                specs[name]["number"] = number = str(len(arrays))
                # A copy, because the caller may write to a numpy array while it is being saved.
                arrays[number] = leaf if _is_jax(leaf) else np.array(leaf)
        meta_json = {
            "schema": SCHEMA,
            "metric": metric,
            "leaves": specs,
            "meta": _as_json("meta", meta),
        }
        # The policy and the checksums ask for the step being saved, so saves must not overlap.
        self.wait()
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
                    state=args.StandardSave(arrays or _NO_ARRAYS),
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

    def latest_step(self) -> int | None:
        """Returns the newest step, or None if there is no checkpoint."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """Returns the step with the best metric, the newest among equals; None without metrics."""
        return next(iter(self._ranking(self.steps())), None)

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
        self.wait()
        available = self.steps()
        if step is not None:
            if step not in available:
                raise CheckpointError(
                    f"no checkpoint of step {step} in {self._directory}: "
                    f"choose one of {available or 'none'}."
                )
            damage = self._find_damage(step)
            if damage is not None:
                others = [other for other in available if other != step]
                raise CheckpointError(
                    f"checkpoint {step} in {self._directory} is damaged ({damage}): "
                    f"choose one of {others or 'none'}."
                )
            return self._read(step, abstract_state)
        if not available:
            raise CheckpointError(f"no checkpoint in {self._directory}: nothing was saved there.")
        damages = []
        for candidate in reversed(available):
            damage = self._find_damage(candidate)
            if damage is None:
                return self._read(candidate, abstract_state)
            self._damaged.add(candidate)
            damages.append(f"{candidate} ({damage})")
            logging.warning(
                "Checkpoint %d in %s is damaged (%s): trying the one before.",
                candidate,
                self._directory,
                damage,
            )
        raise CheckpointError(
            f"all checkpoints in {self._directory} are damaged: {', '.join(damages)}; "
            "restore them from a copy or start in another directory."
        )

    def wait(self) -> None:
        """Waits until the last save is on disk.

        Raises:
            CheckpointError: It failed.
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

    def _save_failed(self, error: Exception) -> CheckpointError:
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
        if self._keep_every is not None:
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
                    file.relative_to(path).as_posix(): _checksum(file)
                    for file in sorted(path.glob("*/**/*"))
                    if file.is_file()
                }
                (path / _CHECKSUMS).write_text(json.dumps(checksums))
                return
        raise FileNotFoundError(f"no directory of checkpoint {name} in {self._directory}")

    def _find_damage(self, step: int) -> str | None:
        """Returns what is wrong with the files of a checkpoint in a few words, or None."""
        path = self._directory / str(step)
        try:
            checksums = json.loads((path / _CHECKSUMS).read_text())
            for name, (size, crc) in checksums.items():
                found_size, found_crc = _checksum(path / name)
                if found_size != size:
                    return f"{name} has {found_size} bytes instead of {size}"
                if found_crc != crc:
                    return f"{name} has changed since it was written"
        except FileNotFoundError as e:
            return f"{Path(e.filename).relative_to(path)} is missing"
        except OSError as e:
            return f"{e.filename} cannot be read: {e.strerror}"
        except (ValueError, TypeError, AttributeError):
            return f"{_CHECKSUMS} is not readable"
        return None

    def _read_metric(self, step: int) -> float | None:
        try:
            return self._read_meta(step)["metric"]
        except Exception as e:
            # Not worth more than a line: `restore` looks at it closely if anybody wants it.
            logging.warning(
                "Cannot read the metadata of checkpoint %d: %s.", step, type(e).__name__
            )
            return None

    def _read_meta(self, step: int) -> dict[str, Any]:
        args = self._ocp.args
        return self._manager.restore(step, args=args.Composite(meta=args.JsonRestore())).meta

    def _read(self, step: int, abstract_state: PyTree) -> Restored:
        """Reads a checkpoint that is not damaged."""
        meta = self._read_meta(step)
        if meta.get("schema") != SCHEMA:
            raise CheckpointError(
                f"checkpoint {step} in {self._directory} has schema {meta.get('schema')}, and this "
                f"version of Pax reads schema {SCHEMA}: use the version that wrote it, or start in "
                "another directory."
            )
        difference = first_difference(describe_leaves(abstract_state), meta["leaves"])
        if difference is not None:
            raise CheckpointError(
                f"checkpoint {step} in {self._directory} is of another configuration or version of "
                f"the code: {difference}; use the configuration that wrote it, or start in another "
                "directory."
            )
        # Matched by name: the order of fields may change between versions of the code.
        expected = [
            (leaf, meta["leaves"][name].get("number"))
            for name, leaf in _flatten(abstract_state).items()
        ]
        targets = {number: _target(leaf) for leaf, number in expected if number is not None}
        args = self._ocp.args
        try:
            restored = self._manager.restore(
                step,
                args=args.Composite(
                    state=args.StandardRestore(targets or _NO_ARRAYS),
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


class _Policy:
    """Orbax's protocol for deciding which checkpoints to keep."""

    def __init__(self, checkpointer: Checkpointer) -> None:
        self._checkpointer = checkpointer

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Returns one decision per checkpoint."""
        del context
        return self._checkpointer._is_kept([checkpoint.step for checkpoint in checkpoints])


# What Orbax gets when there is no array to store: it refuses an empty tree.
_NO_ARRAYS = {"none": np.zeros(1)}


def _flatten(tree: PyTree) -> dict[str, Any]:
    """Returns the leaves by name, such as `params['w']`."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path).lstrip("."): leaf for path, leaf in leaves}


def describe_leaves(tree: PyTree) -> dict[str, dict[str, Any]]:
    """Returns shape and dtype of each leaf by name, such as `params['w']`, as JSON values.

    Args:
        tree: A pytree of arrays, `jax.ShapeDtypeStruct` or numbers.
    """
    specs = {}
    for name, leaf in _flatten(tree).items():
        leaf = leaf if _is_jax(leaf) else np.asarray(leaf)
        specs[name] = {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}
    return specs


def first_difference(
    expected: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]
) -> str | None:
    """Describes the first leaf in which two descriptions of a pytree differ.

    Args:
        expected: `shape` and `dtype` by name of leaf.
        found: Likewise.

    Returns:
        A clause that names the leaf and what was expected and found, or None.
    """
    for name, spec in expected.items():
        if name not in found:
            return f"{name} is missing, expected {_describe(spec)}"
        if _describe(spec) != _describe(found[name]):
            return f"{name} is {_describe(found[name])}, expected {_describe(spec)}"
    for name, spec in found.items():
        if name not in expected:
            return f"{name} is {_describe(spec)}, expected no such leaf"
    return None


def _describe(spec: Mapping[str, Any]) -> str:
    return f"{spec['dtype']}[{', '.join(map(str, spec['shape']))}]"


def _is_jax(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct))


def _sharding(leaf: Any) -> jax.sharding.Sharding:
    return leaf.sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


def _target(leaf: Any) -> Any:
    """Returns what tells Orbax how to restore a leaf."""
    if _is_jax(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=_sharding(leaf))
    return np.array(leaf)


def _empty(leaf: Any) -> Any:
    """Returns an array without elements, like `leaf`."""
    if not _is_jax(leaf):
        return np.array(leaf)
    return jax.device_put(jnp.zeros(leaf.shape, leaf.dtype), _sharding(leaf))


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


def _checksum(path: Path) -> list[int]:
    """Returns the size and the CRC-32 of a file."""
    size, crc = 0, 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            size += len(block)
            crc = zlib.crc32(block, crc)
    return [size, crc]


class _NoOrbaxInfo(python_logging.Filter):
    """Drops what Orbax logs below a warning: some forty lines per save."""

    def filter(self, record: python_logging.LogRecord) -> bool:
        return record.levelno >= python_logging.WARNING or "orbax" not in record.pathname


_NO_ORBAX_INFO = _NoOrbaxInfo()


def _hush_orbax() -> None:
    # Adding the same filter twice is a no-op.
    logging.get_absl_logger().addFilter(_NO_ORBAX_INFO)
