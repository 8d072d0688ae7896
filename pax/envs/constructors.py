"""What the constructors of other libraries' environments take, and what is wrong with what they are given."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pax.checks import check_kind, short
from pax.errors import ConfigError, nearest


def instead_of(key: str, known: Iterable[str]) -> str:
    """Returns what to do about a setting that an environment does not have: it may be another one's."""
    remedy = nearest(key, known)
    if remedy.startswith("did you mean"):
        return remedy
    return f"{remedy}; where only the name was changed, start from a config of that environment"


def constructor_settings(cls: type) -> dict[str, Any]:
    """Returns what the constructor of a class takes by name, with the defaults.

    What it passes on to that of the class above (`**kwargs`) is among them; its own defaults come first.
    """
    settings: dict[str, Any] = {}
    for each in _parameters(cls):
        settings.setdefault(each.name, each.default)
    return settings


def plain_settings(cls: type) -> dict[str, Any]:
    """Returns those of `constructor_settings` whose defaults a config can hold."""
    own = constructor_settings(cls)
    return {name: value for name, value in own.items() if _is_plain(value)}


def changed_settings(cls: type, what: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those settings of a constructor that are not its defaults.

    Others are left out, as what a class passes on to the class above may be of another default there.

    Args:
        cls: the class.
        what: its name for messages, such as `FrozenLake-misc of gymnax`.
        settings: by name.

    Raises:
        ConfigError: if it has no setting of these names, or one is of another type.
    """
    own = constructor_settings(cls)
    for key, value in settings.items():
        if key not in own:
            raise ConfigError(f"{key} is no setting of {what}: {instead_of(key, own)}")
        if isinstance(own[key], bool | int | float | str):
            check_kind(key, value, own[key], what)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if (
                isinstance(own[key], int | float)
                and not isinstance(own[key], bool)
                and not is_number
            ):
                raise ConfigError(f"{key} is {short(value)} in {what}: give a number")
    return {key: value for key, value in settings.items() if not _is_same(value, own[key])}


def _is_same(value: Any, default: Any) -> bool:
    return _is_plain(default) and type(value) is type(default) and value == default


def _parameters(cls: type) -> Iterator[inspect.Parameter]:
    for each in cls.__mro__[:-1]:
        if "__init__" not in vars(each):
            continue
        parameters = list(inspect.signature(vars(each)["__init__"]).parameters.values())[1:]
        yield from (
            each
            for each in parameters
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        )
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            return


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
