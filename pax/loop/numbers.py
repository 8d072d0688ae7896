"""The numbers in which objects of one shape differ, such as the learning rates of the runs of a sweep.

Objects that were built from configs that differ in numbers only are compared part by part: attributes,
entries, what functions have enclosed. Where a number differs, one of them can be rebuilt with another value
in its place, also with one that JAX traces. So a compiled function that takes these numbers as arguments
serves all of the objects.
"""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from pax.checks import MAX_INT
from pax.loop.counts import Counts

ATOMS = (str, bytes, bool, type(None), type, types.ModuleType, types.BuiltinFunctionType, Counts)
"""What is compared as a whole. Sizes are the same in all runs of a group, and seeds are in their keys."""
Place = tuple[int, Hashable]
"""The number of an object, in the order in which objects were found, and the key of one of its parts."""


class Difference(Exception):  # noqa: N818 - no error: it says that objects differ in more than numbers.
    """Objects differ in something else than numbers."""


class Numbers:
    """The numbers in which objects differ, each an array with one entry per object.

    Numbers that have the same values in all objects are one number: what was derived from a setting is traced
    once.

    Args:
        objects: of one structure. The first is the template of those that `rebuild` makes.

    Attributes:
        columns: the numbers, `[objects, ...]`; float32 or int32, or of the type of the arrays that differ.

    Raises:
        Difference: if they differ in more.
    """

    def __init__(self, objects: Sequence[Any]):
        self._template = objects[0]
        self.columns: list[np.ndarray] = []
        self._places: dict[Place, int] = {}
        self._found: dict[int, tuple[int, tuple[Any, ...]]] = {}
        self._parents: dict[int, set[int]] = {}
        self._compare(tuple(objects), "it")
        # Only what holds a number, at whatever depth, is rebuilt.
        self._changed: set[int] = set()
        new = {number for number, _ in self._places}
        while new:
            self._changed |= new
            new = {parent for each in new for parent in self._parents[each]} - self._changed

    def are_in_the_places_of(self, other: Numbers) -> bool:
        """Returns whether objects of one structure differ in these numbers where others of it do."""
        kinds, others = ([(each.shape, each.dtype) for each in of.columns] for of in (self, other))
        return self._places == other._places and kinds == others

    def rebuild(self, values: Sequence[Any]) -> Any:
        """Returns the template with `values`, one per column, in the place of its numbers.

        Where a value is None, the template's own stays.
        """
        return _Rebuilding(self._found, self._changed, self._places, values).of(self._template)

    def _compare(self, objects: tuple[Any, ...], path: str, parent: int | None = None) -> None:
        first = objects[0]
        if all(each is first for each in objects):
            return
        if any(type(each) is not type(first) for each in objects):
            raise Difference(f"{path} is {_kind(first)} and {_kind(_other(objects))}")
        known = self._found.get(id(first))
        if known is not None:
            if any(a is not b for a, b in zip(known[1], objects, strict=True)):
                raise Difference(f"{path} is shared in another way")
            if parent is not None:
                self._parents[known[0]].add(parent)
            return
        parts = [_parts(each) for each in objects]
        if parts[0] is None:
            if not all(_equal(first, each) for each in objects):
                raise Difference(f"{path} differs")
            return
        # Kept, so that no other object gets its id.
        number = len(self._found)
        self._found[id(first)] = number, objects
        self._parents[number] = set() if parent is None else {parent}
        keys = list(parts[0])
        if any(list(each or ()) != keys for each in parts):
            raise Difference(f"{path} has other parts")
        for key in keys:
            values = tuple(each[key] for each in parts if each is not None)
            where = f"{path}.{key}"
            if all(is_number(value) for value in values):
                self._add(number, key, values, where)
            else:
                self._compare(values, where, number)

    def _add(self, number: int, key: Hashable, values: tuple[Any, ...], where: str) -> None:
        if all(value is values[0] for value in values):
            return
        arrays = [_as_array(value) for value in values]
        if len({each.shape for each in arrays}) > 1:
            raise Difference(f"{where} differs in shape")
        if all(_same(arrays[0], each) for each in arrays):
            return
        if len({each.dtype for each in arrays}) > 1:
            arrays = [each.astype(np.float32) for each in arrays]
        column = np.stack(arrays)
        at = next((i for i, each in enumerate(self.columns) if _same(each, column)), None)
        if at is None:
            at = len(self.columns)
            self.columns.append(column)
        self._places[number, key] = at


