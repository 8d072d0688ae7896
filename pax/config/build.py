"""From a config to objects. What is wrong with a config is found, and told, here."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from pax import dotted
from pax.agents import AGENTS, Agent
from pax.checkpoints.policies import load_agent_state
from pax.checks import check_instance, check_mapping, short
from pax.config.build_callbacks import build_callbacks
from pax.config.imports import find_class
from pax.config.sections import (
    FROM_ROLE,
    ROLE,
    arguments,
    base_config,
    check_section,
    check_type,
    errors_at,
    find_learner,
    find_rewards,
    find_setting,
)
from pax.envs import ENVS, Environment
from pax.envs.rewards import REWARDS
from pax.errors import ConfigError, nearest
from pax.learners import LEARNERS, Learner
from pax.loop.counts import iterations_for
from pax.loop.evaluator import Evaluation
from pax.roles import Role, check_is_evaluated, check_roles
from pax.tasks import TASKS, Sampler
from pax.trainer import MetaTrainer

MAX_SEED = 2**31 - 1


def build_trainer(config: ConfigDict, workdir: str | None) -> MetaTrainer:
    """Builds the trainer that a config describes.

    Raises:
        ConfigError: in one sentence, with the key, its value and the remedy.
        CheckpointError: if a policy that the config names cannot be loaded.
    """
    check_instance("config", config, ConfigDict, "what pax.config.base_config() returns, filled in")
    check_settings(config)
    env, env_params = build_env(config)
    env = with_rewards(env, config.rewards)
    roles = {name: build_role(name, config[name], env, env_params) for name in config.roles}
    check_roles(list(roles.values()), env)
    evaluations = {
        name: build_evaluation(f"evaluation.{name}", section, roles, env, env_params, config)
        for name, section in config.evaluation.items()
    }
    trainer = MetaTrainer(
        env,
        list(roles.values()),
        env_params=env_params,
        samplers=build_samplers("tasks", config.tasks, config, env),
        num_envs=config.num_envs,
        num_opps=config.num_opps,
        num_outer_steps=config.num_outer_steps,
        num_iters=config.num_iters,
        num_seeds=config.num_seeds,
        seed=config.seed,
        chunk=config.chunk,
        num_devices=config.num_devices or None,
        evaluations=evaluations,
        callbacks=build_callbacks(config),
        # A config says itself what there is.
        default_callbacks=False,
        workdir=workdir,
        hyperparameters=config.to_dict(),
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


def run_config(config: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
    """Returns the config of a run of a sweep, with what it overrides.

    Raises:
        ConfigError: if there is no such setting, or a value is of the wrong type.
    """
    check_instance("config", config, ConfigDict, "what get_config() returns")
    check_mapping("a run of a sweep", overrides, 'a dict of settings, as in {"seed": 1}')
    # Settings that follow others, such as a horizon the number of iterations, still do.
    changed = copy.deepcopy(config)
    for key, value in overrides.items():
        like = find_setting(config, key)
        check_type(key, value, like)
        changed.update_from_flattened_dict({key: value})
    return changed


def check_run(config: ConfigDict, overrides: Mapping[str, Any]) -> MetaTrainer:
    """Returns the trainer of a run, without a folder.

    Raises:
        PaxError: if it cannot be built.
    """
    changed = run_config(config, overrides)
    # Where it will run, there may be other devices than here.
    changed.num_devices = 0
    return build_trainer(changed, None)


def check_settings(config: ConfigDict) -> None:
    """Raises ConfigError unless the settings of a run are complete, known and of the right type."""
    expected = {**base_config(), "env": {}, "roles": ()}
    for key, default in expected.items():
        if key not in config:
            raise ConfigError(f"the config has no {key!r}: start from pax.config.base_config()")
        check_type(key, config[key], default)
    names = list(config.roles)
    for name in names:
        if not isinstance(name, str) or name in expected or name not in config:
            raise ConfigError(
                f"roles names {name!r}, and the config has no role of that name: make one with "
                "pax.config.role(), or take the name away"
            )
        if names.count(name) > 1:
            raise ConfigError(f"roles names {name!r} twice: take one away")
        check_type(name, config[name], ROLE)
    for key, value in config.items():
        # A role that plays no part in this run may stay.
        is_role = hasattr(value, "items") and set(ROLE) <= set(value)
        if key not in [*expected, *names] and not is_role:
            raise ConfigError(f"{key} is no setting of a run: {nearest(key, expected)}")
    if not 0 <= config.seed <= MAX_SEED - config.num_seeds:
        raise ConfigError(
            f"seed is {config.seed}: give a number from 0 to {MAX_SEED - config.num_seeds}"
        )
    if config.total_timesteps < 0:
        raise ConfigError(
            f"total_timesteps is {config.total_timesteps}: give environment steps, or 0 to let "
            "num_iters count"
        )


def build_env(config: ConfigDict) -> tuple[Environment, Any]:
    """Builds the game, and what is played for."""
    if "num_inner_steps" in config.env:
        raise ConfigError(
            f"env.num_inner_steps is {config.env.num_inner_steps}: the steps of an episode are a setting of "
            f"the run, num_inner_steps ({config.num_inner_steps}), so take it out of env, as "
            "pax.config.game() does"
        )
    settings = dict(config.env)
    name = settings.pop("type", "")
    check_type("env.type", name, "")
    cls = find_class("env.type", name, Environment, "pax.envs.Environment", ENVS)
    own = inspect.signature(cls).parameters
    if "num_inner_steps" in own:
        _tell_steps(name, own["num_inner_steps"].default, config)
        settings["num_inner_steps"] = config.num_inner_steps
    check_section("env", {key: settings[key] for key in settings if key in own}, cls)
    env = cls(**arguments({key: settings.pop(key) for key in list(settings) if key in own}))
    if env.num_inner_steps != config.num_inner_steps:
        if "num_inner_steps" in own:
            raise ConfigError(
                f"num_inner_steps is {config.num_inner_steps}, and {name} has {env.num_inner_steps}: have "
                "it take what it is given"
            )
        # A class whose steps are an attribute plays as many as the run says.
        _tell_steps(name, env.num_inner_steps, config)
        env.num_inner_steps = config.num_inner_steps
    check_section("env", settings, env.make_params, known=own)
    with errors_at("env"):
        params = env.make_params(**settings)
        return env.for_params(params), params


def with_rewards(env: Environment, section: Mapping[str, Any]) -> Environment:
    """Returns the game with the rewards that a section of a config names."""
    settings = dict(section)
    cls = find_rewards("rewards.type", settings.pop("type", ""))
    if cls is None:
        for name, value in settings.items():
            raise ConfigError(
                f"rewards.{name} is {short(value)}, and rewards.type is own: choose other-regarding "
                f"rewards, one of {', '.join(REWARDS)}, or leave it out"
            )
        return env
    # Where an override has changed the type, what the rewards before it took is still there.
    own = inspect.signature(cls).parameters
    of_others = {key for other in REWARDS.values() for key in inspect.signature(other).parameters}
    settings = {key: settings[key] for key in settings if key in own or key not in of_others}
    check_section("rewards", settings, cls, hidden=("env",))
    with errors_at("rewards"):
        return cls(env, **settings)


def _tell_steps(name: str, own: Any, config: ConfigDict) -> None:
    """Logs that the steps of the run replace those that a class of the user's own has."""
    if name not in ENVS and isinstance(own, int) and own != config.num_inner_steps:
        logging.info(
            "%s has num_inner_steps=%d, and is played for the %d steps of the run: set "
            "config.num_inner_steps to change that.",
            name,
            own,
            config.num_inner_steps,
        )


