"""Learners: what improves a role across trials."""

from pax.learners.advantage_alignment import LOQA, AdvantageAlignment
from pax.learners.evolution import Evolution
from pax.learners.frozen import Frozen
from pax.learners.gradient import Gradient
from pax.learners.learner import Learner, World
from pax.learners.lola_dice import LOLADiCE

__all__ = [
    "LOQA",
    "AdvantageAlignment",
    "Evolution",
    "Frozen",
    "Gradient",
    "LOLADiCE",
    "Learner",
    "World",
]
SHAPING: dict[str, tuple[str, type[Gradient]]] = {
    "lola_dice": ("lola", LOLADiCE),
    "advantage_alignment": ("alignment", AdvantageAlignment),
    "loqa": ("alignment", LOQA),
}
"""Learners that take others into account: the section of a role with their settings, and their class."""
