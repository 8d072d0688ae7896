"""Locks of files: one process at a time writes to a folder, and a lock ends with its process.

These are locks of records, which network file systems have too, across machines. On Linux they belong to an
open file. Elsewhere they belong to a process, and closing the file anywhere in it releases them: so a list of
those that this process holds keeps it from opening such a file twice here, and one part of the process from
taking what another part has.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import pathlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

from absl import logging

from pax.errors import OutputError
from pax.run.files import not_writable, read_regular

try:
    import fcntl
except ImportError:  # Not on Windows.
    fcntl = None  # type: ignore[assignment]

TRAINING_LOCK = ".training.lock"
FOLLOWER_LOCK = ".follower.lock"
RECORD_LOCK = ".evaluation.lock"

SECONDS_BETWEEN_TRIES = 0.05

_mutex = threading.Lock()
# Process (a fork inherits the list, but not the locks), device and inode.
_held: set[tuple[int, int, int]] = set()


class FileLock:
    """The lock of a file, which is made if it is missing, and stays.

    On file systems without locks, a warning says so, and the lock counts as taken.

    Args:
        path: the file; its folder exists.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        self._descriptor: int | None = None
        self._identity = (0, 0)

    def acquire(self) -> bool:
        """Takes the lock; False if another process, or another part of this one, has it.

        Raises:
            OSError: if the file cannot be made or opened.
        """
        with _mutex:
            if self._is_held_here():
                return False
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if not _lock(descriptor, self._path):
                    os.close(descriptor)
                    return False
                stat = os.fstat(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            self._descriptor = descriptor
            self._identity = stat.st_dev, stat.st_ino
            _held.add((os.getpid(), *self._identity))
        started = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        this = {"host": socket.gethostname(), "pid": os.getpid(), "started": started}
        # On a full disk nobody is told who has it: that is all.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(this).encode(), 0)
        return True

    def release(self) -> None:
        """Gives the lock back, if it was taken."""
        if self._descriptor is None:
            return
        with _mutex:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            _held.discard((os.getpid(), *self._identity))
            self._descriptor = None

    def is_in_place(self) -> bool:
        """Returns whether the file that was locked is still there under its name."""
        try:
            stat = os.stat(self._path)
        except OSError as e:
            return e.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
        return (stat.st_dev, stat.st_ino) == self._identity

    def holder(self) -> str:
        """Returns who has the lock, in words."""
        with _mutex:
            if self._is_held_here():
                return "another part of this process"
            try:
                who = json.loads(read_regular(self._path))
                return f"process {who['pid']} on {who['host']}, since {who['started']}"
            except (OSError, ValueError, TypeError, KeyError):
                return "another process"

    def _is_held_here(self) -> bool:
        try:
            stat = os.stat(self._path)
        except OSError:
            return False
        return (os.getpid(), stat.st_dev, stat.st_ino) in _held


@contextlib.contextmanager
def holding(path: pathlib.Path, *, wait_seconds: float = 0.0) -> Iterator[FileLock | None]:
    """Holds the lock of a file; None if another has it, still after `wait_seconds`.

    Raises:
        OSError: if the file cannot be made or opened.
    """
    lock = FileLock(path)
    deadline = time.monotonic() + wait_seconds
    while not (is_ours := lock.acquire()) and time.monotonic() < deadline:
        time.sleep(SECONDS_BETWEEN_TRIES)
    try:
        yield lock if is_ours else None
    finally:
        lock.release()


def lock_run(workdir: pathlib.Path) -> FileLock:
    """Takes the lock of a run directory, which is made if it is missing, for the one who trains in it.

    Raises:
        OutputError: if somebody trains in it, or it cannot be written.
    """
    lock = FileLock(workdir / TRAINING_LOCK)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if lock.acquire():
            return lock
    except OSError as e:
        raise OutputError(not_writable(workdir, e)) from e
    raise OutputError(
        f"workdir {workdir} is in use: {lock.holder()} trains in it; wait until that has ended, or give "
        "another workdir"
    )


def _lock(descriptor: int, path: pathlib.Path) -> bool:
    if fcntl is None:
        logging.warning("%s cannot be locked on this system: start one process.", path)
        return True
    try:
        if hasattr(fcntl, "F_OFD_SETLK"):
            # All of the file, for writing: type, whence, start, length (0: to the end), and no process.
            record = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, record)
        else:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        if e.errno in (errno.EACCES, errno.EAGAIN):
            return False
        logging.warning("%s cannot be locked (%s): start one process.", path, e.strerror)
    return True
