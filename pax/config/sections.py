"""What config files are made of: defaults, variants, options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict, FieldReference

from pax.checks import COUNT_OR_NONE, brief, check_kind, check_number, short
from pax.errors import ConfigError, nearest

BOUND_LATER = ("observation_space", "action_space")
"""Constructor arguments that come from the game, not from a config."""

ROLE = {
    # An agent by name, and the seats (players, from 0) that it plays.
    "type": "",
    "seats": (),
    # Across trials: "gradient", "evolution", "lola_dice", "advantage_alignment", "loqa", "frozen" or "none".
    "learner": "none",
    # After every episode, by the agent's own update.
    "learns_in_trial": False,
    # Trials until a co-player without a learner starts afresh; 0 = never.
    "reset_every": 1,
    # Seats of others that it takes over in trials of self-play (the task annealed_self_play).
    "self_play_seats": (),
    # An exported policy to start from.
    "path": "",
    # How it evolves, if its learner is "evolution": see pax.learners.Evolution.
    "evolution": {},
    # How far it looks ahead, if its learner is "lola_dice": see pax.learners.LOLADiCE.
    "lola": {},
    # How much others count, if its learner is "advantage_alignment" or "loqa": see pax.learners.
    "alignment": {},
}
"""What the config of a role holds besides the hyper-parameters of its agent."""

ADD_CALLBACK = (
    "one that the config does not have is added by "
    "--config.extra_callbacks=\"(('my_module.MyCallback', {'threshold': 0.9}),)\""
)
"""How callbacks of one's own are named in the shell."""

_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a tuple",
}


def defaults(constructor: Callable[..., Any], **overrides: Any) -> ConfigDict:
    """Returns the arguments of a class that have defaults, as a config, some of them overridden.

    Raises:
        ConfigError: if the class takes no argument of the name of an override, or one of another type.
    """
    if not callable(constructor):
        raise ConfigError(
            f"constructor is {constructor!r}: give a class, such as pax.callbacks.Scalars"
        )
    parameters = {
        name: parameter.default
        for name, parameter in inspect.signature(constructor).parameters.items()
        if name not in BOUND_LATER and parameter.default is not inspect.Parameter.empty
    }
    for name, value in overrides.items():
        if name not in parameters:
            raise ConfigError(
                f"{constructor.__name__} has no setting {name!r}: {nearest(name, parameters)}"
            )
        _check_override(f"{name} of {constructor.__name__}", value, parameters[name])
    return ConfigDict(parameters | overrides)


def game(kind: str, **settings: Any) -> ConfigDict:
    """Returns the config of a game by name: what its class takes, and its parameters, some overridden.

    The steps of an episode are no part of it: they are the run's `num_inner_steps`.

    Args:
        kind: one of `pax.envs.ENVS`, or `module.Class` of your own.
        **settings: of the class, or of its `make_params`.

    Raises:
        ConfigError: if there is no such game, or it has no setting of the name of an override.
    """
    from pax.config.imports import find_class
    from pax.envs import ENVS, Environment

    cls = find_class("the game", kind, Environment, "pax.envs.Environment", ENVS)
    own = defaults(cls)
    if "num_inner_steps" in own:
        del own.num_inner_steps
    if "num_inner_steps" in settings:
        raise ConfigError(
            f"num_inner_steps is {settings['num_inner_steps']!r} in game({kind!r}): it is a setting of "
            "the run, so set config.num_inner_steps"
        )
    for name in [name for name in settings if name in own]:
        _check_override(f"{name} of {kind}", settings[name], own[name])
    own.update({name: settings.pop(name) for name in list(settings) if name in own})
    params = cls(**own).param_settings()
    for name in settings:
        if name not in params:
            raise ConfigError(f"{kind} has no setting {name!r}: {nearest(name, [*own, *params])}")
        _check_override(f"{name} of {kind}", settings[name], params[name])
    return ConfigDict({"type": kind, **own, **params, **settings})


