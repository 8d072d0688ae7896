"""Climate-economy games: RICE-N, with a climate club, and for one planner."""

from pax.envs.rice.calibration import EnvParams
from pax.envs.rice.club import ClubParams, ClubRice
from pax.envs.rice.dynamics import EnvState
from pax.envs.rice.rice import Rice
from pax.envs.rice.sarl import SarlRice

__all__ = ["ClubParams", "ClubRice", "EnvParams", "EnvState", "Rice", "SarlRice"]
