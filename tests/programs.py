"""How tests compile programs, and trainers that share them: tracing one takes longer than running it."""

from collections.abc import Hashable

from pax import MetaTrainer

AS_USERS_DO = {
    "xla_backend_optimization_level": 2,
    "xla_llvm_disable_expensive_passes": False,
    "xla_cpu_use_fusion_emitters": True,
    "xla_cpu_prefer_vector_width": 512,
}
"""Options of the compiler for what depends on rounding: other programs are compiled with less effort."""

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
