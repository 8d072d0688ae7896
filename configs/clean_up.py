"""Clean Up: apples grow while the river is clean, and nobody is paid for cleaning it.

    python -m pax.main --config=configs/clean_up.py:ppo,small

A variant is `<learner>[,opponent=...]`, each with `,players=2` to `16` and `,small`, a small map for two
cores; `python -m pax.main --list` shows them all.
"""

from typing import Any

from ml_collections import ConfigDict

from pax.configs import _commons

MEASURED = {
    "ppo,small": "the river stays dirty, .1 apples each",
    "ppo,opponent=self,small": "the river stays dirty, .1 apples each",
    "ppo_memory,small": "the river stays dirty, .1 apples each",
    "common,small": "they clean, 8.6 apples each",
    "loqa,small": "the river stays dirty, .1 apples each",
    "shaper,small": "the river stays dirty, nobody eats more than .3 apples in an episode",
    "svo,small": "they clean in two of three seeds, 5.1 apples each; in one the river stays dirty, .1",
    "inequity,small": "the river stays dirty, .1 apples each",
    "exchange,small": "they clean in two of three seeds, 5.9 apples each; in one the river stays dirty, .1",
    "advantage_alignment,small": "the river stays dirty, .1 apples each, as without",
}
VARIANTS = _commons.describe("nobody cleans", "some clean", MEASURED)
SMALL: dict[str, Any] = {"map": "clean_up_small", "num_players": 4, "window": 7}
# So much dirt, from the start, that who cleans has no time to eat: in so small an orchard a few cells are
# worth cleaning for oneself. Apples grow in a river that is 70 % dirty, so that the first cells are rewarded.
SMALL |= {"num_inner_steps": 100, "dirt_rate": 1.0, "dirt_delay": 0, "dirt_threshold": 0.7}


def get_config(argument: str = "ppo") -> ConfigDict:
    return _commons.get_config(argument, "CleanUp", SMALL)
