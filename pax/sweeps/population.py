"""Population-based training: the worst runs take over what the best have learned, and their settings."""

from __future__ import annotations

import dataclasses
import functools
import math
import signal
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from pax.callbacks.callback import Callback
from pax.callbacks.callback_list import CallbackList
from pax.errors import ConfigError
from pax.loop.loop_of_runs import LoopOfRuns
from pax.loop.numbers import Numbers
from pax.sweeps.exploits import (
    Exploit,
    Move,
    as_they_are,
    draw_settings,
    read_exploits,
    write_exploits,
)
from pax.sweeps.folder import SweepRun
from pax.sweeps.memory import make_loops
from pax.sweeps.one_program import OneProgram, Told
from pax.sweeps.search import SEED, check_same_length, value_at
from pax.sweeps.side_by_side import SideBySide
from pax.sweeps.sweep import Overrides, describe
from pax.trainer import MetaTrainer
from pax.types import RunState

FACTORS = (0.8, 1.2)
"""By one of which each number is multiplied that a run has taken over."""


def choose_moves(
    values: Sequence[float], num: int, ascending: bool, random: np.random.Generator
) -> list[tuple[int, int]]:
    """Returns which runs go on from where which others are: the `num` worst, from one of the `num` best each.

    Args:
        values: of the metric, by run; NaN is worse than any, and is always replaced.
        num: see above.
        ascending: whether the smallest is best.
        random: draws one of the best for each of the worst.

    Returns:
        Pairs of a run and its source, which is better than it.
    """
    sign = 1 if ascending else -1
    order = sorted(
        range(len(values)),
        key=lambda i: (math.isnan(values[i]), sign * np.nan_to_num(values[i]), i),
    )
    best = [i for i in order[:num] if not math.isnan(values[i])]
    lost = [i for i in order if math.isnan(values[i])]
    worst = sorted({*order[len(order) - num :], *lost} - {*best})
    if not best:
        return []
    drawn = [(i, best[random.integers(len(best))]) for i in worst]
    return [(i, source) for i, source in drawn if values[i] != values[source]]


def explore(
    own: Overrides,
    source: Overrides,
    random: np.random.Generator,
    is_allowed: Callable[[Overrides], bool],
) -> Overrides:
    """Returns the settings of a run that takes over another one's, with its own seed.

    Each number that is no whole one is multiplied by .8 or 1.2, drawn at random; by the other one, or by
    neither, where a setting may not have that value.

    Args:
        own: the settings of the run so far.
        source: those that it takes over.
        random: draws the factors.
        is_allowed: whether a run can have some settings.
    """
    settings = {**source, **({SEED: own[SEED]} if SEED in own else {})}
    for key, value in settings.items():
        if not isinstance(value, float):
            continue
        for factor in random.permutation(FACTORS):
            changed = {**settings, key: float(f"{value * factor:.6g}")}
            if is_allowed(changed):
                settings = changed
                break
    return settings


