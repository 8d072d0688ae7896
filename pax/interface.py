"""Checks, by tracing alone, that games, agents and samplers return what the loop expects of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pax.agents.agent import Agent
from pax.checkpoints.tree import flatten_leaves
from pax.checks import short
from pax.dotted import line_of
from pax.envs.environment import Environment
from pax.envs.masks import check_mask
from pax.envs.spaces import Cells, Space
from pax.errors import ConfigError
from pax.types import Ends, MemoryState, PyTree, Sample, Task, TrainingState

NOT_TRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
"""What JAX raises where Python needs a number and there is only its type."""
STEP_RESULTS = "(observations, state, rewards, done, info)"


def check_params(name: str, env: Environment, params: PyTree) -> None:
    """Raises ConfigError unless a game can be played for `params`, the argument `name`."""
    try:
        env.check_params(params)
    except (AttributeError, TypeError) as e:
        raise ConfigError(
            f"{name} is {short(params)}, which {type(env).__name__} cannot be played for ({e}): "
            "give what env.make_params(...) returns"
        ) from e


def check_game(env: Environment, params: PyTree) -> None:
    """Checks what `reset` and `step` of a game return: shapes, types, and entries per player.

    Raises:
        ConfigError: in one sentence, unless they keep to the interface of `Environment`.
    """
    name = type(env).__name__
    for player in range(env.num_players):
        for kind in ("observation_space", "action_space"):
            space = _defined(f"{name}.{kind}", getattr(env, kind), player)
            if not isinstance(space, Space):
                raise ConfigError(
                    f"{name}.{kind}({player}) is {space!r}: give a Discrete, a Cells, a Box or a Dict "
                    "of pax.envs.spaces"
                )
        if isinstance(env.action_space(player), Cells):
            raise ConfigError(
                f"{name}.action_space({player}) is {env.action_space(player)}: Cells are observations, so "
                "give a Discrete or a Box"
            )
        check_mask(
            f"player {player + 1} of {name}",
            env.observation_space(player),
            env.action_space(player),
        )
    key = jax.eval_shape(lambda: jax.random.key(0))
    start = jax.eval_shape(lambda key: _defined(f"{name}.reset", env.reset, key, params), key)
    if not isinstance(start, tuple) or len(start) != 2:
        raise ConfigError(f"{name}.reset returns {_describe(start)}: return (observations, state)")
    observations, state = start
    _check_observations(f"{name}.reset", env, observations)

    def play(key: jax.Array, state: PyTree) -> Any:
        actions = tuple(env.action_space(player).zeros() for player in range(env.num_players))
        return _defined(f"{name}.step", env.step, key, state, actions, params)

    result = jax.eval_shape(play, key, state)
    if not isinstance(result, tuple) or len(result) != 5:
        raise ConfigError(f"{name}.step returns {_describe(result)}: return {STEP_RESULTS}")
    observations, after, rewards, done, info = result
    _check_observations(f"{name}.step", env, observations)
    _check_unchanged(f"{name}.step", "the state", state, after)
    _check_per_player(f"{name}.step", "rewards", env.num_players, rewards)
    for player, reward in enumerate(rewards):
        if _type(reward) != ((), jnp.float32):
            raise ConfigError(
                f"{name}.step pays player {player + 1} {_describe(reward)}: give a float32 scalar"
            )
    _check_flag(f"{name}.step", "done", done)
    if not isinstance(info, dict):
        raise ConfigError(f"{name}.step returns {_describe(info)} as its info: return a dict")
    if env.auto_resets:
        for flag in ("terminated", "truncated", "final_observations"):
            if flag not in info:
                raise ConfigError(
                    f"{name} begins anew within a rollout, and the info of its step has no {flag!r}: add it"
                )
        for flag in ("terminated", "truncated"):
            if isinstance(info[flag], tuple):
                _check_per_player(f"{name}.step", flag, env.num_players, info[flag])
            for value in info[flag] if isinstance(info[flag], tuple) else [info[flag]]:
                _check_flag(f"{name}.step", flag, value)
        _check_observations(f"{name}.step", env, info["final_observations"], "final_observations")


def check_agent(
    agent: Agent, *, num_envs: int = 2, num_steps: int | None = None, auto_resets: bool = False
) -> None:
    """Checks what `init`, `policy` and, if it learns, `update` of an agent return.

    Args:
        agent: who acts.
        num_envs: environments that it plays at once.
        num_steps: steps of the rollouts that it learns from; None: its `update` is not called.
        auto_resets: whether its game begins anew within a rollout.

    Raises:
        ConfigError: in one sentence, unless they keep to the interface of `Agent`.
    """
    name = type(agent).__name__
    key = jax.eval_shape(lambda: jax.random.key(0))
    space = agent.action_space

    def act(key: jax.Array) -> Any:
        state = agent.init(key)
        memory = agent.initial_memory(agent.initial_hidden(num_envs))
        seen = agent.observation_space.zeros(num_envs)
        return state, memory, _defined(f"{name}.policy", agent.policy, state, seen, memory, key)

    state, memory, result = jax.eval_shape(act, key)
    if not isinstance(state, TrainingState):
        raise ConfigError(f"{name}.init returns {_describe(state)}: return a TrainingState")
    if not isinstance(result, tuple) or len(result) != 2:
        raise ConfigError(f"{name}.policy returns {_describe(result)}: return (actions, memory)")
    actions, after = result
    _check_value(f"{name}.policy", "actions", space, actions, (num_envs,))
    if not isinstance(after, MemoryState):
        raise ConfigError(
            f"{name}.policy returns {_describe(after)} as its memory: return a MemoryState"
        )
    for part in ("log_probs", "values"):
        if part not in after.extras:
            raise ConfigError(
                f"{name}.policy returns a memory without {part!r} in its extras: add it, 0 if there is none"
            )
    _check_unchanged(f"{name}.policy", "the memory", memory, after)
    if num_steps is None:
        return

    def learn(key: jax.Array, state: TrainingState, memory: MemoryState) -> Any:
        size = (num_steps, num_envs)
        floats, flags = jnp.zeros(size), jnp.zeros(size, bool)
        seen = agent.observation_space.zeros(*size)
        rollout = Sample(
            observations=seen,
            actions=space.zeros(*size),
            rewards=floats,
            log_probs=floats,
            values=floats,
            dones=flags,
            hiddens=jnp.zeros((*size, *memory.hidden.shape[1:])),
            ends=Ends(flags, flags, seen) if auto_resets else None,
        )
        last = agent.observation_space.zeros(num_envs)
        return agent.update(rollout, last, state, memory, key)

    learned = jax.eval_shape(learn, key, state, memory)
    if not isinstance(learned, tuple) or len(learned) != 3:
        raise ConfigError(
            f"{name}.update returns {_describe(learned)}: return (state, memory, metrics)"
        )
    new_state, _, metrics = learned
    if not isinstance(new_state, TrainingState):
        raise ConfigError(
            f"{name}.update returns {_describe(new_state)} as its state: return a TrainingState"
        )
    _check_unchanged(f"{name}.update", "the state", state, new_state)
    if not isinstance(metrics, dict):
        raise ConfigError(
            f"{name}.update returns {_describe(metrics)} as its metrics: return a dict"
        )
    for metric, value in metrics.items():
        if _type(value)[0] != ():
            raise ConfigError(
                f"{name}.update reports {metric!r} as {_describe(value)}: report scalars, such as its mean"
            )


def check_spaces(agent: Agent, env: Environment, seats: Sequence[int], role: str) -> None:
    """Raises ConfigError unless the agent was made for what the players on these seats see and do."""
    for seat in seats:
        for kind in ("observation_space", "action_space"):
            own, of_game = getattr(agent, kind), getattr(env, kind)(seat)
            if own != of_game:
                raise ConfigError(
                    f"role {role} was made for the {kind} {own}, and that of seat {seat} is {of_game}: make "
                    f"its agent with {type(agent).__name__}.for_env(env, {seat})"
                )


def check_sampler(
    name: str,
    sampler: Callable[[Any, Task], Any],
    drawn: Any,
    task: Task,
    *,
    num_players: int,
    num_envs: int,
) -> Task:
    """Checks what a sampler of tasks returns; to be called while tracing.

    Args:
        name: of the sampler, for the message.
        sampler: a function of what it may draw from, and of a task.
        drawn: what it may draw from.
        task: what the samplers before it have made.
        num_players: of the game.
        num_envs: of the run.

    Returns:
        The task that it makes.

    Raises:
        ConfigError: in one sentence, unless it is a task whose parts are of the right type and shape.
    """
    remedy = "a sampler takes (draw, task) and returns a Task, as those that pax.tasks makes do"
    try:
        inspect.signature(sampler).bind(drawn, task)
    except TypeError as e:
        raise ConfigError(f"{name} cannot be called with (draw, task) ({e}): {remedy}") from e
    except ValueError:
        pass  # Of some functions that are not written in Python, nothing is known.
    try:
        made = sampler(drawn, task)
    except ConfigError as e:
        raise ConfigError(f"{name}: {e}") from e
    except Exception as e:
        # It is the user's function: anything may happen in it.
        told = " ".join(str(e).split("\n\n")[0].split())
        raise ConfigError(f"{name} fails ({type(e).__name__}: {told}): {remedy}") from e
    if not isinstance(made, Task):
        what = "a function: call it first, as" if callable(made) else f"{_describe(made)}:"
        raise ConfigError(f"{name} returns {what} {remedy}")
    before, after = (str(jax.tree.structure(each.env_params)) for each in (task, made))
    if before != after:
        raise ConfigError(
            f"{name} returns env_params as {after}, and they were {before}: keep their structure"
        )
    for old, new in zip(*map(jax.tree.leaves, (task.env_params, made.env_params)), strict=True):
        if not _is_array(new, jnp.shape(old), jnp.number, jnp.bool_):
            raise ConfigError(
                f"{name} turns {_describe(old)} of env_params into {_describe(new)}: keep its shape"
            )
    for part, shape, kind, words in (
        ("stop", (), jnp.integer, "an int32 scalar, or None"),
        ("self_play", (), jnp.bool_, "a bool scalar, or None"),
        ("taken_over", (num_players,), jnp.bool_, f"{num_players} bools, one per seat, or None"),
        ("told", (), jnp.float32, "a float32 scalar, or None"),
        ("seats", (num_players,), jnp.integer, f"a permutation of {num_players} players, or None"),
    ):
        value = getattr(made, part)
        if value is not None and not _is_array(value, shape, kind):
            raise ConfigError(f"{name} returns {_describe(value)} as {part}: return {words}")
    for part, words in (
        ("hyperparameters", "dicts of float32 scalars"),
        ("blind", "arrays of bool"),
    ):
        value = getattr(made, part)
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"{name} returns {_describe(value)} as {part}: return a dict of {words}, by role"
            )
    for role, settings in made.hyperparameters.items():
        fits = isinstance(settings, Mapping) and all(
            _is_array(value, (), jnp.floating) for value in settings.values()
        )
        if not fits:
            raise ConfigError(
                f"{name} returns {_describe(settings)} as hyperparameters of {role}: return a dict of "
                "float32 scalars by setting"
            )
    for role, blind in made.blind.items():
        if not _is_array(blind, (num_envs,), jnp.bool_):
            raise ConfigError(
                f"{name} returns {_describe(blind)} as blind of {role}: return a bool for each of the "
                f"{num_envs} environments"
            )
    return made


def _is_array(value: Any, shape: tuple[int, ...], *kinds: Any) -> bool:
    """Returns whether a value is a number or an array of this shape and one of these kinds of numbers."""
    found, dtype = _type(value)
    return found == shape and any(jnp.issubdtype(dtype, kind) for kind in kinds)


def _defined(name: str, method: Callable[..., Any], *args: Any) -> Any:
    try:
        return method(*args)
    except NotImplementedError as e:
        raise ConfigError(f"{name} is not defined: write it, as the interface says") from e
    except NOT_TRACEABLE as e:
        where = f" ({line_of(e)})" if line_of(e) else ""
        raise ConfigError(
            f"{name} asks Python for the value of an array, as `if`, `while`, `int()` and numpy do, and that "
            f"is known only once the compiled program runs{where}: use jnp, jnp.where, jax.lax.cond or "
            "jax.lax.while_loop"
        ) from e


def _check_observations(
    where: str, env: Environment, observations: Any, what: str = "observations"
) -> None:
    _check_per_player(where, what, env.num_players, observations)
    for player, observation in enumerate(observations):
        space = env.observation_space(player)
        _check_value(where, f"{what} of player {player + 1}", space, observation)


def _check_per_player(where: str, what: str, num_players: int, values: Any) -> None:
    if not isinstance(values, tuple) or len(values) != num_players:
        raise ConfigError(
            f"{where} returns {_describe(values)} as its {what}: return a tuple with one entry for each of "
            f"the {num_players} player{'s' if num_players > 1 else ''}"
        )


def _check_value(
    where: str, what: str, space: Space, value: Any, batch: tuple[int, ...] = ()
) -> None:
    expected = jax.eval_shape(lambda: space.zeros(*batch))
    same = str(jax.tree.structure(value)) == str(jax.tree.structure(expected)) and all(
        _type(a) == _type(b)
        for a, b in zip(jax.tree.leaves(value), jax.tree.leaves(expected), strict=True)
    )
    if not same:
        raise ConfigError(
            f"{where} returns {_describe(value)} as {what}: the space is {space}, so return "
            f"{_describe(expected)}"
        )


def _check_unchanged(where: str, what: str, before: PyTree, after: PyTree) -> None:
    """Scans need carries that keep their types."""
    old, new = (str(jax.tree.structure(tree)) for tree in (before, after))
    if old != new:
        raise ConfigError(f"{where} returns {what} as {new}, and it was {old}: keep its structure")
    named = flatten_leaves(before)
    for (name, a), b in zip(named.items(), jax.tree.leaves(after), strict=True):
        if _type(a) != _type(b):
            raise ConfigError(
                f"{where} turns {name or 'it'} of {what} from {_describe(a)} into {_describe(b)}: keep its "
                "shape and type"
            )


def _check_flag(where: str, what: str, value: Any) -> None:
    if _type(value) != ((), jnp.bool_):
        raise ConfigError(f"{where} returns {_describe(value)} as {what}: give a bool scalar")


def _type(value: Any) -> tuple[Any, Any]:
    """Returns the shape and the type of an array or a number, (None, None) of anything else."""
    if isinstance(value, dict | list | tuple):
        return None, None
    try:
        return jnp.shape(value), jnp.result_type(value)
    except (TypeError, ValueError):
        return None, None


def _describe(value: Any) -> str:
    """Returns a value by its type and shape."""
    if isinstance(value, dict):
        return "a dict of " + (
            ", ".join(f"{k}: {_describe(v)}" for k, v in value.items()) or "nothing"
        )
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        shape = f" of shape {tuple(value.shape)}" if value.shape else " scalar"
        return f"{'an' if str(value.dtype).startswith('i') else 'a'} {value.dtype}{shape}"
    kind = type(value).__name__
    return f"{'an' if kind.lower().startswith(tuple('aeiou')) else 'a'} {kind}"
