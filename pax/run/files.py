"""Files that are written whole, and folders that are claimed by making them."""

from __future__ import annotations

import csv
import errno
import io
import itertools
import json
import os
import pathlib
import re
import stat
from collections.abc import Iterable
from typing import Any, BinaryIO

FOREIGN = ("lost+found", ".gitkeep", ".gitignore", ".DS_Store", "Thumbs.db")
"""What file systems and version control leave in folders that are empty otherwise."""

_OURS = re.compile(r"\..+\.(tmp|lock)|\.(run|training)\.json|\.nfs[0-9a-f]+")
"""Files that are in the middle of being written (NFS renames what is deleted while it is open), and locks."""


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Writes a file that is either as it was or as it should be, whenever the process is killed.

    Processes that write it at the same time do not disturb each other: one of them is the last.

    Raises:
        OSError: if it cannot be written; the file is as it was then.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        # On a full disk, part of it would take the place of what else is to be written.
        temporary.unlink(missing_ok=True)
        raise


def write_rows(path: str | os.PathLike[str], rows: Iterable[Iterable[Any]]) -> None:
    """Writes a CSV file whole.

    Raises:
        OSError: if it cannot be written; the file is as it was then.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_whole(path, text.getvalue())


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file for reading that must be a regular one: to read a named pipe, say, may take for ever.

    Raises:
        OSError: if it cannot be opened, or is no regular file.
    """
    # Without O_NONBLOCK, opening a named pipe waits for somebody to write to it.
    descriptor = os.open(
        path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """Returns what a regular file holds.

    Raises:
        OSError: if it cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        return file.read()


def split_lines(data: bytes) -> list[bytes]:
    """Returns the lines of a file; the last one may have no end, as a killed process leaves it."""
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def parse_object(line: bytes) -> dict[str, Any] | None:
    """Returns the JSON object that a line holds, or None if it holds none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def find_irregular(folder: pathlib.Path) -> pathlib.Path | None:
    """Returns something below a folder that is neither a folder nor a regular file, or None."""
    return next((path for path in sorted(folder.rglob("*")) if is_irregular(path)), None)


def is_irregular(path: pathlib.Path) -> bool:
    """Returns whether there is something at a path that is neither a folder nor a regular file."""
    return path.exists() and not path.is_file() and not path.is_dir()


def contents(folder: pathlib.Path) -> list[str]:
    """Returns the names of what a folder holds, without what a killed process or the system left there.

    Raises:
        OSError: if it cannot be read; a folder that does not exist holds nothing.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return []
    return [name for name in names if name not in FOREIGN and not _OURS.fullmatch(name)]


def is_transient(name: str) -> bool:
    """Returns whether a file of this name is in the middle of being written, or a lock."""
    return _OURS.fullmatch(name) is not None


def make_new_folder(base: pathlib.Path) -> pathlib.Path:
    """Makes `base`, or `base-2`, `base-3` ... if it exists, and returns the folder that it made.

    Whoever makes a folder is the only one who did: programs that start at the same time get different ones.

    Raises:
        OSError: if none can be made.
    """
    base.parent.mkdir(parents=True, exist_ok=True)
    others = (base.with_name(f"{base.name}-{number}") for number in itertools.count(2))
    for path in itertools.chain([base], others):
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise AssertionError("there are infinitely many names")


def cache_folder() -> pathlib.Path | None:
    """Returns where this user's caches are; None without a home directory.

    An `XDG_CACHE_HOME` that is empty or relative counts as not set, as its specification says.
    """
    given = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    if given.is_absolute():
        return given
    try:
        return pathlib.Path.home() / ".cache"
    except RuntimeError:
        return None


def is_full(error: BaseException | None) -> bool:
    """Returns whether an error, or what caused it, says that there is no room left, or none for this user."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        # Orbax and TensorBoard raise the errors of their threads anew, some as text only.
        if any(text in str(error) for text in _FULL_TEXTS):
            return True
        error = error.__cause__ or error.__context__
    return False


def not_writable(folder: pathlib.Path, error: OSError) -> str:
    """Returns the sentence about a folder that cannot be written."""
    remedy = "make room" if is_full(error) else "give a folder that you may write to"
    return f"workdir {folder} cannot be written ({error.strerror}): {remedy}"


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXTS = tuple(os.strerror(number) for number in _FULL)
