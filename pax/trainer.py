"""MetaTrainer: the façade over the compiled loop."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging

from pax import tasks
from pax.agents.agent import Agent
from pax.callbacks.callback import Callback
from pax.callbacks.callback_list import CallbackList
from pax.checkpoints.reader import CheckpointReader
from pax.checkpoints.writer import Checkpointer
from pax.checks import (
    COUNT,
    COUNT_OR_NONE,
    MAX_INT,
    Limit,
    check_choice,
    check_distinct,
    check_instance,
    check_items,
    check_kind,
    check_mapping,
    check_name,
    check_number,
    folder,
)
from pax.envs.environment import Environment
from pax.errors import CheckpointError, ConfigError, OutputError, TrainingError
from pax.interface import check_agent, check_game, check_params
from pax.learners.gradient import Gradient
from pax.loop.compiled import CompiledLoop
from pax.loop.evaluator import Evaluation, Evaluator, Recording, export_policies
from pax.loop.iteration import Loop
from pax.loop.sharding import Placement
from pax.loop.xla import check_jax_settings, show_log_lines
from pax.metrics.seeds import SeedMetrics
from pax.metrics.writers import create_writer, metric_writers
from pax.roles import Role, check_candidates, check_roles
from pax.run import distributed
from pax.run.files import is_full
from pax.run.interrupt import STOP_NAMES, pass_on, stop_on_signals
from pax.run.locks import FileLock, lock_run
from pax.run.status import StatusReport
from pax.types import PyTree, TrainState

CHECKPOINTS = "checkpoints"
POLICIES = "policies"
AS_TRAINED = "as_trained"
"""The evaluation of the roles as they are, which a trainer without any other has."""
SECONDS_BETWEEN_LOG_LINES = 2.0
SPEED = "env_steps_per_second"


class MetaTrainer:
    """Trains the roles of a game, seed by seed side by side, and tells callbacks about it.

    >>> env = IteratedMatrixGame(num_inner_steps=150)
    >>> trainer = MetaTrainer(env, [PPO.for_env(env), TitForTat.for_env(env)], num_iters=200)
    >>> trainer.fit()["train/reward_per_timestep/player_1"]
    -1.0

    Attributes:
        step: iterations done.
        state: everything that was learned; None before the first `fit` or `restore`.
        workdir: the run's folder, or None: then nothing is written.
        writer: a CLU metric writer for whatever a callback reports.
        stop_reason: why the last `fit` ended early, or None.
        first_step: iterations that were done when the last `fit` began.
    """

    def __init__(
        self,
        env: Environment,
        roles: Sequence[Role | Agent],
        *,
        env_params: PyTree = None,
        samplers: Sequence[tasks.Sampler] = (),
        num_envs: int = 100,
        num_opps: int = 1,
        num_outer_steps: int = 1,
        num_iters: int = 1000,
        num_seeds: int = 1,
        seed: int = 0,
        chunk: int = 10,
        num_devices: int | None = None,
        evaluations: Mapping[str, Evaluation | Mapping[str, Role]] | None = None,
        callbacks: Sequence[Callback] = (),
        workdir: str | os.PathLike[str] | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
    ):
        """Checks everything that can be checked before compiling.

        Args:
            env: the game.
            roles: who plays it. A bare agent takes the next seat; if it can learn, it does so by gradient
                after every trial.
            env_params: what is played for; the game's default if None.
            samplers: what is drawn anew for every opponent and trial, see `pax.tasks`.
            num_envs: environments E that an agent plays at once.
            num_opps: sets of opponents O that each candidate meets.
            num_outer_steps: episodes K per trial.
            num_iters: iterations to train for.
            num_seeds: independent runs S, trained in one program; seed i equals a run with `seed + i`.
            seed: of the first run.
            chunk: iterations per compiled call; callbacks run in between.
            num_devices: over how many to spread candidates, else opponents, else seeds; -1: all of them;
                None: as many as there are and one of these can be divided by.
            evaluations: by name, who replaces whom when the trained roles are evaluated.
            callbacks: what happens besides training.
            workdir: the run's folder. If it holds a checkpoint and a `Checkpoint` callback is given, the
                run goes on from there.
            hyperparameters: what the run's reports show as its settings; by default, those above.

        Raises:
            ConfigError: if anything does not fit, in one sentence.
        """
        check_jax_settings()
        sizes = {
            "num_envs": num_envs,
            "num_opps": num_opps,
            "num_outer_steps": num_outer_steps,
            "num_iters": num_iters,
            "num_seeds": num_seeds,
            "chunk": chunk,
        }
        for name, size in sizes.items():
            check_number(name, size, COUNT)
        check_number("seed", seed, Limit(0, MAX_INT - num_seeds, whole=True))
        check_instance("env", env, Environment, "a game, such as IteratedMatrixGame()")
        check_items("roles", roles, "a list of agents and roles")
        remedy = "an agent, such as PPO.for_env(env), or a pax.Role"
        for index, role in enumerate(roles):
            check_instance(f"roles[{index}]", role, (Role, Agent), remedy)
        tasks.check_are_samplers("samplers", samplers)
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
        self.env = env
        self.env_params = env.default_params if env_params is None else env_params
        check_params("env_params", env, self.env_params)
        self.roles = tuple(as_role(role, seat) for seat, role in enumerate(roles))
        check_game(env, self.env_params)
        check_roles(self.roles, env)
        num_candidates = check_candidates(self.roles)
        games = num_seeds * num_candidates * num_opps * num_envs
        if games * env.num_players > MAX_INT:
            raise ConfigError(
                f"num_seeds x candidates x num_opps x num_envs is {num_seeds} x {num_candidates} x "
                f"{num_opps} x {num_envs}, games of more players at once than the {MAX_INT} that a program "
                "can count: give fewer"
            )
        for role in self.roles:
            shapes = role.agent.remembers_trial and num_outer_steps == 1
            if shapes and not any(other.agent.learns_within_episode for other in self.roles):
                raise ConfigError(
                    f"num_outer_steps is 1, and {role.name}, a {type(role.agent).__name__}, remembers whole "
                    "trials: give at least 2 episodes per trial"
                )
            batch = len(role.seats) * num_envs
            if role.learns_in_trial:
                role.agent.check_rollout(env.num_inner_steps, batch)
            if role.learner:
                role.learner.check(
                    num_candidates * num_opps, num_outer_steps, env.num_inner_steps, batch
                )
                others = [other for other in self.roles if other is not role]
                role.learner.check_others(role, others, num_outer_steps)
            _check_role(role, env, batch, num_candidates * num_opps, num_outer_steps)
        self.num_outer_steps = num_outer_steps
        self.num_iters = num_iters
        self.num_seeds = num_seeds
        self.seed = seed
        self.chunk = chunk
        self.workdir = None if workdir is None else folder("workdir", workdir)
        self.callbacks = CallbackList(callbacks)
        self.callbacks.validate(chunk)
        self.hyperparameters = hyperparameters or {
            **sizes,
            "seed": seed,
            **{role.name: role.agent.describe() for role in self.roles},
        }
        self._batch = {
            "num_envs": num_envs,
            "num_opps": num_opps,
            "num_outer_steps": num_outer_steps,
        }
        self._samplers = {f"samplers[{index}]": each for index, each in enumerate(samplers)}
        self._check_samplers(self._samplers)
        learners = [role.learner for role in self.roles if role.learner]
        # A learner that reads rollouts mixes those of all opponents: spreading them would have devices
        # talk to each other at every gradient step, so that is not done unasked; several processes ask.
        mixes = any(learner.reads_rollouts for learner in learners)
        asked = num_devices is not None or jax.process_count() > 1
        self.placement = Placement(
            num_devices,
            candidates=max([learner.num_candidates for learner in learners], default=1),
            opponents=1 if mixes and not asked else num_opps,
            seeds=num_seeds,
        )
        self._loop = Loop(
            env,
            self.roles,
            tasks.compose(self.env_params, tuple(self._samplers.values())),
            placement=self.placement,
            probes=[self.callbacks.probe] if self.callbacks.has_probes else [],
            **self._batch,
        )
        self._evaluators = {
            name: self._evaluator(evaluation, f"evaluations[{name!r}]")
            for name, evaluation in (evaluations or {}).items()
        }
        self._compiled = CompiledLoop(self._loop, self.placement, seed=seed, num_seeds=num_seeds)
        self._wall_time_before = 0.0
        self._started = time.monotonic()
        self.step = 0
        self.state: TrainState | None = None
        self.writer: metric_writers.MetricWriter = metric_writers.MultiWriter([])
        self.checkpointer: Checkpointer | None = None
        self.stop_reason: str | None = None
        self.first_step = 0
        self._asked_to_stop: str | None = None
        self._asked_by: str | None = None
        self._status = StatusReport(self)
        self._lock: FileLock | None = None
        self._is_claimed = False
        # Metrics of the last chunk.
        self._metrics: SeedMetrics | None = None
        # What the newest checkpoint says of its step besides the state.
        self._saved: dict[str, Any] = {}

    @property
    def is_lead(self) -> bool:
        """Whether this process is the one that writes files."""
        return distributed.is_lead()

    @property
    def workdir_is_gone(self) -> bool:
        """Whether the folder that is being written to is no longer where it was."""
        return self._lock is not None and not self._lock.is_in_place()

    @property
    def is_interrupted(self) -> bool:
        """Whether a signal has asked the fit to end."""
        return self.stop_reason in STOP_NAMES

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do: the iterations are done, or a callback has ended the run."""
        has_ended_early = self.stop_reason is not None and not self.is_interrupted
        is_over = self.step >= self.num_iters or has_ended_early
        return is_over and not self._saved.get("postponed")

    @property
    def env_steps_per_iteration(self) -> int:
        """Environment steps that one seed takes in one iteration."""
        return self._loop.env_steps_per_iteration

    @property
    def compiled_loop(self) -> CompiledLoop:
        """Runs iterations without reports and callbacks: for measurements."""
        return self._compiled

    @property
    def compile_seconds(self) -> float:
        """What compiling took so far."""
        return self._compiled.compile_seconds

    def metric_names(self) -> list[str]:
        """Returns the training metrics that a callback gets; found by tracing, without compiling."""
        names = self._compiled.metric_names()
        spreads = [f"{name}/std" for name in names] if self.num_seeds > 1 else []
        return sorted([*names, *spreads, SPEED])

    def evaluation_metric_names(self, name: str) -> list[str]:
        """Returns the metrics of an evaluation, by its name; found by tracing, without compiling."""
        evaluators = self._named_evaluators()
        check_choice("name", name, list(evaluators))
        names = evaluators[name].metric_names(self._compiled.abstract_state())
        return names + [f"{key}/std" for key in names if self.num_seeds > 1]

    @property
    def wall_time(self) -> float:
        """Seconds that this run has taken so far, those before an interruption included."""
        return self._wall_time_before + time.monotonic() - self._started

    def check(self) -> None:
        """Has the callbacks check their settings; nothing is written.

        Raises:
            ConfigError: if a setting of a callback does not fit.
        """
        self.callbacks.check(self)

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """Keeps other processes and trainers from training in `workdir`, made if missing, within the context.

        `fit` does so by itself; a program that writes there before claims it first. Every process of a run
        must do so. There is nothing to claim without a workdir.

        Raises:
            OutputError: if somebody else trains there, or it cannot be written.
        """
        if self.workdir is None or self._is_claimed:
            yield
            return
        workdir = self.workdir

        def take() -> None:
            self._lock = lock_run(workdir)

        distributed.by_lead(take)
        self._is_claimed = True
        try:
            yield
        finally:
            self._is_claimed = False
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def fit(
        self, num_iters: int | None = None, *, pass_on_signals: bool = True
    ) -> dict[str, float]:
        """Trains until `num_iters` iterations are done in all, and returns the metrics of the last one.

        Goes on from `state` if there is one, else from the newest checkpoint in `workdir`, else from
        scratch. SIGINT (Ctrl-C), SIGTERM, SIGHUP and SIGUSR1 end it after the current chunk, as does
        `request_stop`. What was saved when a callback had ended the run stays as it is, unless `num_iters`
        or a setting of that callback has changed.

        Args:
            num_iters: those of the trainer if None.
            pass_on_signals: whether a signal that ended it acts once all is saved, as it would have without
                Pax: Ctrl-C raises KeyboardInterrupt, SIGTERM ends the process, unless the program handles
                it. If False, `stop_reason` tells.

        Raises:
            CallbackError: if a callback fails.
            TrainingError: if a metric of training, or a parameter of a role, is no longer finite.
            OutputError: if `workdir` is in use, gone or full.
            ProcessError: if another process of the run is gone.
        """
        if num_iters is not None:
            check_number("num_iters", num_iters, COUNT_OR_NONE)
            self.num_iters = num_iters
        show_log_lines()
        self.stop_reason = self._asked_to_stop = self._asked_by = None
        self._started, self._wall_time_before = time.monotonic(), self.wall_time
        self.check()
        # The last thing to happen is that it says so: by then the last checkpoint is on disk.
        with self.claim(), StatusReport(self) as self._status:
            metrics = self._set_up_and_fit()
        if pass_on_signals:
            pass_on(self.stop_reason)
        return metrics

    @property
    def evaluations(self) -> tuple[str, ...]:
        """The names of the evaluations that the trainer was made with; `as_trained` if there are none."""
        return tuple(self._named_evaluators())

    def evaluate(
        self, opponents: Mapping[str, Agent] | None = None, names: Sequence[str] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Evaluates the current policies, frozen, for one trial in every environment.

        Args:
            opponents: agents by the name of the role they replace. None: every evaluation the trainer was
                made with, or, if there is none, the roles as they are.
            names: those of the trainer's `evaluations` to run; None for all.

        Returns:
            By evaluation, metrics by name: a float, or a numpy array `[S]` with several seeds.

        Raises:
            ConfigError: if there is no such role, agent or evaluation.
            CheckpointError: if nothing was learned so far.
        """
        if opponents is not None:
            check_mapping(
                "opponents", opponents, "a dict of agents by the name of the role they replace"
            )
            seats = {role.name: role.seats for role in self.roles}
            replacements = {
                name: Role(name, agent, seats.get(name, ())) for name, agent in opponents.items()
            }
            evaluators = {"opponents": self._evaluator(replacements)}
        else:
            evaluators = self._named_evaluators()
            if names is not None:
                check_items("names", names, "a list of evaluations")
                for name in names:
                    check_choice("one of names", name, evaluators)
                evaluators = {name: evaluators[name] for name in names}
        state = self._trained_state()
        results = {}
        for name, evaluator in evaluators.items():
            metrics: dict[str, Any] = evaluator(state)
            if self.num_seeds == 1:
                metrics = {key: values.item() for key, values in metrics.items()}
            results[name] = metrics
        return results

    def record(self) -> dict[str, Recording]:
        """Plays one trial of the first seed, frozen.

        Returns:
            By evaluation, the last episode of the first environment: its states, actions and parameters, see
            `Environment.render` and `Environment.render_episode`.
        """
        evaluators = self._named_evaluators()
        state = self._trained_state()
        return {name: evaluator.record(state) for name, evaluator in evaluators.items()}

    def learning_curves(self, num_trials: int = 8) -> dict[str, np.ndarray]:
        """Plays trials of the first seed, frozen, in every evaluation.

        Args:
            num_trials: each against opponents of its own.

        Returns:
            By evaluation, rewards per step of the episodes of a trial, `[K, players]`, averaged over trials
            and environments: what becomes of those who learn within it.
        """
        check_number("num_trials", num_trials, COUNT)
        evaluators = self._named_evaluators()
        state = self._trained_state()
        return {
            name: evaluator.learning_curve(state, num_trials)
            for name, evaluator in evaluators.items()
        }

    def request_stop(self, reason: str) -> None:
        """Ends training after the current chunk; the first reason given is kept.

        Any process may ask, and all of them stop after the same chunk.
        """
        check_kind("reason", reason, "")
        if self._asked_to_stop is None:
            self._asked_to_stop, self._asked_by = reason, self.callbacks.calling
        if jax.process_count() == 1:
            self.stop_reason = self._asked_to_stop

    def save(self, *, best_metric: float | None = None) -> None:
        """Saves the current state with a `Checkpointer`, which the `Checkpoint` callback provides.

        Raises:
            OutputError: if `workdir` was deleted or moved.
        """
        if self.checkpointer is None:
            raise ConfigError("there is nowhere to save: add the callback pax.callbacks.Checkpoint")
        self._check_folder()
        # A line of metrics must not be lost if the iterations it tells of are not to be repeated.
        self.writer.flush()
        self._saved = {"step": self.step, **self._progress()}
        self.checkpointer.save(
            self.step,
            self.state,
            callbacks=self.callbacks.state_dict(),
            meta={
                "wall_time": self.wall_time,
                "metrics": _as_json(self._metrics, whole=bool(self._saved["postponed"])),
                **self._saved,
            },
            best_metric=best_metric,
        )
        self._status.saved()
        self.callbacks.on_save(self, self.step)

    def restore(self, step: int | None = None) -> bool:
        """Takes the state from the newest checkpoint, or that of `step`; False if there is none.

        Raises:
            CheckpointError: if `step` is missing or no checkpoint can be read.
        """
        if step is not None:
            check_number("step", step, COUNT_OR_NONE)
        if self.workdir is None:
            return False
        checkpointer = self.checkpointer or CheckpointReader(self.workdir / CHECKPOINTS)
        if step is None and checkpointer.latest_step() is None:
            return False
        restored = checkpointer.restore(self._compiled.abstract_state(), step)
        self.state, self.step = restored.state, restored.step
        self.callbacks.load_state_dict(restored.callbacks)
        self._wall_time_before = restored.meta["wall_time"]
        self._started = time.monotonic()
        # Those of older versions lack all but the time.
        self._saved = {"postponed": (), "ended": None, **restored.meta}
        self._metrics = _from_json(restored.meta.get("metrics"))
        return True

    def export_policies(self) -> list[str]:
        """Writes the trained policies to `workdir/policies`; returns the paths.

        Every process must call it; the lead writes.
        """
        if self.workdir is None or self.state is None:
            return []
        state = self.placement.local(self.state)
        if not self.is_lead:
            return []
        directory = self.workdir / POLICIES
        directory.mkdir(exist_ok=True)
        return export_policies(directory, self.roles, state)

    def _named_evaluators(self) -> dict[str, Evaluator]:
        if not self._evaluators:
            self._evaluators[AS_TRAINED] = self._evaluator({})
        return self._evaluators

    def _trained_state(self) -> TrainState:
        """What was learned so far, here or in the newest checkpoint."""
        if self.state is None:
            self.restore()
        if self.state is None:
            raise CheckpointError(
                f"there is nothing to evaluate in {self.workdir}, no checkpoint: train first"
            )
        # Each of several processes evaluates all of it: an evaluation is one iteration, and needs no talk.
        return self.placement.local(self.state)

    def _set_up_and_fit(self) -> dict[str, float]:
        error: BaseException | None = None
        try:
            with stop_on_signals(lambda number: self.request_stop(number.name)):
                self.callbacks.setup(self)
                resumed_at = self._begin()
                self.stop_reason = distributed.agree(self._asked_to_stop)
                if self.workdir is not None and self.is_lead and not self.is_done:
                    self.writer = create_writer(
                        self.workdir, resume_at=resumed_at, min_seconds=SECONDS_BETWEEN_LOG_LINES
                    )
                self._status.begin()
                with metric_writers.ensure_flushes(self.writer):
                    return self._fit()
        except BaseException as e:
            error = self._explain(e)
            if jax.process_count() > 1:
                distributed.leave_soon(error)
            self.callbacks.on_exception(self, error)
            if error is not e:
                raise error from e
            raise
        finally:
            self.callbacks.teardown(self, error)
            _close(self.writer, error)
            self.writer = metric_writers.MultiWriter([])

    def _explain(self, error: BaseException) -> BaseException:
        """The error that says what to do about another one, or that one."""
        if distributed.is_lost(error):
            return distributed.lost(error)
        if self.workdir is not None and not isinstance(error, OutputError):
            if self.workdir_is_gone:
                return self._gone()
            if is_full(error):
                return OutputError(
                    f"there is no room left for workdir {self.workdir} (the disk or a quota is full): make "
                    "room, and the same command goes on from the newest checkpoint"
                )
        return error

    def _gone(self) -> OutputError:
        return OutputError(
            f"workdir {self.workdir} was deleted or moved while this run wrote to it, so training stopped "
            f"at iteration {self.step}: put it back to go on from its newest checkpoint, or start again"
        )

    def _check_folder(self) -> None:
        if self.workdir_is_gone:
            raise self._gone()

    def _begin(self) -> int | None:
        """Makes sure that there is a state; returns the step it comes from unless that is the start."""
        if self.state is not None:
            self._saved["ended"] = None
            return self.step
        if self.checkpointer is not None and self.restore():
            logging.info("Resuming at iteration %d of %d.", self.step, self.num_iters)
            self._asked_to_stop = self._asked_to_stop or self._ended()
            return self.step
        self.state, self.step = self._compiled.initial_state(), 0
        self._metrics, self._saved = None, {}
        return None

    def _progress(self) -> dict[str, Any]:
        """What is to be known of the current step besides the state, as JSON values."""
        ended = None
        if self.stop_reason is not None and not self.is_interrupted:
            ended = {
                "reason": self.stop_reason,
                "num_iters": self.num_iters,
                "by": self._asked_by,
                "settings": self.callbacks.settings(self._asked_by),
            }
        return {"postponed": list(self.callbacks.postponed), "ended": ended}

    def _ended(self) -> str | None:
        """Why the run that was restored had ended early, unless it is asked for more now."""
        ended = self._saved["ended"]
        if ended is None or self.num_iters > ended["num_iters"]:
            return None
        is_same = self.callbacks.settings(ended["by"]) == ended["settings"]
        return ended["reason"] if is_same else None

    def _fit(self) -> dict[str, float]:
        def is_over() -> bool:
            return self.step >= self.num_iters or self.stop_reason is not None

        self.first_step = self.step
        postponed = self._saved.get("postponed")
        self.callbacks.on_fit_start(self, self.state)
        self.stop_reason = distributed.agree(self._asked_to_stop)
        if postponed and self._metrics is not None:
            self.callbacks.make_up(postponed, self, self.state, self.step, self._metrics, is_over)
            self.stop_reason = distributed.agree(self._asked_to_stop)
        while not is_over():
            # Up to a multiple of the chunk, should an earlier fit have ended between two of them.
            size = self.chunk - self.step % self.chunk
            self._metrics = self._run_chunk(min(size, self.num_iters - self.step))
            self._check_folder()
            # Before callbacks and after: a signal may reach any process, and a callback of one may ask.
            self.stop_reason = distributed.agree(self._asked_to_stop)
            self.callbacks.on_chunk_end(self, self.state, self.step, self._metrics, is_over)
            self.stop_reason = distributed.agree(self._asked_to_stop)
        if self._metrics is not None and (postponed or self.step > self.first_step):
            # For those that were passed over, should a signal have come after they were asked.
            self.callbacks.on_chunk_end(self, self.state, self.step, self._metrics, is_over)
            if self._saved.get("step") == self.step and not self._is_saved_as_it_is():
                self.callbacks.save_again(self, self.state, self.step, self._metrics)
            self._saved["postponed"] = list(self.callbacks.postponed)
        self._check_folder()
        self.callbacks.on_fit_end(self, self.state, self.step)
        if self._metrics is None:
            return {}
        return {name: float(value) for name, value in self._metrics.at(-1).items()}

    def _is_saved_as_it_is(self) -> bool:
        return self._progress().items() <= self._saved.items()

    def _run_chunk(self, size: int) -> SeedMetrics:
        """Runs `size` iterations; the old state is donated to them."""
        self._compiled.compile(size)
        started = time.monotonic()
        state, self.state = self.state, None
        assert state is not None
        state, on_device = self._compiled.run(state, size)
        per_seed = jax.device_get(on_device)
        seconds = time.monotonic() - started
        first, last = self.step + 1, self.step + size
        for name, values in per_seed.items():
            if name.startswith("train/") and not np.isfinite(values).all():
                where = np.argwhere(~np.isfinite(values))[0]
                seed = f" with seed {self.seed + where[1]}" if self.num_seeds > 1 else ""
                raise TrainingError(
                    f"{name} is {values[tuple(where)]} in iteration {first + where[0]}{seed}, so training "
                    f"stopped: {self._last_good_checkpoint()}"
                )
        for name, finite in self._compiled.finite(state).items():
            if not finite:
                raise TrainingError(
                    f"parameters of {name} are no longer finite after iteration {last}, though its metrics "
                    f"are, so training stopped: {self._last_good_checkpoint()}"
                )
        self.state, self.step = state, last
        steps = self.num_seeds * self.env_steps_per_iteration * size
        metrics = SeedMetrics(per_seed)
        metrics[SPEED] = np.full(size, steps / seconds)
        return metrics

    def _last_good_checkpoint(self) -> str:
        remedy = "lower the learning rate, or look at what the metrics did before"
        if self.checkpointer is None:
            return f"nothing was saved; {remedy}"
        self.checkpointer.wait()
        step = self.checkpointer.latest_step()
        if step is None:
            return f"there is no checkpoint yet; {remedy}"
        return f"the last good checkpoint is that of iteration {step} in {self.workdir}; {remedy}"

    def _check_samplers(self, samplers: Mapping[str, tasks.Sampler]) -> None:
        sizes = {size: self._batch[size] for size in ("num_envs", "num_outer_steps")}
        tasks.check_samplers(samplers, self.env_params, self.env, **sizes)

    def _evaluator(
        self, evaluation: Evaluation | Mapping[str, Role], where: str = "the evaluation"
    ) -> Evaluator:
        if not isinstance(evaluation, Evaluation):
            evaluation = Evaluation(evaluation)
        own = {f"{where}.samplers[{i}]": each for i, each in enumerate(evaluation.samplers)}
        samplers = {**self._samplers, **own}
        if own:
            self._check_samplers(samplers)
        sample_task = tasks.compose(self.env_params, tuple(samplers.values()))
        return Evaluator(self.env, self.roles, sample_task, evaluation.replacements, **self._batch)


def _close(writer: metric_writers.MetricWriter, error: BaseException | None) -> None:
    """Closes a writer; what fails then hides no error."""
    try:
        writer.close()
    except Exception as e:
        if error is None:
            raise
        logging.warning("The metrics could not be written to the end: %s.", e)


def _as_json(metrics: SeedMetrics | None, *, whole: bool) -> dict[str, Any] | None:
    """Metrics of a chunk, or of its last iteration, as JSON values of the same bits."""
    if metrics is None:
        return None
    first = 0 if whole else -1
    arrays = {**metrics.per_seed, SPEED: metrics[SPEED]}
    return {name: [str(a.dtype), a[first:].tolist()] for name, a in arrays.items()}


def _from_json(metrics: Mapping[str, Any] | None) -> SeedMetrics | None:
    if metrics is None:
        return None
    arrays = {name: np.asarray(values, dtype) for name, (dtype, values) in metrics.items()}
    speed = arrays.pop(SPEED)
    restored = SeedMetrics(arrays)
    restored[SPEED] = speed
    return restored


def as_role(role: Role | Agent, seat: int) -> Role:
    """Returns a role as it is; a bare agent as the role `agent<seat + 1>` on that seat."""
    if isinstance(role, Role):
        return role
    return Role(f"agent{seat + 1}", role, (seat,), Gradient(role) if role.learns else None)


def _check_role(
    role: Role, env: Environment, batch: int, num_opps: int, num_outer_steps: int
) -> None:
    """Raises ConfigError unless its agent keeps to the interface."""
    if type(role.agent).__module__.startswith("pax."):
        return  # Tests have checked it, and tracing what it learns would take a while.
    num_steps = env.num_inner_steps if role.learns_in_trial else None
    if isinstance(role.learner, Gradient):
        num_steps, batch = num_outer_steps * env.num_inner_steps, num_opps * batch
    check_agent(role.agent, num_envs=batch, num_steps=num_steps, auto_resets=env.auto_resets)


def iterations_for(total_timesteps: int, env_steps_per_iteration: int) -> int:
    """Returns the fewest iterations that take at least `total_timesteps` environment steps."""
    return max(1, math.ceil(total_timesteps / env_steps_per_iteration))
