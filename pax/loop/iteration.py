"""The compiled computation: iterations of trials, and one update of the roles that learn across them.

Batch axes, outermost first: seeds S, candidates C, opponents O, environments E. The first three are `vmap`s
of code that is written for one trial; environments are a plain axis that agents see.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from pax.checkpoints.warm_start import WarmStart, replace_params
from pax.envs.common import per_player
from pax.envs.environment import Environment
from pax.errors import ConfigError
from pax.learners.learner import Experience
from pax.loop.averages import first_averages, update_averages
from pax.loop.counts import Counts
from pax.loop.random_streams import Stream, stream
from pax.loop.rollout import select
from pax.loop.sharding import Placement
from pax.loop.trial import TrialRunner, given_up_seats
from pax.roles import Role
from pax.tasks import SampleTask, check_task
from pax.types import LineUp, Metrics, PyTree, RunState, Task, TrainingState, Trial, take

Probe = Callable[[Trial], Mapping[str, jax.Array]]
"""`probe(trial)` looks inside one trial, within the compiled step; its scalars join the metrics."""


Axes = int | None | dict[str, int | None]
"""0: the argument has the axis in front; None: it has not; a dict says so for each of its entries."""

OWN_METRICS = ("iteration", "env_steps", "wall_time", "env_steps_per_second")
"""What every row of metrics has besides those of an iteration."""


class Loop:
    """Iterations as one nested scan, whoever learns in whatever way.

    In an iteration every learner proposes candidates, all of them play a trial against each of O sets of
    opponents, and every learner improves by what came of it. All methods are pure.

    Attributes:
        num_candidates: C, that of the learner with the most.
        env_steps_per_iteration: environment steps that one seed takes in one iteration, C O E K T.
    """

    def __init__(
        self,
        env: Environment,
        roles: Sequence[Role],
        sample_task: SampleTask,
        counts: Counts,
        *,
        probes: Sequence[Probe] = (),
        placement: Placement | None = None,
        warm_starts: Mapping[str, WarmStart] | None = None,
    ):
        """Takes what is played, who plays, and how much of everything there is.

        Args:
            env: the game, of T steps per episode.
            roles: who sits on which seat, and how they learn.
            sample_task: draws what a trial is about, see `pax.tasks`.
            counts: opponents O, environments E and episodes K.
            probes: what looks inside every trial; their scalars join the metrics.
            placement: which axis is spread over devices; None: everything is where its arguments are.
            warm_starts: what roles begin with, by name: see `load_warm_starts`.

        Raises:
            ConfigError: if what `sample_task` draws does not fit the roles or the game.
        """
        self.env = env
        self.roles = tuple(roles)
        self.sample_task = sample_task
        check_task(sample_task, self.roles, env)
        self.num_opps = counts.num_opps
        self.probes = tuple(probes)
        self.placement = placement
        self.warm_starts = dict(warm_starts or {})
        self.runner = TrialRunner(env, self.roles, counts)
        self.num_candidates = max(
            [role.learner.num_candidates for role in self.roles if role.learner], default=1
        )
        trials = self.num_candidates * counts.num_opps * counts.num_envs
        self.env_steps_per_iteration = trials * counts.num_outer_steps * env.num_inner_steps

    def init(self, keys: jax.Array) -> RunState:
        """Returns the state before the first iteration, from one key per seed `[S]`."""
        starts = {name: start.params for name, start in self.warm_starts.items()}
        of_seeds = {
            name: 0 if start.is_per_seed else None for name, start in self.warm_starts.items()
        }

        def init_seed(key: jax.Array, starts: Mapping[str, Mapping[str, Any]]) -> Any:
            learners, inner = {}, {}
            for index, role in enumerate(self.roles):
                role_key = jax.random.fold_in(stream(key, Stream.INITIAL_STATE), index)
                if role.name in starts:
                    assert role.learner is not None
                    take_over = functools.partial(replace_params, by_name=starts[role.name])
                    learners[role.name] = role.learner.starting_with(take_over).init(role_key)
                elif role.learner:
                    learners[role.name] = role.learner.init(role_key)
                elif role.carried:
                    inner[role.name] = self._for_each_candidate(self._fresh(role, role_key))
            return learners, inner

        learners, inner = jax.vmap(init_seed, in_axes=(0, of_seeds))(keys, starts)
        averages = first_averages(self.roles, learners)
        return RunState(jnp.int32(0), keys, learners, inner, averages)

    def without_placement(self) -> Loop:
        """Returns the same loop, for where something else says what is on which device."""
        loop = copy.copy(self)
        loop.placement = None
        return loop

    def run(self, state: RunState, num_iters: int) -> tuple[RunState, Metrics]:
        """Runs `num_iters` iterations of all seeds; metrics are `[num_iters, S]`."""

        def body(state: RunState, _: None) -> tuple[RunState, Metrics]:
            per_seed = over(self._iteration, len(state.keys), in_axes=(None, 0, 0, 0))
            learners, inner, metrics = per_seed(state.step, state.keys, state.learners, state.inner)
            step = state.step + 1
            averages = update_averages(self.roles, state.averages, learners, step)
            return RunState(step, state.keys, learners, inner, averages), metrics

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
        line_up, learners = self._line_up(step, role_key, learners, inner)
        if self.placement:
            tasks, trial_keys = self.placement.spread("opponents", (tasks, trial_keys))
            line_up = self._spread_over_devices(line_up)

        # Keys and tasks are not mapped over candidates: all of them meet the same random numbers.
        trials = over(self._play, self.num_opps, in_axes=(0, line_up.opponent_axes, 0))
        trials = jax.vmap(
            trials, in_axes=(None, line_up.candidate_axes, None), axis_size=self.num_candidates
        )
        trial, inner, probed = trials(trial_keys, line_up.states, tasks)

        metrics = self._metrics(trial, tasks, probed)
        for index, role in enumerate(self.roles):
            if role.learner:
                experience = Experience(
                    role=role.name,
                    key=jax.random.fold_in(update_key, index),
                    trial=trial,
                    tasks=tasks,
                    line_up=line_up,
                    agents={role.name: role.agent for role in self.roles},
                    play=lambda *args: self.runner.play(*args)[0],
                    learns_in_self_play=any(
                        other.learns_in_trial and not given_up_seats(other, self.roles)
                        for other in self.roles
                    ),
                )
                learners[role.name], learned = role.learner.update(learners[role.name], experience)
                metrics |= {self._metric_name(role, key): value for key, value in learned.items()}
        return learners, inner, metrics

    def _play(
        self, key: jax.Array, states: dict[str, TrainingState], task: Task
    ) -> tuple[Trial, dict[str, TrainingState], Metrics]:
        """Plays a trial; returns it, the states of those that live on, and what the probes report."""
        trial, states = self.runner.play(key, states, task)
        probed: Metrics = {}
        for probe in self.probes:
            probed |= probe(trial)
        return trial, {role.name: states[role.name] for role in self.roles if role.carried}, probed

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
        line_up, _ = self._line_up(step, role_key, learners, inner)
        return self.runner.play(trial_key, line_up.first(), task)[0], task

    def _metric_name(self, role: Role, key: str) -> str:
        """Returns `train/<role>/<key>`; for the fitness of the only role that has one, `train/<key>`."""
        judged = [r for r in self.roles if r.learner and r.learner.num_candidates > 1]
        if key.startswith("fitness/") and judged == [role]:
            return f"train/{key}"
        return f"train/{role.name}/{key}"

    def _line_up(
        self,
        step: jax.Array,
        key: jax.Array,
        learners: Mapping[str, PyTree],
        inner: Mapping[str, TrainingState],
    ) -> tuple[LineUp, dict[str, PyTree]]:
        """Returns who plays in this iteration, and the learners' states after they have proposed it."""
        states: dict[str, TrainingState] = {}
        learners = dict(learners)
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
            elif role.member_of:
                candidate_axes[name], opponent_axes[name] = 0, 0
            elif role.carried:
                states[name] = inner[name]
                if role.reset_every:
                    fresh = self._for_each_candidate(self._fresh(role, role_key))
                    states[name] = select(step % role.reset_every == 0, fresh, inner[name])
                candidate_axes[name], opponent_axes[name] = 0, 0
            else:
                # Every candidate meets the same fresh opponents.
                states[name] = self._fresh(role, role_key)
                candidate_axes[name], opponent_axes[name] = None, 0
        for index, role in enumerate(self.roles):
            if role.member_of:
                role_key = jax.random.fold_in(key, index)
                states[role.name] = self._members(role, role_key, states[role.member_of].params)
        return LineUp(states, candidate_axes, opponent_axes), learners

    def _spread_over_devices(self, line_up: LineUp) -> LineUp:
        """Returns the states where the placement has them: a state without an axis stays where it is."""
        assert self.placement is not None
        states = dict(line_up.states)
        for name, state in states.items():
            if line_up.candidate_axes[name] == 0:
                states[name] = self.placement.spread("candidates", state)
            elif line_up.opponent_axes[name] == 0:
                states[name] = self.placement.spread("opponents", state)
        return dataclasses.replace(line_up, states=states)

    def _fresh(self, role: Role, key: jax.Array) -> TrainingState:
        """Returns a new co-player for each opponent, `[O, ...]`."""
        keys = jax.random.split(key, self.num_opps)
        if role.num_initial_states:
            # An evaluation leaves out who has no seat, and the others begin as in training.
            index = [each.name for each in self.roles if each.seats].index(role.name)
            few = jax.random.split(jax.random.key(index), role.num_initial_states)
            keys = few[jax.random.randint(key, (self.num_opps,), 0, role.num_initial_states)]
        return jax.vmap(role.agent.init)(keys)

    def _members(self, role: Role, key: jax.Array, pool: PyTree) -> TrainingState:
        """Returns, for each candidate and opponent, a co-player with the parameters of another candidate.

        Args:
            role: the co-player.
            key: of this iteration.
            pool: parameters of the candidates, `[C, ...]`.
        """
        fresh_key, key = jax.random.split(key)
        further = jax.random.randint(key, (self.num_opps,), 1, self.num_candidates)
        others = (jnp.arange(self.num_candidates)[:, None] + further) % self.num_candidates
        fresh = self._for_each_candidate(self._fresh(role, fresh_key))
        return dataclasses.replace(fresh, params=take(pool, others))

    def _for_each_candidate(self, state: TrainingState) -> TrainingState:
        """Returns the same for every candidate, `[C, ...]`."""
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (self.num_candidates, *leaf.shape)), state
        )

    def _metrics(self, trial: Trial, tasks: Task, probed: Metrics) -> Metrics:
        """Returns the scalars of an iteration by name: means over candidates and opponents `[C, O]`."""
        metrics: Metrics = {}
        rewards = {"train/reward_per_timestep": trial.reward_per_timestep.mean(axis=(0, 1))}
        if tasks.stop is not None:
            episodes = jnp.arange(trial.episode_rewards.shape[-2])
            after = (episodes >= tasks.stop[:, None])[None, ..., None]
            # Undefined (nan) if everybody learns to the end.
            rewards["reward_after_stop"] = trial.episode_rewards.mean((0, 1, 2), where=after)
        if tasks.self_play is not None:
            self_play = tasks.self_play
            if tasks.taken_over is not None:
                seats = [seat for role in self.roles for seat in role.self_play_seats]
                self_play &= tasks.taken_over[:, jnp.array(seats)].any(axis=-1)
            kinds = {"in_self_play": self_play, "against_others": ~self_play}
            for name, kind in kinds.items():
                # Undefined (nan) if there was no such trial.
                own = trial.reward_per_timestep.mean((0, 1), where=kind[None, :, None])
                rewards[f"reward_{name}"] = own
        for name, by_player in rewards.items():
            metrics |= per_player(name, by_player)
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


def over(
    function: Callable[..., PyTree], size: int, in_axes: Sequence[Axes]
) -> Callable[..., PyTree]:
    """Maps `function` over an axis of `size` entries, which every leaf of its result then has in front.

    With one entry it is taken out and the axis put back: each `vmap` around a scan has JAX go through all
    of its body twice, which is most of the time of tracing. The result is the same up to rounding.
    """
    if size > 1:
        return jax.vmap(function, tuple(in_axes), axis_size=size)

    def of_the_only_entry(*arguments: PyTree) -> PyTree:
        entries = [
            _first(argument, axes) for argument, axes in zip(arguments, in_axes, strict=True)
        ]
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], function(*entries))

    return of_the_only_entry


def _first(tree: PyTree, axes: Axes) -> Any:
    if isinstance(axes, dict):
        return {name: _first(entry, axes[name]) for name, entry in tree.items()}
    return tree if axes is None else take(tree, 0)
