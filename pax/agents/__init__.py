"""Agents: what sits on a seat of a game. `AGENTS` names those that a config can ask for."""

from pax.agents.agent import Agent
from pax.agents.coin_players import (
    AlwaysCooperate,
    EvilGreedy,
    GoodGreedy,
    OwnCoins,
    RandomGreedy,
    Reciprocal,
    Stay,
)
from pax.agents.commons_players import (
    CleanUpCooperator,
    CleanUpDefector,
    HarvestCooperator,
    HarvestDefector,
)
from pax.agents.exact import LOLAExact, NaiveExact, SOSExact, Static
from pax.agents.fixed import Altruistic, Defect, Grim, TitForTat
from pax.agents.hyper_strategies import HyperAltruistic, HyperDefect, HyperTFT
from pax.agents.memory_one import MemoryOne, RandomMemoryOne, WinStayLoseShift, ZeroDeterminant
from pax.agents.naive import Naive
from pax.agents.negotiation_players import NegotiationCooperator, NegotiationDefector
from pax.agents.nplayer_strategies import (
    TitForTatCooperate,
    TitForTatDefect,
    TitForTatHarsh,
    TitForTatSoft,
    TitForTatStrictStay,
    TitForTatStrictSwitch,
)
from pax.agents.ppo import PPO, PPOMemory, Tabular
from pax.agents.random_player import Random
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
    "MemoryOne": MemoryOne,
    "RandomMemoryOne": RandomMemoryOne,
    "WinStayLoseShift": WinStayLoseShift,
    "ZeroDeterminant": ZeroDeterminant,
    "GoodGreedy": GoodGreedy,
    "EvilGreedy": EvilGreedy,
    "RandomGreedy": RandomGreedy,
    "OwnCoins": OwnCoins,
    "AlwaysCooperate": AlwaysCooperate,
    "Reciprocal": Reciprocal,
    "Stay": Stay,
    "HarvestCooperator": HarvestCooperator,
    "HarvestDefector": HarvestDefector,
    "CleanUpCooperator": CleanUpCooperator,
    "CleanUpDefector": CleanUpDefector,
    "NegotiationCooperator": NegotiationCooperator,
    "NegotiationDefector": NegotiationDefector,
    "TitForTatStrictStay": TitForTatStrictStay,
    "TitForTatStrictSwitch": TitForTatStrictSwitch,
    "TitForTatCooperate": TitForTatCooperate,
    "TitForTatDefect": TitForTatDefect,
    "TitForTatHarsh": TitForTatHarsh,
    "TitForTatSoft": TitForTatSoft,
    "NaiveExact": NaiveExact,
    "LOLAExact": LOLAExact,
    "SOSExact": SOSExact,
    "Static": Static,
    "HyperAltruistic": HyperAltruistic,
    "HyperDefect": HyperDefect,
    "HyperTFT": HyperTFT,
}

__all__ = ["AGENTS", "Agent", *(cls.__name__ for cls in AGENTS.values())]
