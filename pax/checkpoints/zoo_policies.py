"""Policies that ship with Pax, by paths such as `zoo:ipd/loqa/1`, and the cards that tell about them."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from pax.checks import brief
from pax.errors import CheckpointError, ConfigError, nearest
from pax.run.files import parse_object, read_regular

PREFIX = "zoo:"
FORM = "zoo:<game>/<method>/<number>"
ZOO = pathlib.Path(__file__).parents[1] / "zoo"
"""The folder of the policies."""
SUFFIX, CARD = ".msgpack", ".json"
FORMAT = 1
LONGEST = 100
"""Bytes of a part of a name: file systems have names of at most 255, with endings."""
KINDS: dict[str, type | tuple[type, ...]] = {
    "game": str,
    "method": str,
    "config": dict,
    "role": str,
    "seed": int,
    "sha256": str,
    "scores": dict,
}
"""What a card has at least, beside its format."""
_PATH = re.compile(r"zoo:([\w.=-]+(?:/[\w.=-]+){0,2})")


def too_long(parts: Iterable[str]) -> bool:
    """Returns whether a part of a name is longer than the zoo has them."""
    return any(len(part.encode()) > LONGEST for part in parts)


def is_in_zoo(path: Any) -> bool:
    """Returns whether a path is that of a policy of the zoo."""
    return isinstance(path, str | os.PathLike) and str(path).startswith(PREFIX)


def zoo_path(name: str, path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the file of a policy of the zoo, or the folder of all of a method or a game.

    Args:
        name: the setting that has the path, for messages.
        path: `zoo:<game>/<method>/<number>`, or without the number, or without the method.

    Raises:
        ConfigError: if there is no such policy.
    """
    path = str(path)
    match = _PATH.fullmatch(path)
    parts = match[1].split("/") if match else []
    if not parts or {".", ".."} & {*parts}:
        raise ConfigError(f"{name} is {brief(path)}: give {FORM}, as in zoo:ipd/loqa/1")
    if too_long(parts):
        raise ConfigError(f"{name} is {brief(path)}, which is too long: give {FORM}")
    place = ZOO.joinpath(*parts)
    if len(parts) == 3:
        place = place.with_name(f"{place.name}{SUFFIX}")
    if not (place.is_file() if len(parts) == 3 else any(place.rglob(f"*{SUFFIX}"))):
        every = [f"{PREFIX}{entry}" for entry in zoo_entries()]
        known = {entry.rsplit("/", 3 - len(parts))[0] for entry in every}
        # What differs in its number only is no misspelt name.
        beside = [entry for entry in every if entry.rpartition("/")[0] == path.rpartition("/")[0]]
        if not known:
            told = "it is empty"
        elif len(parts) == 3 and beside:
            told = f"of that method it has {', '.join(beside)}"
        else:
            told = nearest(path, known)
        raise ConfigError(f"{name} is {brief(path)}, which the zoo does not have: {told}")
    return place


def zoo_entries(folder: pathlib.Path | None = None) -> list[str]:
    """Returns the names of the policies of a zoo, that of Pax if None, such as `ipd/loqa/1`, in order."""
    files = (ZOO if folder is None else folder).glob(f"*/*/*{SUFFIX}")
    return sorted(map(entry_of, files), key=_in_order)


def entry_of(file: pathlib.Path) -> str:
    """Returns the name of a policy in its zoo."""
    return "/".join(file.with_suffix("").parts[-3:])


def _in_order(entry: str) -> tuple[str, int, str]:
    method, _, number = entry.rpartition("/")
    return method, int(number) if number.isdecimal() else 0, number


def read_card(file: pathlib.Path) -> dict[str, Any]:
    """Returns the card of a policy of the zoo.

    Args:
        file: the policy; its card is the `.json` file beside it.

    Raises:
        CheckpointError: if there is none, it is damaged, or it is that of another policy.
    """
    path = file.with_suffix(CARD)
    remedy = "add the policy again by pax zoo add, or install Pax again"
    try:
        card = parse_object(read_regular(path))
        digest = hashlib.sha256(read_regular(file)).hexdigest()
    except FileNotFoundError as e:
        raise CheckpointError(f"policy {file} has no card {path.name} beside it: {remedy}") from e
    except OSError as e:
        raise CheckpointError(f"card {path} cannot be read ({e.strerror}): {remedy}") from e
    if card is None:
        raise CheckpointError(f"card {path} is damaged, as it is no JSON object: {remedy}")
    if card.get("format") != FORMAT:
        raise CheckpointError(
            f"card {path} has format {brief(str(card.get('format')))}, and this version of Pax reads format "
            f"{FORMAT}: {remedy}"
        )
    for key, kind in KINDS.items():
        value = card.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise CheckpointError(f"card {path} is damaged, as it has no proper {key!r}: {remedy}")
    if wrong := _why_damaged(card):
        raise CheckpointError(f"card {path} is damaged, as {wrong}: {remedy}")
    if card["sha256"] != digest:
        raise CheckpointError(f"policy {file} is not the one that its card is of: {remedy}")
    return card


def _why_damaged(card: Mapping[str, Any]) -> str:
    """Returns what is wrong with the parts of a card; empty if nothing is."""
    config, against = card["config"], card["scores"].get("against")
    env, section = config.get("env"), config.get(card["role"])
    if not isinstance(env, dict) or not isinstance(env.get("type"), str):
        return "its config has no proper 'env'"
    # What comes of several candidates of a role, such as agent1_best, is in no config.
    seats = section.get("seats") if isinstance(section, dict) else ([] if section is None else None)
    if not isinstance(seats, list) or not all(type(seat) is int and seat >= 0 for seat in seats):
        return f"the role {brief(card['role'])} of its config has no proper 'seats'"
    try:
        ConfigDict(config)
    except (ValueError, TypeError) as e:  # Names that settings cannot have.
        return f"its config is none ({brief(str(e))})"
    if not isinstance(against, dict) or not all(
        isinstance(each, dict) for each in against.values()
    ):
        return "it has no proper scores"
    return ""
