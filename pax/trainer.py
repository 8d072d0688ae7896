"""MetaTrainer: the façade over the compiled loop."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from absl import logging

from pax import tasks
from pax.agents.agent import Agent
from pax.callbacks.callback import Callback
from pax.callbacks.callback_list import CallbackList
from pax.callbacks.defaults import default_callbacks as callbacks_that_lack
from pax.checkpoints.policies import AVERAGE, averaged, deployed, export_policies
from pax.checkpoints.reader import CHECKPOINTS, CheckpointReader
from pax.checkpoints.save_point import SPEED, SavePoint
from pax.checkpoints.warm_start import load_warm_starts
from pax.checkpoints.writer import Checkpointer
from pax.checks import COUNT, COUNT_OR_NONE, Limit, check_choice, check_kind, check_number
from pax.envs.environment import Environment
from pax.errors import CheckpointError, ConfigError
from pax.interface import check_params
from pax.loop.compiled import CompiledLoop
from pax.loop.counts import Counts
from pax.loop.evaluator import Evaluation, Evaluations, Recording, TrialCurves
from pax.loop.iteration import Loop
from pax.loop.kept_programs import KeptPrograms, folder_of_programs
from pax.loop.loop_of_runs import Parts
from pax.loop.program_key import NotKeptError, key_of_run
from pax.loop.sharding import Placement
from pax.loop.xla import check_jax_settings
from pax.metrics.history import History
from pax.metrics.learning_curves import plot_history
from pax.metrics.seeds import SeedMetrics
from pax.metrics.writers import RunWriter
from pax.player import Player
from pax.roles import Role, as_role
from pax.run import distributed
from pax.run.directory import POLICIES
from pax.run.interrupt import pass_on, stop_on_signals
from pax.run.status import StatusReport
from pax.run.work_folder import WorkFolder
from pax.trainer_checks import check_fit, check_kinds
from pax.training import Training
from pax.types import PyTree, RunState, take

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class MetaTrainer(Training):
    """Trains the roles of a game, seed by seed side by side, and tells callbacks about it.

    >>> env = IteratedMatrixGame(num_inner_steps=150)
    >>> trainer = MetaTrainer(env, [PPO.for_env(env), TitForTat.for_env(env)], num_iters=200)
    >>> trainer.fit()["train/reward_per_timestep/player_1"]
    -1.0

    Attributes:
        step: iterations done.
        state: everything that was learned; None before the first `fit` or `restore`.
        writer: a CLU metric writer for whatever a callback reports.
        stop_reason: why the last `fit` ended early, or None.
        first_step: iterations that were done when the last `fit` began.
        warm_starts: what roles take from other policies to begin with, by role that has a `warm_start`.
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
        default_callbacks: bool = True,
        quiet: bool = False,
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
            default_callbacks: whether to add what these lack of `pax.callbacks`: `Progress`, unless `quiet`,
                and, with a `workdir`, `Scalars`, `Checkpoint` and `Curves`.
            quiet: show no progress, and log nothing but warnings.
            workdir: the run's folder; None: nothing is written. If it holds a checkpoint, and there is a
                `Checkpoint` callback, the run goes on from there. A folder on a bucket, such as
                `gs://bucket/run`, is kept as the one on this machine is in which the run works.
            hyperparameters: what the run's reports show as its settings; by default, those above.

        Raises:
            ConfigError: if anything does not fit, in one sentence.
        """
        check_jax_settings()
        self._counts = Counts(num_envs, num_opps, num_outer_steps, num_seeds, chunk, seed)
        check_number("num_iters", num_iters, COUNT)
        check_kinds(env, roles, samplers, num_devices, evaluations, hyperparameters)
        self.env = env
        self.env_params = env.default_params if env_params is None else env_params
        check_params("env_params", env, self.env_params)
        self.roles = tuple(as_role(role, seat) for seat, role in enumerate(roles))
        check_fit(env, self.env_params, self.roles, self._counts)
        self.num_outer_steps = num_outer_steps
        self.num_iters = num_iters
        self.num_seeds = num_seeds
        self.seed = seed
        self.chunk = chunk
        self._folder = WorkFolder(workdir)
        check_kind("quiet", quiet, False)
        check_kind("default_callbacks", default_callbacks, False)
        self.quiet = quiet
        self.callbacks = CallbackList(callbacks)
        if default_callbacks:
            saves = self.workdir is not None
            more = callbacks_that_lack(self.callbacks, chunk, saves=saves, quiet=quiet)
            self.callbacks = CallbackList([*callbacks, *more])
        self.callbacks.validate(chunk)
        self.hyperparameters = hyperparameters or {
            **dataclasses.asdict(self._counts),
            "num_iters": num_iters,
            **{role.name: role.agent.describe() for role in self.roles},
        }
        self._samplers = tuple(samplers)
        by_name = {f"samplers[{index}]": each for index, each in enumerate(samplers)}
        tasks.check_samplers(by_name, self.env_params, env, **self._counts.of_a_trial)
        self.placement = Placement.of(self.roles, num_devices, self._counts)
        self.warm_starts = load_warm_starts(self.roles, num_seeds)
        self._loop = Loop(
            env,
            self.roles,
            tasks.compose(self.env_params, tuple(samplers)),
            self._counts,
            placement=self.placement,
            warm_starts=self.warm_starts,
            probes=[self.callbacks.probe] if self.callbacks.has_probes else [],
        )
        self._compiled = CompiledLoop(self._loop, self.placement, self._counts)
        self._evaluations = Evaluations(
            env,
            self.env_params,
            self.roles,
            by_name,
            self._counts,
            evaluations or {},
            self._trained_state,
        )
        self._wall_time_before = 0.0
        self._started = time.monotonic()
        self.step = 0
        self.state: RunState | None = None
        self._history = History(num_seeds, seed)
        self.writer = RunWriter([self._history])
        self.checkpointer: Checkpointer | None = None
        self.stop_reason: str | None = None
        self.first_step = 0
        self._asked_to_stop: str | None = None
        self._asked_by: str | None = None
        self._status = StatusReport(self)
        # Metrics of the last chunk.
        self._metrics: SeedMetrics | None = None
        self._saved = SavePoint()

    @property
    def is_lead(self) -> bool:
        """Whether this process is the one that writes files."""
        return distributed.is_lead()

    @property
    def workdir(self) -> pathlib.Path | None:
        """The run's folder on this machine, or None: then nothing is written."""
        return self._folder.path

    @workdir.setter
    def workdir(self, path: pathlib.Path | None) -> None:
        self._folder.path = path

    @property
    def url(self) -> str | None:
        """Where the run's folder is on a bucket, or None if it is not on one."""
        return self._folder.url

    @property
    def workdir_is_gone(self) -> bool:
        """Whether the folder that is being written to is no longer where it was."""
        return self._folder.is_gone

    @property
    def env_steps_per_iteration(self) -> int:
        """Environment steps that one seed takes in one iteration."""
        return self._loop.env_steps_per_iteration

    @property
    def compiled_loop(self) -> CompiledLoop:
        """Runs iterations without reports and callbacks: for measurements."""
        return self._compiled

    @property
    def counts(self) -> Counts:
        """How many of everything there are."""
        return self._counts

    @property
    def parts(self) -> Parts:
        """What it compiles: for `pax.sweeps`, which has several trainers share a program."""
        return Parts(self._loop, self._evaluations.by_name)

    @property
    def compile_seconds(self) -> float:
        """What compiling took so far."""
        return self._compiled.compile_seconds

    def keep_programs(self, config_file: pathlib.Path) -> None:
        """Has programs kept on disk for the next run, and taken from there, if they can be told apart.

        Only of a trainer that `build_trainer` has made of a config, by a program that runs nothing else.

        Args:
            config_file: where the config is from.
        """
        folder = folder_of_programs()
        if folder is None or jax.process_count() > 1 or jax.default_backend() != "cpu":
            return
        if self.callbacks.has_probes or self.warm_starts:
            return
        learners = [role.learner for role in self.roles if role.learner]
        agents = [role.agent for role in self.roles]
        objects = [self.env, *agents, *learners, *self._samplers]
        devices = list(self.placement.mesh.devices.flat)
        try:
            key = key_of_run(
                self.hyperparameters, config_file, objects, devices, self.callbacks.are_of_pax
            )
        except (NotKeptError, OSError) as e:
            logging.vlog(1, "Compiled programs are not kept: %s", e)
            return
        self._compiled.kept = KeptPrograms(folder, key)

    def metric_names(self) -> list[str]:
        """Returns the training metrics that a callback gets; found by tracing, without compiling."""
        names = self._compiled.metric_names()
        spreads = [f"{name}/std" for name in names] if self.num_seeds > 1 else []
        return sorted([*names, *spreads, SPEED])

    def evaluation_metric_names(self, name: str) -> list[str]:
        """Returns the metrics of an evaluation, by its name; found by tracing, without compiling."""
        return self._evaluations.metric_names(name, self._compiled.abstract_state())

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
        with self._folder.claim(has_begun=self.state is not None):
            yield

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
        received: str | None = None

        def stop(number: signal.Signals) -> None:
            nonlocal received
            received = number.name
            self.request_stop(received)

        try:
            with stop_on_signals(stop), self.fitting():
                while not self.is_over:
                    self._train_chunk()
        except Exception as e:
            if pass_on_signals and received:
                # Who would go on after the error is asked to end all the same.
                logging.error("%s came, and the run failed: %s", received, e)
                pass_on(received)
            raise
        if pass_on_signals:
            pass_on(self.stop_reason)
        return self.last_metrics

    @property
    def evaluations(self) -> tuple[str, ...]:
        """The names of the evaluations that the trainer was made with; `as_trained` if there are none.

        Where a role keeps a moving average of its policy (`ema_decay`), each is followed by `<name>_average`.
        """
        return tuple(self._evaluations.by_name)

    @property
    def history(self) -> dict[str, np.ndarray]:
        """Everything reported so far: a table of columns by name, with a row per iteration and seed.

        `pandas.DataFrame(trainer.history)` takes it. Beside `iteration` and `seed` there are the metrics of
        training, of every iteration of this process, evaluations, and what callbacks have written; what is
        undefined, or was not reported then, is NaN. A run that went on in its folder begins with what
        `metrics.jsonl` and `metrics_seeds.jsonl` have of the iterations before. Of very long runs every
        second iteration is dropped, again and again (`pax.metrics.history.MAX_VALUES`).
        """
        if self.state is None and self.workdir is not None and self._history.is_empty:
            self._folder.refresh()
            step = CheckpointReader(self.workdir / CHECKPOINTS).latest_step()
            if step is not None:
                self._history.go_back(self.workdir, step)
        return self._history.table()

    def plot(self, metrics: str | Sequence[str] | None = None) -> Figure:
        """Plots learning curves: lines are estimates over the seeds, bands their 95 % intervals.

        Up to five seeds these are means with Student's t, from six on inter-quartile means with the
        bootstrap: see `pax.metrics.bootstrap.estimate_over_seeds`.

        Args:
            metrics: names of metrics in `history`, or of groups, as `train/agent1`; None: all rewards.

        Returns:
            A matplotlib figure, which a notebook shows, and `savefig` writes.

        Raises:
            ConfigError: if nothing was reported so far, or no such metric.
        """
        return plot_history(self.history, metrics)

    def agent(self, name: str | None = None, seed: int | None = None) -> Player:
        """Returns a trained role as it is now, frozen, to act step by step.

        Args:
            name: of the role, or, as in names of policies, `<role>_average` of one with `ema_decay` for its
                moving average; None for the only role that is trained.
            seed: which of several seeds, counted from 0 as in names of policies; None for the first.

        Raises:
            ConfigError: if there is no such role or seed.
            CheckpointError: if nothing was learned so far.
        """
        trained = [role for role in self.roles if role.learner or role.carried]
        names = [role.name for role in trained]
        if name is None and len(trained) != 1:
            raise ConfigError(
                f"name is None, and {len(trained)} roles are trained: give one of {names}"
            )
        averages = {f"{role.name}{AVERAGE}": role for role in trained if role.ema_decay}
        by_name = {**dict(zip(names, trained, strict=True)), **averages}
        name = names[0] if name is None else name
        check_choice("name", name, by_name)
        role, of_role = by_name[name], averaged if name in averages else deployed
        index = 0 if seed is None else seed
        check_number("seed", index, Limit(0, self.num_seeds - 1, whole=True))
        policy = take(of_role(role, self._trained_state()), index)
        return Player(role.agent, jax.device_get(policy), name=name)

    def evaluate(
        self,
        opponents: Mapping[str, Agent | Player] | None = None,
        names: Sequence[str] | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Evaluates the current policies, frozen, for one trial in every environment.

        Args:
            opponents: agents, or what `pax.load_agent` returns, by the name of the role they replace. None:
                every evaluation the trainer was made with, or, if there is none, the roles as they are.
            names: those of the trainer's `evaluations` to run; None for all.

        Returns:
            By evaluation, metrics by name: a float, or a numpy array `[S]` with several seeds.

        Raises:
            ConfigError: if there is no such role, agent or evaluation.
            CheckpointError: if nothing was learned so far.
        """
        return self._evaluations.evaluate(opponents, names)

    def record(self) -> dict[str, Recording]:
        """Plays one trial of the first seed, frozen.

        Returns:
            By evaluation, the last episode of the first environment: its states, actions and parameters, see
            `Environment.render` and `Environment.render_episode`.
        """
        return self._evaluations.record()

    def learning_curves(self, num_trials: int = 8) -> dict[str, np.ndarray]:
        """Plays trials of the first seed, frozen, in every evaluation.

        Args:
            num_trials: each against opponents of its own.

        Returns:
            By evaluation, rewards per step of the episodes of a trial, `[K, players]`, averaged over trials
            and environments: what becomes of those who learn within it.
        """
        return {name: curves.rewards for name, curves in self.trial_curves(num_trials).items()}

    def trial_curves(self, num_trials: int = 8) -> dict[str, TrialCurves]:
        """Plays trials of the first seed as `learning_curves` does; returns more of what happened in them.

        Args:
            num_trials: each against opponents of its own.

        Returns:
            By evaluation, of the episodes of a trial, the rewards, the statistics of the game by name, and
            in matrix games how often each player cooperated after what.
        """
        return self._evaluations.trial_curves(num_trials)

    def export_policies(self, folder: str = "") -> list[str]:
        """Writes the trained policies to `workdir/policies`, or a folder in there; returns the paths.

        Every process must call it; the lead writes.
        """
        if self.workdir is None or self.state is None:
            return []
        if self._folder.is_read_only:
            with self.claim():
                self._folder.upload_from_now_on()
                return self.export_policies(folder)
        state = self.placement.local(self.state)
        if not self.is_lead:
            return []
        directory = self.workdir / POLICIES / folder
        directory.mkdir(exist_ok=True, parents=True)
        paths = export_policies(directory, self.roles, state)
        self.callbacks.on_export(self, self.step, paths)
        return paths

    def _trained_state(self) -> RunState:
        """Returns what was learned so far, here or in the newest checkpoint."""
        if self.state is None:
            self.restore()
        if self.state is None:
            where = "" if self.workdir is None else f", and no checkpoint in {self.workdir}"
            raise CheckpointError(f"nothing was learned yet{where}: call fit() first")
        # Each of several processes evaluates all of it: an evaluation is one iteration, and needs no talk.
        return self.placement.local(self.state)
