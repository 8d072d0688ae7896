"""Traced programs on disk, so that the second run of a config traces nothing.

A program is kept as JAX exports it (StableHLO); what it is compiled to is in a cache of JAX's own. Programs
lie in the user's cache, in a folder that nobody else may enter, as reading one could run anything. Files of
other owners, damaged ones and those of another key are not read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import pickle
import stat
from collections.abc import Callable

import jax
import jax.export
from absl import logging

from pax.run.files import cache_folder, open_regular, write_whole

HEAD = b"pax program 1\n"
ENDING = ".program"
MOST_FILES = 2000
"""Of some hundred kilobytes; beyond them, those go that were not used for longest."""


class KeptPrograms:
    """The programs of one run.

    Args:
        folder: where they are; made if it is missing.
        key: what determines them: see `pax.loop.program_key`.
    """

    def __init__(self, folder: pathlib.Path, key: str):
        self._folder = folder
        self._key = key

    def get(self, name: str, export: Callable[[], jax.export.Exported]) -> jax.export.Exported:
        """Returns a program that was kept, or makes and keeps it.

        Args:
            name: which one of the run.
            export: makes it.
        """
        digest = hashlib.sha256(f"{self._key}\0{name}".encode()).digest()
        path = self._folder / f"{digest.hex()}{ENDING}"
        try:
            exported = _unpack(self._read(path, digest))
        except FileNotFoundError:
            pass
        except Exception as e:
            # Whatever is wrong with it, a new one takes its place.
            logging.vlog(1, "%s is not used: %s", path, e)
        else:
            with contextlib.suppress(OSError):
                os.utime(path)
            return exported
        exported = export()
        self._write(path, digest, exported)
        return exported

    def _read(self, path: pathlib.Path, digest: bytes) -> bytes:
        """Returns what a file holds.

        Raises:
            OSError, ValueError: if it cannot be read, is not of this user alone, of another key, or damaged.
        """
        _check_private(os.stat(self._folder))
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_uid != os.getuid():
                raise ValueError("it belongs to somebody else")
            content = file.read()
        head = HEAD + digest
        checksum, payload = content[len(head) : len(head) + 32], content[len(head) + 32 :]
        if not content.startswith(head) or hashlib.sha256(payload).digest() != checksum:
            raise ValueError("it is damaged, or another program")
        return payload

    def _write(self, path: pathlib.Path, digest: bytes, exported: jax.export.Exported) -> None:
        try:
            payload = _pack(exported)
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _check_private(os.stat(self._folder))
            write_whole(path, HEAD + digest + hashlib.sha256(payload).digest() + payload)
            self._make_room()
        except Exception as e:
            # It is there, which is all that the run needs.
            logging.vlog(1, "A program is not kept: %s", e)

    def _make_room(self) -> None:
        files = list(self._folder.glob(f"*{ENDING}"))
        if len(files) > MOST_FILES:
            files.sort(key=lambda path: path.stat().st_mtime)
            for path in files[: MOST_FILES // 10]:
                path.unlink(missing_ok=True)


def folder_of_programs() -> pathlib.Path | None:
    """Returns where this user's programs are kept.

    None where JAX was told where to keep its own, or not to: then Pax keeps none.
    """
    is_off = not jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    if is_off or "JAX_COMPILATION_CACHE_DIR" in os.environ or not hasattr(os, "getuid"):
        return None
    cache = cache_folder()
    return None if cache is None else cache / "pax" / "programs"


def _pack(exported: jax.export.Exported) -> bytes:
    """Returns all that calling a program takes; JAX's own format would need one more library."""
    fields = {field.name: getattr(exported, field.name) for field in dataclasses.fields(exported)}
    # It would make the gradient.
    fields["_get_vjp"] = None
    return pickle.dumps(fields)


def _unpack(payload: bytes) -> jax.export.Exported:
    return jax.export.Exported(**pickle.loads(payload))


def _check_private(about: os.stat_result) -> None:
    """Raises ValueError unless a folder is this user's, and nobody else's to enter."""
    if about.st_uid != os.getuid() or stat.S_IMODE(about.st_mode) & 0o077:
        raise ValueError("others may enter the folder")
