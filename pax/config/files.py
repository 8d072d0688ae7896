"""What there is to run: config files and their variants."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import pathlib
import sys
import traceback
from collections.abc import Iterator
from types import ModuleType

from ml_collections import ConfigDict

from pax.checks import check_kind, short
from pax.errors import ConfigError

CONFIGS = "configs"
"""The folder of configs, here and in Pax."""
SHIPPED = pathlib.Path(__file__).parents[1] / CONFIGS
"""The configs that ship with Pax: `configs/ipd.py` names one wherever one stands."""


def find_config(name: str | pathlib.Path) -> pathlib.Path:
    """Returns the config file of a name: that of the user, or else the one that ships with Pax.

    `configs/ipd.py` is the file of that path if there is one, and otherwise that of Pax.
    """
    path = pathlib.Path(name)
    is_missing = path.parts == (CONFIGS, path.name) and not path.exists()
    return SHIPPED / path.name if is_missing and (SHIPPED / path.name).is_file() else path


def as_named(config: str) -> str:
    """Returns how users name a config `<file>:<variant>`, whose file `find_config` has found."""
    file, colon, argument = config.partition(":")
    short = f"{CONFIGS}/{pathlib.Path(file).name}"
    is_shipped = pathlib.Path(file).parent == SHIPPED and str(find_config(short)) == file
    return f"{short}{colon}{argument}" if is_shipped else config


def list_variants(directory: str | pathlib.Path | None = None) -> dict[str, str]:
    """Returns by variant, such as `configs/ipd.py:ppo`, what it is and what to expect.

    A config file is a module with a dict `VARIANTS`; files whose name starts with an underscore are none.

    Args:
        directory: the folder of the configs; None: `configs`, of this folder and of Pax.

    Raises:
        ConfigError: if there are none in `directory`, or one of them cannot be loaded.
    """
    own = pathlib.Path(CONFIGS if directory is None else directory)
    paths = sorted(own.glob("[!_]*.py"))
    if directory is None:
        paths += [own / path.name for path in sorted(SHIPPED.glob("[!_]*.py"))]
    lines = {}
    for path in dict.fromkeys(paths):
        for variant, text in getattr(load_module(path), "VARIANTS", {}).items():
            lines[f"{path}:{variant}"] = text
    if not lines:
        raise ConfigError(
            f"there are no configs in {own.absolute()}: name a folder that holds some"
        )
    return lines


def load_config(name: str) -> ConfigDict:
    """Loads the config that `<file>` or `<file>:<argument>` names.

    Raises:
        ConfigError: if there is no such file, it cannot be loaded, or its `get_config` fails.
    """
    check_kind("the config", name, "")
    file, colon, argument = name.partition(":")
    module = load_module(file)
    if not callable(getattr(module, "get_config", None)):
        raise ConfigError(f"config file {file!r} has no get_config(): define one")
    with user_code(find_config(file)):
        config = module.get_config(argument) if colon else module.get_config()
    if not isinstance(config, ConfigDict):
        raise ConfigError(
            f"get_config() of {file!r} returned {short(config)}: return an ml_collections.ConfigDict"
        )
    return config


def load_module(file: str | pathlib.Path) -> ModuleType:
    """Loads a config file as a module.

    Raises:
        ConfigError: if there is no such file, or it cannot be loaded.
    """
    path = find_config(file)
    if not path.is_file():
        folders = [path.absolute().parent, *([SHIPPED] if path.parent.name == CONFIGS else [])]
        known = [each.name for folder in folders for each in sorted(folder.glob("[!_]*.py"))]
        close = difflib.get_close_matches(path.name, known, n=1)
        remedy = (
            f"did you mean {path.with_name(close[0])}?"
            if close
            else "see python -m pax.main --list for those that do"
        )
        raise ConfigError(f"config file {str(path)!r} does not exist: {remedy}")
    spec = importlib.util.spec_from_file_location(f"pax_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"config file {str(path)!r} is no Python file: give one that is")
    # So that a config finds its siblings, and names callbacks beside them, from anywhere.
    folder = str(path.absolute().parent.parent)
    if folder not in sys.path and path.parent != SHIPPED:
        sys.path.append(folder)
    module = importlib.util.module_from_spec(spec)
    with user_code(path):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def user_code(file: str | pathlib.Path) -> Iterator[None]:
    """Turns what fails within, a fault of a config file, into a ConfigError that names the line."""
    try:
        with siblings_of(file):
            yield
    except ConfigError:
        raise
    except (Exception, SystemExit) as e:
        raise _broken(pathlib.Path(file), e) from e


@contextlib.contextmanager
def siblings_of(file: str | pathlib.Path) -> Iterator[None]:
    """Makes the folder of a config file the package of that name, while it lasts.

    So `from configs import _helper` in `configs/ipd.py` means the file beside it, also where the current
    folder has a `configs` of its own. Names of installed modules stay theirs.
    """
    folder = pathlib.Path(file).absolute().parent
    name = folder.name
    before = sys.modules.get(name)
    if not name or str(folder) in getattr(before, "__path__", ()) or _is_installed(name):
        yield
        return
    hidden = _take_away(name)
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    try:
        yield
    finally:
        # Afterwards the name means what Python finds from here.
        _take_away(name)
        sys.modules.update(hidden)


def _is_installed(name: str) -> bool:
    origin = getattr(sys.modules.get(name), "__file__", None) or ""
    return name == "pax" or name in sys.stdlib_module_names or "site-packages" in origin


def _take_away(name: str) -> dict[str, ModuleType]:
    names = [key for key in sys.modules if key == name or key.startswith(f"{name}.")]
    return {key: sys.modules.pop(key) for key in names}


def _broken(path: pathlib.Path, error: BaseException) -> ConfigError:
    """Names the line of a config file that an error comes from."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if pathlib.Path(frame.filename) == path.absolute() or frame.filename == str(path)
    ]
    if isinstance(error, SyntaxError) and error.lineno:
        lines.append(error.lineno)
    where = f" in line {lines[-1]}" if lines else ""
    return ConfigError(
        f"config file {str(path)!r} fails{where} with {type(error).__name__} ({error}): correct it"
    )
