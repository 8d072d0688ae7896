"""Classes by name: those of Pax, and users' own by their dotted paths; and what a run may import."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pax import dotted
from pax.errors import ConfigError, nearest
from pax.run.directory import IMPORTS

T = TypeVar("T")

STOCK = "pax.callbacks"
"""Where the callbacks are that ship with Pax."""
EXAMPLES = "pax.callbacks.examples"
"""Where those to copy are, which configs may also name as `callbacks.<module>.<class>`."""
_CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def find_class(
    where: str, name: Any, base: type[T], base_path: str, known: Mapping[str, type[T]]
) -> type[T]:
    """Returns the class that a config names: one of Pax, or a subclass of `base` by its dotted path.

    Args:
        where: the key, for messages.
        name: `CoinGame`, or `mygame.ThreePonds` of a module that Python finds from here.
        base: what it has to be.
        base_path: where users find that.
        known: those of Pax, by name.

    Raises:
        ConfigError: if there is no such class, or its module cannot be imported.
    """
    if isinstance(name, str) and name in known:
        return known[name]
    module_name, dot, class_name = str(name).rpartition(".")
    word = {"Environment": "game"}.get(base.__name__, base.__name__.lower())
    if known and not dot:
        raise ConfigError(f"{where} is {name!r}, which no {word} is called: {nearest(name, known)}")
    module_name = _stock_callback(module_name, class_name)
    if not module_name:
        stock = importlib.import_module(STOCK).__all__ if base.__name__ == "Callback" else ()
        close = difflib.get_close_matches(str(name), stock, n=1)
        remedy = "give 'module.Class' of a module that Python finds from here"
        hint = f"did you mean '{STOCK}.{close[0]}'?" if close else remedy
        raise ConfigError(f"{where} is {name!r}, which is no dotted path: {hint}")
    cls = dotted.load(where, str(name), module_name)
    if not (isinstance(cls, type) and issubclass(cls, base)) or cls is base:
        raise ConfigError(
            f"{where} is {name!r}, which is no {word}: give a subclass of {base_path}"
        )
    return cls


def _stock_callback(module: str, name: str) -> str:
    """Returns where a callback of Pax named `callbacks.<name>` is, unless users have one of their own."""
    top, _, rest = module.partition(".")
    if top != "callbacks":
        return module
    ours = STOCK if name in importlib.import_module(STOCK).__all__ else EXAMPLES
    if rest:
        ours = f"{EXAMPLES}.{rest}"
        if not _exists(ours):
            return module
    if not _is_users(top):
        return ours
    try:
        return module if hasattr(importlib.import_module(module), name) else ours
    except (Exception, SystemExit):
        # A config that names a class of that module gets the error.
        return ours


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _is_users(top: str) -> bool:
    """Returns whether the top-level module `top` that Python would import is neither missing nor of Pax."""
    if top in ("pax", ""):
        return False
    folder = _folder_of(top)
    return folder is not None and (top != "callbacks" or folder != _CHECKOUT)


def _folder_of(top: str) -> pathlib.Path | None:
    """Returns the folder in which Python finds a top-level module; nothing is imported."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return pathlib.Path(next(iter(spec.submodule_search_locations))).resolve().parent
    if spec.origin is None or not spec.has_location:
        return None
    return pathlib.Path(spec.origin).resolve().parent


