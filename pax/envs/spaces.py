"""Spaces of observations and actions."""

from __future__ import annotations

import ast
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pax.checks import COUNT, COUNT_OR_NONE, Limit, check_items, check_number, short
from pax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Discrete:
    """The integers 0, ..., n - 1, as int32 scalars.

    Raises:
        ConfigError: if n is no whole number of at least 1.
    """

    n: int

    shape = ()
    dtype = jnp.int32

    def __post_init__(self) -> None:
        check_number("n", self.n, COUNT, "Discrete")

    def zeros(self, *batch: int) -> jax.Array:
        """Returns zeros with the axes `batch` in front."""
        return jnp.zeros(batch, self.dtype)


@dataclasses.dataclass(frozen=True)
class Cells:
    """Arrays of one shape of the integers 0, ..., n - 1, as uint8: what each cell of a board is.

    Networks read them one-hot, so that cells `[height, width]` are an image of n channels, and rollouts keep
    a byte for each.

    Raises:
        ConfigError: if the shape has sizes below 1, or n is not 1 to 256.
    """

    shape: tuple[int, ...]
    n: int

    dtype = jnp.uint8

    def __post_init__(self) -> None:
        check_items("shape", self.shape, "a tuple of sizes")
        for size in self.shape:
            check_number("a size in shape", size, COUNT, "Cells")
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        check_number("n", self.n, Limit(1, 256, whole=True), "Cells")

    def zeros(self, *batch: int) -> jax.Array:
        """Returns zeros with the axes `batch` in front."""
        return jnp.zeros((*batch, *self.shape), self.dtype)


Bound = float | tuple[Any, ...] | np.ndarray
"""One number for all entries of an array, or as many as it has, in its shape."""


@dataclasses.dataclass(frozen=True)
class Box:
    """float32 arrays of one shape, each entry within its bounds, which are part of it.

    Bounds may be given as one number or as an array of the shape; arrays are kept as nested tuples, and as
    one number where all entries are the same, so that equal spaces compare equal.

    Raises:
        ConfigError: if bounds have another shape, or a low one is not below or at the high one.
    """

    shape: tuple[int, ...]
    low: Bound = -math.inf
    high: Bound = math.inf

    dtype = jnp.float32

    def __post_init__(self) -> None:
        check_items("shape", self.shape, "a tuple of sizes")
        for size in self.shape:
            check_number("a size in shape", size, COUNT_OR_NONE, "a Box")
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        for name in ("low", "high"):
            try:
                bound = np.asarray(getattr(self, name), np.float64)
            except (ValueError, TypeError, OverflowError) as e:
                raise ConfigError(
                    f"{name} is {short(getattr(self, name))} in a Box: give one number, or one for each entry"
                ) from e
            if bound.shape not in ((), self.shape):
                raise ConfigError(
                    f"{name} has shape {bound.shape} in a Box of shape {self.shape}: give one number, or one "
                    "for each entry"
                )
            alike = bound.size and (bound == bound.flat[0]).all()
            numbers = bound.flat[0].item() if alike else bound.tolist()
            object.__setattr__(self, name, _as_tuples(numbers))
        low, high = self.bounds
        if not (low <= high).all():
            raise ConfigError(
                f"low is {self.low} and high is {self.high} in a Box: give low <= high"
            )

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the lowest and the highest value of each entry, float32 arrays of the shape."""
        low, high = (
            np.broadcast_to(np.asarray(bound, np.float32), self.shape)
            for bound in (self.low, self.high)
        )
        return low, high

    def clip(self, values: jax.Array) -> jax.Array:
        """Returns the nearest values `[..., *shape]` within the bounds."""
        low, high = self.bounds
        return values if np.isinf([low, high]).all() else jnp.clip(values, low, high)

    def zeros(self, *batch: int) -> jax.Array:
        """Returns zeros with the axes `batch` in front."""
        return jnp.zeros((*batch, *self.shape), self.dtype)


@dataclasses.dataclass(frozen=True)
class Dict:
    """Named parts, as in `Dict((("map", Box((5, 5, 3))), ("stock", Discrete(4))))`.

    Values are dicts of what each part's space holds.
    """

    parts: tuple[tuple[str, Discrete | Cells | Box], ...]

    def zeros(self, *batch: int) -> dict[str, jax.Array]:
        """Returns zeros with the axes `batch` in front."""
        return {name: space.zeros(*batch) for name, space in self.parts}


Space = Discrete | Cells | Box | Dict


def parse_space(text: str) -> Space:
    """Returns the space that `str(space)` describes; nothing of the text is run.

    Raises:
        ConfigError: if it describes none.
    """
    try:
        space = _read(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError) as e:
        raise ConfigError(f"{short(text)} describes no space: {e}") from e
    if not isinstance(space, Space):
        raise ConfigError(f"{short(text)} describes no space")
    return space


def _read(node: ast.expr) -> Any:
    """Returns what a literal says: a number, text, a tuple, or a space."""
    kinds = {kind.__name__: kind for kind in (Discrete, Cells, Box, Dict)}
    match node:
        case ast.Constant(value=int() | float() | str() as value):
            return value
        case ast.Name(id="inf"):
            return math.inf
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_read(operand)
        case ast.Tuple(elts=parts):
            return tuple(map(_read, parts))
        case ast.Call(func=ast.Name(id=name), args=[], keywords=settings) if name in kinds:
            return kinds[name](**{str(each.arg): _read(each.value) for each in settings})
    raise ValueError(f"it has {ast.unparse(node)!r}")


def _as_tuples(bound: Any) -> Bound:
    return tuple(_as_tuples(part) for part in bound) if isinstance(bound, list) else float(bound)
