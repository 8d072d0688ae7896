"""The folder of a run: what was run, with what, and whether it may be resumed."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from pax.checks import brief
from pax.errors import ConfigError
from pax.run.files import contents, make_new_folder, not_writable, read_regular, write_whole

RUN_FILE = "run.json"
CHECKPOINTS = "checkpoints"
"""The folder of a run's checkpoints, in its workdir."""
CHECKSUMS = "checksums.json"
"""What a checkpoint has once it is whole: sizes and CRC-32 sums of its files."""
POLICIES = "policies"
"""The folder of a run's policies, in its workdir."""
IMPORTS = "imports"
"""The key in it of what the config names that is not of Pax: top-level modules, and where they were."""
FILES = (RUN_FILE, "metrics.jsonl", "metrics_seeds.jsonl", "training.json", "evaluation.jsonl")
FOLDERS = (CHECKPOINTS, POLICIES, "videos", "evaluation")
"""What the files and folders are called that a run has in its own."""
MOST_TOLD = 6
"""Of the settings in which two configs differ."""
MAY_CHANGE = (
    # How long.
    "num_iters",
    "total_timesteps",
    # What is reported, how often, and what is evaluated.
    "callbacks",
    "extra_callbacks",
    "evaluation",
    # Iterations per compiled call: not a bit differs.
    "chunk",
    # Results agree up to rounding.
    "num_devices",
)
"""Settings that may change while a run is under way, as they leave what is done as it is."""
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "ml-collections", "clu", "numpy")


def default_workdir(config_path: str) -> pathlib.Path:
    """Returns `exp/<config>-<variant>-<time>`; another run may have that name, too: see `make_workdir`."""
    path, _, variant = config_path.partition(":")
    name = "-".join(filter(None, [pathlib.Path(path).stem, variant]))
    name = re.sub(r"[^A-Za-z0-9._=-]+", "-", name)
    return new_name(name)


def new_name(name: str) -> pathlib.Path:
    """Returns `exp/<name>-<time>`."""
    return pathlib.Path("exp") / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def make_workdir(base: pathlib.Path) -> pathlib.Path:
    """Makes a folder that no other program has, however many start within a second; returns it.

    Raises:
        ConfigError: if none can be made.
    """
    try:
        return make_new_folder(base)
    except OSError as e:
        raise ConfigError(
            f"{base} cannot be made ({e.strerror}): name a folder that you may write to with --workdir"
        ) from e


Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
"""Returns a recorded config as this version writes it: `pax.config.recorded.todays`."""


def check_run(
    workdir: pathlib.Path,
    config: Mapping[str, Any],
    upgrade: Upgrade = dict,
    may_change: Sequence[str] = (),
) -> None:
    """Checks that a folder can be that of a run with this config; nothing in it is touched.

    It can if it is new or empty, or holds the same run. Of an old one, what leaves the numbers of what is
    done as they are may have changed (`MAY_CHANGE`), and so may the dotted settings `may_change`; a run of
    which nothing was saved or reported may become any other.

    Raises:
        ConfigError: if the folder cannot be written, belongs to something else, or holds a run with
            another config.
    """
    recorded = jsonable(config)
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"workdir is {workdir}, which is a file: give a folder")
    try:
        _check_kinds(workdir)
        if (workdir / RUN_FILE).exists():
            changes = _changes(read_run(workdir)["config"], recorded, upgrade)
            others = [
                each for each in changes if not _may_change(each.partition(":")[0], may_change)
            ]
            if others and has_begun(workdir):
                told = "; ".join(others[:MOST_TOLD])
                if len(others) > MOST_TOLD:
                    told += f"; and {len(others) - MOST_TOLD} more"
                raise ConfigError(
                    f"workdir {workdir} holds a run with another config ({told}): give "
                    "another workdir, or the old settings to go on with it"
                )
        elif contents(workdir):
            raise ConfigError(
                f"workdir {workdir} is not empty and holds no run of Pax: give another folder"
            )
    except OSError as e:
        raise ConfigError(not_writable(workdir, e)) from e
    if workdir.exists() and not os.access(workdir, os.W_OK | os.X_OK):
        raise ConfigError(f"workdir {workdir} is not writable: give a folder that you may write to")


def _changes(old: dict[str, Any], new: dict[str, Any], upgrade: Upgrade) -> list[str]:
    """Returns in which settings recorded configs differ, also of sections that leave out defaults."""
    return describe_differences(jsonable(upgrade(old)), jsonable(upgrade(new)))


def _may_change(setting: str, too: Sequence[str]) -> bool:
    """Returns whether a dotted setting, or a section that has it, may change while a run is under way."""
    return setting.split(".")[0] in MAY_CHANGE or any(
        f"{setting}.".startswith(f"{each}.") for each in too
    )


def _check_kinds(workdir: pathlib.Path) -> None:
    """Raises ConfigError if a file of a run is no regular one, or one of its folders is no folder."""
    for path in sorted(workdir.iterdir()) if workdir.is_dir() else ():
        wrong = None
        if path.name in FOLDERS and not path.is_dir():
            wrong = "no folder"
        elif path.name in FILES and path.exists() and not path.is_file():
            wrong = "no regular file"
        if wrong:
            raise ConfigError(
                f"workdir {workdir} holds {path.name}, which is {wrong}: take it away, or give "
                "another workdir"
            )


