"""Commons of many players: a harvest that grows where it is spared, and a river that has to be cleaned."""

from pax.envs.commons.clean_up import CleanUp
from pax.envs.commons.harvest import CommonsHarvest

__all__ = ["CleanUp", "CommonsHarvest"]
