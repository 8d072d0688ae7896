"""The folder of results of a table: it holds one table, and one process at a time works there."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from pax.checks import short
from pax.errors import ConfigError, OutputError
from pax.run.files import contents, read_regular, write_whole
from pax.run.locks import FileLock, holding


def claim(folder: pathlib.Path, what: Mapping[str, Any]) -> None:
    """Makes the folder one of these results, unless it is of others.

    Raises:
        ConfigError: if it is, or holds something else, or cannot be used.
    """
    path = folder / "table.json"
    try:
        if not path.exists() and contents(folder):
            raise ConfigError(
                f"--workdir={folder} is not empty and holds no results of this program: name another folder"
            )
        if path.exists() and (held := json.loads(read_regular(path))) != what:
            raise ConfigError(
                f"--workdir={folder} holds the results of {short(held)}: name another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(what))
    except ConfigError:
        raise
    except (OSError, ValueError, RecursionError) as e:
        raise ConfigError(f"--workdir={folder} cannot be used: {e}") from e


@contextlib.contextmanager
def alone_in(folder: pathlib.Path) -> Iterator[None]:
    """Lets one process at a time measure in the folder.

    Raises:
        OutputError: if another one does.
    """
    with holding(folder / ".table.lock") as lock:
        if lock is None:
            holder = FileLock(folder / ".table.lock").holder()
            raise OutputError(
                f"--workdir={folder} is in use: {holder} measures there; wait until that has ended, or name "
                "another folder"
            )
        yield
