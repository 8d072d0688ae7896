"""Commons Harvest: apples that grow back only where some are left, and seven who would like them.

    python -m pax.main --config=configs/harvest.py:ppo,small

A variant is `<learner>[,opponent=...]`, each with `,players=2` to `16` and `,small`, a small map for two
cores; `python -m pax.main --list` shows them all.
"""

from typing import Any

from ml_collections import ConfigDict

from pax.configs import _commons

MEASURED = {
    "ppo,small": "eats the commons empty, 3.9 apples each, in step 9 on average",
    "ppo,opponent=self,small": "eats the commons empty, 3.9 apples each, in step 9 on average",
    "ppo_memory,small": "eats the commons empty, 3.9 apples each",
    "common,small": "spares apples, 6.2 each, in step 41 on average",
    "svo,small": "one of three seeds spares apples, 5.2 each; the others eat the commons empty, 4",
    "inequity,small": "spares apples, 5.0 each, in step 36 on average",
    "advantage_alignment,small": "spares apples, 6.7 each, in step 37 on average",
    "loqa,small": "spares apples, 5.6 each, in step 30 on average",
    "shaper,small": "takes 4.5 apples in an episode, those who learn 2.4 to 3.0",
    "exchange,small": "one of three seeds spares apples, 5.1 each; the others eat the commons empty, 4",
}
VARIANTS = _commons.describe("eats the commons empty", "keeps the commons", MEASURED)
SMALL: dict[str, Any] = {"map": "harvest_small", "num_players": 4, "window": 7}
# Apples grow four times as fast, so that short episodes show what sparing them is worth.
SMALL |= {"num_inner_steps": 100, "regrowth": (0.0, 0.004, 0.02, 0.1)}


def get_config(argument: str = "ppo") -> ConfigDict:
    return _commons.get_config(argument, "CommonsHarvest", SMALL)
