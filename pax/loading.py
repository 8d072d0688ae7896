"""Loading the agent of an exported policy, to act with it in one's own code."""

from __future__ import annotations

import dataclasses
import importlib
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pax import checks
from pax.agents import AGENTS
from pax.agents.agent import Agent
from pax.checkpoints.elsewhere import local_policy
from pax.checkpoints.policies import AVERAGE, load_agent_state, load_policy
from pax.checkpoints.zoo_policies import FORM, is_in_zoo
from pax.checks import COUNT_OR_NONE, check_items, check_number
from pax.config.imports import leave_path
from pax.dotted import why_not_imported
from pax.envs.spaces import parse_space
from pax.errors import CheckpointError, ConfigError, PaxError, nearest
from pax.player import Player
from pax.run.directory import POLICIES

SUFFIX = ".msgpack"
SEED = re.compile(r"(.*)_seed_(\d+)")
"""The name of a policy of a run with several seeds."""
BEST = "_best"
"""What follows the role in the name of the best candidate that evolution ever had."""


def load_agent(
    path: str | os.PathLike[str],
    name: str | None = None,
    *,
    seed: int | None = None,
    allow_imports: Sequence[str] = (),
) -> Player:
    """Loads an exported policy, to act with it; no code is run that comes with it.

    Args:
        path: a policy file, or the folder of a run, or of policies; also on a bucket (`gs://...`) or at
            W&B (`wandb:<entity>/<project>/<run>/<file>`).
        name: of the role, in a folder that has several, such as `agent1`, `agent1_best` or
            `agent1_average`.
        seed: which one of a run with several seeds, counted from 0; None: the first.
        allow_imports: modules that may be imported for an agent that is not of Pax, such as
            `["my_module"]`: where its class is.

    Returns:
        Somebody who acts: `act(observation)`, with a memory of their own, and `reset()`.

    Raises:
        CheckpointError: if there is no such policy, or it is damaged.
        ConfigError: if there are several, or its agent is not of Pax and may not be imported.
    """
    checks.file("path", path)
    given, path = path, local_policy("path", path)
    check_items("allow_imports", allow_imports, "a list of modules, such as ['my_module']")
    if seed is not None:
        check_number("seed", seed, COUNT_OR_NONE)
    if not path.exists():
        raise CheckpointError(f"there is no run or policy {path}: check the path")
    if path.is_dir():
        if is_in_zoo(given) and not any(path.glob(f"*{SUFFIX}")):
            raise ConfigError(f"path is {given}, which are all policies of a game: give {FORM}")
        path = _choose(path, name, seed)
    elif name is not None or seed is not None:
        raise ConfigError(f"{path} is one policy: leave out name and seed, or give the folder")
    agent = _build(path, load_policy(path).agent, allow_imports)
    return Player(agent, load_agent_state(os.fspath(path), agent), name=path.stem)


def _choose(folder: pathlib.Path, name: str | None, seed: int | None) -> pathlib.Path:
    """Returns the file of a policy in the folder of a run, or of policies."""
    inside = folder / POLICIES if (folder / POLICIES).is_dir() else folder
    roles: dict[str, dict[int | None, pathlib.Path]] = {}
    for path in sorted(inside.glob(f"*{SUFFIX}")):
        match = SEED.fullmatch(path.stem)
        role, number = (match[1], int(match[2])) if match else (path.stem, None)
        roles.setdefault(role, {})[number] = path
    if not roles:
        raise CheckpointError(
            f"{folder} holds no exported policies: give a run that was trained to its end, or a policy file"
        )
    if name is None:
        own = [
            role
            for role in roles
            if not any(
                role.endswith(kind) and role.removesuffix(kind) in roles for kind in (BEST, AVERAGE)
            )
        ]
        if len(own) > 1:
            raise ConfigError(f"{folder} has policies of {', '.join(own)}: give name, one of them")
        name = own[0]
    if name not in roles:
        raise ConfigError(
            f"name is {name!r}, which {folder} has no policy of: {nearest(name, roles)}"
        )
    found = roles[name]
    if seed is None:
        return found[min(found, key=lambda number: -1 if number is None else number)]
    if seed not in found:
        known = ", ".join(str(number) for number in sorted(found, key=str) if number is not None)
        told = f"choose one of {known}" if known else "it is of one seed only, so leave it out"
        raise ConfigError(f"seed is {seed}, and {folder} has no such policy of {name}: {told}")
    return found[seed]


def _build(path: pathlib.Path, described: Mapping[str, Any], allowed: Sequence[str]) -> Agent:
    """Returns the agent that a policy file describes."""
    settings = dict(described)
    kind = settings.pop("agent", None)
    known = {cls.__name__: cls for cls in AGENTS.values()}
    cls = known[kind] if kind in known else _import(path, kind, allowed)
    if cls.for_env.__func__ is not Agent.for_env.__func__:  # type: ignore[attr-defined]
        raise CheckpointError(
            f"policy {path} is one of {kind}, which has to know the game: make it with {kind}.for_env(env)"
        )
    fields = [field.name for field in dataclasses.fields(cls) if field.init]
    for setting in settings:
        if setting not in fields:
            raise CheckpointError(
                f"policy {path} has the setting {setting!r}, which {kind} does not: use the version that "
                "wrote it"
            )
    plain: dict[str, Any] = {
        key: tuple(x) if isinstance(x, list) else x for key, x in settings.items()
    }
    try:
        spaces = [
            parse_space(str(plain.pop(space, None)))
            for space in ("observation_space", "action_space")
        ]
        return cls(*spaces, **plain)
    except PaxError as e:
        raise CheckpointError(f"policy {path} describes an agent that cannot be made: {e}") from e


def _import(path: pathlib.Path, kind: Any, allowed: Sequence[str]) -> type[Agent]:
    """Returns the class of an agent that is not of Pax, from a module that the caller has named."""
    module, _, name = str(kind).rpartition(".")
    told = f"policy {path} is one of {kind}, which is no agent of Pax"
    modules = [
        each for each in allowed if not module or module == each or module.startswith(f"{each}.")
    ]
    if not modules:
        example = module or "my_module"
        raise ConfigError(
            f"{told}: if you trust the module that has it, name that, as in allow_imports=[{example!r}]"
        )
    if path.parent.name == POLICIES:
        # What comes with a run is not run, wherever this process was started.
        leave_path(path.absolute().parent.parent)
    for each in modules:
        try:
            cls = getattr(importlib.import_module(module or each), name, None)
        except (Exception, SystemExit) as e:
            # It is the user's module: anything may happen in it.
            why = why_not_imported(module or each, e)
            raise ConfigError(f"{told}, and {module or each} cannot be imported: {why}") from e
        if isinstance(cls, type) and issubclass(cls, Agent):
            return cls
    raise ConfigError(f"{told}, nor one of {', '.join(modules)}: name the module that has it")