def open_run(
    workdir: pathlib.Path,
    config: Mapping[str, Any],
    config_path: str,
    imports: Mapping[str, str] | None = None,
    upgrade: Upgrade = dict,
    command: str | None = None,
    may_change: Sequence[str] = (),
) -> dict[str, Any]:
    """Makes the folder of a new run, or makes sure that an old one is the same run: see `check_run`.

    What has changed since is recorded under `history`.

    Args:
        workdir: the folder.
        config: what is run.
        config_path: the file that it comes from, and the variant.
        imports: by module that the config names and that is not of Pax, its folder.
        upgrade: of a config that an earlier version recorded.
        command: what trains the run; that of this process if None.
        may_change: see `check_run`.

    Returns:
        What is recorded.

    Raises:
        ConfigError: if it cannot be that of this run; nothing in it is touched then.
    """
    check_run(workdir, config, upgrade, may_change)
    recorded = jsonable(config)
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    command = command or shlex.join(["python", "-m", "pax.main", *sys.argv[1:]])
    if (workdir / RUN_FILE).exists():
        run = read_run(workdir)
        changes = _changes(run["config"], recorded, upgrade)
        if not changes:
            return run
        logging.info("The run goes on with other settings: %s.", "; ".join(changes))
        change = {"time": now, "command": command, "changes": changes}
        run |= {
            "config": recorded,
            IMPORTS: dict(imports or {}),
            "history": [*run.get("history", []), change],
        }
    else:
        run = {
            "config": recorded,
            "config_path": config_path,
            "command": command,
            "started": now,
            IMPORTS: dict(imports or {}),
            "versions": dict(_versions()),
        }
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        _write(workdir, run)
    except OSError as e:
        raise ConfigError(not_writable(workdir, e)) from e
    return run


@functools.cache
def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **versions}


def keep_record(workdir: pathlib.Path, run: Mapping[str, Any]) -> None:
    """Writes what `open_run` recorded once more if it was deleted: without it, a folder is that of no run."""
    if workdir.is_dir() and not (workdir / RUN_FILE).exists():
        logging.warning("%s in %s was deleted: it is written anew.", RUN_FILE, workdir)
        try:
            _write(workdir, run)
        except OSError as e:
            logging.warning("%s in %s could not be written: %s.", RUN_FILE, workdir, e)


def _write(workdir: pathlib.Path, run: Mapping[str, Any]) -> None:
    write_whole(workdir / RUN_FILE, json.dumps(run, indent=2) + "\n")


def has_begun(workdir: pathlib.Path) -> bool:
    """Returns whether something of a run is in its folder: a checkpoint, or a row of metrics."""
    metrics = workdir / "metrics.jsonl"
    return bool(contents(workdir / CHECKPOINTS)) or (
        metrics.exists() and metrics.stat().st_size > 0
    )


def read_run(workdir: pathlib.Path) -> dict[str, Any]:
    """Reads what `open_run` recorded.

    Raises:
        ConfigError: if the folder holds no run, or its record cannot be read.
    """
    try:
        run = json.loads(read_regular(workdir / RUN_FILE))
    except (FileNotFoundError, NotADirectoryError) as e:
        raise ConfigError(f"workdir {workdir} holds no run of Pax: train one there first") from e
    except (OSError, ValueError, RecursionError) as e:
        raise ConfigError(
            f"workdir {workdir} holds an unreadable {RUN_FILE} ({e}): give another folder"
        ) from e
    if not isinstance(run, dict) or not isinstance(run.get("config"), dict):
        raise ConfigError(
            f"workdir {workdir} holds a {RUN_FILE} that is not of Pax: give another folder"
        )
    return run


def jsonable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config as it looks after a round trip through JSON, where tuples are lists.

    Raises:
        ConfigError: if it holds something that JSON has no word for.
    """
    try:
        return json.loads(json.dumps(config))
    except (TypeError, ValueError) as e:
        raise ConfigError(
            f"the config cannot be written down ({e}): use numbers, text, tuples and sections only"
        ) from e


LONG = 400
"""Characters of a setting that has changed: enough to see where in a table."""


def describe_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns `key: old -> new` for every setting in which two recorded configs differ."""
    old, new = flat(old), flat(new)
    # A section that is filled on one side differs by what is in it.
    old, new = _unless_filled(old, new), _unless_filled(new, old)
    missing = "not set"
    return [
        f"{key}: {brief(old.get(key, missing), LONG)} -> {brief(new.get(key, missing), LONG)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, missing) != new.get(key, missing)
    ]


def _unless_filled(own: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Returns flat settings without those empty sections that hold something in the other ones."""
    return {
        key: value
        for key, value in own.items()
        if value != {} or not any(name.startswith(f"{key}.") for name in other)
    }


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Returns nested settings by dotted key, as in `agents.0.learning_rate`; an empty section is `{}`.

    Args:
        settings: mappings, and sequences that hold some.
        prefix: the key of all of it.
    """
    # ConfigDict is no `Mapping`, so what is needed of one is asked for.
    if isinstance(settings, list | tuple) and any(hasattr(each, "items") for each in settings):
        settings = dict(enumerate(settings))
    if not hasattr(settings, "items"):
        return {prefix: settings}
    if prefix and not settings:
        return {prefix: {}}
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found
