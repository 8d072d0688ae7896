"""Games: one module each, all with the interface of `pax.envs.environment.Environment`."""

from pax.envs.environment import Environment
from pax.envs.iterated_matrix_game import IteratedMatrixGame

ENVS: dict[str, type[Environment]] = {"IteratedMatrixGame": IteratedMatrixGame}

__all__ = ["ENVS", "Environment", "IteratedMatrixGame"]
