"""Maps as text: a letter per cell, a line per row.

Lines that begin with `;` are remarks, and empty lines are left out. There is no border to draw: what is
outside of the map is wall.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np

from pax.checks import short
from pax.envs.grid_world.words import MAX_SIDE
from pax.errors import ConfigError, nearest

SUFFIX = ".txt"


def read_map(name: str, folder: pathlib.Path, letters: Mapping[str, str]) -> np.ndarray:
    """Reads a map, and checks it.

    Args:
        name: of a map in the folder, or the path of a file that ends with .txt.
        folder: where maps of the game are.
        letters: what a map may hold, and what each letter means.

    Returns:
        Letters `[H, W]`.

    Raises:
        ConfigError: if there is no such map, or it is not one of this game.
    """
    known = sorted(each.stem for each in folder.glob(f"*{SUFFIX}"))
    if not name.endswith(SUFFIX) and name not in known:
        raise ConfigError(
            f"map is {short(name)}, and there is no map of that name ({nearest(name, known)}): choose "
            f"another one, or give the path of a file that ends with {SUFFIX}"
        )
    path = folder / f"{name}{SUFFIX}" if name in known else pathlib.Path(name)
    try:
        # Some editors begin a file with a mark of its encoding, which "-sig" leaves out.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as e:
        raise ConfigError(
            f"map is {short(name)}, which cannot be read: {' '.join(str(e).split())}"
        ) from e
    return parse_map(text, name, letters)


def parse_map(text: str, name: str, letters: Mapping[str, str]) -> np.ndarray:
    """Returns the letters of a map, `[H, W]`.

    Raises:
        ConfigError: unless it is a rectangle of known letters, of at most 30 rows and columns.
    """
    lines = [(number, line.rstrip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith(";")]
    if not lines:
        raise ConfigError(f"map {name} has no rows: give a line of letters for each")
    width = len(lines[0][1])
    for number, line in lines:
        for column, letter in enumerate(line, 1):
            if letter not in letters:
                known = ", ".join(f"{key!r} ({means})" for key, means in letters.items())
                raise ConfigError(
                    f"map {name} has {letter!r} in line {number}, column {column}: choose from {known}"
                )
        if len(line) != width:
            raise ConfigError(
                f"map {name} has {len(line)} letters in line {number} and {width} in line {lines[0][0]}: "
                "give all lines the same length"
            )
    if not (2 <= len(lines) <= MAX_SIDE and 2 <= width <= MAX_SIDE):
        raise ConfigError(
            f"map {name} has {len(lines)} rows and {width} columns: give 2 to {MAX_SIDE} of each"
        )
    return np.array([list(line) for _, line in lines])
