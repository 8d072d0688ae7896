"""Training those who enter a league: an ordinary run per method, which goes on where it was interrupted."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from launch.reproduce.cells import as_name, command, config_of
from launch.reproduce.league.entrants import Entrant
from pax.checks import check_name, short
from pax.config.build import build_trainer
from pax.config.files import find_config
from pax.config.imports import folders_to_record
from pax.config.recorded import todays
from pax.config.sections import find_setting
from pax.errors import ConfigError, OutputError
from pax.run.directory import POLICIES, check_run, open_run
from pax.run.files import read_regular, write_whole

ENTERED = "as its config says"
"""How an entrant was trained whose config is the user's choice."""
ELSEWHERE = "elsewhere"
"""How an entrant was trained whose policies are given: its config is their path."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much of each method is trained."""

    num_seeds: int
    small: bool = False
    quick: bool = False


@dataclasses.dataclass(frozen=True)
class Trained:
    """A method whose policies are there."""

    entrant: Entrant
    policies: str
    """The run, the folder or the file that holds them."""
    seconds: float
    """Seconds that training took, without the time between interruptions; 0 if the policies were given."""
    allow_imports: Sequence[str] = ()
    """Modules that are not of Pax and that may be imported for the agents of the policies."""


def settings_of(entrant: Entrant, plan: Plan) -> dict[str, Any]:
    """Returns the settings of an entrant's config that are not the config's own."""
    return {**entrant.settings, **((entrant.small or {}) if plan.small else {})}


def config_for(entrant: Entrant, plan: Plan) -> ConfigDict:
    """Returns the config of an entrant's run.

    Raises:
        ConfigError: if there is no such config, or it has no such settings.
    """
    try:
        config = config_of(entrant.config, plan.num_seeds, plan.quick)
    except ConfigError as e:
        if entrant.trained != ENTERED:
            raise
        if plan.quick:
            raise ConfigError(
                f"{entrant.name}: --quick takes the option quicktest of a config, and {entrant.config} "
                f"cannot be loaded with it ({e}): leave out --quick, or have its get_config take it"
            ) from e
        raise ConfigError(f"{entrant.name}, {entrant.config}: {e}") from e
    for name, value in settings_of(entrant, plan).items():
        try:
            find_setting(config, name)
        except ConfigError as e:
            raise ConfigError(f"{entrant.name}, {entrant.config}: {e}") from e
        if not plan.quick:
            config.update_from_flattened_dict({name: value})
    if entrant.role not in config.roles:
        raise ConfigError(
            f"{entrant.name}: {entrant.config} has no role {entrant.role!r}, only {', '.join(config.roles)}"
        )
    return config


def train(entrant: Entrant, plan: Plan, folder: pathlib.Path) -> Trained:
    """Trains a method unless that is done, all seeds side by side.

    Args:
        entrant: the method.
        plan: how much of it.
        folder: that of the league.

    Raises:
        PaxError: if it cannot be trained.
    """
    name = as_name(entrant.name)
    run, done = folder / "runs" / name, folder / "trained" / f"{name}.json"
    config = config_for(entrant, plan)
    if entrant.starts_from:
        seed = "_seed_{seed}" if plan.num_seeds > 1 else ""
        policies = folder.absolute() / "runs" / as_name(entrant.starts_from) / POLICIES
        config[entrant.role].warm_start = str(policies / f"{entrant.role}{seed}.msgpack")
    # What it names is imported to train it.
    imports = folders_to_record(config.to_dict())
    if done.exists():
        seconds = _read_seconds(done, entrant)
        # The file of a config may have been edited since.
        check_run(run, config.to_dict(), todays)
        if _are_exported(run / POLICIES, entrant.role, plan.num_seeds):
            return Trained(entrant, str(run / POLICIES), seconds, [*imports])
    trainer = build_trainer(config, str(run))
    open_run(run, config.to_dict(), entrant.config, imports, todays, command())
    trainer.fit()
    seconds = trainer.wall_time
    done.parent.mkdir(exist_ok=True)
    write_whole(done, json.dumps({"config": entrant.config, "seconds": seconds}))
    return Trained(entrant, str(run / POLICIES), seconds, [*imports])


def _are_exported(folder: pathlib.Path, role: str, num_seeds: int) -> bool:
    """Returns whether there is a policy of each seed of a role; of several agents of it, of the first."""
    seeds = [f"_seed_{seed}" for seed in range(num_seeds)] if num_seeds > 1 else [""]
    return all(
        any((folder / f"{name}{seed}.msgpack").exists() for name in (role, f"{role}_1"))
        for seed in seeds
    )


def _read_seconds(done: pathlib.Path, entrant: Entrant) -> float:
    try:
        record = json.loads(read_regular(done))
        config, seconds = record["config"], float(record["seconds"])
        if not 0 <= seconds < math.inf:
            raise ValueError(f"seconds is {seconds}")
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as e:
        reason = " ".join(str(e).split())
        raise OutputError(
            f"{done} cannot be used ({short(reason)}): take it away, and its run goes on"
        ) from e
    if config != entrant.config:
        raise ConfigError(
            f"{done} is of {short(config)}, and {entrant.name} is {entrant.config}: give --workdir another "
            "folder, or the method another name"
        )
    return seconds


def entered(text: str, known: Sequence[str]) -> Entrant:
    """Returns who enters by `--enter=<name>=<config>` or `--enter=<name>=<policies>`.

    Args:
        text: `mine=my_game.py:variant`, or `mine=exp/run` for a run, folder or file with exported policies.
        known: names that are taken.

    Raises:
        ConfigError: if it is neither.
    """
    name, is_named, what = text.partition("=")
    if not is_named or not what or not as_name(name).strip("_"):
        raise ConfigError(
            f"--enter={short(text)}: write <name>=<config file>:<variant>, or <name>=<run or policy file>"
        )
    check_name("the method of --enter", name)
    if as_name(name) in map(as_name, known):
        raise ConfigError(
            f"--enter={short(text)}: there is a {name} in this league: choose another name"
        )
    file, colon, variant = what.partition(":")
    if not file.endswith(".py"):
        return Entrant(name, what, ELSEWHERE)
    path = find_config(file).absolute()
    if not path.exists():
        raise ConfigError(f"--enter={short(text)}: there is no config {path}: check the path")
    return Entrant(name, f"{path}{colon}{variant}", ENTERED)
