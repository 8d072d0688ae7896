"""Trainers of tests that share compiled programs: tracing one takes longer than running it."""

from collections.abc import Hashable

from pax import MetaTrainer

_FIRST: dict[Hashable, MetaTrainer] = {}


def sharing(trainer: MetaTrainer, *key: Hashable) -> MetaTrainer:
    """Returns the trainer, with the programs of the first one of that key.

    The key tells what programs depend on: all that makes the game, the roles, the sizes and the seed. They do
    not depend on callbacks without a probe, on the folder, or on how many iterations are asked for.
    """
    first = _FIRST.setdefault(key, trainer)
    trainer._compiled = first._compiled
    trainer._evaluations._evaluators = first._evaluations._evaluators
    return trainer
