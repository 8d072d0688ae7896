"""What there is to run: the variants of every config file."""

from __future__ import annotations

import importlib.util
import pathlib
from types import ModuleType

from pax.errors import ConfigError


def list_variants(directory: str | pathlib.Path = "configs") -> list[str]:
    """One line per variant, `configs/ipd.py:ppo  <what it is and what to expect>`.

    A config file is a module with a dict `VARIANTS`; files whose name starts with an underscore are none.

    Raises:
        ConfigError: if there are none in `directory`.
    """
    directory = pathlib.Path(directory)
    lines = {}
    for path in sorted(directory.glob("[!_]*.py")):
        for variant, text in getattr(_load(path), "VARIANTS", {}).items():
            lines[f"{path}:{variant}"] = text
    if not lines:
        raise ConfigError(
            f"there are no configs in {directory.absolute()}: run from the checkout of Pax"
        )
    width = max(map(len, lines))
    return [f"{name:{width}}  {text}" for name, text in lines.items()]


def _load(path: pathlib.Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"pax_config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
