"""Evaluates the policies while they are trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pax.callbacks.callback import Callback, Postponed
from pax.metrics.seeds import of_evaluation, over_seeds

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
            evaluated[name] = trainer.evaluate(names=[name])[name]
        for name, results in evaluated.items():
            scalars = over_seeds(results)
            trainer.writer.write_scalars(step, of_evaluation(name, scalars))
            if trainer.num_seeds > 1:
                trainer.writer.write_seeds(step, of_evaluation(name, results))
            trainer.callbacks.on_evaluation_end(trainer, step, name, scalars)