def role(agent: str, seat: int, **settings: Any) -> ConfigDict:
    """Returns the config of a role: an agent by name, its seat, how it learns, and its hyper-parameters.

    Args:
        agent: one of `pax.agents.AGENTS`, or `module.Class` of your own.
        seat: the player (from 0) that it plays.
        **settings: of the role (see `ROLE`) and of the agent.

    Raises:
        ConfigError: if there is no such agent, the seat is none, or a setting is unknown or of another type.
    """
    from pax.agents import AGENTS, Agent
    from pax.config.imports import find_class
    from pax.learners import SHAPING

    cls = find_class("the agent of a role", agent, Agent, "pax.agents.Agent", AGENTS)
    check_number("seat", seat, COUNT_OR_NONE, f"the role of {agent}")
    if "type" in settings:
        raise ConfigError(
            f"type is {settings['type']!r} in the role of {agent}: it is the first argument, so leave it out"
        )
    by_default = "gradient" if cls.learns else "none"
    config = ConfigDict(ROLE | {"type": agent, "seats": (seat,), "learner": by_default})
    own = {name: settings.pop(name) for name in list(settings) if name in config}
    for name, value in own.items():
        _check_override(f"{name} of the role of {agent}", value, ROLE[name])
    if own.get("learner") == "evolution":
        own["evolution"] = evolution(**own.get("evolution", {}))
    if own.get("learner") in SHAPING:
        section, learner = SHAPING[own["learner"]]
        own[section] = defaults(learner, **own.get(section, {}))
        del own[section].initial  # It comes from the path of the role.
    config.update(own)
    config.update(defaults(cls, **settings))
    return config


def evolution(strategy: str = "Open_ES", **settings: Any) -> ConfigDict:
    """Returns the config of evolution by a strategy of evosax, with all parameters that this strategy has."""
    from pax.learners.evolution import Evolution, default_strategy_params

    params = settings.pop("params", {})
    _check_override("params of evolution", params, {})
    config = defaults(Evolution, strategy=strategy, **settings)
    del config.initial  # It comes from the path of the role.
    del config.params
    config.params = ConfigDict(default_strategy_params(strategy))
    for name, value in params.items():
        if name not in config.params:
            remedy = nearest(name, config.params) if config.params else "it has none"
            raise ConfigError(f"{name} is no parameter of {strategy}: {remedy}")
        _check_override(f"{name} of {strategy}", value, config.params[name])
        config.params[name] = value
    return config


def _check_override(key: str, value: Any, like: Any) -> None:
    # A reference to a setting may get its value later, and is checked with the whole config.
    if not isinstance(value, FieldReference):
        check_type(key, value, like)


def base_config() -> ConfigDict:
    """Returns the settings of a run that do not depend on the game."""
    from pax import callbacks

    config = ConfigDict()
    config.seed = 0
    # Independent runs, trained side by side in one program.
    config.num_seeds = 1
    config.num_iters = 1000
    # Environment steps of each seed to train for, in place of num_iters; 0 = num_iters counts.
    config.total_timesteps = 0
    # Environments that an agent plays at once.
    config.num_envs = 100
    # Sets of opponents.
    config.num_opps = 1
    # Steps per episode, and episodes per trial.
    config.num_inner_steps = 150
    config.num_outer_steps = 1
    # Iterations per compiled call; callbacks run in between.
    config.chunk = 10
    # Devices to spread candidates, else opponents, else seeds over; 0 = as many as can be used, -1 = all
    # (from the shell also "all").
    config.num_devices = 0
    # What is drawn for every opponent and trial, in this order: see pax.tasks.
    config.tasks = ConfigDict()
    # By name, who replaces whom when the trained roles are evaluated, frozen.
    config.evaluation = ConfigDict()

    def callback(cls: type, **overrides: Any) -> ConfigDict:
        path = f"pax.callbacks.{cls.__name__}"
        return ConfigDict({"type": path, "enabled": True, **defaults(cls, **overrides)})

    config.callbacks = ConfigDict(
        {
            "scalars": callback(callbacks.Scalars),
            "progress": callback(callbacks.Progress),
            "evaluation": callback(callbacks.Evaluation, every=500),
            "checkpoint": callback(callbacks.Checkpoint),
            "video": callback(callbacks.Video),
            "pictures": callback(callbacks.Pictures),
            "wandb": callback(callbacks.WandB),
        }
    )
    for name in ("video", "pictures", "wandb"):
        config.callbacks[name].enabled = False
    # Your own, for the shell: names, or (name, settings), as in
    # --config.extra_callbacks="(('my_module.MyCallback', {'every': 10}),)"
    config.extra_callbacks = ()
    return config


