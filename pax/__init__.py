"""Pax: learning among learners, in JAX."""

from pax.callbacks.callback import Callback
from pax.loading import load_agent
from pax.loop.evaluator import Evaluation
from pax.player import Player
from pax.playing import Played, play
from pax.roles import Role
from pax.trainer import MetaTrainer

__all__ = [
    "Callback",
    "Evaluation",
    "MetaTrainer",
    "Played",
    "Player",
    "Role",
    "load_agent",
    "play",
]
__version__ = "1.0.0.dev0"
