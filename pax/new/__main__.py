"""A new project: a game, an agent, a callback and a config of one's own, that run at once.

    python -m pax.new my_project

Makes the folder my_project, whose README.md says what is where, and which commands to run in it.
"""

from __future__ import annotations

import importlib.util
import keyword
import pathlib
import shlex
import sys
from collections.abc import Sequence

from absl import flags

from pax.checks import short
from pax.config.command_line import run_program
from pax.errors import ConfigError
from pax.run.files import contents

TEMPLATES = pathlib.Path(__file__).parent / "project"
SUFFIX = ".txt"
"""What the files of the template end with: they are text that becomes code."""
NAME = "my_project"
"""What it is called in its files and in their names."""
PARTS = ("configs", "exp", "tests")
"""Folders beside the package."""


def write_project(folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes a project into a new or empty folder, whose name becomes that of its package.

    Returns:
        The files, relative to the folder.

    Raises:
        ConfigError: if the name cannot be that of a module, or the folder is not empty or cannot be made.
    """
    # `.` is the current folder, by its name.
    folder = pathlib.Path(folder).absolute()
    name = folder.resolve().name
    check_name(name, folder)
    try:
        held = contents(folder) if folder.exists() else []
        if held:
            raise ConfigError(
                f"{folder} is not empty (it holds {held[0]}): name a folder that does not exist yet"
            )
        files = []
        for template in sorted(TEMPLATES.rglob(f"*{SUFFIX}")):
            path = template.relative_to(TEMPLATES).as_posix().removesuffix(SUFFIX)
            file = pathlib.Path(path.replace(NAME, name))
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            text = template.read_text(encoding="utf-8").replace(NAME, name)
            (folder / file).write_text(text, encoding="utf-8")
            files.append(file)
    except OSError as e:
        raise ConfigError(
            f"{folder} cannot be written ({e.strerror}): name a folder that you may write to"
        ) from e
    return files


def check_name(name: str, folder: pathlib.Path) -> None:
    """Raises ConfigError unless a project in `folder` can be a module of this name."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ConfigError(
            f"{short(name)} cannot be the name of a Python module: use letters, digits and underscores, as "
            f"in {NAME}"
        )
    if name in PARTS or name.startswith("test_"):
        raise ConfigError(f"{name} is what a part of the project is called: give another name")
    if (where := _module(name, folder)) is not None:
        raise ConfigError(
            f"{name} is the name of a module ({where}), which the project would hide: give another name"
        )


def _module(name: str, folder: pathlib.Path) -> str | None:
    """Returns where a module of this name is, None if there is none besides `folder` itself."""
    if name in sys.stdlib_module_names:
        return "of Python"
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return "of this program"
    if spec is None:
        return None
    places = [*(spec.submodule_search_locations or [])]
    if spec.origin is None and all(pathlib.Path(place) == folder for place in places):
        return None
    return spec.origin or ", ".join(places)


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this program: there are none."""
    del flag_values


def main(arguments: Sequence[str], given: flags.FlagValues) -> None:
    """Writes the project that is named."""
    del given
    if len(arguments) != 1 or not arguments[0]:
        told = "more than one project is" if len(arguments) > 1 else "no project is"
        raise ConfigError(f"{told} named: give one folder, as in python -m pax.new {NAME}")
    folder = pathlib.Path(arguments[0]).expanduser()
    files = write_project(folder)
    print(f"Written to {folder}: {', '.join(map(str, files))}. To train:\n")
    print(f"    cd {shlex.quote(str(folder))} && python -m pax.main --config=configs/pond.py:ppo\n")
    print(f"What else there is to run: {folder / 'README.md'}")


def run() -> None:
    """Runs the program."""
    run_program(main, define_flags)


if __name__ == "__main__":
    run()
