"""Trains runs that are one program side by side; each of them does all else as if it were alone."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, cast

import jax

from pax.errors import ConfigError
from pax.loop.compiled import CompiledLoop
from pax.loop.loop_of_runs import LoopOfRuns, RunOfMany
from pax.run.interrupt import stop_on_signals
from pax.sweeps.groups import Group
from pax.sweeps.memory import allow_files, make_loops
from pax.trainer import MetaTrainer

MOST_NAMED = 12
"""Runs, or ranges of them, that a line names."""
Surroundings = Callable[[int], contextlib.AbstractContextManager[None]]
"""By the number of a run, what its training happens in, such as the record of its settings."""


class Told(Protocol):
    """Hears how runs get on."""

    def advanced(self, steps: Mapping[int, int]) -> None:
        """Those that train have got to these iterations, by run."""

    def done(self, run: int) -> None:
        """A run is over, as it should be or by a signal."""

    def failed(self, run: int, error: BaseException) -> None:
        """A run has failed."""


@dataclasses.dataclass
class _Running:
    """A run that trains, and what it leaves when it is over."""

    run: int
    trainer: MetaTrainer
    contexts: contextlib.ExitStack


class SideBySide:
    """Trains the runs of a group, as many at a time as its program has places for.

    A run that ends, by `EarlyStop`, a number that is not finite or a callback that fails, leaves the others
    alone, and the next one takes its place. A signal ends all of them after the chunk, saved.

    Args:
        trainers: of the runs.
        loops: the program; its run i is trainer i.
        around: see `Surroundings`.
        told: hears how far they are, and how each ends.
        chosen: which runs are trained; None: all.
    """

    def __init__(
        self,
        trainers: Sequence[MetaTrainer],
        loops: LoopOfRuns,
        around: Surroundings,
        told: Told,
        chosen: Sequence[int] | None = None,
    ):
        self._trainers = trainers
        self._loops = loops
        self._around = around
        self._told = told
        self._chosen = range(len(trainers)) if chosen is None else chosen
        self._running: list[_Running] = []
        self.stopped_by: signal.Signals | None = None

    def train(self) -> signal.Signals | None:
        """Trains them until each is over; returns the signal that ended it early, if one did."""
        waiting = collections.deque(self._chosen)
        try:
            with stop_on_signals(self._stop):
                while self._running or (waiting and not self.stopped_by):
                    while self._has_place and waiting and not self.stopped_by:
                        self._start(waiting.popleft())
                    self._end_those_that_are_over()
                    if self._running:
                        self._advance()
        finally:
            error = sys.exc_info()
            for running in list(self._running):
                # What ended all of them is told, not how each took it.
                with contextlib.suppress(Exception):
                    self._leave(running, *error)
        return self.stopped_by

    @property
    def _has_place(self) -> bool:
        return len(self._running) < self._loops.num_side_by_side

    def _stop(self, number: signal.Signals) -> None:
        self.stopped_by = number
        for running in self._running:
            running.trainer.request_stop(number.name)

    def _start(self, run: int) -> None:
        trainer, contexts = self._trainers[run], contextlib.ExitStack()
        running = _Running(run, trainer, contexts)
        try:
            compiled = cast(CompiledLoop, RunOfMany(self._loops, run))
            contexts.enter_context(self._around(run))
            contexts.enter_context(trainer.sharing(compiled))
            contexts.enter_context(trainer.fitting())
        except Exception as e:
            # Whatever was entered before is left.
            self._running.append(running)
            self._fail(running, e)
            return
        self._running.append(running)
        if self.stopped_by:
            trainer.request_stop(self.stopped_by.name)

    def _advance(self) -> None:
        """Trains a chunk of those that have as much to do until their callbacks come."""
        size = max(running.trainer.next_chunk for running in self._running)
        going = [running for running in self._running if running.trainer.next_chunk == size]
        self._loops.compile(size)
        started = time.monotonic()
        states = []
        for running in going:
            states.append(running.trainer.state)
            running.trainer.state = None
        advanced = self._loops.run([running.run for running in going], cast(Any, states), size)
        seconds = time.monotonic() - started
        for running, (state, metrics, finite) in zip(going, advanced, strict=True):
            try:
                running.trainer.take_chunk(state, metrics, finite, seconds)
            except Exception as e:
                self._fail(running, e)
        self._told.advanced({each.run: each.trainer.step for each in self._running})

    def _end_those_that_are_over(self) -> None:
        for running in [each for each in self._running if each.trainer.is_over]:
            try:
                self._leave(running, None, None, None)
            except Exception as e:
                self._told.failed(running.run, e)
            else:
                self._told.done(running.run)

    def _fail(self, running: _Running, error: Exception) -> None:
        """Has a run leave as its own process would after an error."""
        told: BaseException = error
        try:
            self._leave(running, type(error), error, error.__traceback__)
        except Exception as e:
            told = e
        self._told.failed(running.run, told)

    def _leave(
        self,
        running: _Running,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running.remove(running)
        running.contexts.__exit__(kind, error, traceback)


def train_group(
    trainers: Sequence[MetaTrainer],
    group: Group,
    chosen: Sequence[int],
    *,
    side_by_side: int,
    names: Sequence[str],
    around: Surroundings,
    told: Told,
    say: Callable[[str], None],
) -> signal.Signals | None:
    """Trains runs of a group; returns the signal that ended it early, if one did.

    The program is that of the whole group, so that what is left of it is trained by the same one.

    Args:
        trainers: of all runs that were grouped.
        group: which of them are one program.
        chosen: which runs of the group are trained, by their places in it.
        side_by_side: how many train at once; 0: see `make_loops`.
        names: of those that are trained, for people: numbers, in order.
        around: see `Surroundings`; runs are numbered as in the group.
        told: hears how far they are, and how each ends.
        say: tells how many are one program.

    Raises:
        ConfigError: if there is no room for one run, or several processes train.
    """
    own = [trainers[run] for run in group.runs]
    them = in_short(names)
    if jax.process_count() > 1:
        raise ConfigError(
            f"{jax.process_count()} processes train together, and a sweep in one program has one: "
            "train each run by all of them, one after the other"
        )
    try:
        loops, needed = make_loops(own, group.numbers, side_by_side, them)
    except ConfigError:
        raise
    except Exception as e:
        # What the code of the user cannot be compiled for is no matter of the runs in other programs.
        for run in chosen:
            told.failed(run, e)
        return None
    if len(own) > 1:
        say(
            f"{len(chosen)} of {len(own)} runs that are one program ({them}), {loops.num_side_by_side} at a "
            f"time in {max(needed / 2**20, 0.1):.1f} MiB."
        )
    else:
        say(f"{them} is a program of its own.")
    allow_files(loops.num_side_by_side)
    return SideBySide(own, loops, around, told, chosen).train()


def in_short(names: Sequence[str]) -> str:
    """Returns names that are numbers, with those that follow each other in short: `000 to 003, 008`."""
    parts: list[list[str]] = []
    for name in names:
        if parts and int(name) == int(parts[-1][-1]) + 1:
            parts[-1].append(name)
        else:
            parts.append([name])
    told = [part[0] if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in parts]
    return ", ".join(told if len(told) <= MOST_NAMED else [*told[:MOST_NAMED], "..."])
