"""Batch axes: `vmap` where there is more than one entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pax.types import PyTree, take

Axes = int | None | dict[str, int | None]
"""0: the argument has the axis in front; None: it has not; a dict says so for each of its entries."""


def over(
    function: Callable[..., PyTree], size: int, in_axes: Sequence[Axes]
) -> Callable[..., PyTree]:
    """Maps `function` over an axis of `size` entries, which every leaf of its result then has in front.

    With one entry it is taken out and the axis put back: each `vmap` around a scan has JAX go through all
    of its body twice, which is most of the time of tracing. The result is the same up to rounding.
    """
    if size > 1:
        return jax.vmap(function, tuple(in_axes), axis_size=size)

    def of_the_only_entry(*arguments: PyTree) -> PyTree:
        entries = [
            _first(argument, axes) for argument, axes in zip(arguments, in_axes, strict=True)
        ]
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], function(*entries))

    return of_the_only_entry


def _first(tree: PyTree, axes: Axes) -> Any:
    if isinstance(axes, dict):
        return {name: _first(entry, axes[name]) for name, entry in tree.items()}
    return tree if axes is None else take(tree, 0)