def build_role(
    name: str,
    config: Mapping[str, Any],
    env: Environment,
    env_params: Any = None,
    where: str | None = None,
) -> Role:
    """Builds a role from its config; `where` is the key that messages name."""
    where = where or name
    settings = dict(config)
    for key, default in ROLE.items():
        if key not in settings:
            raise ConfigError(f"{where} has no {key!r}: make it with pax.config.role()")
        check_type(f"{where}.{key}", settings[key], default)
    options = {key: settings.pop(key) for key in ROLE}
    seats = tuple(options["seats"])
    for seat in seats:
        if not isinstance(seat, int) or not 0 <= seat < env.num_players:
            raise ConfigError(
                f"{where}.seats is {seats}: this game has seats 0 to {env.num_players - 1}"
            )
    taken_over = tuple(options["self_play_seats"])
    if not seats and not (options["member_of"] and taken_over):
        raise ConfigError(f"{where}.seats is empty: name the seats that it plays, such as (0,)")
    # An agent for a seat of another role is checked with the roles.
    seat = (*seats, *taken_over)[0]
    agent = build_agent(options["type"], settings, env, seat, where, env_params)
    learner = build_learner(agent, options["learner"], options["path"], where)
    return Role(
        name,
        agent,
        seats,
        learner,
        options["learns_in_trial"],
        options["reset_every"],
        taken_over,
        options["member_of"],
        options["num_initial_states"],
        options["ema_decay"],
        options["warm_start"],
        options["warm_start_parts"],
    )


