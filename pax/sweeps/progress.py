"""The progress line of a sweep: runs that are done, and the time that the rest will take."""

from __future__ import annotations

from collections.abc import Mapping

from pax.run.progress_line import ProgressLine


class SweepProgress:
    """One line of a sweep, drawn anew on a terminal, and a line a minute elsewhere.

    Args:
        fractions: how much of each run was done before, 0 to 1, by its number.
        work: how much training there is in all, in runs; None: as many as there are.
    """

    def __init__(self, fractions: Mapping[int, float], work: float | None = None):
        self._total = len(fractions)
        self._work = work
        self._line = ProgressLine("runs")
        self._before = dict(fractions)
        self._finished = {run for run, fraction in fractions.items() if fraction >= 1}
        self._failed = 0
        self._running: dict[int, float] = {}

    def done(self, run: int) -> None:
        """Counts a run."""
        self._finished.add(run)
        self._running.pop(run, None)

    def failed(self, run: int) -> None:
        """Counts a run that is given up."""
        self._failed += 1
        self._running.pop(run, None)
        self._before.pop(run)

    def goes_on(self, run: int, fraction: float) -> None:
        """Counts a run that had failed as one that trains on."""
        self._failed -= 1
        self._before[run] = fraction

    def eta(self) -> str:
        """Returns when all are done, from how long it took to get this far; empty if that is not known."""
        now = {
            run: 1.0 if run in self._finished else self._running.get(run, before)
            for run, before in self._before.items()
        }
        before = sum(self._before.values())
        work = len(now) if self._work is None else self._work
        return self._line.eta(sum(now.values()) - before, work - before)

    def __str__(self) -> str:
        """Returns a line such as `3/12 runs done, 1 running, ETA 40 s`."""
        parts = [f"{len(self._finished)}/{self._total} runs done"]
        if self._running:
            parts.append(f"{len(self._running)} running")
        if self._failed:
            parts.append(f"{self._failed} failed")
        eta = self.eta()
        return ", ".join([*parts, eta] if eta else parts)

    def show(self, running: Mapping[int, float]) -> None:
        """Draws the line anew.

        Args:
            running: how much of each run that trains is done, 0 to 1, by its number.
        """
        self._running = dict(running)
        self._line.show(str(self))

    def clear(self) -> None:
        """Takes the line away."""
        self._line.clear()
