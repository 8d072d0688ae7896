"""The iterated prisoner's dilemma: mutual cooperation pays -1 per step, mutual defection -2.

    python -m pax.main --config=configs/ipd.py:ppo

A variant is `<learner>[,opponent=<opponent>][,quicktest]`; `python -m pax.main --list` shows them all.
"""

from configs import _matrix_games as matrix_games

EXPECTED = {
    "tit_for_tat": "both always cooperate, -1 per step each",
    "defect": "both always defect, -2 per step each",
    "altruistic": "always defects, 0 per step; the opponent gets -3",
    "self": "both always defect, -2 per step each",
}
STRATEGIES = {
    "tit_for_tat": "TitForTat",
    "defect": "Defect",
    "altruistic": "Altruistic",
    "random": "Random",
    "grim": "Grim",
}
VARIANTS = matrix_games.variants(EXPECTED)


def get_config(argument: str = "ppo"):
    return matrix_games.get_config(argument, "ipd", "tit_for_tat", STRATEGIES)
