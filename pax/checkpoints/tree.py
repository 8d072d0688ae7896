"""The leaves of a pytree by name: what a checkpoint or a policy says of its arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

PyTree = Any


def flatten_leaves(tree: PyTree) -> dict[str, Any]:
    """Returns the leaves by name, such as `params['w']`."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path).lstrip("."): leaf for path, leaf in leaves}


def describe_leaves(tree: PyTree) -> dict[str, dict[str, Any]]:
    """Returns shape and dtype of each leaf by name, such as `params['w']`, as JSON values.

    Args:
        tree: A pytree of arrays, `jax.ShapeDtypeStruct` or numbers.
    """
    specs = {}
    for name, leaf in flatten_leaves(tree).items():
        leaf = leaf if is_jax(leaf) else np.asarray(leaf)
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


def is_jax(leaf: Any) -> bool:
    """Returns whether a leaf is an array of JAX, or the description of one."""
    return isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct))
