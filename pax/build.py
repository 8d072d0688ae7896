"""From a config to objects. What is wrong with a config is found, and told, here."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from pax.agents import AGENTS, Agent
from pax.callback import Callback
from pax.config import BOUND_LATER, nearest
from pax.envs import ENVS, Environment
from pax.errors import ConfigError
from pax.evaluate import load_agent_state
from pax.learners import Frozen, Gradient, Learner
from pax.roles import Role
from pax.trainer import MetaTrainer, iterations_for

ROLE_KEYS = ("type", "seats", "learner", "learns_in_trial", "reset_every", "path")
LEARNERS = ("gradient", "frozen", "none")


def build_trainer(config: ConfigDict, workdir: str | None) -> MetaTrainer:
    """The trainer that a config describes.

    Raises:
        ConfigError: in one sentence, with the key, its value and the remedy.
        CheckpointError: if a policy that the config names cannot be loaded.
    """
    env, env_params = build_env(config)
    roles = [build_role(name, _section(config, name), env) for name in config.roles]
    evaluations = {
        name: {
            role: build_role(role, replacement, env, f"evaluation.{name}.{role}")
            for role, replacement in replacements.items()
        }
        for name, replacements in config.evaluation.items()
    }
    trainer = MetaTrainer(
        env,
        roles,
        env_params=env_params,
        num_envs=config.num_envs,
        num_opps=config.num_opps,
        num_outer_steps=config.num_outer_steps,
        num_iters=config.num_iters,
        num_seeds=config.num_seeds,
        seed=config.seed,
        chunk=config.chunk,
        evaluations=evaluations,
        callbacks=build_callbacks(config),
        workdir=workdir,
        hyperparameters=config.to_dict(),
    )
    if config.total_timesteps < 0:
        raise ConfigError(
            f"total_timesteps is {config.total_timesteps}: give environment steps, or 0 to let "
            "num_iters count"
        )
    if config.total_timesteps:
        per_iteration = trainer.env_steps_per_iteration
        trainer.num_iters = iterations_for(config.total_timesteps, per_iteration)
        logging.info(
            "total_timesteps=%d makes %d iterations of %d environment steps, %d in all.",
            config.total_timesteps,
            trainer.num_iters,
            per_iteration,
            trainer.num_iters * per_iteration,
        )
    return trainer


def build_env(config: ConfigDict) -> tuple[Environment, Any]:
    """The game, and what is played for."""
    settings = {**config.env, "num_inner_steps": config.num_inner_steps}
    name = settings.pop("type")
    if name not in ENVS:
        raise ConfigError(f"env.type is {name!r}, which no game is called: {nearest(name, ENVS)}")
    cls = ENVS[name]
    own = inspect.signature(cls).parameters
    env = cls(**{key: settings.pop(key) for key in list(settings) if key in own})
    known = inspect.signature(env.make_params).parameters
    for key in settings:
        if key not in known:
            raise ConfigError(f"env.{key} is no setting of {name}: {nearest(key, [*own, *known])}")
    return env, env.make_params(**settings)


def build_role(
    name: str, config: Mapping[str, Any], env: Environment, where: str | None = None
) -> Role:
    """A role from its config; `where` is the key that messages name."""
    where = where or name
    settings = dict(config)
    options = {key: settings.pop(key) for key in ROLE_KEYS}
    seats = tuple(options["seats"])
    for seat in seats:
        if not isinstance(seat, int) or not 0 <= seat < env.num_players:
            raise ConfigError(
                f"{where}.seats is {seats}: this game has seats 0 to {env.num_players - 1}"
            )
    if not seats:
        raise ConfigError(f"{where}.seats is empty: name the seats that it plays, such as (0,)")
    agent = build_agent(options["type"], settings, env, seats[0], where)
    initial = load_agent_state(options["path"], agent) if options["path"] else None
    learner: Learner | None
    if options["learner"] == "gradient":
        if not agent.learns:
            raise ConfigError(
                f"{where}.learner is 'gradient', and {options['type']} does not learn: use 'none'"
            )
        learner = Gradient(agent, initial)
    elif options["learner"] == "frozen":
        if initial is None:
            raise ConfigError(
                f"{where}.learner is 'frozen' without a policy: give {where}.path, the file of an "
                "exported one"
            )
        learner = Frozen.of(initial)
    elif options["learner"] == "none":
        if initial is not None:
            raise ConfigError(
                f"{where}.path is {options['path']!r} and {where}.learner is 'none': use 'frozen' to "
                "play that policy, or 'gradient' to train it further"
            )
        learner = None
    else:
        raise ConfigError(
            f"{where}.learner is {options['learner']!r}: choose one of {', '.join(LEARNERS)}"
        )
    return Role(name, agent, seats, learner, options["learns_in_trial"], options["reset_every"])


def build_agent(
    kind: str, settings: Mapping[str, Any], env: Environment, seat: int, where: str
) -> Agent:
    """An agent by name, for one seat of a game."""
    if kind not in AGENTS:
        raise ConfigError(
            f"{where}.type is {kind!r}, which no agent is called: {nearest(kind, AGENTS)}"
        )
    known = [key for key in inspect.signature(AGENTS[kind]).parameters if key not in BOUND_LATER]
    for key in settings:
        if key not in known:
            raise ConfigError(f"{where}.{key} is no setting of {kind}: {nearest(key, known)}")
    try:
        return AGENTS[kind].for_env(env, seat, **settings)
    except ConfigError as e:
        raise ConfigError(f"{where}: {e}") from e


def build_callbacks(config: ConfigDict) -> list[Callback]:
    """Those that the config has, and the extra ones from the shell."""
    specs = []
    for name, section in config.callbacks.items():
        settings = dict(section)
        if settings.pop("enabled", True):
            specs.append((f"callbacks.{name}", settings.pop("type"), settings))
    for index, extra in enumerate(config.extra_callbacks):
        path, settings = (extra, {}) if isinstance(extra, str) else extra
        specs.append((f"extra_callbacks[{index}]", path, dict(settings)))
    return [build_callback(*spec) for spec in specs]


def build_callback(where: str, path: str, settings: Mapping[str, Any]) -> Callback:
    """A callback by its dotted path."""
    module_name, _, class_name = path.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as e:
        raise ConfigError(
            f"{where} is {path!r}, which cannot be imported ({e}): give 'module.Class' of a module that "
            "Python finds from here"
        ) from e
    if not (isinstance(cls, type) and issubclass(cls, Callback)):
        raise ConfigError(f"{where} is {path!r}, which is no subclass of pax.Callback")
    try:
        inspect.signature(cls).bind(**settings)
    except TypeError as e:
        known = list(inspect.signature(cls).parameters)
        raise ConfigError(
            f"{where} gives {path} settings it cannot take ({e}): it has {', '.join(known) or 'none'}"
        ) from e
    try:
        return cls(**settings)
    except ConfigError as e:
        raise ConfigError(f"{where}: {e}") from e


def _section(config: ConfigDict, name: str) -> Mapping[str, Any]:
    if name not in config:
        raise ConfigError(f"roles names {name!r}, and the config has no section of that name")
    return config[name]
