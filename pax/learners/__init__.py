"""Learners: what improves a role across trials. `LEARNERS` names those that a config can ask for."""

from pax.learners.frozen import Frozen
from pax.learners.gradient import Gradient
from pax.learners.learner import Learner, World

__all__ = ["Frozen", "Gradient", "Learner", "World"]
