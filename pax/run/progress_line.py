"""One line on a terminal: how far a program is, and how long the rest will take."""

from __future__ import annotations

import math
import sys
import time

CLEAR = "\r\033[K"
"""Erases the current line of a terminal."""
SECONDS_BETWEEN_LINES = 60.0
"""Where nothing can be drawn anew, such as a file that somebody follows."""


class ProgressLine:
    """Shows progress on stderr: a line that is drawn anew on a terminal, and a line a minute in a file.

    Args:
        unit: what is counted, as in `matches`.
        limit: after how many seconds all ends, whatever is done then; None: never.
    """

    def __init__(self, unit: str, limit: float | None = None):
        self._unit = unit
        self._limit = math.inf if limit is None else limit
        self._started = time.monotonic()
        self._is_shown = False
        self._told = self._started

    def eta(self, done: float, total: float) -> str:
        """Returns `ETA 40 s`, from how long it took to get this far; empty if that is not known yet."""
        if done <= 0:
            return ""
        passed = time.monotonic() - self._started
        left = min(passed / done * (total - done), max(0.0, self._limit - passed))
        return f"ETA {left:.0f} s"

    def count(self, done: int, total: int, what: str = "") -> None:
        """Shows how many are done, and what is being done; takes the line away when all are."""
        if done == total:
            self.clear()
        else:
            self.show(f"{done}/{total} {self._unit}", self.eta(done, total), what)

    def show(self, *parts: str) -> None:
        """Draws the line anew, from those parts that are not empty."""
        line = ", ".join(part for part in parts if part)
        now = time.monotonic()
        if sys.stderr.isatty():
            print(f"{CLEAR}{line} ", end="", file=sys.stderr, flush=True)
            self._is_shown = True
        elif now - self._told >= SECONDS_BETWEEN_LINES:
            print(line, file=sys.stderr, flush=True)
            self._told = now

    def clear(self) -> None:
        """Takes the line away."""
        if self._is_shown:
            print(CLEAR, end="", file=sys.stderr, flush=True)
            self._is_shown = False