class Population(OneProgram):
    """Trains the runs of a sweep as a population, in one program.

    Every `exploit_every` iterations, the worst runs go on from what one of the best has learned (parameters,
    optimiser, everything but the random keys), with its settings, of which numbers are changed a little:
    population-based training (Jaderberg et al. 2017, arxiv.org/abs/1711.09846) with truncation selection.
    A run that has failed counts as the worst. What happens is written to `population.json`, before it is done
    and after, so that the same command goes on where it was.

    Args:
        runs: those of the sweep: the population, with the settings to begin with.
        config: what they have in common.
        metric: by which runs are compared.
        ascending: whether the smallest is best.
        exploit_every: iterations, a multiple of the chunk; 0: a tenth of the run.
        exploit_fraction: of the runs, which are the worst and the best.
        seed: of what is drawn.
        side_by_side: how many train at once.
        say: prints a line.

    Raises:
        ConfigError: if one of them cannot be built, if there is no multiple of the chunk to stop at, or if
            runs differ in more than numbers.
    """

    def __init__(
        self,
        runs: Sequence[SweepRun],
        config: ConfigDict,
        *,
        metric: str,
        ascending: bool,
        exploit_every: int = 0,
        exploit_fraction: float = 0.25,
        seed: int = 0,
        side_by_side: int = 0,
        say: Callable[[str], None] = print,
    ):
        if len(runs) < 2:
            raise ConfigError(
                f"--search=pbt lets runs take over from each other, and the sweep has {len(runs)}: give it "
                "more"
            )
        self._swept = tuple(dict.fromkeys(key for run in runs for key in run.overrides))
        self._begun = runs
        self._exploits = read_exploits(runs)
        self._begun_moves: tuple[Move, ...] | None = None
        had = [each.iteration for each in self._exploits]
        if self._exploits and not self._exploits[-1].is_done:
            self._begun_moves = self._exploits.pop().moves
        super().__init__(
            as_they_are(runs, self._exploits), config, side_by_side=side_by_side, say=say
        )
        check_same_length("pbt", (trainer.num_iters for trainer in self._trainers.values()))
        self._metric, self._ascending, self._seed = metric, ascending, seed
        self._num = max(1, math.floor(len(runs) * exploit_fraction))
        self._loops: LoopOfRuns | None = None
        first = self._trainers[runs[0].index]
        self._stops = stops_of(first.num_iters, first.chunk, exploit_every)
        if had != self._stops[: len(had)]:
            raise ConfigError(
                f"runs in --workdir={runs[0].folder} took over from each other at iteration {had[0]}: give "
                "the --exploit_every and num_iters of before, or another folder"
            )
        self._check_all_are_there()
        if len(self._groups) > 1:
            names = [
                " ".join(self._runs[place].name for place in each.runs) for each in self._groups
            ]
            raise ConfigError(
                "--search=pbt copies what a run has learned to others, and these differ in more than numbers "
                f"({'; '.join(names)}): let the sweep differ in numbers only, 0 in all of them or in none"
            )

    def _check_all_are_there(self) -> None:
        """Raises ConfigError if a run was not there when others took over, or went on alone."""
        following = self._stops[len(self._exploits)]
        for run in self._runs:
            if run.iteration > following:
                raise ConfigError(
                    f"run {run.name} in --workdir={run.folder} is at iteration {run.iteration}, and "
                    f"the population has not yet trained beyond iteration {following}: a run that went on "
                    "alone cannot take part, so name another folder"
                )
        at = self._exploits[-1].iteration if self._exploits else 0
        playing = [run for run in self._runs if not run.has_ended_early]
        took_over = {move.run: each.iteration for each in self._exploits for move in each.moves}
        # One that failed stays where it was for as long as no other one reports the metric.
        behind = [
            run
            for run in playing
            if run.iteration < took_over.get(run.index, 0) or (at and run.state == "waiting")
        ]
        # Where all have failed, none took over.
        if behind and len(behind) < len(playing):
            run = behind[0]
            raise ConfigError(
                f"run {run.name} in --workdir={run.folder} is at iteration {run.iteration}, "
                f"and others took over from each other at iteration {at}: a run that was deleted or added "
                "since cannot take part, so name another folder"
            )

    @property
    def runs(self) -> list[SweepRun]:
        """The runs, with the settings that they have now."""
        return list(self._runs)

    def work(self) -> signal.Signals | None:
        try:
            for number, at in enumerate(self._stops):
                if number < len(self._exploits):
                    continue
                if self._begun_moves is None and (stopped_by := self._train_until(at)):
                    return stopped_by
                if all(run in self.failed for run in self._runs):
                    # Nobody is left to take over from, and the same command begins this part anew.
                    break
                if at < self._stops[-1]:
                    self._exploit(at)
        finally:
            self._progress.clear()
        draw_settings(self._begun, self._exploits, self._stops[-1])
        return None

    def done(self, run: SweepRun) -> None:
        if self._trainers[run.index].step == self._stops[-1] or run.has_ended_early:
            super().done(run)

    def _is_left(self, run: SweepRun) -> bool:
        # One that is done may be done until the next stop only.
        return True

    def _may_change(self) -> tuple[str, ...]:
        return self._swept

    def _train_until(self, at: int) -> signal.Signals | None:
        """Trains the runs until an iteration; returns the signal that ended it early, if one did."""
        # One that failed waits until it takes over from another one.
        left = [
            place
            for place, run in enumerate(self._runs)
            if not run.has_reached(at) and run not in self.failed
        ]
        if not left:
            return None
        self._tell(f"Until iteration {at}: {len(left)} of {len(self._runs)} runs.")
        trainers = [self._trainers[run.index] for run in self._runs]
        for trainer in trainers:
            trainer.num_iters = at
        parts = [trainer.parts for trainer in trainers]
        numbers = Numbers(parts)
        if self._loops is None or not self._loops.take(parts, numbers):
            self._loops, needed = make_loops(
                trainers, numbers, self._side_by_side, "the population"
            )
            self._tell(
                f"{len(trainers)} runs are one program, {self._loops.num_side_by_side} at a time in "
                f"{max(needed / 2**20, 0.1):.1f} MiB."
            )
        return SideBySide(
            trainers,
            self._loops,
            lambda place: self._recorded(self._runs[place], trainers[place]),
            Told(self, self._runs),
            left,
        ).train()

    def _exploit(self, at: int) -> None:
        """Has the worst runs take over from the best."""
        if self._begun_moves is None:
            # Where a run has failed, nothing but its end tells that, which its new beginning replaces.
            self._begun_moves = self._decide(at)
            write_exploits(self._runs, [*self._exploits, Exploit(at, self._begun_moves, False)])
        for move in self._begun_moves:
            self._take_over(self._runs[move.run], self._runs[move.source], move.overrides, at)
        self._exploits.append(Exploit(at, self._begun_moves))
        self._begun_moves = None
        write_exploits(self._runs, self._exploits)
        self._runs = as_they_are(self._runs, self._exploits[-1:])

    def _decide(self, at: int) -> tuple[Move, ...]:
        """Returns which runs take over from which, and their settings."""
        playing = [run for run in self._runs if not run.has_ended_early]
        values = [
            value_at(run, self._metric, at) if run.has_reached(at) else math.nan for run in playing
        ]
        random = np.random.default_rng([self._seed, at])
        moves = []
        for place, source in choose_moves(values, self._num, self._ascending, random):
            run, other = playing[place], playing[source]
            allows = functools.partial(self._allows, run)
            overrides = explore(run.overrides, other.overrides, random, allows)
            moves.append(Move(run.index, other.index, overrides))
        return tuple(moves)

    def _allows(self, run: SweepRun, overrides: Overrides) -> bool:
        try:
            self._build(dataclasses.replace(run, overrides=overrides))
        except ConfigError:
            return False
        return True

    def _take_over(self, run: SweepRun, source: SweepRun, overrides: Overrides, at: int) -> None:
        """Has a run go on from the place of another one, with some settings, and saves it there."""
        state = self._trainers[source.index].state
        if state is None:
            trainer = self._trainers[source.index]
            trainer.restore()
            state = trainer.state
        assert state is not None
        new = dataclasses.replace(run, overrides=overrides)
        trainer = self._trainers[run.index] = self._build(new)
        trainer.num_iters = at
        callbacks = trainer.callbacks
        trainer.callbacks = CallbackList([_TakeOver(state, at), *callbacks])
        with self._recorded(new, trainer), trainer.fitting():
            pass
        trainer.callbacks = callbacks
        if run in self.failed:
            self.failed.remove(run)
            self._progress.goes_on(run.index, at / self._stops[-1])
        self._tell(f"{run.name} goes on from {source.name}: {describe(overrides)}")


