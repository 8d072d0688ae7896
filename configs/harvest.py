"""Commons Harvest: apples that grow back only where some are left, and seven who would like them.

    python -m pax.main --config=configs/harvest.py:ppo,small

A variant is `<learner>[,opponent=...]`, each with `,players=2` to `16` and `,small`, a small map for two
cores; `python -m pax.main --list` shows them all.
"""

from typing import Any

from ml_collections import ConfigDict

from pax.configs import _commons

VARIANTS = {
    "ppo": "PPO against shared, one policy for all: needs a GPU, not run "
    "(expected: eats the commons empty)",
    "ppo,opponent=self": "PPO against self, one policy per seat: needs a GPU, not run "
    "(expected: eats the commons empty)",
    "ppo_memory": "PPO_memory against shared: needs a GPU, not run "
    "(expected: eats the commons empty)",
    "ppo,small": "the same of four on a small map, for two cores: not run "
    "(expected: eats the commons empty)",
    "ppo,opponent=self,small": "the same with one policy per seat: not run "
    "(expected: eats the commons empty)",
    "ppo,opponent=random": "PPO against uniform play: not run "
    "(expected: eats more than the others)",
    "ppo,opponent=naive": "PPO against Naive, which has its network and rates: not run "
    "(expected: as against itself)",
}
SMALL: dict[str, Any] = {"map": "harvest_small", "num_players": 4, "window": 7}
SMALL |= {"num_inner_steps": 250}


def get_config(argument: str = "ppo") -> ConfigDict:
    return _commons.get_config(argument, "CommonsHarvest", SMALL)
