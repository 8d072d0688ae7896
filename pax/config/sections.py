"""What config files are made of: defaults, variants, options."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import placeholder

from pax.checks import COUNT_OR_NONE, brief, check_kind, check_number, short
from pax.errors import CheckpointError, ConfigError, nearest

if TYPE_CHECKING:
    from pax.envs.rewards import OtherRegarding
    from pax.learners import Learner

BOUND_LATER = ("observation_space", "action_space")
"""Constructor arguments that come from the game, not from a config."""

ROLE = {
    "type": "",
    "seats": (),
    "learner": {"type": "none"},
    "learns_in_trial": False,
    "reset_every": 1,
    "self_play_seats": (),
    "member_of": "",
    "num_initial_states": 0,
    "ema_decay": 0.0,
    "path": "",
    "warm_start": "",
    "warm_start_parts": "",
}
"""What the config of a role holds besides the hyper-parameters of its agent; `role` tells what it means."""

FROM_ROLE = ("agent", "initial", "num_candidates")
"""Constructor arguments of learners that come from the role, not from their section."""

MOVED = ("evolution", "lola", "alignment")
"""Sections of a role in earlier versions, whose settings are in `learner` now."""

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
        ConfigError: if the class takes no argument of the name of an override, or one of another type, or a
            config can have no setting of the name of an argument.
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
    _check_names(constructor.__name__, parameters)
    return ConfigDict(_overridden(constructor.__name__, parameters, overrides))


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
    sections = {name: settings.pop(name, {}) for name in cls.subsections(own)}
    own.update({name: settings.pop(name) for name in list(settings) if name in own})
    for name, like in cls.subsections(own).items():
        _check_override(f"{name} of {kind}", sections[name], {})
        for key in sections[name].keys() & like.keys():
            _check_override(f"{name}.{key} of {kind}", sections[name][key], like[key])
        # The shell can set what is None only where the config says that it may be anything.
        like = {key: placeholder(object) if value is None else value for key, value in like.items()}
        own[name] = {**like, **sections[name]}
    params = cls(**arguments(own)).param_settings()
    _check_names(kind, params)
    for name in settings:
        if name not in params:
            raise ConfigError(f"{kind} has no setting {name!r}: {nearest(name, [*own, *params])}")
        _check_override(f"{name} of {kind}", settings[name], params[name])
    return ConfigDict({"type": kind, **own, **params, **settings})


def arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a section of a config holds as arguments of a class: sections in it are dicts."""
    return {
        name: value.to_dict() if isinstance(value, ConfigDict) else value
        for name, value in config.items()
    }


