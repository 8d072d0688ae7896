"""Checks of what users give, one sentence each: numbers and their ranges, kinds, names that become paths."""

from __future__ import annotations

import dataclasses
import math
import numbers
import os
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pax.errors import ConfigError, nearest

MAX_INT = 2**31 - 1
"""The largest number that arrays of int32 hold: of sizes, counters and seeds."""
MAX_FLOAT = 3.4e38
"""Nearly the largest number that arrays of float32 hold."""
ANY_NUMBER = "a finite number"
MAX_NAME = 100
"""Characters of a name that becomes part of a path."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """The numbers that a setting may have, from `low` to `high`."""

    low: float = -math.inf
    high: float = math.inf
    is_open: bool = False
    """Whether `low` itself is none of them."""
    whole: bool = False
    """Whether these are whole numbers, up to `MAX_INT`."""
    unit: str = ""
    """What is counted, for the message."""

    def __str__(self) -> str:
        return f"{self._range()} {self.unit}".rstrip()

    def _range(self) -> str:
        if math.isfinite(self.low) and math.isfinite(self.high):
            low, high = (int(end) if self.whole else f"{end:g}" for end in (self.low, self.high))
            return f"more than {low}, up to {high}" if self.is_open else f"{low} to {high}"
        if self.is_open:
            return f"more than {self.low:g}"
        if math.isinf(self.low):
            return ANY_NUMBER
        return "at least 1" if self.low == 1 else f"{self.low:g} or more"

    def __contains__(self, value: float) -> bool:
        high = min(self.high, MAX_INT) if self.whole else self.high
        above = value > self.low if self.is_open else value >= self.low
        # Beyond it, a number is infinite in the float32 of arrays.
        return above and value <= high and abs(value) <= MAX_FLOAT


NUMBER = Limit()
POSITIVE = Limit(0, is_open=True)
NOT_NEGATIVE = Limit(0)
SHARE = Limit(0, 1)
COUNT = Limit(1, whole=True)
WHOLE = Limit(whole=True)
STEPS = Limit(1, whole=True, unit="step per episode")
COUNT_OR_NONE = Limit(0, whole=True)


def check_number(name: str, value: Any, limit: Limit, where: str = "") -> None:
    """Checks a number.

    Args:
        name: the setting.
        value: what it is.
        limit: what it may be.
        where: whose setting it is, for the message.

    Raises:
        ConfigError: if it is no number, not a whole one where it has to be, or beyond the limit.
    """
    kind = numbers.Integral if limit.whole else numbers.Real
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    told = f"{name} is {short(value)}{f' in {where}' if where else ''}"
    if not is_number:
        noun = "a whole number" if limit.whole else "a number"
        range_ = "" if str(limit) == ANY_NUMBER else f", {limit}"
        raise ConfigError(f"{told}: give {noun}{range_}")
    if value not in limit:
        at_most = limit.whole and limit.high > MAX_INT and value > MAX_INT
        raise ConfigError(f"{told}: give {f'at most {MAX_INT}' if at_most else limit}")


def check_limits(owner: Any, where: str) -> None:
    """Checks the numbers that `owner.limits` names."""
    for name, limit in owner.limits.items():
        check_number(name, getattr(owner, name), limit, where)


def check_kind(name: str, value: Any, like: Any, where: str = "") -> None:
    """Raises ConfigError unless a value is of the kind of `like`: text, true or false, or a tuple."""
    kinds: dict[type, tuple[Any, str]] = {
        bool: (bool, "True or False"),
        str: (str, "text"),
        tuple: ((tuple, list), "a tuple"),
    }
    accepted, words = kinds.get(type(like), (object, ""))
    if not isinstance(value, accepted):
        told = f"{name} is {short(value)}{f' in {where}' if where else ''}"
        raise ConfigError(f"{told}: give {words}")


def check_instance(name: str, value: Any, cls: Any, remedy: str) -> None:
    """Raises ConfigError, with the remedy, unless a value is of a class; says so if it is one itself."""
    if not isinstance(value, cls):
        is_class = "the class " if isinstance(value, type) else ""
        told = f"{is_class}{value.__name__}" if isinstance(value, type) else short(value)
        raise ConfigError(f"{name} is {told}: give {remedy}")


def check_items(name: str, values: Any, remedy: str) -> None:
    """Raises ConfigError unless `values` is a sequence other than text."""
    is_list = isinstance(values, Sequence) and not isinstance(values, (str, bytes))
    if not is_list:
        raise ConfigError(f"{name} is {short(values)}: give {remedy}")


def check_mapping(name: str, value: Any, remedy: str) -> None:
    """Raises ConfigError unless a value has text as keys."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{name} is {short(value)}: give {remedy}")