def parse_variant(
    argument: str, variants: Iterable[str], options: Mapping[str, Sequence[str] | None]
) -> tuple[str, dict[str, str]]:
    """Reads a config's string argument, `variant,option=value,flag`.

    Args:
        argument: what followed the colon.
        variants: the names of the variants.
        options: by option, its possible values; None for a flag, which takes none.

    Returns:
        The variant, and the options that were given; "true" for flags.

    Raises:
        ConfigError: that lists what is known.
    """
    check_kind("the argument of a config", argument, "")
    name, *rest = argument.split(",")
    variants = list(variants)
    if name not in variants:
        remedy = f"choose one of {', '.join(variants)}" if variants else "this config has none"
        raise ConfigError(f"there is no variant {short(name)}: {remedy}")
    given = {}
    for item in rest:
        option, _, value = item.partition("=")
        if option not in options:
            remedy = f"choose from {', '.join(options)}" if options else "it has none"
            raise ConfigError(f"variant {name} has no option {short(option)}: {remedy}")
        values = options[option]
        if values is None:
            if value:
                raise ConfigError(f"option {option} takes no value, and got {short(value)}")
            value = "true"
        elif value not in values:
            remedy = (
                f"choose one of {', '.join(values)}" if values else "there is none to choose from"
            )
            raise ConfigError(f"{option} is {short(value)}: {remedy}")
        given[option] = value
    return name, given


def check_type(key: str, value: Any, like: Any) -> None:
    """Raises ConfigError unless `value` is of the type of `like`, the default of the setting `key`."""
    if hasattr(like, "items"):
        fits = hasattr(value, "items")
    else:
        kind = next((kind for kind in _KINDS if isinstance(like, kind)), None)
        if kind is None:
            return
        accepted = {float: (int, float), tuple: (tuple, list)}.get(kind, kind)
        is_other_bool = isinstance(value, bool) and kind is not bool
        fits = isinstance(value, accepted) and not is_other_bool and value == value
    if not fits:
        raise wrong_type(key, value, like)


def wrong_type(key: str, value: Any, like: Any) -> ConfigError:
    """Returns the error of a value that is not of the type of `like`."""
    if hasattr(like, "items"):
        example = f", such as {key}.{next(iter(like))}" if like else ""
        return ConfigError(f"{key} is {short(value)}, but a section: set what is in it{example}")
    kind = next((words for kind, words in _KINDS.items() if isinstance(like, kind)), "a value")
    example = f", such as {short(like)}" if like not in ("", ()) else ""
    return ConfigError(f"{key} is {short(value)}: give {kind}{example}")


def find_setting(config: ConfigDict, key: str) -> Any:
    """Returns the value of a dotted key.

    Raises:
        ConfigError: if there is none.
    """
    value: Any = config
    where = "the config"
    for part in key.split("."):
        # An item of a tuple is named in brackets, and cannot be set by itself.
        name = part.partition("[")[0]
        if not hasattr(value, "items"):
            raise ConfigError(
                f"{key} is no setting: {where} is {short(value)} and has none of its own"
            )
        if name not in value and not value and where == "callbacks":
            raise ConfigError(f"{key} is no setting: callbacks is empty, and {ADD_CALLBACK}")
        if name not in value and not value:
            raise ConfigError(
                f"{key} is no setting: {where} is empty, and sections come from a config file, as in "
                f"config.{key} = ConfigDict()"
            )
        if "[" in part and name in value:
            raise ConfigError(
                f"{key} is an item of {key.partition('[')[0]}: give all of it, as in "
                f"--config.{key.partition('[')[0]}={brief(value[name])}"
            )
        if name not in value:
            add = f"; {ADD_CALLBACK}" if where == "callbacks" else ""
            raise ConfigError(
                f"{key} is no setting: {where} has no {name!r}, {nearest(name, value)}{add}"
            )
        where = name if value is config else f"{where}.{name}"
        value = value[name]
    return value


def check_section(
    where: str,
    settings: Mapping[str, Any],
    constructor: Callable[..., Any],
    known: Iterable[str] = (),
    hidden: Iterable[str] = BOUND_LATER,
) -> None:
    """Raises ConfigError unless `constructor` takes these settings, of the types of its defaults."""
    parameters = inspect.signature(constructor).parameters
    names = [name for name in parameters if name not in hidden]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key, value in settings.items():
        if key not in names:
            remedy = nearest(key, [*names, *known]) if names or known else "it has none"
            raise ConfigError(f"{where}.{key} is no setting of {constructor.__name__}: {remedy}")
        check_type(f"{where}.{key}", value, parameters[key].default)
    for name in names:
        if parameters[name].default is inspect.Parameter.empty and name not in settings:
            raise ConfigError(
                f"{where} has no {name}, which {constructor.__name__} needs: give one"
            )
