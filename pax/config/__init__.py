"""From a config file to objects, and what is wrong with it."""

from pax.config.sections import base_config, defaults, game, learner, parse_variant, rewards, role

__all__ = ["base_config", "defaults", "game", "learner", "parse_variant", "rewards", "role"]
