"""Shows how far training is."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from absl import logging
from rich.console import Console
from rich.progress import (
    BarColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from pax.callbacks.callback import Callback
from pax.checks import NOT_NEGATIVE

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer

REWARDS = "train/reward_per_timestep/"


class Progress(Callback):
    """A bar with iteration, ETA, environment steps per second and rewards.

    Compiling is shown apart and does not count for the ETA. The bar is drawn on stderr if that is a terminal,
    and in a notebook as a widget, if the package ipywidgets is installed. Elsewhere a line every few seconds
    says the same.

    Args:
        seconds: between lines where there is no bar.
    """

    priority = 90
    strict = False
    limits: ClassVar = {"seconds": NOT_NEGATIVE}

    def __init__(self, seconds: float = 10.0):
        self.seconds = seconds
        self._bar: Bar | None = None

    def on_fit_start(self, trainer: MetaTrainer, state: Any) -> None:
        size = min(trainer.chunk, trainer.num_iters - trainer.step)
        self._compiling = size > 0 and not trainer.compiled_loop.is_compiled(size)
        self._started = self._last_line = time.monotonic()
        self._first = trainer.step
        if not trainer.is_lead:
            return
        console = find_console()
        if console is None:
            if self._compiling:
                logging.info("Compiling ...")
            return
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            TextColumn("{task.completed}/{task.total} ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}"),
            console=console,
        )
        self._task = self._bar.add_task(
            "compiling" if self._compiling else "training",
            total=trainer.num_iters,
            completed=trainer.step,
            speed="",
        )
        handler = logging.get_absl_handler().python_handler
        self._log_stream = handler.stream
        logs_to_terminal = handler.stream is sys.stderr
        self._bar.start()
        if logs_to_terminal:
            # Log lines go above the bar instead of through it: this is no longer the same stream.
            handler.stream = sys.stderr

    def on_chunk_end(
        self, trainer: MetaTrainer, state: Any, step: int, metrics: Mapping[str, Any]
    ) -> None:
        if not trainer.is_lead:
            return
        now = time.monotonic()
        if self._compiling:
            self._compiling = False
            self._started, self._first = now, step
            if self._bar:
                self._bar.reset(self._task, total=trainer.num_iters, completed=step)
                self._bar.update(self._task, description="training")
        speed = f"{metrics['env_steps_per_second'][-1] / 1e6:.2f} M steps/s"
        rewards = " ".join(
            f"{values[-1]:.3f}"
            for name, values in metrics.items()
            if name.startswith(REWARDS) and not name.endswith("/std")
        )
        if self._bar:
            self._bar.update(self._task, completed=step, speed=f"{speed} reward {rewards}")
        elif now - self._last_line >= self.seconds:
            self._last_line = now
            done, left = step - self._first, trainer.num_iters - step
            # Of the first chunk it is not known how long it took without compiling.
            eta = f"ETA {(now - self._started) / done * left:.0f} s, " if done else ""
            logging.info("iteration %d of %d, %s%s", step, trainer.num_iters, eta, speed)

    def teardown(self, trainer: MetaTrainer) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None
            logging.get_absl_handler().python_handler.stream = self._log_stream


def find_console() -> Console | None:
    """Returns where a bar can be drawn, None if nowhere."""
    # Log lines above the bar are not cut at the width of the terminal.
    if sys.stderr.isatty():
        return Console(file=sys.stderr, soft_wrap=True)
    # Whatever FORCE_COLOR says: in a file, a bar is thousands of control characters.
    notebook = Console(soft_wrap=True)
    # Without that package, rich warns and draws nothing.
    has_widgets = importlib.util.find_spec("ipywidgets") is not None
    return notebook if notebook.is_jupyter and has_widgets else None
