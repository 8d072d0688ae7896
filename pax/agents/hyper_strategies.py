"""Strategies of the infinite matrix game that never learn: the same policy at every step."""

from __future__ import annotations

import dataclasses

from pax.agents.agent import Agent
from pax.agents.memory_one import MemoryOne


@dataclasses.dataclass
class FixedPolicy(MemoryOne):
    """Plays the logits of its probabilities, which are no settings, whatever it observes.

    Raises:
        ConfigError: if actions are not five logits.
    """

    probabilities: tuple[float, ...] = dataclasses.field(default=(0.5,) * 5, init=False)
    """P(C | CC), P(C | CD), P(C | DC), P(C | DD), P(C | START)."""

    def __post_init__(self) -> None:
        Agent.__post_init__(self)
        if not self._plays_policies:
            raise self.wrong_game("the infinite matrix game")
        super().__post_init__()


@dataclasses.dataclass
class HyperAltruistic(FixedPolicy):
    """Always cooperates."""

    probabilities: tuple[float, ...] = dataclasses.field(default=(1.0,) * 5, init=False)


@dataclasses.dataclass
class HyperDefect(FixedPolicy):
    """Always defects."""

    probabilities: tuple[float, ...] = dataclasses.field(default=(0.0,) * 5, init=False)


@dataclasses.dataclass
class HyperTFT(FixedPolicy):
    """Plays tit-for-tat: starts with C, then copies the other player's last action."""

    probabilities: tuple[float, ...] = dataclasses.field(
        default=(1.0, 0.0, 1.0, 0.0, 1.0), init=False
    )
