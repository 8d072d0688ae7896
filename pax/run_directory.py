"""The folder of a run: what was run, with what, and whether it may be gone on with."""

from __future__ import annotations

import datetime
import importlib.metadata
import itertools
import json
import os
import pathlib
import platform
import re
import shlex
import sys
from collections.abc import Mapping
from typing import Any

from pax.errors import ConfigError

RUN_FILE = "run.json"
IMPORTS = "imports"
"""The key in it of what the config names that is not of Pax: top-level modules, and where they were."""
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "ml-collections", "clu", "numpy")


def default_workdir(config_path: str) -> pathlib.Path:
    """`exp/<config>-<variant>-<time>`."""
    path, _, variant = config_path.partition(":")
    name = "-".join(filter(None, [pathlib.Path(path).stem, variant]))
    name = re.sub(r"[^A-Za-z0-9._=-]+", "-", name)
    base = pathlib.Path("exp") / f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    # Two runs may start within a second, and neither is the other gone on with.
    others = (base.with_name(f"{base.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([base], others) if not path.exists())


def open_run(
    workdir: pathlib.Path,
    config: Mapping[str, Any],
    config_path: str,
    imports: Mapping[str, str] | None = None,
) -> None:
    """Makes the folder of a new run, or makes sure that an old one is the same run.

    Args:
        workdir: the folder.
        config: what is run.
        config_path: the file that it comes from, and the variant.
        imports: by module that the config names and that is not of Pax, its folder.

    Raises:
        ConfigError: if the folder cannot be written, belongs to something else, or holds a run with
            another config; nothing in it is touched then.
    """
    recorded = jsonable(config)
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"workdir is {workdir}, which is a file: give a folder")
    if (workdir / RUN_FILE).exists():
        # It may go on over other devices: results agree up to rounding.
        differences = [
            difference
            for difference in describe_differences(read_run(workdir)["config"], recorded)
            if not difference.startswith("num_devices: ")
        ]
        if differences:
            raise ConfigError(
                f"workdir {workdir} holds a run with another config ({'; '.join(differences)}): give "
                "another workdir, or the old settings to go on with it"
            )
        if not os.access(workdir, os.W_OK | os.X_OK):
            raise ConfigError(
                f"workdir {workdir} is not writable: give a folder that you may write to"
            )
        return
    run = {
        "config": recorded,
        "config_path": config_path,
        "command": shlex.join(["python", "-m", "pax.main", *sys.argv[1:]]),
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        IMPORTS: dict(imports or {}),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
    }
    try:
        if workdir.exists() and any(workdir.iterdir()):
            raise ConfigError(
                f"workdir {workdir} is not empty and holds no run of Pax: give another folder"
            )
        workdir.mkdir(parents=True, exist_ok=True)
        # In one go: a folder with half of it would be nobody's.
        temporary = workdir / f".{RUN_FILE}"
        temporary.write_text(json.dumps(run, indent=2) + "\n")
        os.replace(temporary, workdir / RUN_FILE)
    except OSError as e:
        raise ConfigError(
            f"workdir {workdir} cannot be written ({e.strerror}): give a folder that you may write to"
        ) from e


def read_run(workdir: pathlib.Path) -> dict[str, Any]:
    """What `open_run` recorded.

    Raises:
        ConfigError: if the folder holds no run, or its record cannot be read.
    """
    try:
        run = json.loads((workdir / RUN_FILE).read_text())
    except (FileNotFoundError, NotADirectoryError) as e:
        raise ConfigError(f"workdir {workdir} holds no run of Pax: train one there first") from e
    except (OSError, ValueError) as e:
        raise ConfigError(
            f"workdir {workdir} holds an unreadable {RUN_FILE} ({e}): give another folder"
        ) from e
    if not isinstance(run, dict) or not isinstance(run.get("config"), dict):
        raise ConfigError(
            f"workdir {workdir} holds a {RUN_FILE} that is not of Pax: give another folder"
        )
    return run


def jsonable(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as it looks after a round trip through JSON, where tuples are lists.

    Raises:
        ConfigError: if it holds something that JSON has no word for.
    """
    try:
        return json.loads(json.dumps(config))
    except (TypeError, ValueError) as e:
        raise ConfigError(
            f"the config cannot be written down ({e}): use numbers, text, tuples and sections only"
        ) from e


def describe_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`key: old -> new` for every setting in which two recorded configs differ."""
    old, new = _flat(old), _flat(new)
    missing = "not set"
    return [
        f"{key}: {old.get(key, missing)} -> {new.get(key, missing)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key, missing) != new.get(key, missing)
    ]


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
