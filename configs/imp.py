"""Iterated matching pennies: player 1 wins 1 if both show the same side, player 2 if they do not.

    python -m pax.main --config=configs/imp.py:ppo

A variant is `<learner>[,opponent=<opponent>][,quicktest]`; `python -m pax.main --list` shows them all. Heads
is action 0 and tails action 1.
"""

from configs import _matrix_games as matrix_games

EXPECTED = {
    "tit_for_tat": "always shows one side, which the opponent copies: +1 per step",
    "heads": "always shows heads, +1 per step",
    "tails": "always shows tails, +1 per step",
    "self": "the two cycle around the mixed equilibrium, 0 per step over time",
}
STRATEGIES = {
    "tit_for_tat": "TitForTat",
    "heads": "Altruistic",
    "tails": "Defect",
    "random": "Random",
    "grim": "Grim",
}
VARIANTS = matrix_games.variants(EXPECTED)


def get_config(argument: str = "ppo"):
    return matrix_games.get_config(argument, "imp", "tit_for_tat", STRATEGIES)
