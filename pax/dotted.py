"""Users' own code by dotted paths, `module.Name`; and in a sentence why one cannot be imported."""

from __future__ import annotations

import difflib
import importlib
import os
import pathlib
import sys
import sysconfig
import traceback
from typing import Any

from pax.checks import short
from pax.errors import ConfigError

TO_BE_FOUND = "start in the folder that holds it, or put that on PYTHONPATH"


def load(where: str, path: str, module: str = "") -> Any:
    """Returns what a dotted path names.

    Args:
        where: the key that has it, for messages.
        path: `module.Name`, of a module that Python finds from here.
        module: the module, if it is another one than the path says.

    Raises:
        ConfigError: if there is no such module, it cannot be imported, or it has nothing of that name: which
            of these, and where it was looked for.
    """
    own, _, name = path.rpartition(".")
    module = module or own
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as e:
        # It is the user's module: anything may happen in it.
        raise ConfigError(
            f"{where} is {short(path)}, which cannot be imported: {why_not_imported(module, e)}"
        ) from e
    if not hasattr(found, name):
        close = difflib.get_close_matches(name, dir(found), n=1)
        remedy = f"did you mean '{own}.{close[0]}'?" if close else f"define {name} there"
        raise ConfigError(
            f"{where} is {short(path)}, and module {module} ({_file_of(found)}) has no {name}: {remedy}"
        )
    return getattr(found, name)


def why_not_imported(module: str, error: BaseException) -> str:
    """Returns why a module cannot be imported, and the remedy."""
    told = f"{type(error).__name__}: {error}"
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and f"{module}.".startswith(f"{missing}."):
        parent = missing.rpartition(".")[0]
        if parent:
            where = (
                f"package {parent} ({_file_of(sys.modules[parent])})"
                if parent in sys.modules
                else parent
            )
            return f"{told}, as {where} holds no such module: correct the path"
        return f"{told} in {', '.join(searched())} or among installed packages: {TO_BE_FOUND}"
    where = line_of(error)
    if isinstance(error, SyntaxError) and error.filename:
        where, told = f"{error.filename}, line {error.lineno}", f"SyntaxError: {error.msg}"
    return f"{f'{where},' if where else f'module {module}'} fails with {told}: correct it"


def line_of(error: BaseException) -> str:
    """Returns the last line of the user's own code that an error passed through, "" if there is none."""
    lines = [
        f"{frame.filename}, line {frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if _is_own(frame.filename)
    ]
    return lines[-1] if lines else ""


def _file_of(module: Any) -> str:
    file = getattr(module, "__file__", None)
    return file or ", ".join(getattr(module, "__path__", ())) or "built in"


def searched() -> list[str]:
    """Returns the folders that modules are imported from, but for those of Python and its packages."""
    folders = [os.path.abspath(entry) for entry in sys.path]
    own = [folder for folder in folders if _is_own(folder) and os.path.isdir(folder)]
    return list(dict.fromkeys(own)) or ["no folder"]


def _is_own(path: str) -> bool:
    """Returns whether a file or folder belongs to neither Python, Pax nor an installed package."""
    parts = pathlib.Path(path).parts
    is_installed = {"site-packages", "dist-packages"} & {*parts}
    is_of_python = any(
        path.startswith(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")
    )
    is_of_pax = path.startswith(str(pathlib.Path(__file__).parent))
    return not (is_installed or is_of_python or is_of_pax or path.startswith("<"))