class _TakeOver(Callback):
    """Gives a run, as it begins to train, the state of another one, and saves it with that."""

    def __init__(self, state: RunState, step: int):
        self._state, self._step = state, step

    def on_fit_start(self, trainer: MetaTrainer, state: Any) -> None:
        copy = jax.tree.map(jnp.copy, self._state)
        trainer.state = dataclasses.replace(copy, keys=state.keys)
        # Nothing was trained: a run that failed before has no metrics of this iteration.
        trainer.step = trainer.first_step = self._step
        if trainer.checkpointer is not None:
            trainer.save()


def stops_of(num_iters: int, chunk: int, every: int) -> list[int]:
    """Returns the iterations until which runs train, after all but the last of which they take over.

    Args:
        num_iters: of a run.
        chunk: of it.
        every: a multiple of the chunk; 0: a tenth of the run, rounded up to one.

    Raises:
        ConfigError: if it is none, or no run would take over.
    """
    every = every or math.ceil(num_iters / 10 / chunk) * chunk
    if every % chunk:
        near = max(chunk, every // chunk * chunk)
        raise ConfigError(
            f"--exploit_every is {every}, and a run trains {chunk} iterations at a time (chunk): give a "
            f"multiple of it, such as {near}"
        )
    if every >= num_iters:
        raise ConfigError(
            f"runs take over from each other every {every} iterations, and have {num_iters}: give more "
            "iterations, or a smaller --exploit_every (a multiple of chunk)"
        )
    return [*range(every, num_iters, every), num_iters]
