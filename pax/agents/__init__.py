"""Agents: what sits on a seat of a game. `AGENTS` names those that a config can ask for."""

from pax.agents.agent import Agent
from pax.agents.fixed import Altruistic, Defect, Grim, Random, TitForTat
from pax.agents.naive import Naive
from pax.agents.ppo import PPO, PPOMemory, Tabular
from pax.agents.shaper import MFOS, Shaper

AGENTS: dict[str, type[Agent]] = {
    "PPO": PPO,
    "PPO_memory": PPOMemory,
    "Tabular": Tabular,
    "Naive": Naive,
    "Shaper": Shaper,
    "MFOS": MFOS,
    "TitForTat": TitForTat,
    "Defect": Defect,
    "Altruistic": Altruistic,
    "Random": Random,
    "Grim": Grim,
}

__all__ = ["AGENTS", "Agent", *(cls.__name__ for cls in AGENTS.values())]
