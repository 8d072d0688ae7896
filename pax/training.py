"""What happens in which order while a trainer trains: a `fit`, from claiming its folder to closing files."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import jax
import numpy as np
from absl import logging

from pax.callbacks.callback_list import CallbackList
from pax.checkpoints.reader import CHECKPOINTS, CheckpointReader
from pax.checkpoints.save_point import SPEED, SavePoint, ending
from pax.checkpoints.warm_start import WarmStart
from pax.checkpoints.writer import Checkpointer
from pax.checks import COUNT_OR_NONE, check_kind, check_number
from pax.envs.environment import Environment
from pax.envs.masks import find_forbidden
from pax.errors import ConfigError
from pax.loop.compiled import CompiledLoop
from pax.loop.xla import show_log_lines
from pax.metrics.history import History
from pax.metrics.seeds import SeedMetrics
from pax.metrics.writers import RunWriter, create_writer, metric_writers
from pax.run import distributed
from pax.run.interrupt import STOP_NAMES
from pax.run.status import StatusReport
from pax.run.work_folder import WorkFolder
from pax.trainer_checks import check_finite
from pax.types import PyTree, RunState

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer

SECONDS_BETWEEN_LOG_LINES = 2.0


class Training:
    """The part of a `MetaTrainer` that trains; it has what is made by the constructor of that.

    Attributes:
        step: iterations done.
        state: everything that was learned; None before the first `fit` or `restore`.
        writer: a CLU metric writer for whatever a callback reports.
        stop_reason: why the last `fit` ended early, or None.
        first_step: iterations that were done when the last `fit` began.
    """

    env: Environment
    env_params: PyTree
    num_iters: int
    num_seeds: int
    seed: int
    chunk: int
    quiet: bool
    callbacks: CallbackList
    checkpointer: Checkpointer | None
    warm_starts: dict[str, WarmStart]
    step: int
    state: RunState | None
    writer: RunWriter
    stop_reason: str | None
    first_step: int
    _compiled: CompiledLoop
    _folder: WorkFolder
    _history: History
    _status: StatusReport
    _saved: SavePoint
    _metrics: SeedMetrics | None
    """Of the last chunk."""
    _asked_to_stop: str | None
    _asked_by: str | None
    _started: float
    _wall_time_before: float

    @property
    def _trainer(self) -> MetaTrainer:
        """What callbacks get."""
        return cast("MetaTrainer", self)

    @property
    def is_interrupted(self) -> bool:
        """Whether a signal has asked the fit to end."""
        return self.stop_reason in STOP_NAMES

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do: the iterations are done, or a callback has ended the run."""
        has_ended_early = self.stop_reason is not None and not self.is_interrupted
        is_over = self.step >= self.num_iters or has_ended_early
        return is_over and not self._saved.postponed

    @property
    def is_over(self) -> bool:
        """Whether no chunk is left to train in this `fit`."""
        return self.step >= self.num_iters or self.stop_reason is not None

    @property
    def next_chunk(self) -> int:
        """Iterations up to the next multiple of the chunk, where an earlier fit may not have ended."""
        return min(self.chunk - self.step % self.chunk, self.num_iters - self.step)

    @property
    def last_metrics(self) -> dict[str, float]:
        """The metrics of the last iteration."""
        if self._metrics is None:
            return {}
        return {name: float(value) for name, value in self._metrics.at(-1).items()}

    @contextlib.contextmanager
    def fitting(self) -> Iterator[None]:
        """Does, before and after what happens within the context, what surrounds the chunks of a `fit`.

        Within it, there is a state, and chunks are trained until `is_over`: see `take_chunk`. It raises what
        `fit` does.
        """
        show_log_lines(self.quiet)
        self.stop_reason = self._asked_to_stop = self._asked_by = None
        self._started, self._wall_time_before = time.monotonic(), self._trainer.wall_time
        self._trainer.check()
        # The last thing to happen is that it says so: by then the last checkpoint is on disk. A signal that
        # comes while the run is closed finds it stopping already.
        with (
            self._trainer.claim(),
            StatusReport(self._trainer) as self._status,
            self._leaving_well(),
        ):
            self._folder.upload_from_now_on()
            self.callbacks.setup(self._trainer)
            resumed_at = self._begin()
            self._agree_to_stop()
            self._open_writer(resumed_at)
            self._status.begin()
            with metric_writers.ensure_flushes(self.writer):
                caught_up = self._start()
                yield
                self._end(caught_up)

    def take_chunk(
        self,
        state: RunState,
        per_seed: Mapping[str, np.ndarray],
        finite: Mapping[str, Any],
        seconds: float,
    ) -> None:
        """Goes on as if it had trained a chunk itself, within `fitting`, and tells callbacks of it.

        It raises what `fit` does.

        Args:
            state: after the chunk.
            per_seed: metrics by name, `[n, S]`, of its n iterations.
            finite: by role, whether its parameters are finite.
            seconds: what it took.
        """
        self._after_chunk(self._trained(state, per_seed, finite, seconds))

    @contextlib.contextmanager
    def sharing(self, compiled: CompiledLoop) -> Iterator[None]:
        """Has something else than its own loop train within the context: see `take_chunk`."""
        own, self._compiled = self._compiled, compiled
        try:
            yield
        finally:
            self._compiled = own
            if self.state is not None:
                self.state = own.place(self.state)

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
        self._folder.check(self.step)
        # A line of metrics must not be lost if the iterations it tells of are not to be repeated.
        self.writer.flush()
        self._saved = self._now()
        self.checkpointer.save(
            self.step,
            self.state,
            callbacks=self.callbacks.state_dict(),
            meta=self._saved.as_json(),
            best_metric=best_metric,
        )
        self._status.saved()
        self.callbacks.on_save(self._trainer, self.step)

    def restore(self, step: int | None = None) -> bool:
        """Takes the state from the newest checkpoint, or that of `step`; False if there is none.

        Raises:
            CheckpointError: if `step` is missing or no checkpoint can be read.
        """
        if step is not None:
            check_number("step", step, COUNT_OR_NONE)
        if self._trainer.workdir is None:
            return False
        self._folder.refresh()
        checkpointer = self.checkpointer or CheckpointReader(self._trainer.workdir / CHECKPOINTS)
        if step is None and checkpointer.latest_step() is None:
            return False
        restored = checkpointer.restore(self._compiled.abstract_state(), step)
        self.state, self.step = restored.state, restored.step
        self._history.go_back(self._trainer.workdir, restored.step)
        self.callbacks.load_state_dict(restored.callbacks)
        self._saved = SavePoint.from_json(restored.meta)
        self._metrics = self._saved.metrics
        self._wall_time_before, self._started = self._saved.wall_time, time.monotonic()
        return True

    @contextlib.contextmanager
    def _leaving_well(self) -> Iterator[None]:
        """Tells callbacks of an error, tears them down and closes the writer, whatever happens within."""
        error: BaseException | None = None
        try:
            yield
        except BaseException as e:
            error = self._folder.explain(e, self.step)
            if jax.process_count() > 1:
                distributed.leave_soon(error)
            self.callbacks.on_exception(self._trainer, error)
            if error is not e:
                raise error from e
            raise
        finally:
            self.callbacks.teardown(self._trainer, error)
            _close(self.writer, error)
            self.writer = RunWriter([self._history])

    def _begin(self) -> int | None:
        """Makes sure that there is a state; returns the step it comes from unless that is the start."""
        if self.state is not None:
            self._saved = dataclasses.replace(self._saved, ended=None)
            return self.step
        if self.checkpointer is not None and self.restore():
            if not self.quiet:
                logging.info("Resuming at iteration %d of %d.", self.step, self.num_iters)
            ended = self._saved.still_ends(self.num_iters, self.callbacks.settings)
            self._asked_to_stop = self._asked_to_stop or ended
            return self.step
        for start in self.warm_starts.values():
            if not self.quiet:
                logging.info("\n".join(start.lines()))
        self.state, self.step = self._compiled.initial_state(), 0
        self._metrics, self._saved = None, SavePoint()
        self._history.clear()
        return None

    def _agree_to_stop(self) -> None:
        """Decides with the other processes whether to stop: each of them may have been asked."""
        self.stop_reason = distributed.agree(self._asked_to_stop)

    def _open_writer(self, resumed_at: int | None) -> None:
        if self._trainer.workdir is not None and self._trainer.is_lead and not self.is_done:
            files = create_writer(
                self._trainer.workdir,
                resume_at=resumed_at,
                num_seeds=self.num_seeds,
                log=not self.quiet,
                min_seconds=SECONDS_BETWEEN_LOG_LINES,
            )
            self.writer = RunWriter([self._history, files])

    def _start(self) -> bool:
        """Tells callbacks that training begins; returns whether a signal had made some wait until now."""
        self.first_step = self.step
        self.callbacks.on_fit_start(self._trainer, self.state)
        self._agree_to_stop()
        names = self._saved.postponed
        if not names or self._metrics is None:
            return False
        self.callbacks.make_up(
            names, self._trainer, self.state, self.step, self._metrics, lambda: self.is_over
        )
        self._agree_to_stop()
        return True

    def _train_chunk(self) -> None:
        """Trains the next chunk."""
        self._after_chunk(self._run_chunk(self.next_chunk))

    def _run_chunk(self, size: int) -> SeedMetrics:
        """Runs `size` iterations; the old state is donated to them."""
        self._compiled.compile(size)
        started = time.monotonic()
        state, self.state = self.state, None
        assert state is not None
        state, on_device = self._compiled.run(state, size)
        per_seed = jax.device_get(on_device)
        seconds = time.monotonic() - started
        return self._trained(state, per_seed, self._compiled.finite(state), seconds)

    def _trained(
        self,
        state: RunState,
        per_seed: Mapping[str, np.ndarray],
        finite: Mapping[str, Any],
        seconds: float,
    ) -> SeedMetrics:
        """Takes the state after a chunk, if all is finite; returns the metrics."""
        size = len(next(iter(per_seed.values())))
        seed = self.seed if self.num_seeds > 1 else None
        check_finite(per_seed, finite, self.step, seed, self._last_good_checkpoint)
        self.state, self.step = state, self.step + size
        steps = self.num_seeds * self._trainer.env_steps_per_iteration * size
        metrics = SeedMetrics(per_seed)
        metrics[SPEED] = np.full(size, steps / seconds)
        done = (
            np.arange(self.step - size + 1, self.step + 1) * self._trainer.env_steps_per_iteration
        )
        self._history.add_chunk(self.step, {"env_steps": done, **per_seed, SPEED: metrics[SPEED]})
        return metrics

    def _after_chunk(self, metrics: SeedMetrics) -> None:
        """Tells callbacks of a chunk."""
        self._metrics = metrics
        self._folder.check(self.step)
        # Before callbacks and after: a signal may reach any process, and a callback of one may ask.
        self._agree_to_stop()
        self.callbacks.on_chunk_end(
            self._trainer, self.state, self.step, self._metrics, lambda: self.is_over
        )
        self._agree_to_stop()

    def _end(self, caught_up: bool) -> None:
        """Tells callbacks that training is over."""
        if self._metrics is not None and (caught_up or self.step > self.first_step):
            # For those that were passed over, should a signal have come after they were asked.
            self.callbacks.on_chunk_end(
                self._trainer, self.state, self.step, self._metrics, lambda: self.is_over
            )
            if self._saved.step == self.step and self._saved != self._now():
                self.callbacks.save_again(self._trainer, self.state, self.step, self._metrics)
            self._saved = dataclasses.replace(self._saved, postponed=self.callbacks.postponed)
        self._folder.check(self.step)
        self.callbacks.on_fit_end(self._trainer, self.state, self.step)

    def _now(self) -> SavePoint:
        """Returns what a checkpoint of this moment says besides the state."""
        ended = None
        if self.stop_reason is not None and not self.is_interrupted:
            by = self._asked_by
            ended = ending(self.stop_reason, self.num_iters, by, self.callbacks.settings(by))
        return SavePoint(
            self.step, self.callbacks.postponed, ended, self._metrics, self._trainer.wall_time
        )

    def _last_good_checkpoint(self) -> str:
        remedy = "lower the learning rate, or look at what the metrics did before"
        remedy = find_forbidden(self.env, self.env_params) or remedy
        if self.checkpointer is None:
            return f"nothing was saved; {remedy}"
        self.checkpointer.wait()
        step = self.checkpointer.latest_step()
        if step is None:
            return f"there is no checkpoint yet; {remedy}"
        return f"the last good checkpoint is that of iteration {step} in {self._trainer.workdir}; {remedy}"


def _close(writer: metric_writers.MetricWriter, error: BaseException | None) -> None:
    """Closes a writer; what fails then hides no error."""
    try:
        writer.close()
    except Exception as e:
        if error is None:
            raise
        logging.warning("The metrics could not be written to the end: %s.", e)
