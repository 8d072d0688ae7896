"""A run whose folder is on a bucket: it works in a folder of this machine, and what changes is uploaded."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from absl import logging

from pax.errors import ConfigError, OutputError, PaxError
from pax.run.directory import CHECKPOINTS, CHECKSUMS, FILES, has_begun
from pax.run.files import is_transient, make_new_folder, read_regular, write_whole
from pax.run.locks import FileLock
from pax.run.remote import OWNER_FILE, Remote, fetch, is_url, place, read_index, step_of
from pax.run.status import STATUS_FILE

SECONDS_BETWEEN_UPLOADS = 10.0
SECONDS_BETWEEN_TRIES = (1.0, 5.0)
"""Before the second and third try to upload what is left when a run ends."""
PARTS_LEFT_OUT = re.compile(r"wandb/(run-|latest-run|debug)|.*\.orbax-checkpoint-tmp")
"""What W&B has itself, and checkpoints that are being written."""

Stamp = list[int]


class Staging:
    """The folder of this machine in which a run works, and what keeps the one on the bucket like it.

    Three things are on disk: the folder, beside it an index of what was uploaded, and a lock. The
    process that goes on with a run writes a number of its own to the bucket. It is also in the index. So if
    both agree, nobody else has trained there since, and what is here is as new as what is there, or newer. If
    not, what is there counts.

    Args:
        name: the setting or flag that names the run, for messages.
        url: of its folder.

    Attributes:
        folder: of this machine.
        url: of the run.

    Raises:
        ConfigError: if the URL is of no kind that there is.
        MissingLibraryError: if a package is missing that it needs.
    """

    def __init__(self, name: str, url: str):
        self._remote = Remote(name, url)
        self.url = self._remote.url
        self.folder = place("runs", self._remote)
        self._index_file = self.folder.parent / "index.json"
        self._lock = FileLock(self.folder.parent / ".lock")
        self._index: dict[str, Any] = {}
        self._thread: threading.Thread | None = None
        self._end = threading.Event()
        self._pushing = threading.Lock()
        self._has_failed = False
        self._missing: set[str] = set()
        self._lost: OutputError | None = None

    @property
    def nonce(self) -> str:
        """A number of the last `open`, as the disk has it: processes that see the same share the folder."""
        return str(read_index(self._index_file).get("nonce", ""))

    def open(self) -> bool:
        """Takes the folder for this process, and makes it as new as the one on the bucket.

        Nothing is written to the bucket.

        Returns:
            Whether others have changed anything there since the last time.

        Raises:
            ConfigError: if the bucket cannot be reached.
            OutputError: if another process of this machine has the folder, or it cannot be written.
        """
        self._remote.reach()
        if not self._acquire():
            raise OutputError(
                f"workdir {self.url} is in use: {self._lock.holder()} works in it; wait until that has "
                "ended, or give another workdir"
            )
        try:
            with self._writing():
                is_changed = self._pull()
                self._index["nonce"] = secrets.token_hex(8)
                self._save_index()
                return is_changed
        except BaseException:
            self._lock.release()
            raise

    def refresh(self) -> None:
        """Makes the folder as new as the one on the bucket, unless a process of this machine works in it.

        Raises:
            ConfigError: if the bucket cannot be reached.
            OutputError: if the folder cannot be written.
        """
        self._remote.reach()
        if self._acquire():
            try:
                with self._writing():
                    self._pull()
            finally:
                self._lock.release()

    def _acquire(self) -> bool:
        with self._writing():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            return self._lock.acquire()

    def begin(self) -> None:
        """Tells others on the bucket that this process trains there now, and uploads from now on.

        Raises:
            ConfigError: if the bucket cannot be written.
        """
        if self._thread is not None:
            return
        token = secrets.token_hex(8)
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        who = {"host": socket.gethostname(), "pid": os.getpid(), "started": now}
        # Here first: were it there only, the next process would take what is here for old.
        previous = self._index.get("token")
        self._index |= {"token": token, "previous": previous}
        self._index.pop("versions", None)
        self._save_index()
        self._remote.write(OWNER_FILE, json.dumps({"token": token, **who}).encode())
        self._end.clear()
        self._lost, self._has_failed = None, False
        self._thread = threading.Thread(target=self._upload_now_and_then, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises OutputError if another process trains there now."""
        if self._lost is not None:
            raise self._lost

    def close(self, is_failing: bool = False) -> None:
        """Uploads what is left, and gives the folder back.

        Args:
            is_failing: whether there is an error already: then what goes wrong here is logged.

        Raises:
            OutputError: if it cannot be uploaded.
        """
        began = self._thread is not None
        try:
            if self._thread is not None:
                self._end.set()
                self._thread.join()
                self._thread = None
            if began:
                self._push_at_last()
        except PaxError as e:
            if not is_failing:
                raise
            logging.warning("%s.", e)
        finally:
            self._lock.release()

    def push(self, is_last: bool = False) -> None:
        """Uploads what has changed, and deletes on the bucket what was deleted here.

        What is missing for the first time is deleted only if this is the last time: whoever takes the folder
        away does not mean the one on the bucket, and the next call finds that it is gone.

        Whenever it is interrupted, the folder on the bucket is that of a run that can go on: the files of a
        checkpoint come before its checksums, without which it counts as absent, and what tells how far
        training is comes last.

        Raises:
            ConfigError: if the bucket cannot be reached.
            OutputError: if another process trains there now, or the folder of this machine is gone.
        """
        with self._pushing:
            self._check_owner()
            # Read first: what it tells of is on the disk then.
            status_stamp, status = (
                _stamp(self.folder / STATUS_FILE),
                _read(self.folder / STATUS_FILE),
            )
            here = self._scan()
            if not self.folder.is_dir() or not self._lock.is_in_place():
                raise OutputError(
                    f"{self.folder}, where {self.url} is worked on, was deleted or moved, so nothing is "
                    "uploaded any more: what is on the bucket stays as it is"
                )
            uploaded: dict[str, Stamp] = self._index.setdefault("uploaded", {})
            changed = [path for path, stamp in here.items() if uploaded.get(path) != stamp]
            gone = [path for path in uploaded if path not in here and path != STATUS_FILE]
            deleted = gone if is_last else [path for path in gone if path in self._missing]
            self._missing = set(gone)
            try:
                for path in changed:
                    # A checkpoint that is replaced counts as absent until all of the new one is there.
                    if step_of(path) and path.endswith(f"/{CHECKSUMS}"):
                        self._delete(path)
                for path in sorted(changed, key=_order):
                    self._upload(path, here[path], _read(self.folder / path))
                # Only now: the new checkpoint is there. And its checksums first, without which it is none.
                for path in sorted(deleted, key=_order, reverse=True):
                    self._delete(path)
                if status_stamp is not None and uploaded.get(STATUS_FILE) != status_stamp:
                    self._upload(STATUS_FILE, status_stamp, status)
            finally:
                self._save_index()

    def _upload(self, path: str, stamp: Stamp, data: bytes | None) -> None:
        # Without data it was deleted meanwhile: the next time it is among those that are gone.
        if data is not None:
            self._remote.write(path, data)
            self._index["uploaded"][path] = stamp

    def _delete(self, path: str) -> None:
        if path in self._index["uploaded"]:
            self._remote.delete(path)
            del self._index["uploaded"][path]

    def _scan(self) -> dict[str, Stamp]:
        """Returns the files to be uploaded, and what tells versions of each."""
        found = {}
        for folder, folders, names in os.walk(self.folder):
            relative = pathlib.Path(folder).relative_to(self.folder).as_posix()
            prefix = "" if relative == "." else f"{relative}/"
            folders[:] = [
                each for each in folders if self._is_kept(f"{prefix}{each}", is_folder=True)
            ]
            for name in names:
                path = f"{prefix}{name}"
                stamp = _stamp(self.folder / path)
                if stamp is not None and path != STATUS_FILE and self._is_kept(path):
                    found[path] = stamp
        return found

    def _is_kept(self, path: str, is_folder: bool = False) -> bool:
        name = path.rpartition("/")[2]
        if is_transient(name) or PARTS_LEFT_OUT.match(path) or (self.folder / path).is_symlink():
            return False
        parts = path.split("/")
        if is_folder and len(parts) == 2 and parts[0] == CHECKPOINTS:
            return name.isdecimal() and (self.folder / path / CHECKSUMS).exists()
        return True

    def _check_owner(self) -> None:
        owner = self._owner()
        if owner.get("token") == self._index.get("token"):
            return
        told = f"{self.url} was deleted while this run wrote to it"
        if owner:
            who = f"process {owner.get('pid')} on {owner.get('host')}"
            told = f"{who} trains in {self.url} since {owner.get('started')}"
        self._lost = OutputError(
            f"{told}, so this run stopped: a copy of what it did is in {self.folder}; give another workdir"
        )
        raise self._lost

    def _owner(self) -> dict[str, Any]:
        data = self._remote.read(OWNER_FILE) or b"{}"
        try:
            owner = json.loads(data)
        except ValueError:
            owner = {}
        return owner if isinstance(owner, dict) else {}

    def _pull(self) -> bool:
        """Makes the folder as new as the one on the bucket; returns whether others have changed that."""
        self._index = read_index(self._index_file)
        owner = self._owner().get("token")
        # A process that was killed as it began has told the disk, and not yet the bucket.
        ours = [each for each in (self._index.get("token"), self._index.get("previous")) if each]
        if owner in ours and self.folder.is_dir():
            return False
        there = self._remote.listing()
        is_of_pax = owner or any(path in FILES or step_of(path) for path in there)
        if there and not is_of_pax:
            # It may be a whole bucket of anything, which nobody wants fetched.
            raise ConfigError(
                f"workdir {self.url} is not empty and holds no run of Pax: give another folder"
            )
        versions = self._index.get("versions", {})
        is_changed = there != versions
        if self.folder.is_dir() and (not versions or self._lacking()):
            self._put_aside(is_last=not there)
            versions = {}
        # Until all is here, it is not the run.
        self._index = {}
        self._save_index()
        if there != versions:
            logging.info("Fetching %s (%d files) to %s.", self.url, len(there), self.folder)
        fetch(self._remote, self.folder, there, versions)
        status = _stamp(self.folder / STATUS_FILE)
        uploaded = self._scan() | ({STATUS_FILE: status} if status else {})
        self._index = {"uploaded": uploaded, "versions": versions}
        self._save_index()
        return is_changed

    def _lacking(self) -> list[str]:
        """Returns the files that are here and were never uploaded as they are."""
        uploaded = self._index.get("uploaded", {})
        return [path for path, stamp in self._scan().items() if uploaded.get(path) != stamp]

    def _put_aside(self, is_last: bool) -> None:
        """Takes the folder away: it is kept if it has results that are nowhere else."""
        if not has_begun(self.folder) or not (is_last or self._lacking()):
            shutil.rmtree(self.folder)
            return
        aside = make_new_folder(self.folder.with_name(f"{self.folder.name}.old"))
        os.rename(self.folder, aside)
        what = "is gone" if is_last else "was changed by others"
        logging.warning(
            "%s %s: what this machine has of the run, and is not there, is kept in %s.",
            self.url,
            what,
            aside,
        )

    def _upload_now_and_then(self) -> None:
        while not self._end.wait(SECONDS_BETWEEN_UPLOADS):
            try:
                self.push()
            except OutputError as e:
                if self._lost is not None:
                    return
                self._tell_failure(e)
            except Exception as e:
                self._tell_failure(e)
            else:
                if self._has_failed:
                    logging.info("%s is up to date again.", self.url)
                self._has_failed = False

    def _tell_failure(self, error: Exception) -> None:
        if not self._has_failed:
            logging.warning(
                "%s. Training goes on in %s, and the upload is tried again every %g s.",
                error,
                self.folder,
                SECONDS_BETWEEN_UPLOADS,
            )
        self._has_failed = True

    def _push_at_last(self) -> None:
        for seconds in (*SECONDS_BETWEEN_TRIES, None):
            try:
                self.push(is_last=True)
                return
            except ConfigError as e:
                if seconds is None:
                    raise OutputError(
                        f"what this run did last could not be uploaded: {e}; it is in {self.folder}, and the "
                        "same command on this machine uploads it"
                    ) from e
                time.sleep(seconds)

    def _save_index(self) -> None:
        with self._writing():
            write_whole(self._index_file, json.dumps(self._index))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            raise OutputError(
                f"{self.folder}, where {self.url} is worked on, cannot be written ({e.strerror or e}): make "
                "room, or set XDG_CACHE_HOME to another folder"
            ) from e


def staging_of(name: str, workdir: Any) -> Staging | None:
    """Returns the staging of a workdir if that is on a bucket."""
    return Staging(name, str(workdir)) if is_url(workdir) else None


def _order(path: str) -> tuple[bool, bool, str]:
    """Returns the key by which files are uploaded: metrics before the checkpoints that need them."""
    return step_of(path) is not None, path.endswith(f"/{CHECKSUMS}"), path


def _stamp(path: pathlib.Path) -> Stamp | None:
    try:
        stat = path.lstat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _read(path: pathlib.Path) -> bytes | None:
    try:
        return read_regular(path)
    except OSError:
        return None
