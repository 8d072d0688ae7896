"""Devices: which axis of the loop is spread over them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pax.errors import ConfigError
from pax.loop.counts import Counts
from pax.roles import Role
from pax.types import Metrics, PyTree, RunState

AXIS = "devices"
ALL = -1
"""As a number of devices: every one there is."""


class Placement:
    """Spreads one batch axis of the loop over devices, the others stay whole.

    With several processes, each of them has a part of the devices, and all have equally many. With one, seeds
    that devices do not divide are filled up with copies of the last one within the compiled function: three
    seeds on two devices take the time of two, not of three.

    Attributes:
        axis: `candidates`, `opponents` or `seeds`; None on one device.
        num_devices: how many are used.
        num_copies: of the last seed, which train for nothing.
        asked: how many it was asked to use; None if it was not asked.
    """

    def __init__(self, num_devices: int | None, *, candidates: int, opponents: int, seeds: int):
        """Uses `num_devices` (-1: all), or as many as there are and an axis can be divided by.

        Raises:
            ConfigError: if there are not so many, or no axis can be divided by their number, and there are
                fewer seeds.
        """
        available, processes = jax.device_count(), jax.process_count()
        sizes = {"candidates": candidates, "opponents": opponents, "seeds": seeds}
        if num_devices == ALL:
            num_devices = available
        self.asked = num_devices
        if num_devices is not None and not 1 <= num_devices <= available:
            raise ConfigError(
                f"num_devices is {num_devices}: this machine has {available}, use 1 to {available}, or all"
            )
        if processes > 1:
            _check_processes(num_devices, processes, available)
        self.axis, self.num_devices = None, 1
        for axis, size in sizes.items():
            number = num_devices or _most(size, processes, available)
            if size % number == 0 and number > self.num_devices:
                self.axis, self.num_devices = axis, number
        number = num_devices or _as_soon_as_all(seeds, available)
        if processes == 1 and self.num_devices < number <= seeds:
            self.axis, self.num_devices = "seeds", number
        self.num_copies = -seeds % self.num_devices if self.axis == "seeds" else 0
        wanted = num_devices or processes
        if wanted > 1 and self.axis is None:
            axis, size = max(sizes.items(), key=lambda item: item[1])
            below, above = size // wanted * wanted, -(-size // wanted) * wanted
            subject = f"num_devices is {wanted}" if num_devices else f"there are {wanted} processes"
            raise ConfigError(
                f"{subject}, which divides none of "
                f"{', '.join(f'{name} ({n})' for name, n in sizes.items())}: make {axis} "
                f"{above if below == 0 else below}, or use fewer "
                f"{'devices' if num_devices else 'processes'}"
            )
        self._sizes, self._available, self._processes = sizes, available, processes
        self.mesh = Mesh(_choose(self.num_devices, processes), (AXIS,), axis_types=(AxisType.Auto,))

    @classmethod
    def of(cls, roles: Sequence[Role], num_devices: int | None, counts: Counts) -> Placement:
        """Returns the placement of a run with these roles: see the constructor."""
        learners = [role.learner for role in roles if role.learner]
        # A learner that reads rollouts mixes those of all opponents: spreading them would have devices
        # talk to each other at every gradient step, so that is not done unasked; several processes ask.
        mixes = any(learner.reads_rollouts for learner in learners)
        asked = num_devices is not None or jax.process_count() > 1
        return cls(
            num_devices,
            candidates=max([learner.num_candidates for learner in learners], default=1),
            opponents=1 if mixes and not asked else counts.num_opps,
            seeds=counts.num_seeds,
        )

    def __str__(self) -> str:
        """Returns the choice in one line, as in `candidates (50) over 2 of 2 devices`."""
        copies = f", filled up to {self._num_trained}" if self.num_copies else ""
        axis = f"{self.axis} ({self._sizes[self.axis]}{copies})" if self.axis else "everything"
        several = f" of {self._processes} processes" if self._processes > 1 else ""
        devices = "device" if self._available == 1 else "devices"
        preposition = "over" if self.axis else "on"
        return f"{axis} {preposition} {self.num_devices} of {self._available} {devices}{several}"

    def spread(self, axis: str, tree: PyTree) -> PyTree:
        """Cuts the leading axis of `tree`, which is `axis`, over devices; within a compiled function."""
        if axis != self.axis:
            return tree
        return jax.lax.with_sharding_constraint(tree, self._sharding(AXIS))

    @property
    def _num_trained(self) -> int:
        """Seeds, with the copies among them."""
        return self._sizes["seeds"] + self.num_copies

    def with_copies(self, state: RunState) -> RunState:
        """Returns the state with `num_copies` more seeds; within a compiled function."""
        if not self.num_copies:
            return state
        seeds = np.minimum(np.arange(self._num_trained), self._sizes["seeds"] - 1)
        more = jax.tree.map(lambda leaf: leaf[seeds] if leaf.ndim else leaf, state)
        places = self._of_seeds(more)
        return jax.tree.map(jax.lax.with_sharding_constraint, more, places)

    def without_copies(self, state: RunState, metrics: Metrics) -> tuple[RunState, Metrics]:
        """Returns the state, and metrics `[iterations, S]`, without copies; within a compiled function."""
        if not self.num_copies:
            return state, metrics
        num_seeds = self._sizes["seeds"]
        own = jax.tree.map(lambda leaf: leaf[:num_seeds] if leaf.ndim else leaf, state)
        return own, jax.tree.map(lambda leaf: leaf[:, :num_seeds], metrics)

    def local(self, tree: PyTree) -> PyTree:
        """Returns a copy that this process has all of, on one device; every process must ask for it.

        With one process, `tree` as it is.
        """
        if self._processes == 1:
            return tree
        everywhere = jax.jit(_identity, out_shardings=self.whole)(tree)
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), everywhere)

    def of_state(self, shapes: RunState) -> RunState:
        """Returns where every part of the train state is: seeds and co-players that live on are spread.

        Seeds that are filled up within the compiled function are whole outside of it.
        """
        if self.num_copies:
            return jax.tree.map(lambda leaf: self.whole, shapes)
        return self._of_seeds(shapes)

    def _of_seeds(self, shapes: RunState) -> RunState:
        def seeds_first(tree: PyTree) -> PyTree:
            spread = self._sharding(AXIS if self.axis == "seeds" else None)
            return jax.tree.map(lambda leaf: spread if leaf.ndim else self.whole, tree)

        def inner(tree: PyTree) -> PyTree:
            position = {"seeds": 0, "candidates": 1, "opponents": 2}.get(self.axis or "")
            spec = [None, None, None]
            if position is not None:
                spec[position] = AXIS  # type: ignore[call-overload]
            return jax.tree.map(lambda leaf: self._sharding(*spec), tree)

        return dataclasses.replace(seeds_first(shapes), inner=inner(shapes.inner))

    @property
    def of_metrics(self) -> NamedSharding:
        """Where the metrics `[iterations, S]` are: with their seeds, so that no device waits for another."""
        alone = self.axis == "seeds" and self._processes == 1 and not self.num_copies
        return self._sharding(None, AXIS) if alone else self.whole

    @property
    def whole(self) -> NamedSharding:
        """The same on every device."""
        return self._sharding()

    def _sharding(self, *spec: str | None) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(*spec))


def _identity(tree: PyTree) -> PyTree:
    return tree


def _most(size: int, processes: int, available: int) -> int:
    """Returns how many of the available devices divide `size`, equally many of each process; else 1."""
    numbers = range(processes, available + 1, processes)
    return max((number for number in numbers if size % number == 0), default=1)


def _as_soon_as_all(size: int, available: int) -> int:
    """Returns the smallest number of devices that do `size` equal parts in the time that all would take."""
    parts_each = -(-size // available)
    return -(-size // parts_each)


def _choose(number: int, processes: int) -> np.ndarray:
    """Returns `number` devices, equally many of each process."""
    if processes == 1:
        return np.array(jax.devices()[:number])
    by_process: dict[int, list[jax.Device]] = {}
    for device in jax.devices():
        by_process.setdefault(device.process_index, []).append(device)
    return np.array([by_process[i][: number // processes] for i in range(processes)]).reshape(-1)


def _check_processes(num_devices: int | None, processes: int, available: int) -> None:
    if jax.local_device_count() * processes != available:
        raise ConfigError(
            f"process {jax.process_index()} has {jax.local_device_count()} devices of the {available} that "
            f"{processes} processes have together: give each of them equally many"
        )
    if num_devices is not None and num_devices % processes:
        below = num_devices // processes * processes
        raise ConfigError(
            f"num_devices is {num_devices}, and each of {processes} processes uses equally many: make it "
            f"{below or processes}"
        )