def check_name(what: str, name: Any) -> None:
    """Checks a name that becomes part of a path, of a key, or of a line of a script.

    Args:
        what: `role`, `evaluation` and so on, for the message.
        name: letters, digits, `_`, `.`, `-`, `=`, `+` and blanks within, the first and last a letter,
            digit or `_`.

    Raises:
        ConfigError: if it is anything else.
    """
    fits = isinstance(name, str) and re.fullmatch(r"\w(?:[\w.=+ -]*\w)?", name)
    if not fits or len(name) > MAX_NAME or "\n" in name:
        raise ConfigError(
            f"{what} is called {short(name)}: give a name of letters, digits, _, -, . and =, up to "
            f"{MAX_NAME} of them, as it becomes part of a path"
        )


MANY = 12
"""Choices above which a message names the one that may have been meant, if there is one."""


def check_choice(name: str, value: Any, known: Iterable[Any], where: str = "") -> None:
    """Raises ConfigError unless a value is one of those that are known."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        told = f"{name} is {short(value)}{f' in {where}' if where else ''}"
        choices = ", ".join(map(str, known))
        remedy = f"choose one of {choices}" if known else "there is none to choose from"
        if len(known) > MANY:
            remedy = nearest(value, map(str, known))
        raise ConfigError(f"{told}: {remedy}")


def check_distinct(what: str, names: Iterable[str]) -> None:
    """Checks names of folders and files: macOS and Windows take those that differ by case for one.

    Args:
        what: what they are the names of, in the plural, for the message.
        names: all of them, each once.

    Raises:
        ConfigError: if two of them would be one there.
    """
    taken: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFKC", name).casefold()
        if key in taken:
            raise ConfigError(
                f"{what} {taken[key]} and {name} differ by case alone: give one of them another name, as "
                "some file systems take their files for one"
            )
        taken[key] = name


def file(name: str, path: Any) -> pathlib.Path:
    """Returns the path of a file.

    Raises:
        ConfigError: if it is no path.
    """
    check_instance(name, path, (str, os.PathLike), "the path of a file")
    text = os.fspath(path)
    if not isinstance(text, str) or not text or not text.isprintable():
        raise ConfigError(f"{name} is {short(text)}: give the path of a file")
    return pathlib.Path(text)


def folder(name: str, path: Any) -> pathlib.Path:
    """Returns the path of a folder that is to be written, `~` replaced by the home directory.

    Raises:
        ConfigError: if it is no path of this machine, there is a file of this name or on the way, or a name
            in it is longer than file systems take.
    """
    check_instance(name, path, (str, os.PathLike), "the path of a folder")
    text = os.fspath(path)
    if not isinstance(text, str) or not text or not text.isprintable():
        raise ConfigError(f"{name} is {short(text)}: give the path of a folder")
    if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise ConfigError(
            f"{name} is {brief(text)}: {scheme[0]} is not supported here, give a folder of this machine, "
            "or one that is mounted here"
        )
    if re.match(r"(gs|gcs|s3|s3a|file|local|memory):/", text):
        raise ConfigError(
            f"{name} is {brief(text)}: give the URL as text, with both slashes, as paths of pathlib have one"
        )
    try:
        found = pathlib.Path(text).expanduser()
    except RuntimeError as e:
        raise ConfigError(
            f"{name} is {brief(text)}: there is no such home directory, give a path"
        ) from e
    for part in (found, *found.parents):
        if len(os.fsencode(part.name)) > 255:
            raise ConfigError(
                f"{name} has a name of {len(os.fsencode(part.name))} bytes in it "
                f"({part.name[:20]}...): file systems take 255, give a shorter one"
            )
        try:
            part.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as e:
            raise ConfigError(
                f"{name} {found} cannot be used ({e.strerror}): give a folder that you may write to"
            ) from e
        if not part.is_dir():
            what = "which" if part == found else f"and {part}"
            raise ConfigError(f"{name} is {found}, {what} is a file: give a folder")
        break
    return found


def brief(value: Any, width: int = 80) -> str:
    """Returns a setting as a sentence has it: text without quotes, anything else as `short` does."""
    if not isinstance(value, str):
        return short(value, width)
    text = " ".join(value.split())
    return text if len(text) <= width else f"{text[: width - 3]}..."


def short(value: Any, width: int = 80) -> str:
    """Returns the repr of a value in a line, cut off where it is long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:
        # Python writes no whole number of more than 4300 digits, and users' classes may do anything.
        is_whole = isinstance(value, int)
        text = f"about 2^{value.bit_length()}" if is_whole else f"<a {type(value).__name__}>"
    return text if len(text) <= width else f"{text[: width - 3]}..."
