"""Games: one module each, all with the interface of `pax.envs.environment.Environment`."""

from pax.envs.clean_up_lite.game import CleanUpLite
from pax.envs.coin_game.game import CoinGame
from pax.envs.commons import CleanUp, CommonsHarvest
from pax.envs.cournot import Cournot
from pax.envs.environment import Environment
from pax.envs.fishery import Fishery
from pax.envs.gymnax import Gymnax
from pax.envs.in_the_matrix.game import InTheMatrix
from pax.envs.infinite_matrix_game import InfiniteMatrixGame
from pax.envs.iterated_matrix_game import IteratedMatrixGame
from pax.envs.iterated_tensor_game import IteratedTensorGame
from pax.envs.jaxmarl import JaxMARL
from pax.envs.negotiation import Negotiation
from pax.envs.rice import ClubRice, Rice, SarlRice

ENVS: dict[str, type[Environment]] = {
    "IteratedMatrixGame": IteratedMatrixGame,
    "IteratedTensorGame": IteratedTensorGame,
    "InfiniteMatrixGame": InfiniteMatrixGame,
    "CoinGame": CoinGame,
    "CleanUpLite": CleanUpLite,
    "CommonsHarvest": CommonsHarvest,
    "CleanUp": CleanUp,
    "InTheMatrix": InTheMatrix,
    "Fishery": Fishery,
    "Cournot": Cournot,
    "Negotiation": Negotiation,
    "Rice": Rice,
    "ClubRice": ClubRice,
    "SarlRice": SarlRice,
    "Gymnax": Gymnax,
    "JaxMARL": JaxMARL,
}

__all__ = ["ENVS", "Environment", *ENVS]
