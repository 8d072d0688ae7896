"""Shows how far training is."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pax.callback import Callback
from pax.trainer import MetaTrainer


class Progress(Callback):
    """A bar with iteration, ETA, environment steps per second and rewards; compiling is shown apart.

    Where the output is no terminal, a line every few seconds says the same.

    Args:
        seconds: between lines where there is no terminal.
    """

    priority = 90
    strict = False

    def __init__(self, seconds: float = 5.0):
        self.seconds = seconds
        self._console = Console(stderr=True)
        self._bar: Bar | None = None

    def setup(self, trainer: MetaTrainer) -> None:
        self._console = Console(file=sys.stderr)
        self._compiling = True
        self._last_line = 0.0

    def on_fit_start(self, trainer: MetaTrainer, state: Any) -> None:
        self._started, self._first = time.monotonic(), trainer.step
        self._say(f"Compiling {trainer.chunk} iterations as one program ...")
        if not trainer.is_lead or not self._console.is_terminal:
            return
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[rewards]}"),
            console=self._console,
            transient=False,
        )
        self._task = self._bar.add_task(
            "compiling", total=trainer.num_iters, completed=trainer.step, speed="", rewards=""
        )
        self._bar.start()

    def on_chunk_end(
        self, trainer: MetaTrainer, state: Any, step: int, metrics: Mapping[str, Any]
    ) -> None:
        now = time.monotonic()
        if self._compiling:
            self._compiling = False
            # The ETA shall not count what happens only once.
            self._started, self._first = now, step
            if self._bar:
                self._bar.reset(self._task, total=trainer.num_iters, completed=step)
                self._bar.update(self._task, description="training")
            self._say(f"Compiled in {trainer.compile_seconds:.1f} s.")
        speed = f"{metrics['env_steps_per_second'][-1] / 1e6:.2f} M env steps/s"
        prefix = "train/reward_per_timestep/"
        rewards = " ".join(
            f"{name.removeprefix(prefix)} {values[-1]:.3f}"
            for name, values in metrics.items()
            if name.startswith(prefix) and not name.endswith("/std")
        )
        if self._bar:
            self._bar.update(self._task, completed=step, speed=speed, rewards=rewards)
        elif now - self._last_line >= self.seconds or step >= trainer.num_iters:
            self._last_line = now
            done = step - self._first
            eta = (now - self._started) / done * (trainer.num_iters - step) if done else None
            remaining = f"ETA {eta:.0f} s" if eta is not None else "ETA ?"
            self._say(
                f"iteration {step}/{trainer.num_iters} | {remaining} | {speed} | reward per step: {rewards}"
            )

    def teardown(self, trainer: MetaTrainer) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _say(self, line: str) -> None:
        if self._bar:
            self._bar.console.print(line, highlight=False)
        else:
            self._console.print(line, highlight=False, soft_wrap=True)
