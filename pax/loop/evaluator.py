"""Evaluation: the training loop with everybody's policy frozen, against opponents of choice."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pax.agents.agent import Agent
from pax.checkpoints.policies import load_policy, save_policy
from pax.checks import check_instance, check_mapping
from pax.envs.environment import Environment
from pax.errors import ConfigError
from pax.learners.frozen import Frozen
from pax.loop.iteration import Loop
from pax.loop.random_streams import Stream, stream
from pax.loop.xla import compiler_options, undefined_numbers
from pax.roles import Role, check_roles
from pax.tasks import Sampler, SampleTask, check_are_samplers
from pax.types import PyTree, Task, TrainingState, TrainState


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A way to judge the trained roles."""

    replacements: Mapping[str, Role] = dataclasses.field(default_factory=dict)
    """Who takes over, by the name of the role that gives up its seats."""
    samplers: Sequence[Sampler] = ()
    """What is drawn for a trial on top of what training draws."""

    def __post_init__(self) -> None:
        """Checks the kinds of both; `Evaluator` checks how they fit a run."""
        check_mapping(
            "an evaluation", self.replacements, "a dict of roles by the name of who they replace"
        )
        check_are_samplers("samplers", self.samplers)


class Recording(NamedTuple):
    """An episode of one environment."""

    states: PyTree
    """The game's states before each step, `[T, ...]`."""
    actions: tuple[PyTree, ...]
    """By player, `[T, ...]`."""
    params: PyTree
    """What was played for."""


class Evaluator:
    """Plays one iteration with frozen policies.

    Roles that learn across trials, and co-players that live on, play what they have learned so far. Those
    that start afresh in every trial do so here too, and go on learning within it. Self-play is a way to
    train: here everybody plays only their own seats.
    """

    def __init__(
        self,
        env: Environment,
        roles: Sequence[Role],
        sample_task: SampleTask,
        replacements: Mapping[str, Role],
        *,
        num_envs: int,
        num_opps: int,
        num_outer_steps: int,
    ):
        names = [role.name for role in roles]
        for name, replacement in replacements.items():
            remedy = "a pax.Role, as in Role('agent2', Defect.for_env(env, 1), seats=(1,))"
            check_instance(f"what replaces {name}", replacement, Role, remedy)
            if name not in names:
                raise ConfigError(
                    f"an evaluation replaces the role {name!r}: this run has {', '.join(names)}"
                )
        self._trained = {
            role.name: role
            for role in roles
            if role.name not in replacements and (role.learner or role.carried)
        }
        self._frozen_or_replaced = {*self._trained, *replacements}
        playing = [
            dataclasses.replace(role, learner=Frozen(1), learns_in_trial=False)
            if role.name in self._trained
            else replacements.get(role.name, role)
            for role in roles
        ]
        playing = [dataclasses.replace(role, self_play_seats=()) for role in playing]
        check_roles(playing, env)
        self._loop = Loop(
            env,
            playing,
            lambda *draw: self._without_training(sample_task(*draw)),
            num_envs=num_envs,
            num_opps=num_opps,
            num_outer_steps=num_outer_steps,
        )
        options = compiler_options()
        self._run = jax.jit(self._evaluate, compiler_options=options)
        self._record = jax.jit(self._play_one, compiler_options=options)
        self._learn = jax.jit(self._play_trials, static_argnums=1, compiler_options=options)
        self._num_envs = num_envs

    def _without_training(self, task: Task) -> Task:
        """The task without what is only about learners that do not learn here."""
        learning = {
            name: drawn
            for name, drawn in task.hyperparameters.items()
            if name not in self._frozen_or_replaced
        }
        return dataclasses.replace(task, self_play=None, hyperparameters=learning)

    def __call__(self, state: TrainState) -> dict[str, np.ndarray]:
        """Metrics of the policies in `state`, by name, one number per seed `[S]`."""
        with undefined_numbers():
            metrics = jax.device_get(self._run(state))
        return {name.removeprefix("train/"): values[0] for name, values in metrics.items()}

    def metric_names(self, abstract_state: TrainState) -> list[str]:
        """Returns what an evaluation reports; found by tracing, without compiling."""
        metrics = jax.eval_shape(self._evaluate, abstract_state)
        return sorted(name.removeprefix("train/") for name in metrics)

    def record(self, state: TrainState) -> Recording:
        """Plays a trial of the first seed; the last episode of its first environment."""
        with undefined_numbers():
            return jax.device_get(self._record(state))

    def learning_curve(self, state: TrainState, num_trials: int) -> np.ndarray:
        """Rewards per step of the episodes of the first seed's trials, `[K, players]`."""
        with undefined_numbers():
            return np.asarray(self._learn(state, num_trials))

    def _evaluate(self, state: TrainState) -> dict[str, jax.Array]:
        return self._loop.run(self._start(state), 1)[1]

    def _start(self, state: TrainState) -> TrainState:
        """The first state of the evaluating loop."""
        # The same random numbers in every evaluation of a run, and others than those of training.
        keys = jax.vmap(lambda key: stream(key, Stream.EVALUATION))(state.keys)
        start = self._loop.init(keys)
        frozen = {
            name: jax.tree.map(lambda leaf: leaf[:, None], deployed(role, state))
            for name, role in self._trained.items()
        }
        return dataclasses.replace(start, learners=start.learners | frozen)

    def _play_trials(self, state: TrainState, num_trials: int) -> jax.Array:
        keys, learners, inner = self._first_seed(state, num_trials)
        play = self._loop.single_trial(self._num_envs)
        trials, _ = jax.vmap(play, (0, None, None))(keys, learners, inner)
        return trials.episode_rewards.mean(axis=0)

    def _play_one(self, state: TrainState) -> Recording:
        keys, learners, inner = self._first_seed(state, 1)
        # In as many environments as in training: those who learn in the trial may need them all.
        trial, task = self._loop.single_trial(self._num_envs)(keys[0], learners, inner)
        states, actions = jax.tree.map(
            lambda leaf: leaf[-1, :, 0], (trial.env_states, trial.actions)
        )
        return Recording(states, actions, task.env_params)

    def _first_seed(self, state: TrainState, num_trials: int) -> tuple[jax.Array, Any, Any]:
        """Returns keys of single trials `[num_trials]`, learners and carried co-players of the first seed."""
        start = self._start(state)
        key, learners, inner = jax.tree.map(
            lambda leaf: leaf[0], (start.keys, start.learners, start.inner)
        )
        keys = jax.random.split(stream(key, Stream.SINGLE_TRIALS), num_trials)
        return keys, learners, inner