class _Rebuilding:
    """One copy of a template, in which what is shared stays shared."""

    def __init__(
        self,
        found: Mapping[int, tuple[int, tuple[Any, ...]]],
        changed: set[int],
        places: Mapping[Place, int],
        values: Sequence[Any],
    ):
        self._found, self._changed, self._places = found, changed, places
        self._values = values
        self._made: dict[int, Any] = {}

    def of(self, template: Any) -> Any:
        number, _ = self._found.get(id(template), (-1, ()))
        if number not in self._changed:
            return template
        if number not in self._made:
            self._make(number, template)
        return self._made[number]

    def _part(self, number: int, key: Hashable, template: Any) -> Any:
        at = self._places.get((number, key))
        if at is not None:
            return template if self._values[at] is None else self._values[at]
        return self.of(template)

    def _make(self, number: int, template: Any) -> None:
        """Makes a copy, which is known before its parts are made: these may refer to it."""
        parts = _parts(template)
        assert parts is not None

        def part(key: Hashable) -> Any:
            return self._part(number, key, parts[key])

        made: Any
        if isinstance(template, dict):
            made = self._made[number] = copy.copy(template)
            made.update({key: part(key) for key in parts})
        elif isinstance(template, list):
            made = self._made[number] = copy.copy(template)
            made[:] = [part(key) for key in parts]
        elif isinstance(template, tuple):
            entries = [part(key) for key in parts]
            is_named = hasattr(template, "_fields")
            self._made[number] = type(template)(*entries) if is_named else tuple(entries)
        elif isinstance(template, functools.partial):
            new = {key: part(key) for key in parts}
            arguments = [new[key] for key in new if isinstance(key, int)]
            keywords = {key[1]: new[key] for key in new if isinstance(key, tuple)}
            self._made[number] = functools.partial(new["function"], *arguments, **keywords)
        elif isinstance(template, types.MethodType):
            self._made[number] = types.MethodType(part("function"), part("self"))
        elif isinstance(template, types.FunctionType):
            made = self._made[number] = types.FunctionType(
                template.__code__,
                template.__globals__,
                template.__name__,
                closure=tuple(types.CellType() for _ in template.__closure__ or ()) or None,
            )
            made.__dict__.update(template.__dict__)
            for index, cell in enumerate(made.__closure__ or ()):
                if ("cell", index) in parts:
                    cell.cell_contents = part(("cell", index))
            if template.__defaults__:
                made.__defaults__ = tuple(
                    part(("default", i)) for i in range(len(template.__defaults__))
                )
            if template.__kwdefaults__:
                made.__kwdefaults__ = {
                    key: part(("keyword", key)) for key in template.__kwdefaults__
                }
        elif isinstance(template, linen.Module):
            self._made[number] = template.clone(**{str(key): part(key) for key in parts})
        else:
            made = self._made[number] = object.__new__(type(template))
            for key in parts:
                object.__setattr__(made, str(key), part(key))


def is_number(value: Any) -> bool:
    """Returns whether a value is a number, or an array of numbers or of random keys."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float | np.number | np.ndarray | jax.Array):
        return not isinstance(value, np.ndarray) or value.dtype.kind in "biuf"
    return False


def _parts(value: Any) -> dict[Hashable, Any] | None:
    """Returns what an object consists of, by key; None if it is compared as a whole."""
    if isinstance(value, ATOMS):
        return None
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    if isinstance(value, functools.partial):
        found: dict[Hashable, Any] = {"function": value.func, **dict(enumerate(value.args))}
        found.update({("keyword", key): each for key, each in value.keywords.items()})
        return found
    if isinstance(value, types.MethodType):
        return {"function": value.__func__, "self": value.__self__}
    if isinstance(value, types.FunctionType):
        cells = enumerate(value.__closure__ or ())
        return {
            # Code that was compiled twice is equal.
            "code": _Whole(value.__code__),
            **{("cell", i): cell.cell_contents for i, cell in cells if not _is_empty(cell)},
            **{("default", i): each for i, each in enumerate(value.__defaults__ or ())},
            **{("keyword", key): each for key, each in (value.__kwdefaults__ or {}).items()},
        }
    if isinstance(value, linen.Module):
        # Their other attributes are of the instance.
        own = ("parent", "name")
        return {key: getattr(value, key) for key in value.__dataclass_fields__ if key not in own}
    if hasattr(value, "__wrapped__") and hasattr(value, "lower"):
        # What `jax.jit` returns: it can be compared, and not be rebuilt.
        return None
    if hasattr(value, "__dict__") and not any(
        vars(cls).get("__slots__") for cls in type(value).__mro__
    ):
        # What is cached follows from the rest.
        return {
            key: part
            for key, part in vars(value).items()
            if not isinstance(getattr(type(value), key, None), functools.cached_property)
        }
    return None


class _Whole:
    """Something that is compared by `==`, and has no parts."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Whole) and bool(self.value == other.value)

    __hash__ = None  # type: ignore[assignment]


def _equal(first: Any, other: Any) -> bool:
    if isinstance(first, Counts):
        return True
    if hasattr(first, "__wrapped__") and hasattr(first, "lower"):
        # Its function is one that has been compared, or differs in its code.
        try:
            Numbers((first.__wrapped__, other.__wrapped__))
        except Difference:
            return False
        return True
    if isinstance(first, np.ndarray):
        # Of text, such as the map of a game: those of numbers are compared elsewhere.
        return first.dtype == other.dtype and np.array_equal(first, other)
    try:
        return bool(first == other)
    except Exception:
        return False


def _as_array(value: Any) -> np.ndarray:
    if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        raise Difference("a random key differs")
    array = np.asarray(value)
    if array.dtype == np.float64:
        return array.astype(np.float32)
    if array.dtype == np.int64:
        if array.size and np.abs(array).max() > MAX_INT:
            raise Difference("a number has more than 32 bits")
        return array.astype(np.int32)
    return array


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _is_empty(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading an empty one raises.
    except ValueError:
        return True
    return False


def _other(objects: Sequence[Any]) -> Any:
    return next(each for each in objects if type(each) is not type(objects[0]))


def _kind(value: Any) -> str:
    return type(value).__name__
