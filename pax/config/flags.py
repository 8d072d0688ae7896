"""Flags of programs, in a line each, and what their texts may be."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from pax.checks import brief, short
from pax.errors import ConfigError

# A flag belongs to the module that calls what `definer` returns.
flags.disclaim_key_flags()

_KINDS: dict[type, Callable[..., Any]] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
    list: flags.DEFINE_list,
    tuple: flags.DEFINE_multi_string,
    ConfigDict: config_flags.DEFINE_config_file,
}


def definer(own: flags.FlagValues) -> Callable[..., None]:
    """Returns `define(name, default, text)`, with further arguments as `_define` has them."""
    return functools.partial(_define, own)


def _define(
    own: flags.FlagValues,
    name: str,
    default: Any,
    text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    kind: type | None = None,
    choices: Sequence[str] = (),
) -> None:
    """Defines a flag.

    Args:
        own: where to define it.
        name: of the flag.
        default: what it is unless it is given.
        text: what `--help` says of it.
        low: the smallest number that it may be.
        high: the largest.
        kind: of its values; None: that of the default, text if this is None. A list is given as `a,b`; of a
            tuple, each entry by a flag of its own.
        choices: the texts that it may be; empty: any.
    """
    kind = kind or (str if default is None else type(default))
    if choices:
        flags.DEFINE_enum(name, default, choices, text, flag_values=own)
    elif kind in (int, float):
        _KINDS[kind](name, default, text, low, high, flag_values=own)
        if kind is float:
            # It is in no range, and no comparison of absl says so.
            flags.register_validator(
                name,
                lambda value: value is None or not math.isnan(value),
                message="nan is not a number",
                flag_values=own,
            )
    else:
        _KINDS[kind](name, default, text, flag_values=own)


def check_forms(given: flags.FlagValues, forms: Mapping[str, tuple[str, str]]) -> None:
    """Raises ConfigError unless each text that is given is a line of its form.

    Args:
        given: the flags.
        forms: by flag, a regular expression of all of the text, and the remedy where it is another.
    """
    for name, (form, remedy) in forms.items():
        text = given[name].value
        if text == "":
            raise ConfigError(f"--{name} is empty: give a value, or leave it out")
        if text is not None and not (text.isprintable() and re.fullmatch(form, text)):
            told = brief(text) if text.isprintable() else short(text)
            raise ConfigError(f"--{name}={told}: {remedy}")
