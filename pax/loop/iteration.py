"""The compiled computation: iterations of trials, and one update of whoever learns across them.

Batch axes, outermost first: seeds S, candidates C, opponents O, environments E. The first three are `vmap`s
of code that is written for one trial; environments are a plain axis that agents see.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pax.envs.environment import Environment
from pax.errors import ConfigError
from pax.learners.learner import World
from pax.loop.axes import over
from pax.loop.counts import Counts
from pax.loop.random_streams import Stream, stream
from pax.loop.rollout import select
from pax.loop.sharding import Placement
from pax.loop.trial import TrialRunner
from pax.roles import Role
from pax.tasks import SampleTask, check_task
from pax.types import Metrics, PyTree, Task, TrainingState, TrainState, Trial, take

Probe = Callable[[Trial], Mapping[str, jax.Array]]
"""`probe(trial)` looks inside one trial, within the compiled step; its scalars join the metrics."""


OWN_METRICS = ("iteration", "env_steps", "wall_time", "env_steps_per_second")
"""What every row of metrics has besides those of an iteration."""


class Loop:
    """One nested scan, whoever learns in whatever way."""

    def __init__(
        self,
        env: Environment,
        roles: Sequence[Role],
        sample_task: SampleTask,
        counts: Counts,
        *,
        probes: Sequence[Probe] = (),
        placement: Placement | None = None,
    ):
        self.env = env
        self.roles = tuple(roles)
        self.sample_task = sample_task
        check_task(sample_task, self.roles, env)
        self.num_opps = counts.num_opps
        self.probes = tuple(probes)
        self.placement = placement
        self.runner = TrialRunner(env, self.roles, counts)
        self.num_candidates = max(
            [role.learner.num_candidates for role in self.roles if role.learner], default=1
        )
        trials = self.num_candidates * counts.num_opps * counts.num_envs
        self.env_steps_per_iteration = trials * counts.num_outer_steps * env.num_inner_steps

    def init(self, keys: jax.Array) -> TrainState:
        """Returns the state before the first iteration, from one key per seed `[S]`."""

        def init_seed(key: jax.Array) -> Any:
            learners, inner = {}, {}
            for index, role in enumerate(self.roles):
                role_key = jax.random.fold_in(stream(key, Stream.INITIAL_STATE), index)
                if role.learner:
                    learners[role.name] = role.learner.init(role_key)
                elif role.carried:
                    inner[role.name] = self._spread(self._fresh(role, role_key))
            return learners, inner

        learners, inner = jax.vmap(init_seed)(keys)
        return TrainState(step=jnp.int32(0), keys=keys, learners=learners, inner=inner)

    def run(self, state: TrainState, num_iters: int) -> tuple[TrainState, Metrics]:
        """Runs `num_iters` iterations of all seeds; metrics are `[num_iters, S]`."""

        def body(state: TrainState, _: None) -> tuple[TrainState, Metrics]:
            per_seed = over(self._iteration, len(state.keys), in_axes=(None, 0, 0, 0))
            learners, inner, metrics = per_seed(state.step, state.keys, state.learners, state.inner)
            state = dataclasses.replace(state, step=state.step + 1, learners=learners, inner=inner)
            return state, metrics

        return jax.lax.scan(body, state, length=num_iters)

    def _iteration(
        self,
        step: jax.Array,
        key: jax.Array,
        learners: dict[str, PyTree],
        inner: dict[str, TrainingState],
    ) -> tuple[dict[str, PyTree], dict[str, TrainingState], Metrics]:
        # Derived from the run's key and the step alone, so that resuming, or cutting the run into other
        # chunks, changes nothing.
        key = jax.random.fold_in(stream(key, Stream.ITERATIONS), step)
        task_key, trial_key, role_key, update_key = jax.random.split(key, 4)
        opponent_key, generation_key = jax.random.split(task_key)
        tasks = jax.vmap(self.sample_task, in_axes=(0, None, None))(
            jax.random.split(opponent_key, self.num_opps), generation_key, step
        )
        trial_keys = jax.random.split(trial_key, self.num_opps)
        learners = dict(learners)
        states, candidate_axes, opponent_axes = self._line_up(step, role_key, learners, inner)
        if self.placement:
            tasks, trial_keys = self.placement.spread("opponents", (tasks, trial_keys))
            for name, state in states.items():
                axis = "candidates" if candidate_axes[name] == 0 else "opponents"
                if axis == "candidates" or opponent_axes[name] == 0:
                    states[name] = self.placement.spread(axis, state)

        def play(key: jax.Array, states: dict[str, TrainingState], task: Task) -> Any:
            trial, states = self.runner.play(key, states, task)
            probed: Metrics = {}
            for probe in self.probes:
                probed |= probe(trial)
            return (
                trial,
                {role.name: states[role.name] for role in self.roles if role.carried},
                probed,
            )

        # Keys and tasks are not mapped over candidates: all of them meet the same random numbers.
        trials = over(play, self.num_opps, in_axes=(0, opponent_axes, 0))
        trials = jax.vmap(
            trials, in_axes=(None, candidate_axes, None), axis_size=self.num_candidates
        )
        trial, inner, probed = trials(trial_keys, states, tasks)

        metrics = self._metrics(trial, tasks, probed)
        world = World(
            lambda *args: self.runner.play(*args)[0],
            tasks,
            states,
            {name: (candidate_axes[name] == 0) + (opponent_axes[name] == 0) for name in states},
            {role.name: role.agent for role in self.roles},
        )
        for index, role in enumerate(self.roles):
            if role.learner:
                name = role.name
                learners[name], learned = role.learner.update(
                    learners[name],
                    states[name],
                    trial,
                    world,
                    name,
                    jax.random.fold_in(update_key, index),
                )
                metrics |= {self._metric_name(role, key): value for key, value in learned.items()}
        return learners, inner, metrics

    def single_trial(
        self, key: jax.Array, learners: dict[str, PyTree], inner: dict[str, TrainingState]
    ) -> tuple[Trial, Task]:
        """Plays a trial of one seed, candidate and opponent; returns what came of it, and its task.

        Args:
            key: of the trial.
            learners: states of the learners of one seed, by role.
            inner: co-players of one seed that live on, by role, `[C, O, ...]`.
        """
        task_key, generation_key, trial_key, role_key = jax.random.split(key, 4)
        step = jnp.int32(0)
        task = self.sample_task(task_key, generation_key, step)
        states, candidates, opponents = self._line_up(step, role_key, dict(learners), inner)
        for name in states:
            for axis in (candidates[name], opponents[name]):
                if axis is not None:
                    states[name] = take(states[name], 0)
        return self.runner.play(trial_key, states, task)[0], task

    def _metric_name(self, role: Role, key: str) -> str:
        """`train/<role>/<key>`; the fitness of the only role that is judged by it is the run's."""
        judged = [r for r in self.roles if r.learner and r.learner.num_candidates > 1]
        if key.startswith("fitness/") and judged == [role]:
            return f"train/{key}"
        return f"train/{role.name}/{key}"

    def _line_up(
        self,
        step: jax.Array,
        key: jax.Array,
        learners: dict[str, PyTree],
        inner: Mapping[str, TrainingState],
    ) -> tuple[dict[str, TrainingState], dict[str, int | None], dict[str, int | None]]:
        """Every role's state for this iteration, and whether it has the axes C and O.

        `learners` takes the states that the learners are left with after proposing.
        """
        states: dict[str, TrainingState] = {}
        candidate_axes: dict[str, int | None] = {}
        opponent_axes: dict[str, int | None] = {}
        for index, role in enumerate(self.roles):
            name, role_key = role.name, jax.random.fold_in(key, index)
            if role.learner:
                states[name], learners[name] = role.learner.propose(learners[name], role_key)
                candidate_axes[name], opponent_axes[name] = 0, None
                if role.learner.num_candidates < self.num_candidates:
                    states[name] = take(states[name], 0)
                    candidate_axes[name] = None
            elif role.carried:
                states[name] = inner[name]
                if role.reset_every:
                    fresh = self._spread(self._fresh(role, role_key))
                    states[name] = select(step % role.reset_every == 0, fresh, inner[name])
                candidate_axes[name], opponent_axes[name] = 0, 0
            else:
                # Every candidate meets the same fresh opponents.
                states[name] = self._fresh(role, role_key)
                candidate_axes[name], opponent_axes[name] = None, 0
        return states, candidate_axes, opponent_axes

    def _fresh(self, role: Role, key: jax.Array) -> TrainingState:
        """A new co-player for each opponent, `[O, ...]`."""
        return jax.vmap(role.agent.init)(jax.random.split(key, self.num_opps))

    def _spread(self, state: TrainingState) -> TrainingState:
        """The same for every candidate, `[C, ...]`."""
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (self.num_candidates, *leaf.shape)), state
        )

    def _metrics(self, trial: Trial, tasks: Task, probed: Metrics) -> Metrics:
        metrics = {}
        rewards = {"train/reward_per_timestep": trial.reward_per_timestep.mean(axis=(0, 1))}
        if tasks.stop is not None:
            episodes = jnp.arange(trial.episode_rewards.shape[-2])
            after = (episodes >= tasks.stop[:, None])[None, ..., None]
            # Undefined (nan) if everybody learns to the end.
            rewards["reward_after_stop"] = trial.episode_rewards.mean((0, 1, 2), where=after)
        for name, by_player in rewards.items():
            for player in range(self.env.num_players):
                metrics[f"{name}/player_{player + 1}"] = by_player[player]
        statistics = jax.tree.map(lambda leaf: leaf.sum(axis=(0, 1)), trial.statistics)
        metrics |= self.env.statistics_metrics(statistics)
        for name, learned in trial.learning_metrics.items():
            metrics |= {f"train/{name}/{key}": value.mean() for key, value in learned.items()}
        for name in probed:
            if name in metrics or name in OWN_METRICS or name.startswith("evaluation/"):
                raise ConfigError(
                    f"a probe reports {name!r}, which is a metric of the run itself: give it another name"
                )
        return metrics | {name: value.mean() for name, value in probed.items()}
