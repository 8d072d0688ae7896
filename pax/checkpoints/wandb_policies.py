"""Policies at Weights & Biases, by paths such as `wandb:me/pax/0123abcd/agent1.msgpack`."""

from __future__ import annotations

import os
import pathlib
import re
import tempfile
from typing import Any, NamedTuple

from absl import logging

from pax.checks import brief
from pax.errors import ConfigError, MissingLibraryError, OutputError, nearest
from pax.run.files import cache_folder, read_regular, write_whole

PREFIX = "wandb:"
FORM = "wandb:<entity>/<project>/<run>/<file>"
LATEST = "latest"
SECONDS = 30
"""How long W&B has for each answer."""
_PATH = re.compile(r"wandb:([\w.-]+)/([\w .-]+)/([\w.-]+)(?::([\w.-]+))?/([^:]+)")


class Source(NamedTuple):
    """What a path names."""

    entity: str
    project: str
    run: str
    """The run as its address at W&B ends: its id, no other name."""
    alias: str
    """Of the artifact: `latest`, `iteration-500` or a version, such as `v3`."""
    file: str


def is_at_wandb(path: Any) -> bool:
    """Returns whether a path is that of something at W&B."""
    return isinstance(path, str) and path.startswith(PREFIX)


def parse(name: str, path: str) -> Source:
    """Returns what a path names.

    Args:
        name: the setting that has it, for messages.
        path: `wandb:<entity>/<project>/<run>/<file>`, or `<run>:<iteration>` for the policy of an iteration.

    Raises:
        ConfigError: if it is no such path.
    """
    match = _PATH.fullmatch(path)
    parts = path.removeprefix(PREFIX).split("/")
    if match is None or not path.isprintable() or "\\" in path or {"", ".", ".."} & {*parts}:
        raise ConfigError(
            f"{name} is {brief(path)}: give {FORM}, as in wandb:me/pax/0123abcd/agent1.msgpack, or "
            "<run>:500 for the policy of iteration 500"
        )
    entity, project, run, alias, file = match.groups()
    if {".", ".."} & {entity, project, run, alias}:
        raise ConfigError(f"{name} is {brief(path)}: give {FORM} without . and ..")
    alias = f"iteration-{alias}" if alias and alias.isdecimal() else alias or LATEST
    return Source(entity, project, run, alias, file)


def fetch_policy(name: str, path: str) -> pathlib.Path:
    """Returns where the copy of a policy is on this machine, as new as the one at W&B.

    If W&B cannot be reached, or WANDB_MODE is `offline`, it is the copy that was fetched the last time. What
    is fetched is a file, of which nothing is run: who reads it makes sure that it is a policy.

    Args:
        name: the setting that has the path, for messages.
        path: see `parse`.

    Raises:
        ConfigError: if there is no such run or file, or it cannot be fetched and there is no copy of it.
        MissingLibraryError: if wandb is not installed, and there is no copy.
    """
    source = parse(name, path)
    cache = cache_folder()
    if cache is None:
        raise ConfigError(f"there is no home directory to keep {path} in: set XDG_CACHE_HOME")
    copy = cache.joinpath("pax", "wandb", *source[:4], *source.file.split("/"))
    has_copy = copy.is_file()
    told = f"{name} is {brief(path)}"
    if os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        if has_copy:
            return copy
        raise ConfigError(
            f"{told}, of which there is no copy here, and WANDB_MODE is {os.environ['WANDB_MODE']}: fetch it "
            "once with WANDB_MODE=online"
        )
    try:
        data = _download(told, source)
    except _UnreachableError as e:
        if has_copy:
            logging.warning("%s, so that the copy %s is used.", e, copy)
            return copy
        raise ConfigError(f"{e}: type wandb login, and check the network") from e
    except MissingLibraryError:
        if has_copy:
            return copy
        raise
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        write_whole(copy, data)
    except OSError as e:
        raise OutputError(
            f"{path} cannot be copied to {copy} ({e.strerror}): make room, or set XDG_CACHE_HOME to another "
            "folder"
        ) from e
    return copy


class _UnreachableError(Exception):
    """W&B does not answer, or does not let this user in."""


def _download(told: str, source: Source) -> bytes:
    try:
        import wandb
    except ImportError as e:
        raise MissingLibraryError(
            f'{told}, which needs the package wandb: pip install -e ".[wandb]"'
        ) from e
    try:
        # It would ask for a key, and wait, on a terminal.
        if not wandb.login(prompt=False, verify=False):
            raise _UnreachableError(f"{told}, and there is no key for Weights & Biases")
        api = wandb.Api(timeout=SECONDS)
        run = api.run("/".join(source[:3]))
        with tempfile.TemporaryDirectory() as folder:
            return _fetch(told, run, source, folder)
    except (ConfigError, _UnreachableError):
        raise
    except Exception as e:
        # What the client raises is not documented, and differs from version to version.
        lines = str(e).strip().splitlines() or [type(e).__name__]
        if re.search(r"not find|not found|no such|404|permission", str(e), re.IGNORECASE):
            where = "/".join(source[:3])
            raise ConfigError(
                f"{told}, and W&B has no run {where} that you may read ({brief(lines[0], 200)}): check "
                "entity, project and run, as in the address of its page"
            ) from e
        raise _UnreachableError(f"{told}, which cannot be fetched ({brief(lines[0], 200)})") from e


def _fetch(told: str, run: Any, source: Source, folder: str) -> bytes:
    """Returns a file of an artifact of the run, or, without one, of the files that the run has."""
    known: list[str] = []
    aliases: list[str] = []
    for artifact in run.logged_artifacts():
        if artifact.type != "policy":
            continue
        aliases += artifact.aliases
        if source.alias in (*artifact.aliases, getattr(artifact, "version", None)):
            if source.file in artifact.manifest.entries:
                return _read(artifact.get_entry(source.file).download(root=folder))
            known += artifact.manifest.entries
    if source.alias == LATEST:
        # Runs of other programs keep files of their own.
        for file in run.files(names=[source.file]):
            with file.download(root=folder, replace=True) as stream:
                return _read(stream.name)
    elif source.alias not in aliases:
        raise ConfigError(
            f"{told}, and this run has no {source.alias}: {nearest(source.alias, aliases)}"
        )
    what = nearest(source.file, known) if known else "it has exported no policies"
    raise ConfigError(f"{told}, and this run has no such file: {what}")


def _read(path: Any) -> bytes:
    return read_regular(os.fspath(path))
