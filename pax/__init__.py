"""Pax: learning among learners, in JAX."""

from pax.callback import Callback
from pax.roles import Role
from pax.trainer import MetaTrainer

__all__ = ["Callback", "MetaTrainer", "Role"]
__version__ = "1.0.0.dev0"