def role(agent: str, seat: int | Sequence[int], **settings: Any) -> ConfigDict:
    """Returns the config of a role: an agent by name, its seat, how it learns, and its hyper-parameters.

    Args:
        agent: one of `pax.agents.AGENTS`, or `module.Class` of your own.
        seat: the player (from 0) that it plays, or several, as in `(0, 1)`, for one policy on all of them.
        **settings: of the role (see below) and of the agent. The learner is a name, or a section as
            `learner` returns it, of which settings that have defaults may be missing.

    Settings:
        type: the agent, one of `pax.agents.AGENTS` or `module.Class`.
        seats: players, from 0, that it plays.
        learner: what improves it across trials: one of `pax.learners.LEARNERS`, `module.Class` or `none`, and
            its settings.
        learns_in_trial: whether it learns after every episode, by the agent's own update.
        reset_every: trials until a co-player without a learner starts afresh; 0: never.
        self_play_seats: seats of others that it takes over in trials of self-play (see the tasks
            `annealed_self_play`, `self_play_by_seat` and `mixed_pool`).
        member_of: a role with several candidates: in every trial it has the parameters of another of them.
        num_initial_states: from how many states, the same in all trials, one that starts afresh draws; 0: it
            gets a new one.
        ema_decay: the decay per update of the exponential moving average of the policy that its learner
            trains, such as 0.99, which is evaluated and exported too; 0: no average.
        path: an exported policy to start from: a file, also on a bucket (gs://...) or at W&B
            (wandb:<entity>/<project>/<run>/<file>).
        warm_start: an exported policy of which every parameter is taken that has the name and the shape of
            one of its own; the others start as always. `{seed}` in the path is the number of the seed,
            from 0, and in one of the zoo from 1, as policies are numbered there.
        warm_start_parts: patterns with commas in between: of `warm_start` only parameters of such names, as
            in `cell*,heads/value`; empty: all.

    Raises:
        ConfigError: if there is no such agent, the seat is none, or a setting is unknown or of another type.
    """
    from pax.agents import AGENTS, Agent
    from pax.config.imports import find_class

    cls = find_class("the agent of a role", agent, Agent, "pax.agents.Agent", AGENTS)
    seats = tuple(seat) if isinstance(seat, list | tuple) else (seat,)
    for each in seats or (None,):
        check_number("seat", each, COUNT_OR_NONE, f"the role of {agent}")
    if "type" in settings:
        raise ConfigError(
            f"type is {settings['type']!r} in the role of {agent}: it is the first argument, so leave it out"
        )
    improves = settings.pop("learner", "gradient" if cls.learns else "none")
    if isinstance(improves, str):
        improves = {"type": improves}
    if not hasattr(improves, "items"):
        raise ConfigError(
            f"learner of the role of {agent} is {short(improves)}: give the name of one, or a section, as in "
            '{"type": "evolution", "popsize": 64}'
        )
    of_learner = dict(improves)
    of_learner = learner(of_learner.pop("type", ""), **of_learner)
    config = ConfigDict(ROLE | {"type": agent, "seats": seats, "learner": of_learner})
    own = {name: settings.pop(name) for name in list(settings) if name in config}
    for name, value in own.items():
        _check_override(f"{name} of the role of {agent}", value, ROLE[name])
    config.update(own)
    config.update(defaults(cls, **settings))
    return config


def learner(kind: str, **settings: Any) -> ConfigDict:
    """Returns the config of a learner by name: what its class takes, some of it overridden.

    Args:
        kind: one of `pax.learners.LEARNERS`, `module.Class` of your own, or "none".
        **settings: of the class; of a section in them, such as `params` of evolution, what differs.

    Raises:
        ConfigError: if there is no such learner, or a setting is unknown or of another type.
    """
    cls = find_learner("the learner", kind)
    own = {} if cls is None else dict(defaults(cls))
    own = {name: value for name, value in own.items() if name not in FROM_ROLE}
    own = _overridden(kind, own, settings)
    sections = cls.subsections(own) if cls else {}
    for name, like in sections.items():
        _check_override(f"{name} of {kind}", settings.get(name, {}), {})
        own[name] = _overridden(f"{name} of {kind}", like, settings.get(name, {}))
    return ConfigDict({"type": kind, **own})


def rewards(kind: str, **settings: Any) -> ConfigDict:
    """Returns the config of what players learn from: what they earn, or other-regarding rewards.

    Args:
        kind: `own`, one of `pax.envs.rewards.REWARDS`, or `module.Class` of your own.
        **settings: of the class.

    Raises:
        ConfigError: if there are no such rewards, or a setting is unknown or of another type.
    """
    cls = find_rewards("rewards.type", kind)
    own = {} if cls is None else dict(defaults(cls))
    return ConfigDict({"type": kind, **_overridden(kind, own, settings)})


def find_rewards(where: str, name: Any) -> type[OtherRegarding] | None:
    """Returns the class of rewards by name, None for "own"; raises ConfigError if there is none."""
    from pax.config.imports import find_class
    from pax.envs.rewards import REWARDS, OtherRegarding

    known = {**REWARDS, "own": OtherRegarding}
    if name not in list(known) and "." not in str(name):
        raise ConfigError(f"{where} is {short(name)}: {nearest(str(name), known)}")
    cls = find_class(where, name, OtherRegarding, "pax.envs.rewards.OtherRegarding", known)
    return None if cls is OtherRegarding else cls


def find_learner(where: str, name: Any) -> type[Learner] | None:
    """Returns the class of a learner by name, None for "none"; raises ConfigError if there is none."""
    from pax.config.imports import find_class
    from pax.learners import LEARNERS, Learner

    known = {**LEARNERS, "none": Learner}
    cls = find_class(where, name, Learner, "pax.learners.Learner", known)
    return None if cls is Learner else cls


