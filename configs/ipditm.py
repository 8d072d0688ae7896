"""The prisoner's dilemma in the matrix: on a grid, players collect what they then play with.

    python -m pax.main --config=configs/ipditm.py:ppo_memory

A variant is `<learner>[,opponent=...][,quicktest]` or
`<shaper>[,opponent=ppo|ppo_memory][,context=avg|att][,small]`; `python -m pax.main --list` shows them all.
"""

from configs import _games as games
from configs import _in_the_matrix as in_the_matrix

VARIANTS = in_the_matrix.variants(
    "both learn to defect: interactions pay 1",
    "earns more than its opponents",
    "earns as much as its opponents, 0.007 per step, after 8 generations",
)


def get_config(argument: str = "ppo_memory"):
    return games.get_config(argument, in_the_matrix.family("ipd"))
