"""The folder of results of a table: it holds one table, and one process at a time works there."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from pax.checks import short
from pax.errors import ConfigError, OutputError
from pax.run.directory import describe_differences
from pax.run.files import contents, read_regular, write_whole
from pax.run.locks import FileLock, holding

TABLE = "table.json"
"""The file that says of what a folder holds the results."""


@contextlib.contextmanager
def alone_in(folder: pathlib.Path, what: Mapping[str, Any]) -> Iterator[None]:
    """Makes the folder one of these results, unless it is of others, and lets one process at a time in.

    Raises:
        ConfigError: if it is of others, or holds something else, or cannot be used.
        OutputError: if another process works there, or something in it cannot be written.
    """
    _check(folder, what)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with holding(folder / ".table.lock") as lock:
            if lock is None:
                holder = FileLock(folder / ".table.lock").holder()
                raise OutputError(
                    f"--workdir={folder} is in use: {holder} measures there; wait until that has ended, or "
                    "name another folder"
                )
            # Another may have made it its own since.
            _check(folder, what)
            write_whole(folder / TABLE, json.dumps(what))
            yield
    except BrokenPipeError:  # Of who reads what is printed.
        raise
    except OSError as e:
        # Of a file that takes the place of another, this is the other.
        path = e.filename2 or e.filename or folder
        raise OutputError(
            f"{path} cannot be used ({e.strerror or e}): make room, or take away what is there, and the "
            "same command goes on"
        ) from e


def _check(folder: pathlib.Path, what: Mapping[str, Any]) -> None:
    """Raises ConfigError if the folder is of other results; nothing is written."""
    path = folder / TABLE
    try:
        if not path.exists() and contents(folder):
            raise ConfigError(
                f"--workdir={folder} is not empty and holds no results of this program: name another folder"
            )
        if path.exists() and (held := json.loads(read_regular(path))) != what:
            raise ConfigError(
                f"--workdir={folder} holds the results of {_told(held, what)}: name another folder"
            )
    except ConfigError:
        raise
    except (OSError, ValueError, RecursionError) as e:
        reason = " ".join(str(e).split())
        raise ConfigError(
            f"--workdir={folder} cannot be used, as {path} cannot be read ({short(reason)}): name another "
            "folder"
        ) from e


def _told(held: Any, what: Mapping[str, Any]) -> str:
    """Returns of what a folder holds the results; of the same table, what differs from what is asked for."""
    if not isinstance(held, Mapping) or held.get("table") != what["table"]:
        return short(held)
    differences = "; ".join(describe_differences(held, what))
    return f"{what['table']} with other settings ({differences})"
