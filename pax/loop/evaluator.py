"""Evaluation: the training loop with everybody's policy frozen, against opponents of choice."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from pax.agents.agent import Agent
from pax.checkpoints.policies import AVERAGE, averaged, deployed
from pax.checks import (
    COUNT,
    check_choice,
    check_instance,
    check_items,
    check_mapping,
    check_number,
)
from pax.envs.environment import Environment
from pax.envs.matrix_game_statistics import StateCounts
from pax.errors import ConfigError
from pax.learners.frozen import Frozen
from pax.loop.counts import Counts
from pax.loop.iteration import Loop
from pax.loop.random_streams import Stream, stream
from pax.loop.xla import compiler_options, undefined_numbers
from pax.player import Player
from pax.roles import Role, check_is_evaluated, check_member, check_roles
from pax.tasks import Sampler, SampleTask, check_are_samplers, check_samplers, compose
from pax.types import PyTree, RunState, Task, TrainingState, take

PROGRAMS: dict[str, tuple[int, ...]] = {"evaluate": (), "play_one": (), "play_trials": (1,)}
"""What an evaluator compiles, by the name of its method; which arguments are no arrays."""
AS_TRAINED = "as_trained"
"""The evaluation of the roles as they are, which a trainer without any other has."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A way to judge the trained roles.

    Raises:
        ConfigError: if a replacement is no role, or a sampler none.
    """

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


class TrialCurves(NamedTuple):
    """What becomes of those who learn within a trial, by its K episodes; over several trials."""

    rewards: np.ndarray
    """Per step, `[K, players]`, the mean."""
    statistics: dict[str, np.ndarray]
    """Those of the game by name, `[K]`, of all trials together; NaN where undefined."""
    cooperation: StateCounts | None
    """Of a matrix game, leaves `[K, players, 2 n + 1]`, the sums: see `count_by_player`."""


class Evaluator:
    """Plays one iteration of the training loop with frozen policies, for every seed.

    Roles that learn across trials, and co-players that live on, play what they have learned so far. Those
    that start afresh in every trial do so here too, and go on learning within it; members of a pool start as
    copies of its deployed policy. Self-play is a way to train: here everybody plays only their own seats.

    Attributes:
        has_averages: whether somebody plays who keeps a moving average of the policy: see `of_averages`.
    """

    def __init__(
        self,
        env: Environment,
        roles: Sequence[Role],
        sample_task: SampleTask,
        replacements: Mapping[str, Role],
        counts: Counts,
    ):
        """Takes the trained roles by name, and who replaces which of them.

        Args:
            env: the game.
            roles: those of training.
            sample_task: draws what a trial is about, see `pax.tasks`.
            replacements: who takes over, by the name of the role that gives up its seats.
            counts: of the run: opponents O, environments E, episodes K.

        Raises:
            ConfigError: if a replaced role does not exist, or its replacement does not fit the game.
        """
        self._env = env
        names = [role.name for role in roles]
        for name, replacement in replacements.items():
            remedy = "a pax.Role, as in Role('agent2', Defect.for_env(env, 1), seats=(1,))"
            check_instance(f"what replaces {name}", replacement, Role, remedy)
            if replacement.warm_start:
                raise ConfigError(
                    f"warm_start is {replacement.warm_start!r} in what replaces {name} in an evaluation, "
                    "where nobody is trained: leave it empty, and give path for a policy to play"
                )
            if name not in names:
                raise ConfigError(
                    f"an evaluation replaces the role {name!r}: this run has {', '.join(names)}"
                )
            check_is_evaluated(next(role for role in roles if role.name == name), roles)
        self._trained = {
            role.name: role
            for role in roles
            if role.name not in replacements and (role.learner or role.carried)
        }
        self._frozen_or_replaced = {*self._trained, *replacements}
        self.has_averages = False
        playing = []
        # Those who begin as the deployed policy of a pool, also where somebody else plays in its place.
        self._copies: dict[str, tuple[Role, Role]] = {}
        for trained in roles:
            role = replacements.get(trained.name, trained)
            if not role.seats:
                continue
            if role.name in self._trained:
                frozen: dict[str, Any] = {
                    "learner": Frozen(1),
                    "learns_in_trial": False,
                    "num_initial_states": 0,
                }
                self.has_averages |= bool(role.ema_decay)
                role = dataclasses.replace(role, **frozen)
            elif role.member_of:
                self._copies[role.name] = role, check_member(role, roles)
                self.has_averages |= bool(self._copies[role.name][1].ema_decay)
                role = dataclasses.replace(role, learner=Frozen(1), member_of="")
            only_trained: dict[str, Any] = {
                "self_play_seats": (),
                "ema_decay": 0.0,
                "warm_start": "",
                "warm_start_parts": "",
            }
            playing.append(dataclasses.replace(role, **only_trained))
        check_roles(playing, env)
        self._loop = Loop(
            env,
            playing,
            lambda *draw: self._without_training(sample_task(*draw)),
            counts,
        )
        # Whether averages play; one program serves for both. Without any, it is not asked.
        self._averages = (jnp.bool_(False),) if self.has_averages else ()

    def of_averages(self) -> Evaluator:
        """Returns the same evaluation, in which those who keep a moving average of their policy play that."""
        other = copy.copy(self)
        other._programs = self._programs
        other._averages = (jnp.bool_(True),)
        return other

    def _without_training(self, task: Task) -> Task:
        """Returns the task without what is only about learners that do not learn here."""
        learning = {
            name: drawn
            for name, drawn in task.hyperparameters.items()
            if name not in self._frozen_or_replaced
        }
        return dataclasses.replace(
            task, self_play=None, taken_over=None, told=None, hyperparameters=learning
        )

    def __call__(self, state: RunState) -> dict[str, np.ndarray]:
        """Returns metrics of the policies in `state`, by name, one number per seed `[S]`."""
        with undefined_numbers():
            metrics = jax.device_get(self._program("evaluate")(state, *self._averages))
        return {name.removeprefix("train/"): values[0] for name, values in metrics.items()}

    def metric_names(self, abstract_state: RunState) -> list[str]:
        """Returns what an evaluation reports; found by tracing, without compiling."""
        metrics = jax.eval_shape(self._evaluate, abstract_state, *self._averages)
        return sorted(name.removeprefix("train/") for name in metrics)

    def record(self, state: RunState) -> Recording:
        """Plays a trial of the first seed; returns the last episode of its first environment."""
        with undefined_numbers():
            return jax.device_get(self._program("play_one")(state, *self._averages))

    def learning_curve(self, state: RunState, num_trials: int) -> np.ndarray:
        """Plays trials of the first seed; returns rewards per step by episode, `[K, players]`, their mean."""
        return self.trial_curves(state, num_trials).rewards

    def trial_curves(self, state: RunState, num_trials: int) -> TrialCurves:
        """Plays trials of the first seed; returns what happened in their episodes."""
        with undefined_numbers():
            curves = self._program("play_trials")(state, num_trials, *self._averages)
            return TrialCurves(*jax.device_get(curves))

    @functools.cached_property
    def _programs(self) -> dict[str, Callable[..., Any]]:
        """Those of `PROGRAMS` that there are so far."""
        return {}

    def _program(self, name: str) -> Callable[..., Any]:
        """Returns one of `PROGRAMS`, compiled when it is called."""
        if name not in self._programs:
            if name == "evaluate":
                logging.info("Compiling an evaluation ...")
            self._programs[name] = jax.jit(
                getattr(self, f"_{name}"),
                static_argnums=PROGRAMS[name],
                compiler_options=compiler_options(),
            )
        return self._programs[name]

    def share(self, programs: Mapping[str, Callable[..., Any]]) -> None:
        """Takes programs of other evaluators that do the same, by the names in `PROGRAMS`."""
        self._programs.update(programs)

    def _evaluate(self, state: RunState, *averages: jax.Array) -> dict[str, jax.Array]:
        return self._loop.run(self._start(state, *averages), 1)[1]

    def _start(self, state: RunState, *averages: jax.Array) -> RunState:
        """Returns the state that the evaluating loop starts from, one candidate per role."""
        # The same random numbers in every evaluation of a run, and others than those of training.
        keys = jax.vmap(lambda key: stream(key, Stream.EVALUATION))(state.keys)
        start = self._loop.init(keys)
        frozen = {name: _policy(role, state, *averages) for name, role in self._trained.items()}
        for name, (role, pool) in self._copies.items():
            fresh = jax.vmap(role.agent.init)(keys)
            frozen[name] = dataclasses.replace(fresh, params=_policy(pool, state, *averages).params)
        # One candidate per role, `[S, 1, ...]`.
        frozen = jax.tree.map(lambda leaf: leaf[:, None], frozen)
        return dataclasses.replace(start, learners=start.learners | frozen)

    def _play_trials(
        self, state: RunState, num_trials: int, *averages: jax.Array
    ) -> tuple[Any, ...]:
        keys, learners, inner = self._first_seed(state, num_trials, *averages)
        trials, _ = jax.vmap(self._loop.single_trial, (0, None, None))(keys, learners, inner)
        sums = jax.tree.map(lambda leaf: leaf.sum(axis=0), trials.episode_statistics)
        statistics = dict(jax.vmap(self._env.statistics_metrics)(sums))
        # By player, [trials, K, T, E].
        assert trials.actions is not None
        counts = jax.vmap(jax.vmap(self._env.cooperation_counts))(trials.actions)
        return (
            trials.episode_rewards.mean(axis=0),
            statistics,
            jax.tree.map(lambda leaf: leaf.sum(axis=0), counts),
        )

    def _play_one(self, state: RunState, *averages: jax.Array) -> Recording:
        keys, learners, inner = self._first_seed(state, 1, *averages)
        # In as many environments as in training: those who learn in the trial may need them all.
        trial, task = self._loop.single_trial(keys[0], learners, inner)
        states, actions = take((trial.env_states, trial.actions), np.s_[-1, :, 0])
        return Recording(states, actions, task.env_params)

    def _first_seed(
        self, state: RunState, num_trials: int, *averages: jax.Array
    ) -> tuple[jax.Array, Any, Any]:
        """Returns keys of single trials `[num_trials]`, learners and carried co-players of the first seed."""
        start = self._start(state, *averages)
        key, learners, inner = take((start.keys, start.learners, start.inner), 0)
        keys = jax.random.split(stream(key, Stream.SINGLE_TRIALS), num_trials)
        return keys, learners, inner


def _policy(role: Role, state: RunState, *averages: jax.Array) -> TrainingState:
    """Returns the policy of a trained role in each seed, `[S, ...]`; its moving average if asked and kept."""
    policy = deployed(role, state)
    if averages and role.ema_decay:
        return jax.tree.map(
            lambda raw, average: jnp.where(averages[0], average, raw), policy, averaged(role, state)
        )
    return policy


class Evaluations:
    """The evaluations of a run by name, and those against opponents of choice.

    Each of them in which somebody plays who keeps a moving average of the policy is there a second time, as
    `<name>_average`, in which all of these play their averages.
    """

    def __init__(
        self,
        env: Environment,
        env_params: PyTree,
        roles: Sequence[Role],
        samplers: Mapping[str, Sampler],
        counts: Counts,
        evaluations: Mapping[str, Evaluation | Mapping[str, Role]],
        trained: Callable[[], RunState],
    ):
        """Checks the evaluations; `samplers` are those of training, and `trained` says what was learned."""
        self._env, self._env_params, self._roles = env, env_params, roles
        self._samplers, self._counts, self._trained = samplers, counts, trained
        self._evaluators = _with_averages(
            {
                name: self._evaluator(evaluation, f"evaluations[{name!r}]")
                for name, evaluation in evaluations.items()
            }
        )

    @property
    def by_name(self) -> dict[str, Evaluator]:
        """The evaluators; that of the roles as they are, `as_trained`, if there is no other."""
        if not self._evaluators:
            as_trained = {AS_TRAINED: self._evaluator({}, "the evaluation")}
            self._evaluators |= _with_averages(as_trained)
        return self._evaluators

    def metric_names(self, name: str, abstract_state: RunState) -> list[str]:
        """Returns the metrics of an evaluation: see `MetaTrainer.evaluation_metric_names`."""
        check_choice("name", name, list(self.by_name))
        names = self.by_name[name].metric_names(abstract_state)
        return names + [f"{key}/std" for key in names if self._counts.num_seeds > 1]

    def evaluate(
        self, opponents: Mapping[str, Agent | Player] | None, names: Sequence[str] | None
    ) -> dict[str, dict[str, Any]]:
        """Returns metrics by evaluation: see `MetaTrainer.evaluate`."""
        evaluators = self.by_name if opponents is None else self._against(opponents)
        if opponents is None and names is not None:
            check_items("names", names, "a list of evaluations")
            for name in names:
                check_choice("one of names", name, evaluators)
            evaluators = {name: evaluators[name] for name in names}
        state = self._trained()
        results = {}
        for name, evaluator in evaluators.items():
            metrics: dict[str, Any] = evaluator(state)
            if self._counts.num_seeds == 1:
                metrics = {key: values.item() for key, values in metrics.items()}
            results[name] = metrics
        return results

    def record(self) -> dict[str, Recording]:
        """Returns an episode by evaluation: see `MetaTrainer.record`."""
        evaluators, state = self.by_name, self._trained()
        return {name: evaluator.record(state) for name, evaluator in evaluators.items()}

    def trial_curves(self, num_trials: int) -> dict[str, TrialCurves]:
        """Returns episodes of trials by evaluation: see `MetaTrainer.trial_curves`."""
        check_number("num_trials", num_trials, COUNT)
        evaluators, state = self.by_name, self._trained()
        return {name: each.trial_curves(state, num_trials) for name, each in evaluators.items()}

    def _against(self, opponents: Mapping[str, Agent | Player]) -> dict[str, Evaluator]:
        check_mapping(
            "opponents", opponents, "a dict of agents by the name of the role they replace"
        )
        seats = {role.name: role.seats for role in self._roles}
        replacements = {
            name: agent.as_role(name, seats.get(name, ()))
            if isinstance(agent, Player)
            else Role(name, agent, seats.get(name, ()))
            for name, agent in opponents.items()
        }
        return _with_averages({"opponents": self._evaluator(replacements, "the evaluation")})

    def _evaluator(self, evaluation: Evaluation | Mapping[str, Role], where: str) -> Evaluator:
        if not isinstance(evaluation, Evaluation):
            evaluation = Evaluation(evaluation)
        own = {f"{where}.samplers[{i}]": each for i, each in enumerate(evaluation.samplers)}
        samplers = {**self._samplers, **own}
        if own:
            check_samplers(samplers, self._env_params, self._env, **self._counts.of_a_trial)
        sample_task = compose(self._env_params, tuple(samplers.values()))
        return Evaluator(self._env, self._roles, sample_task, evaluation.replacements, self._counts)


def _with_averages(evaluators: Mapping[str, Evaluator]) -> dict[str, Evaluator]:
    """Returns the evaluators by name, each followed by that of the averages, `<name>_average`, if it has any.

    Raises:
        ConfigError: if there is an evaluation of that name already.
    """
    all_of_them: dict[str, Evaluator] = {}
    for name, evaluator in evaluators.items():
        all_of_them[name] = evaluator
        if evaluator.has_averages:
            if f"{name}{AVERAGE}" in evaluators:
                raise ConfigError(
                    f"an evaluation is called {name}{AVERAGE}, which is the name of the evaluation {name!r} "
                    "of moving averages, as a role has an ema_decay: give it another name"
                )
            all_of_them[f"{name}{AVERAGE}"] = evaluator.of_averages()
    return all_of_them