def _check_names(what: str, names: Iterable[str]) -> None:
    """Raises ConfigError if a setting has a name that the shell cannot set."""
    for name in names:
        if hasattr(ConfigDict, name):
            raise ConfigError(
                f"{what} has a setting {name!r}, and configs have a method of that name: call it otherwise, "
                f"as in {what.rpartition('.')[2].lower()}_{name}"
            )


def _overridden(what: str, own: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with some of them overridden, once it is clear that they exist and are of their types."""
    for name, value in overrides.items():
        if name not in own:
            remedy = nearest(name, own) if own else "it has none"
            raise ConfigError(f"{what} has no setting {name!r}: {remedy}")
        _check_override(f"{name} of {what}", value, own[name])
    return {**own, **overrides}


def _check_override(key: str, value: Any, like: Any) -> None:
    # A reference to a setting may get its value later, and is checked with the whole config.
    if not isinstance(value, FieldReference):
        check_type(key, value, like)


def base_config() -> ConfigDict:
    """Returns the settings of a run that do not depend on the game.

    Settings:
        seed: of the first run.
        num_seeds: independent runs, trained side by side in one program.
        num_iters: iterations to train for.
        total_timesteps: environment steps of each seed to train for, in place of `num_iters`; 0: `num_iters`
            counts.
        num_envs: environments that an agent plays at once.
        num_opps: sets of opponents that each candidate meets.
        num_inner_steps: steps of an episode.
        num_outer_steps: episodes of a trial.
        chunk: iterations per compiled call; callbacks run in between.
        num_devices: devices to spread candidates, else opponents, else seeds over; 0: as many as can be used,
            -1 (in the shell also `all`): all.
        tasks: what is drawn for every opponent and trial, in this order: see `pax.tasks`.
        evaluation: by name, who replaces whom when the trained roles are evaluated, frozen.
        callbacks: by name, what a run does besides training.
        extra_callbacks: further ones, for the shell: names, or (name, settings), as in
            (('my_module.MyCallback', {'every': 10}),).
        env: the game.
        rewards: what players learn from: see `rewards`.
        roles: names of the sections of those who play.
    """
    from pax import callbacks

    config = ConfigDict()
    config.seed = 0
    config.num_seeds = 1
    config.num_iters = 1000
    config.total_timesteps = 0
    config.num_envs = 100
    config.num_opps = 1
    config.num_inner_steps = 150
    config.num_outer_steps = 1
    config.chunk = 10
    config.num_devices = 0
    config.rewards = rewards("own")
    config.tasks = ConfigDict()
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
            "curves": callback(callbacks.Curves),
            "video": callback(callbacks.Video),
            "pictures": callback(callbacks.Pictures),
            "wandb": callback(callbacks.WandB),
        }
    )
    for name in ("video", "pictures", "wandb"):
        config.callbacks[name].enabled = False
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
        if option in given:
            raise ConfigError(f"option {option} of variant {name} is given twice: give it once")
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
        first = "type" if "type" in like else next(iter(like), "")
        example = f", such as {key}.{first}" if first else ""
        return ConfigError(f"{key} is {short(value)}, but a section: set what is in it{example}")
    kind = next((words for kind, words in _KINDS.items() if isinstance(like, kind)), "a value")
    example = f", such as {short(like)}" if like not in ("", ()) else ""
    return ConfigError(f"{key} is {short(value)}: give {kind}{example}")


@contextlib.contextmanager
def errors_at(where: str) -> Iterator[None]:
    """Has errors raised within begin with the key that they are about."""
    try:
        yield
    except (ConfigError, CheckpointError) as e:
        raise type(e)(f"{where}: {e}") from e


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
        if name in MOVED and "learner" in value:
            new = key.replace(f"{where}.{name}", f"{where}.learner", 1)
            raise ConfigError(f"{key} is no setting: it is {new} now")
        if name not in value:
            add = f"; {ADD_CALLBACK}" if where == "callbacks" else ""
            if where == "rewards":
                add = (
                    f"; they are {short(value.get('type'))}: others with settings come from a variant that "
                    "has them, or a config file, as in "
                    "config.rewards = pax.config.rewards('exchange', share=0.8)"
                )
            if where.endswith(".learner") and value.get("type"):
                add = f"; it is that of {value['type']}, another one with settings needs a config that has it"
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