def deployed(role: Role, state: TrainState) -> TrainingState:
    """Returns the policy of a trained role in each seed, `[S, ...]`."""
    if role.learner:
        return jax.vmap(role.learner.deploy)(state.learners[role.name])
    return jax.tree.map(lambda leaf: leaf[:, 0, 0], state.inner[role.name])


def export_policies(directory: Any, roles: Sequence[Role], state: TrainState) -> list[str]:
    """Writes one file per trained role and seed, `<role>.msgpack` or `<role>_seed_<i>.msgpack`.

    Evolution also leaves the best candidate it ever had, `<role>_best.msgpack`.
    """
    num_seeds = state.keys.shape[0]
    paths = []
    for role in roles:
        if not (role.learner or role.carried):
            continue
        if role.learner:
            policies = jax.vmap(role.learner.exports)(state.learners[role.name])
        else:
            policies = {"": deployed(role, state)}
        for kind, policy in policies.items():
            params = jax.device_get(policy.params)
            for seed in range(num_seeds):
                suffix = f"_seed_{seed}" if num_seeds > 1 else ""
                path = f"{directory}/{role.name}{kind}{suffix}.msgpack"
                own = jax.tree.map(lambda leaf, seed=seed: np.asarray(leaf[seed]), params)
                save_policy(path, agent=role.agent.describe(), params=own)
                paths.append(path)
    return paths


def load_agent_state(path: str, agent: Agent) -> TrainingState:
    """Loads a fresh state of `agent` with the parameters of an exported policy.

    Raises:
        CheckpointError: if there is no such file, or it holds the policy of another kind of agent.
    """
    fresh = agent.init(jax.random.key(0))
    policy = load_policy(path, like=fresh.params)
    return dataclasses.replace(fresh, params=jax.tree.map(jnp.asarray, policy.params))
