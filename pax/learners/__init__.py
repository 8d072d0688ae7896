"""Learners: what improves a role across trials."""

from pax.learners.evolution import Evolution
from pax.learners.frozen import Frozen
from pax.learners.gradient import Gradient
from pax.learners.learner import Learner, World
from pax.learners.lola_dice import LOLADiCE

__all__ = ["Evolution", "Frozen", "Gradient", "LOLADiCE", "Learner", "World"]