def named_modules(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Returns the dotted paths of what a config names that is not of Pax, by top-level module."""
    modules: dict[str, list[str]] = {}
    for name in sorted(set(_dotted(config))):
        top = name.partition(".")[0]
        is_stock = top == "callbacks" and not _is_users(top)
        if top != "pax" and not is_stock:
            modules.setdefault(top, []).append(name)
    return modules


_NAMING = ("type", "network")
"""Settings whose values may be dotted paths."""


def _dotted(config: Any, key: str = "") -> Iterator[str]:
    if isinstance(config, Mapping):
        for name, value in config.items():
            yield from _dotted(value, str(name))
    elif key == "extra_callbacks" and isinstance(config, (list, tuple)):
        for extra in config:
            pair = extra if isinstance(extra, (list, tuple)) else [extra]
            yield from (str(name) for name in pair[:1])
    elif key in _NAMING and isinstance(config, str) and "." in config:
        yield config


def folders_to_record(config: Mapping[str, Any]) -> dict[str, str]:
    """Returns the folders of the top-level modules that a config names, by module, for `run.json`."""
    found = {top: _folder_of(top) for top in named_modules(config)}
    return {top: str(folder) for top, folder in found.items() if folder is not None}


def check_imports(
    workdir: pathlib.Path,
    run: Mapping[str, Any],
    allowed: Sequence[str] = (),
    part: str | None = None,
) -> None:
    """Checks that building the config of a run runs no foreign code, unless the user has allowed it.

    A run may come from anywhere, so what it names is not imported from its own folder, and from elsewhere
    only if the user has said so. From then on, this process imports nothing from the folder of the run.

    Args:
        workdir: the folder of the run.
        run: its record: see `read_run`.
        allowed: top-level modules that may be imported.
        part: the only section that will be built; None: all of them.

    Raises:
        ConfigError: if it names a class of a module that is not allowed.
    """
    config = run["config"] if part is None else {part: run["config"].get(part)}
    check_named(f"run {workdir}", config, allowed, workdir, run.get(IMPORTS, {}))


def check_named(
    what: str,
    config: Mapping[str, Any],
    allowed: Sequence[str] = (),
    workdir: pathlib.Path | None = None,
    recorded: Any = None,
) -> None:
    """Checks that building something imports no foreign code, unless the user has allowed it.

    Args:
        what: that has the names, for the message.
        config: where they are.
        allowed: top-level modules that may be imported.
        workdir: the folder of the run that it comes from, if any, from which nothing is imported.
        recorded: of that run, folders by module: one that is allowed is looked for there too.

    Raises:
        ConfigError: if it names a class of a module that is not allowed.
    """
    if workdir is not None:
        leave_path(workdir)
    modules = named_modules(config)
    told = []
    for top, names in modules.items():
        folder = _folder_of(top)
        if folder is None or _is_hollow(top, names):
            folder = _recorded_folder(recorded, top) or folder
            if folder and workdir and _is_inside(folder, workdir):
                folder = None
            elif folder and top in allowed and str(folder) not in sys.path:
                sys.path.append(str(folder))
        if top not in allowed:
            outside = " outside the folder of the run" if workdir else ""
            where = f"in {folder}" if folder else f"not found{outside}"
            told.append(f"{', '.join(names)} ({where})")
    if told:
        flag = ",".join(dict.fromkeys([*allowed, *modules]))
        raise ConfigError(
            f"{what} names code that is not of Pax: {', '.join(told)}; if you trust it, add "
            f"--allow_imports={flag}"
        )


def _recorded_folder(recorded: Any, top: str) -> pathlib.Path | None:
    if not isinstance(recorded, dict) or not isinstance(recorded.get(top), str):
        return None
    folder = pathlib.Path(recorded[top]).resolve()
    return folder if folder.is_dir() else None


def _is_hollow(top: str, names: Sequence[str]) -> bool:
    """Returns whether a module is any folder of that name, such as that of a project, without what is named.

    A package of that name elsewhere on the path goes before such a folder.
    """
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is not None or spec.submodule_search_locations is None:
        return False
    for folder in map(pathlib.Path, spec.submodule_search_locations):
        modules = [folder.joinpath(*name.split(".")[1:-1]) for name in names]
        if all(path.is_dir() or path.with_suffix(".py").is_file() for path in modules):
            return False
    return True


def leave_path(workdir: pathlib.Path) -> None:
    """Has this process import nothing from the folder of a run, also if that is the current one."""
    sys.path[:] = [entry for entry in sys.path if not _is_inside(pathlib.Path(entry), workdir)]
    importlib.invalidate_caches()


def _is_inside(path: pathlib.Path, folder: pathlib.Path) -> bool:
    # An empty entry of the path is the current folder.
    return pathlib.Path(os.path.abspath(path)).resolve().is_relative_to(folder.resolve())
