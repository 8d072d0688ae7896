"""Folders on buckets, by their URL (gs://, s3://, ...): what is in them, and copies of it on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import queue
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from absl import logging

from pax.checks import brief
from pax.errors import ConfigError, MissingLibraryError, OutputError, PaxError
from pax.run.directory import CHECKPOINTS, CHECKSUMS, FILES, POLICIES, RUN_FILE
from pax.run.files import cache_folder, write_whole
from pax.run.locks import holding

PACKAGES = {
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "s3": "s3fs",
    "s3a": "s3fs",
    "file": "",
    "local": "",
    "memory": "",
}
"""By protocol, what fsspec needs for it beside itself."""
CREDENTIALS = {
    "gcsfs": "gcloud auth application-default login",
    "s3fs": "aws configure, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}
OWNER_FILE = ".owner.json"
"""On a bucket, in the folder of a run: which process trained there last. Buckets have no locks."""
SECONDS_TO_REACH = 60.0
"""How long a bucket has for its first answer: the libraries try for many minutes."""
_VERSION_KEYS = ("ETag", "etag", "md5Hash", "generation", "LastModified", "mtime", "created")

T = TypeVar("T")


def is_url(path: Any) -> bool:
    """Returns whether a path is that of something on a bucket, as in `gs://bucket/run`."""
    if isinstance(path, os.PathLike):
        # Those of etils are URLs as text.
        path = str(path)
    return isinstance(path, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path) is not None


class Remote:
    """A folder, or a file, on a bucket.

    Every method talks to the bucket.

    Args:
        name: the setting or flag that names it, for messages.
        url: where it is.

    Raises:
        ConfigError: if the URL is of no protocol that there is, or names no bucket.
        MissingLibraryError: if a package is missing that its protocol needs.
    """

    def __init__(self, name: str, url: str):
        protocol, _, path = url.partition("://")
        protocol = protocol.lower()
        told = f"{name} is {brief(url)}"
        if protocol not in PACKAGES:
            known = ", ".join(f"{each}://" for each in PACKAGES)
            raise ConfigError(
                f"{told}: {protocol}:// is not supported, give a folder, or one of {known}"
            )
        if not path.strip("/") or not url.isprintable() or "::" in url:
            raise ConfigError(f"{told}: give a bucket and a folder in it, as in gs://bucket/run")
        if ".." in path.split("/"):
            raise ConfigError(f"{told}: give the path without .. in it")
        self.url = url.rstrip("/")
        self._name = name
        self._package = PACKAGES[protocol]
        self._fs, root = _file_system(told, self.url, self._package)
        self._root = root.rstrip("/")
        self.key = hashlib.sha256(f"{self._fs.protocol}{self._root}".encode()).hexdigest()[:16]
        """The same for all URLs of this folder."""

    def reach(self) -> None:
        """Makes sure that the bucket answers.

        Raises:
            ConfigError: if it does not, or not within `SECONDS_TO_REACH`, or wants other credentials.
        """
        try:
            _within(SECONDS_TO_REACH, self.listing)
        except TimeoutError as e:
            raise ConfigError(
                f"{self._name} is {brief(self.url)}, which did not answer within {SECONDS_TO_REACH:g} s: "
                "check the network and the name of the bucket"
            ) from e

    def is_file(self) -> bool:
        """Returns whether it is one file, and no folder."""
        with self._telling("cannot be read"):
            self._fs.invalidate_cache()
            return bool(self._fs.isfile(self._root))

    def listing(self) -> dict[str, str]:
        """Returns the files below it, and what tells versions of each; of a folder that is missing, none."""
        with self._telling("cannot be read"):
            self._fs.invalidate_cache()
            try:
                found = self._fs.find(self._root, detail=True)
            except FileNotFoundError:
                return {}
        files = {}
        for path, info in found.items():
            relative = str(path)[len(self._root) :].lstrip("/")
            if relative in ("", OWNER_FILE) or info.get("type") == "directory":
                continue
            # Names on a bucket may be anything, and are to stay within the folder of a copy.
            if ".." in relative.split("/") or "\\" in relative or not relative.isprintable():
                logging.warning("%s holds %r, which is passed over.", self.url, relative)
                continue
            version = [str(info[key]) for key in _VERSION_KEYS if info.get(key) is not None]
            files[relative] = ":".join([str(info.get("size")), *version])
        return files

    def read(self, relative: str = "") -> bytes | None:
        """Returns what a file holds, or None if there is none."""
        with self._telling("cannot be read"):
            try:
                return bytes(self._fs.cat_file(self._path(relative)))
            except FileNotFoundError:
                return None

    def write(self, relative: str, data: bytes) -> None:
        """Writes a file."""
        with self._telling("cannot be written"):
            self._fs.pipe_file(self._path(relative), data)

    def delete(self, relative: str) -> None:
        """Deletes a file, if there is one."""
        with self._telling("cannot be written"), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(relative))

    def _path(self, relative: str) -> str:
        return f"{self._root}/{relative}" if relative else self._root

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Raises FileNotFoundError as it is, and whatever else these libraries raise as one sentence."""
        try:
            yield
        except FileNotFoundError:
            if what != "cannot be written":
                raise
            raise ConfigError(
                f"{self._name} is {brief(self.url)}, and there is no such bucket: make it, or check its name"
            ) from None
        except Exception as e:
            login = CREDENTIALS.get(self._package)
            credentials = f" and your credentials ({login})" if login else ""
            raise ConfigError(
                f"{self._name} is {brief(self.url)}, which {what} ({_first_line(e)}): check its name, the "
                f"network{credentials}"
            ) from e


