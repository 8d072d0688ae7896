"""Evaluates the policies while they are trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pax.callbacks.callback import Callback, Postponed
from pax.metrics.seeds import over_seeds

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer


class Evaluation(Callback):
    """Runs the trainer's evaluations and reports them as `evaluation/<name>/...`.

    Args:
        every: iterations between evaluations.
    """

    priority = 50

    def __init__(self, every: int = 100):
        self.every = every

    def on_chunk_end(
        self, trainer: MetaTrainer, state: Any, step: int, metrics: Mapping[str, Any]
    ) -> None:
        evaluated = {}
        for name in trainer.evaluations:
            if trainer.is_interrupted:
                # Others wait to save, and what is done when the run goes on is the same.
                raise Postponed
            evaluated[name] = over_seeds(trainer.evaluate(names=[name])[name])
        for name, scalars in evaluated.items():
            trainer.writer.write_scalars(
                step, {f"evaluation/{name}/{key}": value for key, value in scalars.items()}
            )
            trainer.callbacks.on_evaluation_end(trainer, step, name, scalars)
