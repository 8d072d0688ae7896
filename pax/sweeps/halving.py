"""Successive halving: all runs train a little, the best of them more, and the best of these to the end."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Sequence

from ml_collections import ConfigDict

from pax.sweeps.folder import SweepRun
from pax.sweeps.one_program import OneProgram
from pax.sweeps.progress import SweepProgress
from pax.sweeps.search import best_of, check_same_length, rungs_of


class Halving(OneProgram):
    """Trains the runs of each rung in one program: see `rungs_of`.

    Which runs go on is decided by what they had reported at the end of the rung, so that the same command
    decides the same, and goes on where it was.

    Args:
        runs: those of the sweep.
        config: what they have in common.
        metric: by which runs are compared.
        ascending: whether the smallest is best.
        factor: of the runs of a rung, 1 / `factor` go on.
        side_by_side: how many train at once.
        say: prints a line.

    Raises:
        ConfigError: if one of them cannot be built, or they are to train for different numbers of iterations.
    """

    def __init__(
        self,
        runs: Sequence[SweepRun],
        config: ConfigDict,
        *,
        metric: str,
        ascending: bool,
        factor: int,
        side_by_side: int = 0,
        say: Callable[[str], None] = print,
    ):
        super().__init__(runs, config, side_by_side=side_by_side, say=say)
        check_same_length("halving", (trainer.num_iters for trainer in self._trainers.values()))
        self._metric, self._ascending, self._factor = metric, ascending, factor

    def work(self) -> signal.Signals | None:
        num_iters = self._trainers[self._runs[0].index].num_iters
        chunk = max(trainer.chunk for trainer in self._trainers.values())
        rungs = rungs_of(len(self._runs), num_iters, chunk, self._factor)
        begun = [0, *(at for at, _ in rungs[:-1])]
        work = sum(num * (at - since) for (at, num), since in zip(rungs, begun, strict=True))
        self._progress = SweepProgress(
            {run.index: run.iteration / num_iters for run in self._runs}, work / num_iters
        )
        playing = list(self._runs)
        try:
            for (at, _), following in itertools.zip_longest(rungs, rungs[1:]):
                self._tell(f"Until iteration {at}: {len(playing)} of {len(self._runs)} runs.")
                left = [run for run in playing if not run.has_reached(at)]
                for run in left:
                    self._trainers[run.index].num_iters = at
                if stopped_by := self._train(left):
                    return stopped_by
                playing = [run for run in playing if run not in self.failed]
                if not playing:
                    break
                if following:
                    playing = best_of(playing, self._metric, self._ascending, at, following[1])
        finally:
            self._progress.clear()
        return None

    def done(self, run: SweepRun) -> None:
        if self._trainers[run.index].is_done:
            self._tell(f"{run.name} is at iteration {self._trainers[run.index].step}")

    def _is_left(self, run: SweepRun) -> bool:
        # A run that has done its rung says that it is done.
        return True
