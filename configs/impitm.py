"""Matching pennies in the matrix: on a grid, players collect what they then play with.

    python -m pax.main --config=configs/impitm.py:ppo_memory

A variant is `<learner>[,opponent=...][,quicktest]` or
`<shaper>[,opponent=ppo|ppo_memory][,context=avg|att][,small]`; `python -m pax.main --list` shows them all.
"""

from configs import _games as games
from configs import _in_the_matrix as in_the_matrix

VARIANTS = in_the_matrix.variants(
    "neither wins for long: 0 per step over time",
    "wins more than 0 per step",
    "wins 0 per step after 25 generations",
)


def get_config(argument: str = "ppo_memory"):
    return games.get_config(argument, in_the_matrix.family("imp"))
