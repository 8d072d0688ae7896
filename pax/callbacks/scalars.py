"""Writes the metrics of training, and once what was run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pax.callbacks.callback import Callback
from pax.metrics.seeds import SeedMetrics

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer

REPORTED = ("iteration", "env_steps", "wall_time")
"""What a report has beside the metrics of the trainer."""


class Scalars(Callback):
    """Reports the metrics of an iteration through `trainer.writer`.

    With several seeds, means and deviations over them are reported, and beside these what each seed did.
    Beside the metrics, each report has `env_steps` (those of one seed so far), `env_steps_per_second` (of all
    seeds, while the chunk ran) and `wall_time` in seconds. The settings of the run go to TensorBoard's
    HPARAMS and TEXT tabs.

    Args:
        every: iterations between reports.
        each_iteration: report all iterations of the chunks that are reported, not just the last of each.
            With `every` equal to the trainer's chunk nothing is left out.
    """

    priority = 0
    # Writing takes no time, and users want to see the last metrics of a run that they stop.
    when_interrupted = "if_due"
    kinds: ClassVar = {"each_iteration": False}

    def __init__(self, every: int = 10, each_iteration: bool = False):
        self.every = every
        self.each_iteration = each_iteration
        self._written: str | None = None

    def on_fit_start(self, trainer: MetaTrainer, state: Any) -> None:
        settings = dict(trainer.hyperparameters)
        text = "    " + json.dumps(settings, indent=2, default=str).replace("\n", "\n    ")
        # Once, and again if the run is resumed with other settings.
        if trainer.step == 0 or text != self._written:
            trainer.writer.write_hparams(settings)
            trainer.writer.write_texts(trainer.step, {"config": text})
            self._written = text

    def on_chunk_end(
        self, trainer: MetaTrainer, state: Any, step: int, metrics: Mapping[str, Any]
    ) -> None:
        size = len(metrics["env_steps_per_second"])
        for index in range(size) if self.each_iteration else [size - 1]:
            iteration = step - size + 1 + index
            scalars = {
                "env_steps": iteration * trainer.env_steps_per_iteration,
                "wall_time": trainer.wall_time,
                **{name: values[index] for name, values in metrics.items()},
            }
            trainer.writer.write_scalars(iteration, scalars)
            if isinstance(metrics, SeedMetrics) and trainer.num_seeds > 1:
                trainer.writer.write_seeds(iteration, metrics.per_seed_at(index))
        trainer.writer.flush()

    def state_dict(self) -> dict[str, Any]:
        return {"written": self._written}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._written = state.get("written")
