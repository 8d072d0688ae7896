"""Checks of what a trainer is made of, before anything compiles, and of the numbers that it gets."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from pax.agents.agent import Agent
from pax.checks import (
    COUNT,
    MAX_INT,
    check_distinct,
    check_instance,
    check_items,
    check_mapping,
    check_name,
    check_number,
)
from pax.envs.environment import Environment
from pax.errors import ConfigError, TrainingError
from pax.interface import check_agent, check_game
from pax.learners.gradient import Gradient
from pax.learners.learner import Learner
from pax.loop.counts import Counts
from pax.loop.evaluator import Evaluation
from pax.roles import Role, check_candidates, check_roles
from pax.tasks import check_are_samplers
from pax.types import PyTree


def check_kinds(
    env: Any, roles: Any, samplers: Any, num_devices: Any, evaluations: Any, hyperparameters: Any
) -> None:
    """Raises ConfigError unless each argument of `MetaTrainer` is the kind of thing that it should be."""
    check_instance("env", env, Environment, "a game, such as IteratedMatrixGame()")
    check_items("roles", roles, "a list of agents and roles")
    remedy = "an agent, such as PPO.for_env(env), or a pax.Role"
    for index, role in enumerate(roles):
        check_instance(f"roles[{index}]", role, (Role, Agent), remedy)
    check_are_samplers("samplers", samplers)
    if num_devices is not None and num_devices != -1:
        check_number("num_devices", num_devices, COUNT)
    if evaluations is not None:
        check_mapping("evaluations", evaluations, "a dict of evaluations by name")
        for name, evaluation in evaluations.items():
            check_name("an evaluation", name)
            remedy = "a pax.Evaluation, or a dict of roles by the name of who they replace"
            check_instance(f"evaluations[{name!r}]", evaluation, (Evaluation, Mapping), remedy)
        check_distinct("evaluations", evaluations)
    if hyperparameters is not None:
        check_mapping("hyperparameters", hyperparameters, "a dict of settings by name")


def check_fit(env: Environment, env_params: PyTree, roles: Sequence[Role], counts: Counts) -> None:
    """Raises ConfigError unless game, roles and counts fit each other."""
    check_game(env, env_params)
    check_roles(roles, env)
    num_candidates = check_candidates(roles)
    _check_names_of_policies(roles)
    games = counts.num_seeds * num_candidates * counts.num_opps * counts.num_envs
    if games * env.num_players > MAX_INT:
        raise ConfigError(
            f"num_seeds x candidates x num_opps x num_envs is {counts.num_seeds} x {num_candidates} x "
            f"{counts.num_opps} x {counts.num_envs}, games of more players at once than the {MAX_INT} that "
            "a program can count: give fewer"
        )
    for role in roles:
        _check_lengths(role, roles, counts)
        _check_learning(role, roles, env, counts, num_candidates * counts.num_opps)


def _check_names_of_policies(roles: Sequence[Role]) -> None:
    """Raises ConfigError if two roles export a policy of one name."""
    trained = [role for role in roles if role.learner or role.carried]
    for role in trained:
        learner, start = role.learner, f"{role.name}_"
        others = [other.name for other in trained if other.name.startswith(start)]
        if learner is None or not others:
            continue
        kinds = jax.eval_shape(
            lambda key, learner=learner: learner.exports(learner.init(key)), jax.random.key(0)
        )
        for name in others:
            if name.removeprefix(role.name) in kinds:
                raise ConfigError(
                    f"the learner of role {role.name} exports a policy called {name}, and so is another role "
                    "that is trained: give that another name"
                )


def _check_lengths(role: Role, roles: Sequence[Role], counts: Counts) -> None:
    """Raises ConfigError if the role shapes those who learn in a trial, and there is nothing to shape."""
    shapes = role.agent.remembers_trial and counts.num_outer_steps == 1
    if shapes and not any(other.agent.learns_within_episode for other in roles):
        raise ConfigError(
            f"num_outer_steps is 1, and {role.name}, a {type(role.agent).__name__}, remembers whole "
            "trials: give at least 2 episodes per trial"
        )


def _check_learning(
    role: Role, roles: Sequence[Role], env: Environment, counts: Counts, num_opps: int
) -> None:
    """Raises ConfigError unless the role can learn from what it gets, against `num_opps` sets at once."""
    num_steps, batch = env.num_inner_steps, len(role.seats) * counts.num_envs
    if role.learns_in_trial:
        role.agent.check_rollout(num_steps, batch)
    if role.learner:
        _check_update(role.learner)
        role.learner.check(num_opps, counts.num_outer_steps, num_steps, batch)
        others = [other for other in roles if other is not role]
        role.learner.check_others(role, others, counts.num_outer_steps)
    if type(role.agent).__module__.startswith("pax."):
        return  # Tests have checked its interface, and tracing what it learns would take a while.
    learned = num_steps if role.learns_in_trial else None
    if isinstance(role.learner, Gradient):
        learned, batch = counts.num_outer_steps * num_steps, num_opps * batch
    check_agent(role.agent, num_envs=batch, num_steps=learned, auto_resets=env.auto_resets)


def _check_update(learner: Learner) -> None:
    """Raises ConfigError unless a learner can be called as the loop calls it."""
    signature = inspect.signature(learner.update)
    try:
        signature.bind("state", "experience")
    except TypeError as e:
        raise ConfigError(
            f"update of {type(learner).__name__} takes ({', '.join(signature.parameters)}), and is called as "
            "update(state, experience): see pax.learners.Experience"
        ) from e


def check_finite(
    metrics: Mapping[str, np.ndarray],
    parameters: Mapping[str, Any],
    done: int,
    first_seed: int | None,
    remedy: Callable[[], str],
) -> None:
    """Raises TrainingError if metrics of training in a chunk, or parameters after it, are not finite.

    Args:
        metrics: by name, of each iteration and seed, `[n, S]`.
        parameters: by role, whether all of its parameters are finite.
        done: iterations before the chunk.
        first_seed: its number, to tell which seed it was; None if there is only one.
        remedy: tells what was saved, and what to do.
    """
    for name, values in metrics.items():
        if name.startswith("train/") and not np.isfinite(values).all():
            index, seed = np.argwhere(~np.isfinite(values))[0]
            which = "" if first_seed is None else f" with seed {first_seed + seed}"
            raise TrainingError(
                f"{name} is {values[index, seed]} in iteration {done + 1 + index}{which}, so training "
                f"stopped: {remedy()}"
            )
    for name, is_finite in parameters.items():
        if not is_finite:
            after = done + len(next(iter(metrics.values())))
            raise TrainingError(
                f"parameters of {name} are no longer finite after iteration {after}, though its metrics are, "
                f"so training stopped: {remedy()}"
            )
