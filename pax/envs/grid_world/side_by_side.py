"""Games side by side: what is written for many games at once, as a function of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def of_one(play: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function of one game, given one of many games, which are the last axis of all arrays.

    Under `jax.vmap` all games are played by one call. A processor then adds and compares as many games at
    once as fit into its registers; with games as the first axis, where `vmap` puts them, it would find only
    the few entries of one game beside each other.

    Args:
        play: takes and returns pytrees of arrays `[..., E]`. E is 1 for arguments that all games share.
    """

    @jax.custom_batching.custom_vmap
    def one(*arguments: Any) -> Any:
        result = play(*jax.tree.map(lambda leaf: jnp.asarray(leaf)[..., None], arguments))
        return jax.tree.map(lambda leaf: leaf[..., 0], result)

    @one.def_vmap
    def many(size: int, are_batched: Any, *arguments: Any) -> tuple[Any, Any]:
        def last(leaf: jax.Array, is_batched: bool) -> jax.Array:
            return jnp.moveaxis(leaf, 0, -1) if is_batched else leaf[..., None]

        def first(leaf: jax.Array) -> jax.Array:
            return jnp.moveaxis(jnp.broadcast_to(leaf, (*leaf.shape[:-1], size)), -1, 0)

        result = play(*jax.tree.map(last, arguments, tuple(are_batched)))
        return jax.tree.map(first, result), jax.tree.map(lambda _: True, result)

    return one


def store(arrays: Any) -> Any:
    """Returns arrays that are computed once, and not anew wherever an entry is read.

    XLA computes additions and the like within each operation that reads them, which for a grid of cells means
    once per cell; but not sums over an axis, one of which this is. (For CPUs it drops its own
    `optimization_barrier` before it decides that.)

    Args:
        arrays: a pytree of integers and truth values.
    """

    def stored(leaf: jax.Array) -> jax.Array:
        is_first = np.arange(2).reshape(2, *[1] * leaf.ndim) == 0
        return jnp.where(is_first, leaf, 0).sum(axis=0, dtype=leaf.dtype)

    return jax.tree.map(stored, arrays)
