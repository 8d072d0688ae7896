"""The learning curves of a run as a picture in its folder."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from absl import logging

from pax.callbacks.callback import Callback
from pax.errors import TrainingError
from pax.metrics.curves_page import CURVES_FILE, plot_page
from pax.run.files import write_whole

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer

PIXELS_PER_INCH = 100


class Curves(Callback):
    """Draws `curves.png` in the run's folder when training ends: what was reported, rewards first.

    Also of a run that a signal, `EarlyStop` or a metric that is no longer finite has ended. A run that goes
    on gets a new one, of all of it. What goes wrong is told and ends no run.
    """

    # Once everything else is done: it is the first to be missed if there is no time left.
    priority = 110
    strict = False

    def on_fit_end(self, trainer: MetaTrainer, state: Any, step: int) -> None:
        if trainer.workdir is None or not trainer.is_lead:
            return
        if step > trainer.first_step or not (trainer.workdir / CURVES_FILE).exists():
            self._draw(trainer)

    def on_exception(self, trainer: MetaTrainer, error: BaseException) -> None:
        if isinstance(error, TrainingError) and trainer.workdir is not None and trainer.is_lead:
            self._draw(trainer)

    def _draw(self, trainer: MetaTrainer) -> None:
        assert trainer.workdir is not None
        path = trainer.workdir / CURVES_FILE
        try:
            table = trainer.history
            if not len(table["iteration"]):
                return
            figure, picture = plot_page(table, _title(trainer)), io.BytesIO()
            # Quickly rather than small: somebody may be waiting.
            options = {"compress_level": 3}
            figure.savefig(picture, format="png", dpi=PIXELS_PER_INCH, pil_kwargs=options)
            write_whole(path, picture.getvalue())
        except Exception as e:
            logging.warning(
                "The learning curves %s were not drawn (%s: %s).", path, type(e).__name__, e
            )


def _title(trainer: MetaTrainer) -> str:
    assert trainer.workdir is not None
    reason = f", stopped: {trainer.stop_reason}" if trainer.stop_reason else ""
    name = trainer.workdir.absolute().name
    return f"{name}, iteration {trainer.step:,} of {trainer.num_iters:,}{reason}"
