"""Matrix games on a grid, whose strategies are what was collected."""

from pax.envs.in_the_matrix.game import PAYOFFS, EnvParams, EnvState, InTheMatrix

__all__ = ["PAYOFFS", "EnvParams", "EnvState", "InTheMatrix"]
