"""Matching pennies in the matrix: on a grid, players collect what they then play with.

    python -m pax.main --config=configs/impitm.py:ppo_memory

A variant is `<learner>[,opponent=...]` or `<shaper>[,opponent=...][,small]`, with the options of shapers
(docs/environments.md); `python -m pax.main --list` shows them all. Numbers are those of `ipditm.py`.
"""

from ml_collections import ConfigDict

from pax.configs import _helper as helper
from pax.configs.ipditm import in_the_matrix

VARIANTS = helper.ppo_against(
    random="0 per step, as they hardly ever interact",
    naive="0 per step, as against itself",
) | helper.describe(
    ("ppo", "ppo_memory"),
    {
        "self": "neither wins for long: 0 per step over time",
        "shared": "one policy for both: neither wins for long: 0 per step over time",
    },
    {
        **dict.fromkeys(
            ("shaper", "shaper,context=avg", "shaper,context=att", "gs", "mfos_es"),
            "needs a GPU, not run (expected: wins more than 0 per step)",
        ),
        "mfos_rl": "needs a GPU, not run (expected: about as much as its opponents)",
        "marl2": "needs a GPU, not run (expected: about as much as its opponents)",
        "marl2,small": "for two cores: nobody wins, as players come to avoid each other",
        "shaper,small": "for two cores, to see that it works: wins 0 per step after 23 generations",
    },
)


def get_config(argument: str = "ppo_memory") -> ConfigDict:
    return in_the_matrix(argument, "imp")
