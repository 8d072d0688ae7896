"""The config that a run has recorded, in the layout of this version, also if an earlier one wrote it."""

from __future__ import annotations

import inspect
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from pax import callbacks
from pax.agents import AGENTS
from pax.config.imports import check_imports
from pax.config.sections import MOVED, ROLE, base_config, defaults, game, learner, role
from pax.envs import ENVS
from pax.errors import ConfigError
from pax.learners import LEARNERS
from pax.run.directory import read_run

_SECTIONS = {"lola_dice": "lola", "advantage_alignment": "alignment", "loqa": "alignment"}
"""Where the settings of a learner were, if not in a section of its name, while `learner` was the name."""


def config_of_run(
    workdir: pathlib.Path, allowed: Sequence[str] = (), part: str | None = None
) -> ConfigDict:
    """Returns the config that a run has recorded, once it is clear that building it runs no foreign code.

    Args:
        workdir: the folder of the run.
        allowed: top-level modules that may be imported: see `check_imports`.
        part: the only section that will be built; None: all of them.

    Raises:
        ConfigError: if there is no run, or it names a class of a module that is not allowed.
    """
    run = read_run(workdir)
    check_imports(workdir, run, allowed, part)
    return ConfigDict(todays(run["config"]))


def todays(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a recorded config in today's layout, with today's defaults for settings that it lacks.

    What cannot be read is left as it is, for those who build from it to say so.
    """
    config = {**base_config().to_dict(), **_roles(recorded)}
    if isinstance(config["evaluation"], Mapping):
        config["evaluation"] = {name: _roles(part) for name, part in config["evaluation"].items()}
    if isinstance(config["callbacks"], Mapping):
        config["callbacks"] = {
            name: _callback(section) for name, section in config["callbacks"].items()
        }
    env = config.get("env")
    if isinstance(env, Mapping) and env.get("type") in ENVS:
        own = inspect.signature(ENVS[env["type"]]).parameters
        given = {key: value for key, value in env.items() if key in own}
        config["env"] = _filled(env, lambda: game(env["type"], **given))
    return config


def _roles(sections: Any) -> Any:
    """Returns the sections that are roles, in today's layout, and the others."""
    if not isinstance(sections, Mapping):
        return sections
    return {
        name: _role(section)
        if isinstance(section, Mapping) and {"type", "seats", "learner"} <= set(section)
        else section
        for name, section in sections.items()
    }


def _role(section: Mapping[str, Any]) -> dict[str, Any]:
    improves = section["learner"]
    if isinstance(improves, str):
        own = section.get(_SECTIONS.get(improves, improves), {})
        improves = {"type": improves, **(own if isinstance(own, Mapping) else {})}
    if isinstance(improves, Mapping) and improves.get("type") in LEARNERS:
        # The parameters of a strategy of evolution are its own.
        given = {key: value for key, value in improves.items() if key == "strategy"}
        improves = _filled(improves, lambda: learner(improves["type"], **given))
    settings = {key: value for key, value in section.items() if key not in MOVED}
    settings = {**ROLE, **settings, "learner": improves}
    if settings["type"] in AGENTS:
        settings = _filled(settings, lambda: role(settings["type"], 0))
    return settings


def _callback(section: Any) -> Any:
    if not isinstance(section, Mapping):
        return section
    stock, _, name = str(section.get("type")).rpartition(".")
    if stock != callbacks.__name__ or name not in callbacks.__all__:
        return section
    return _filled(section, lambda: defaults(getattr(callbacks, name)))


def _filled(settings: Mapping[str, Any], of_today: Callable[[], ConfigDict]) -> dict[str, Any]:
    try:
        return {**of_today().to_dict(), **settings}
    except ConfigError:
        return dict(settings)
