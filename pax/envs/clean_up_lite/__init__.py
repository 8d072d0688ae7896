"""Clean-up lite: two players, a river that becomes dirty, and an orchard that grows while it is clean."""

from pax.envs.clean_up_lite.game import CleanUpLite, EnvParams, EnvState

__all__ = ["CleanUpLite", "EnvParams", "EnvState"]
