"""Lists the settings of a config: value, default and meaning."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from pax.agents import AGENTS, Agent
from pax.callbacks.callback import Callback
from pax.config.build import find_task
from pax.config.imports import find_class
from pax.config.sections import ROLE, base_config, defaults, find_learner, find_rewards, role
from pax.describe.meanings import meanings
from pax.envs import ENVS, Environment

ABOUT_CALLBACKS = {
    "type": "the class, as `module.Class`.",
    "enabled": "whether it is there at all.",
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting of a config."""

    key: str
    """As in the shell, after `--config.`."""
    value: Any
    default: Any
    """`inspect.Parameter.empty` where there is none."""
    meaning: str

    @property
    def is_changed(self) -> bool:
        """Whether the config, or the shell, has changed it."""
        return self.default is not inspect.Parameter.empty and self.value != self.default


def list_settings(config: ConfigDict) -> dict[str, list[Setting]]:
    """Returns the settings of a config that can be built, by group: the run, the game, each role, ..."""
    values = config.to_dict()
    run, about_run = base_config().to_dict(), meanings(base_config)
    own = [name for name in run if not isinstance(run[name], Mapping)]
    groups = {
        "run": [
            Setting(name, values[name], run[name], about_run[name])
            for name in (*own, "roles")
            if name != "roles"
        ],
        "game": list(_game(values["env"])),
    }
    felt = values["rewards"]
    if (kind := find_rewards("rewards.type", felt["type"])) is not None:
        groups["rewards"] = list(
            _section("rewards", felt, kind, {"type": "what players learn from."})
        )
    groups["run"].append(
        Setting("roles", values["roles"], inspect.Parameter.empty, about_run["roles"])
    )
    for name in values["roles"]:
        groups[name] = list(_role(name, values[name]))
    for name, section in values["tasks"].items():
        make: Callable[..., Any] = find_task(f"tasks.{name}", section.get("type", name))
        groups.setdefault("tasks", []).extend(
            _section(f"tasks.{name}", section, make, {"type": "the task."})
        )
    for name, section in values["evaluation"].items():
        about = (
            "who replaces whom, and what is drawn." if section else "the roles as they are trained."
        )
        groups.setdefault("evaluation", []).append(
            Setting(f"evaluation.{name}", _brief(section), inspect.Parameter.empty, about)
        )
    for name, section in values["callbacks"].items():
        cls = find_class(f"callbacks.{name}", section["type"], Callback, "pax.Callback", {})
        groups.setdefault("callbacks", []).extend(
            _section(f"callbacks.{name}", section, cls, ABOUT_CALLBACKS)
        )
    return groups


def _game(section: Mapping[str, Any]) -> Iterator[Setting]:
    cls = find_class("env.type", section["type"], Environment, "pax.envs.Environment", ENVS)
    yield Setting(
        "env.type", section["type"], inspect.Parameter.empty, meanings(base_config)["env"]
    )
    own = {name: section[name] for name in defaults(cls).to_dict() if name in section}
    params = cls(**own).param_settings()
    documented: list[Any] = [cls, getattr(cls, "params_class", Environment)]
    about = meanings(documented[0]) | meanings(documented[1])
    for name in section:
        if name != "type":
            default = {**defaults(cls).to_dict(), **params}.get(name, inspect.Parameter.empty)
            yield Setting(f"env.{name}", section[name], default, about.get(name, ""))


def _role(name: str, section: Mapping[str, Any]) -> Iterator[Setting]:
    cls = find_class(f"{name}.type", section["type"], Agent, "pax.agents.Agent", AGENTS)
    of_role = meanings(role)
    for key, default in ROLE.items():
        if key == "learner":
            yield from _learner(f"{name}.learner", section[key], of_role["learner"])
        else:
            given = inspect.Parameter.empty if key in ("type", "seats") else default
            yield Setting(f"{name}.{key}", section[key], given, of_role[key])
    rest = {key: section[key] for key in section if key not in ROLE}
    yield from _section(name, rest, cls)


def _learner(where: str, section: Mapping[str, Any], about: str) -> Iterator[Setting]:
    cls = find_learner(where, section["type"])
    yield from _section(where, section, cls or dict, {"type": about})


def _section(
    where: str,
    section: Mapping[str, Any],
    constructor: Callable[..., Any],
    further: Mapping[str, str] | None = None,
) -> Iterator[Setting]:
    """Lists what a class or function takes from a section, and what the section has besides."""
    about = {**meanings(constructor), **(further or {})}
    own = {} if constructor is dict else defaults(constructor).to_dict()
    for key, value in section.items():
        # Parameters of a strategy of evosax have a section of their own.
        shown = _brief(value) if isinstance(value, Mapping) else value
        default = own.get(key, inspect.Parameter.empty)
        default = inspect.Parameter.empty if isinstance(value, Mapping) else default
        yield Setting(f"{where}.{key}", shown, default, about.get(key, ""))


def _brief(section: Mapping[str, Any]) -> str:
    """Returns a section as `name=value, ...`; of a role, its agent."""
    return ", ".join(
        f"{key}={value['type'] if isinstance(value, Mapping) and 'type' in value else value}"
        for key, value in section.items()
    )