def _file_system(told: str, url: str, package: str) -> tuple[Any, str]:
    """Returns fsspec's file system of a URL, and the path in it."""
    import fsspec

    options = {"auto_mkdir": True} if url.startswith(("file:", "local:")) else {}
    try:
        return fsspec.core.url_to_fs(url, **options)
    except ImportError as e:
        raise MissingLibraryError(
            f"{told}, which needs the package {package}: pip install {package or 'fsspec'}"
        ) from e
    except Exception as e:
        login = CREDENTIALS.get(package)
        remedy = f"check your credentials ({login})" if login else "check the URL"
        raise ConfigError(f"{told}, which cannot be used ({_first_line(e)}): {remedy}") from e


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return brief(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__, 200)


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Returns what a call returns; raises TimeoutError if it takes longer, and leaves it to itself then."""
    answers: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except BaseException as e:
            answers.put((None, e))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return result


def place(kind: str, remote: Remote) -> pathlib.Path:
    """Returns where a copy of a remote folder is on this machine: a folder that ends in its name.

    Args:
        kind: what the copy is for: copies for other purposes are elsewhere.
        remote: the folder.

    Raises:
        ConfigError: if this user has no folder for caches.
    """
    cache = cache_folder()
    if cache is None:
        raise ConfigError(
            f"there is no home directory to keep a copy of {remote.url} in: set XDG_CACHE_HOME"
        )
    return cache / "pax" / kind / remote.key / remote.url.rpartition("/")[2]


class Copy:
    """A copy of a remote run, or of some of its files, to read from; what is read is as new as `refresh`.

    Args:
        name: the setting or flag that names the run, for messages.
        url: of its folder, or of one file.

    Attributes:
        path: of the copy, on this machine.
    """

    def __init__(self, name: str, url: str):
        self._name = name
        self._remote = Remote(name, url)
        self.path = place("copies", self._remote)
        self._index_file = self.path.parent / "index.json"

    def refresh(
        self, wants: Callable[[str], bool] = lambda path: True, may_be_missing: bool = False
    ) -> pathlib.Path:
        """Fetches what is new, deletes what is gone, and returns the path of the copy.

        Args:
            wants: of the path of a file in the folder, whether it is needed.
            may_be_missing: whether there may be nothing yet.

        Raises:
            ConfigError: if there is nothing, unless there may be, or the bucket cannot be reached.
        """
        self._remote.reach()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with holding(self.path.parent / ".lock", wait_seconds=600.0):
                if self._remote.is_file():
                    self._refresh_file()
                else:
                    self._refresh_folder(wants, may_be_missing)
        except OSError as e:
            raise OutputError(
                f"{self._remote.url} cannot be copied to {self.path} ({e.strerror or e}): make room, or set "
                "XDG_CACHE_HOME to another folder"
            ) from e
        return self.path

    def _refresh_file(self) -> None:
        data = self._remote.read()
        if data is None:
            raise ConfigError(f"{self._name} is {self._remote.url}, and there is no such file")
        if self.path.is_dir():
            shutil.rmtree(self.path)
        write_whole(self.path, data)

    def _refresh_folder(self, wants: Callable[[str], bool], may_be_missing: bool) -> None:
        there = self._remote.listing()
        if not there and not may_be_missing:
            raise ConfigError(
                f"{self._name} is {self._remote.url}, and there is nothing: check the path"
            )
        if self.path.is_file():
            self.path.unlink()
        index = read_index(self._index_file)
        try:
            fetch(self._remote, self.path, there, index, wants)
        finally:
            write_whole(self._index_file, json.dumps(index))

    def upload(self, wants: Callable[[str], bool]) -> None:
        """Writes files of the copy to the remote folder.

        Raises:
            ConfigError: if they cannot be written.
        """
        for path in sorted(self.path.rglob("*")):
            relative = path.relative_to(self.path).as_posix()
            if path.is_file() and wants(relative):
                self._remote.write(relative, path.read_bytes())


def local_path(name: str, path: Any) -> pathlib.Path:
    """Returns where a run, a folder of policies or a policy is on this machine; from a bucket it is fetched.

    Of a run that is what reports and games of its policies need: no checkpoints.

    Args:
        name: the setting or flag that names it, for messages.
        path: of this machine, or a URL.

    Raises:
        ConfigError: if it is on a bucket and cannot be fetched, or no path that could be looked at.
    """
    if not is_url(path):
        # Shells leave `~` as it is in --flag=~/exp.
        place = pathlib.Path(os.path.expanduser(path))
        try:
            place.exists()
        except OSError as e:  # Its name is too long, or its folder is not to be read.
            raise ConfigError(
                f"{name} is {brief(str(path))}, which cannot be read ({e.strerror}): check the path"
            ) from e
        return place
    path = str(path)
    run, is_inside, rest = path.rstrip("/").rpartition(f"/{POLICIES}/")
    if not is_inside:
        return Copy(name, path).refresh(_is_light)
    # With the record of its run, which tells what it was trained for.
    inside = f"{POLICIES}/{rest}"
    copy = Copy(name, run)
    copy.refresh(lambda each: each == RUN_FILE or f"{each}/".startswith(f"{inside}/"))
    if not (copy.path / inside).exists():
        raise ConfigError(f"{name} is {brief(path)}, and there is nothing: check the path")
    return copy.path / inside


def _is_light(path: str) -> bool:
    """Returns whether a file is one that reports and games read; a bucket may hold anything else, too."""
    is_policy = path.endswith(".msgpack") and "/" not in path
    return path in FILES or is_policy or path.startswith((f"{POLICIES}/", "videos/"))


@contextlib.contextmanager
def named_by(path: pathlib.Path, url: str | None) -> Iterator[None]:
    """Has errors that users can correct name a folder by its URL, and not by the path of its copy."""
    try:
        yield
    except PaxError as e:
        if url is None or str(path) not in str(e):
            raise
        raise type(e)(str(e).replace(str(path), url)) from e


def read_index(path: pathlib.Path) -> dict[str, Any]:
    """Returns the JSON object in a file; an empty one if there is none that can be read."""
    try:
        index = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}


def fetch(
    remote: Remote,
    folder: pathlib.Path,
    there: dict[str, str],
    index: dict[str, Any],
    wants: Callable[[str], bool] = lambda path: True,
) -> None:
    """Makes a folder as the remote one is; of checkpoints, those that are whole, and each as a whole.

    Args:
        remote: the folder on the bucket.
        folder: the one on this machine, made if it is missing.
        there: what `listing` has of the remote one.
        index: by file, the version that was fetched; brought up to date.
        wants: of the path of a file, whether it is needed; others are left as they are.
    """
    wanted = {path: version for path, version in there.items() if wants(path)}
    checkpoints: dict[str, dict[str, str]] = {}
    for path, version in wanted.items():
        if step := step_of(path):
            checkpoints.setdefault(step, {})[path] = version
    whole = {
        step: files
        for step, files in checkpoints.items()
        if f"{CHECKPOINTS}/{step}/{CHECKSUMS}" in files
    }
    folder.mkdir(parents=True, exist_ok=True)
    for path in [path for path in index if wants(path) and path not in wanted]:
        (folder / path).unlink(missing_ok=True)
        del index[path]
    for path, version in wanted.items():
        is_here = index.get(path) == version and (folder / path).is_file()
        if step_of(path) or is_here:
            continue
        data = remote.read(path)
        if data is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            write_whole(folder / path, data)
            index[path] = version
    for local in (folder / CHECKPOINTS).glob("*"):
        if local.name not in whole and wants(f"{CHECKPOINTS}/{local.name}/{CHECKSUMS}"):
            shutil.rmtree(local)
    for step, files in sorted(whole.items()):
        is_here = all(index.get(each) == version for each, version in files.items())
        if not is_here or not (folder / CHECKPOINTS / step).is_dir():
            _fetch_checkpoint(remote, folder, step, files, index)


def _fetch_checkpoint(
    remote: Remote, folder: pathlib.Path, step: str, files: dict[str, str], index: dict[str, Any]
) -> None:
    """Replaces a checkpoint by the remote one, unless that is deleted meanwhile."""
    final = folder / CHECKPOINTS / step
    partial = final.with_name(f".{step}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for path in files:
        data = remote.read(path)
        if data is None:
            break
        target = partial / pathlib.PurePosixPath(path).relative_to(f"{CHECKPOINTS}/{step}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    else:
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        index |= files
        return
    shutil.rmtree(partial, ignore_errors=True)


def step_of(path: str) -> str | None:
    """Returns the step of the checkpoint that a file in the folder of a run belongs to, or None."""
    parts = path.split("/")
    is_in_one = len(parts) > 2 and parts[0] == CHECKPOINTS and parts[1].isdecimal()
    return parts[1] if is_in_one else None
