"""Learners: what improves a role across trials."""

from pax.learners.advantage_alignment import LOQA, AdvantageAlignment
from pax.learners.coala import COALA
from pax.learners.evolution import Evolution
from pax.learners.frozen import Frozen
from pax.learners.gradient import Gradient
from pax.learners.learner import Experience, Learner
from pax.learners.lola_dice import LOLADiCE
from pax.learners.pola import POLA

__all__ = [
    "COALA",
    "LEARNERS",
    "LOQA",
    "POLA",
    "AdvantageAlignment",
    "Evolution",
    "Experience",
    "Frozen",
    "Gradient",
    "LOLADiCE",
    "Learner",
]
LEARNERS: dict[str, type[Learner]] = {
    "gradient": Gradient,
    "evolution": Evolution,
    "coala": COALA,
    "lola_dice": LOLADiCE,
    "pola": POLA,
    "advantage_alignment": AdvantageAlignment,
    "loqa": LOQA,
    "frozen": Frozen,
}
"""Learners by the name that a config gives them."""