def build_learner(
    agent: Agent, section: Mapping[str, Any], path: str, where: str
) -> Learner | None:
    """Builds what improves a role across trials, if anything does, from the policy in `path` if any."""
    settings = {
        key: dict(value) if hasattr(value, "items") else value for key, value in section.items()
    }
    kind = settings.pop("type", "")
    cls = find_learner(f"{where}.learner.type", kind)
    if cls is None:
        if path:
            raise ConfigError(
                f"{where}.path is {path!r} and {where}.learner is 'none': use 'frozen' to play that "
                "policy, or 'gradient' to train it further"
            )
        return None
    # Where an override has changed the type, what the learner before it took is still there.
    own = inspect.signature(cls).parameters
    of_others = {key for other in LEARNERS.values() for key in inspect.signature(other).parameters}
    settings = {key: settings[key] for key in settings if key in own or key not in of_others}
    check_section(f"{where}.learner", settings, cls, hidden=FROM_ROLE)
    with errors_at(f"{where}.path"):
        initial = load_agent_state(path, agent) if path else None
    if path:
        logging.info("Read the policy of %s.path, %s.", where, path)
    with errors_at(f"{where}.learner"):
        return cls.for_agent(agent, initial, **settings)


def build_evaluation(
    where: str,
    spec: Mapping[str, Any],
    roles: Mapping[str, Role],
    env: Environment,
    env_params: Any,
    config: ConfigDict,
) -> Evaluation:
    """Returns who replaces whom in an evaluation, and under which additional tasks they play."""
    check_type(where, spec, {})
    built = {}
    for name, section in spec.items():
        if name == "tasks":
            continue
        if name not in roles:
            raise ConfigError(f"{where}.{name} replaces no role: {nearest(name, roles)}")
        check_type(f"{where}.{name}", section, ROLE)
        with errors_at(where):
            check_is_evaluated(roles[name], list(roles.values()))
        built[name] = build_role(name, section, env, env_params, f"{where}.{name}")
        if set(built[name].seats) != set(roles[name].seats):
            raise ConfigError(
                f"{where}.{name}.seats is {built[name].seats}: it takes the seats of {name}, give "
                f"{roles[name].seats}"
            )
    tasks = spec.get("tasks", {})
    check_type(f"{where}.tasks", tasks, {})
    samplers = build_samplers(f"{where}.tasks", tasks, config, env)
    return Evaluation(built, samplers)


def build_samplers(
    where: str, sections: Mapping[str, Any], config: ConfigDict, env: Environment
) -> list[Sampler]:
    """Builds the samplers of a task, in order; sizes that they need come from the run."""
    samplers = []
    of_the_run = {
        "num_outer_steps": config.num_outer_steps,
        "num_envs": config.num_envs,
        "num_players": env.num_players,
    }
    for name, section in sections.items():
        key = f"{where}.{name}"
        check_type(key, section, {})
        settings = dict(section)
        make = find_task(key, settings.pop("type", name))
        parameters = inspect.signature(make).parameters
        given = {size: value for size, value in of_the_run.items() if size in parameters}
        for size in given:
            if size in settings:
                raise ConfigError(
                    f"{key}.{size} is {settings[size]!r}: it is that of the run ({given[size]}), so take it "
                    "out"
                )
        check_section(key, {**given, **settings}, make)
        if settings.get("role", config.roles[0]) not in config.roles:
            raise ConfigError(
                f"{key}.role is {settings['role']!r}: {nearest(settings['role'], config.roles)}"
            )
        with errors_at(key):
            samplers.append(make(**given, **settings))
            if not callable(samplers[-1]):
                raise ConfigError(
                    f"{make.__name__} returned {short(samplers[-1])}: return a sampler, a function of (draw, "
                    "task) that returns a task"
                )
    return samplers


def find_task(where: str, name: Any) -> Callable[..., Sampler]:
    """Returns what makes the sampler of a task: one of `TASKS`, or one of the user's own by its dotted path.

    Raises:
        ConfigError: if there is none, or it is no function that makes a sampler.
    """
    if name in list(TASKS):
        return TASKS[name]
    if not isinstance(name, str) or "." not in name:
        raise ConfigError(f"{where} is {name!r}, which no task is called: {nearest(name, TASKS)}")
    make = dotted.load(where, name)
    try:
        parameters = set(inspect.signature(make).parameters)
    except (TypeError, ValueError) as e:
        raise ConfigError(
            f"{where} is {name!r}, which is no task: give a function that returns a sampler, as those of "
            "pax.tasks"
        ) from e
    if {"draw", "task"} <= parameters:
        raise ConfigError(
            f"{where} is {name!r}, which is a sampler itself: give a function that returns it, as those of "
            "pax.tasks"
        )
    return make


def build_agent(
    kind: str,
    settings: Mapping[str, Any],
    env: Environment,
    seat: int,
    where: str,
    env_params: Any = None,
) -> Agent:
    """Builds an agent by name, for one seat of a game."""
    cls = find_class(f"{where}.type", kind, Agent, "pax.agents.Agent", AGENTS)
    check_section(where, settings, cls)
    with errors_at(where):
        return cls.for_env(env, seat, env_params, **settings)
