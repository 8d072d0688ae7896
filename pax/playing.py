"""Watching agents play, in one's own code."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from pax import checks
from pax.agents.agent import Agent
from pax.callbacks.video import draw_episode
from pax.checks import COUNT, COUNT_OR_NONE, check_instance, check_items, check_number
from pax.envs.environment import Environment
from pax.errors import ConfigError
from pax.interface import check_params
from pax.loop.counts import Counts
from pax.loop.random_streams import Stream, stream
from pax.loop.trial import TrialRunner
from pax.loop.xla import compiler_options, undefined_numbers
from pax.metrics.tensorboard_writer import encode_gif, picture
from pax.player import Player
from pax.roles import Role, check_roles
from pax.run.files import write_whole
from pax.types import PyTree, Task, TrainingState, take

PICTURES = (".gif", ".png")


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
