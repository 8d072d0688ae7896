"""Saved policies in one's own code: loading them, and watching them play."""

from __future__ import annotations

import dataclasses
import importlib
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from pax import checks
from pax.agents import AGENTS
from pax.agents.agent import Agent
from pax.callbacks.video import draw_episode
from pax.checkpoints.elsewhere import local_policy
from pax.checkpoints.policies import AVERAGE, load_agent_state, load_policy
from pax.checks import COUNT, COUNT_OR_NONE, check_instance, check_items, check_number
from pax.config.imports import leave_path
from pax.envs.environment import Environment
from pax.envs.spaces import parse_space
from pax.errors import CheckpointError, ConfigError, PaxError, nearest
from pax.interface import check_params
from pax.loop.counts import Counts
from pax.loop.random_streams import Stream, stream
from pax.loop.trial import TrialRunner
from pax.loop.xla import compiler_options, undefined_numbers
from pax.metrics.tensorboard_writer import encode_gif, picture
from pax.player import Player
from pax.roles import Role, check_roles
from pax.run.directory import POLICIES
from pax.run.files import write_whole
from pax.types import PyTree, Task, TrainingState, take

SUFFIX = ".msgpack"
SEED = re.compile(r"(.*)_seed_(\d+)")
"""The name of a policy of a run with several seeds."""
BEST = "_best"
"""What follows the role in the name of the best candidate that evolution ever had."""
PICTURES = (".gif", ".png")


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
    path = local_policy("path", path)
    check_items("allow_imports", allow_imports, "a list of modules, such as ['my_module']")
    if seed is not None:
        check_number("seed", seed, COUNT_OR_NONE)
    if not path.exists():
        raise CheckpointError(f"there is no run or policy {path}: check the path")
    if path.is_dir():
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
        except Exception as e:
            # It is the user's module: anything may happen in it.
            raise ConfigError(
                f"{told}, and {module or each} cannot be imported ({type(e).__name__}: {e}): start in the "
                "folder that holds it, or put that on PYTHONPATH"
            ) from e
        if isinstance(cls, type) and issubclass(cls, Agent):
            return cls
    raise ConfigError(f"{told}, nor one of {', '.join(modules)}: name the module that has it")


class Played(NamedTuple):
    """What came of episodes of one game, end to end."""

    rewards: np.ndarray
    """Of each step, `[T, players]`."""
    frames: np.ndarray | None
    """uint8 `[T, height, width, 3]` before each step, of a game on a grid; of other games one picture of the
    last episode, `[1, height, width, 3]`; None of those that cannot be drawn."""
    actions: tuple[PyTree, ...]
    """By player, `[T, ...]`."""


def play(
    env: Environment,
    agents: Sequence[Player | Agent],
    *,
    num_episodes: int = 1,
    seed: int = 0,
    env_params: PyTree = None,
    save: str | os.PathLike[str] | None = None,
) -> Played:
    """Plays one game and draws it; nobody learns.

    Everybody begins afresh: what a `Player` remembers is neither read nor changed.

    Args:
        env: the game.
        agents: who plays, in the order of seats: what `load_agent` or `MetaTrainer.agent` returns, or agents,
            such as `TitForTat.for_env(env, seat=1)`.
        num_episodes: of one trial, played one after the other.
        seed: of all that is drawn: the same seed gives the same game.
        env_params: what is played for; the game's default if None.
        save: a file for the frames: an animation (.gif), or their last picture (.png).

    Raises:
        ConfigError: if agents do not fit the game, it cannot be drawn, or the file cannot be written.
    """
    check_instance("env", env, Environment, "a game, such as IteratedMatrixGame()")
    check_items("agents", agents, "a list of agents, one per seat")
    check_number("num_episodes", num_episodes, COUNT)
    check_number("seed", seed, COUNT_OR_NONE)
    params = env.default_params if env_params is None else env_params
    check_params("env_params", env, params)
    path = None if save is None else _picture_file(env, save)
    roles, states = _seated(env, agents, seed)
    runner = TrialRunner(env, roles, Counts(num_envs=1, num_outer_steps=num_episodes))

    def run(key: jax.Array, states: dict[str, TrainingState], params: PyTree) -> Any:
        trial, _ = runner.play(key, states, Task(env_params=params))
        rewards = [trial.rollouts[role.name].rewards for role in roles]
        # [K, T, E, ...] of the only environment.
        return take((rewards, trial.actions, trial.env_states), np.s_[:, :, 0])

    key = stream(jax.random.key(seed), Stream.SINGLE_TRIALS)
    program = jax.jit(run, compiler_options=compiler_options())
    with undefined_numbers():
        rewards, actions, env_states = jax.device_get(program(key, states, params))
    frames = _draw(env, env_states, actions, params)
    if path is not None and frames is not None:
        _write(path, frames)
    steps, acts = _end_to_end((rewards, actions))
    return Played(np.stack(steps, axis=-1), frames, tuple(acts))


def _seated(
    env: Environment, agents: Sequence[Any], seed: int
) -> tuple[list[Role], dict[str, TrainingState]]:
    """Returns a role per seat, and what each has learned."""
    if len(agents) != env.num_players:
        raise ConfigError(
            f"agents has {len(agents)} entries: this game has {env.num_players} seats, give as many"
        )
    roles, states = [], {}
    for seat, given in enumerate(agents):
        remedy = "an agent, such as TitForTat.for_env(env), or what pax.load_agent returns"
        check_instance(f"agents[{seat}]", given, (Player, Agent), remedy)
        player = given if isinstance(given, Player) else Player(given, seed=seed + seat)
        roles.append(Role(f"player_{seat + 1}", player.agent, (seat,)))
        states[roles[-1].name] = player.state
    check_roles(roles, env)
    return roles, states


def _end_to_end(tree: PyTree) -> PyTree:
    """Returns leaves `[K, T, ...]` as `[K * T, ...]`."""
    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), tree)


def _draw(
    env: Environment, states: PyTree, actions: tuple[PyTree, ...], params: PyTree
) -> np.ndarray | None:
    """Draws episodes `[K, T, ...]`: all of a game on a grid, of others the last one."""
    if not env.render_mode:
        return None
    if env.render_mode == "figure":
        last_states, last_actions = take((states, actions), -1)
        return draw_episode(env, last_states, last_actions, params)
    all_states, all_actions = _end_to_end((states, actions))
    return draw_episode(env, all_states, all_actions, params)


def _picture_file(env: Environment, save: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path of a picture; raises ConfigError if the game or the file cannot be one."""
    path = checks.file("save", save)
    if path.suffix.lower() not in PICTURES or path.is_dir():
        raise ConfigError(
            f"save is {str(path)!r}: give a file that ends in {' or '.join(PICTURES)}"
        )
    if not env.render_mode:
        raise ConfigError(
            f"save is {str(path)!r}, and {type(env).__name__} cannot be drawn: leave it out"
        )
    return path


def _write(path: pathlib.Path, frames: np.ndarray) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".gif":
            write_whole(path, encode_gif(frames))
        else:
            picture(frames[-1]).save(path)
    except OSError as e:
        raise ConfigError(
            f"save is {str(path)!r}, which cannot be written ({e.strerror or e})"
        ) from e
