"""Devices: which axis of the loop is spread over them."""

from __future__ import annotations

import math

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pax.errors import ConfigError
from pax.types import PyTree, TrainState

AXIS = "devices"


class Placement:
    """Spreads one batch axis of the loop over devices, the others stay whole.

    Attributes:
        axis: `candidates`, `opponents` or `seeds`; None on one device.
        num_devices: how many are used.
    """

    def __init__(self, num_devices: int | None, *, candidates: int, opponents: int, seeds: int):
        """Uses `num_devices`, or as many as there are and an axis can be divided by.

        Raises:
            ConfigError: if there are not so many, or no axis can be divided by their number.
        """
        available = jax.device_count()
        sizes = {"candidates": candidates, "opponents": opponents, "seeds": seeds}
        if num_devices is not None and not 1 <= num_devices <= available:
            raise ConfigError(
                f"num_devices is {num_devices}: this machine has {available}, use 1 to {available}"
            )
        self.axis, self.num_devices = None, 1
        for axis, size in sizes.items():
            number = num_devices or math.gcd(size, available)
            if size % number == 0 and number > self.num_devices:
                self.axis, self.num_devices = axis, number
                break
        if num_devices is not None and num_devices > 1 and self.axis is None:
            axis, size = max(sizes.items(), key=lambda item: item[1])
            below, above = size // num_devices * num_devices, -(-size // num_devices) * num_devices
            raise ConfigError(
                f"num_devices is {num_devices}, which divides none of "
                f"{', '.join(f'{name} ({n})' for name, n in sizes.items())}: make {axis} "
                f"{above if below == 0 else below}, or use fewer devices"
            )
        devices = np.array(jax.devices()[: self.num_devices])
        self.mesh = Mesh(devices, (AXIS,), axis_types=(AxisType.Auto,))

    def spread(self, axis: str, tree: PyTree) -> PyTree:
        """Within a compiled function: cuts the leading axis of `tree`, which is `axis`, over devices."""
        if axis != self.axis:
            return tree
        return jax.lax.with_sharding_constraint(tree, self._sharding(AXIS))

    def of_state(self, shapes: TrainState) -> TrainState:
        """Where every part of the train state is: seeds and co-players that live on are spread."""

        def seeds_first(tree: PyTree) -> PyTree:
            return jax.tree.map(
                lambda leaf: self._sharding(AXIS if self.axis == "seeds" else None), tree
            )

        def inner(tree: PyTree) -> PyTree:
            position = {"seeds": 0, "candidates": 1, "opponents": 2}.get(self.axis or "")
            spec = [None, None, None]
            if position is not None:
                spec[position] = AXIS  # type: ignore[call-overload]
            return jax.tree.map(lambda leaf: self._sharding(*spec), tree)

        return TrainState(
            step=self.whole,  # type: ignore[arg-type]
            keys=seeds_first(shapes.keys),
            learners=seeds_first(shapes.learners),
            inner=inner(shapes.inner),
        )

    @property
    def whole(self) -> NamedSharding:
        """The same on every device."""
        return self._sharding()

    def _sharding(self, *spec: str | None) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(*spec))
