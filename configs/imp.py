"""Iterated matching pennies: player 1 wins 1 if both show the same side, player 2 if they do not.

    python -m pax.main --config=configs/imp.py:ppo

A variant is `<learner>[,opponent=<opponent>][,quicktest]`; `python -m pax.main --list` shows them all. Heads
is action 0 and tails action 1.
"""

from configs import _matrix_games as matrix_games
from configs import _meta_games as meta_games

EXPECTED = {
    "tit_for_tat": "always shows one side, which the opponent copies: +1 per step",
    "heads": "always shows heads, +1 per step",
    "tails": "always shows tails, +1 per step",
    "self": "the two cycle around the mixed equilibrium, 0 per step over time",
    "shared": "one policy for both seats: about 0 per step each",
}
STRATEGIES = {
    "tit_for_tat": "TitForTat",
    "heads": "Altruistic",
    "tails": "Defect",
    "random": "Random",
    "grim": "Grim",
}
# As measured at the small size, mostly after 20 of its 100 generations: see docs/experiments.md.
META_EXPECTED = {
    "shaper": "wins 0.7 per step",
    "avg": "wins 0.1 per step after 20 generations",
    "att": "loses 0.1 per step after 20 generations",
    "gs": "loses 0.3 per step",
    "mfos_es": "0.0 per step after 20 generations",
    "mfos_rl": "not run (expected: about 0 per step)",
    "marl2": "not run (expected: about 0 per step)",
    "hardstop": "opponents stop learning at a random episode: 0.1 per step after 20 generations",
    "mixed_lr": "opponents learn at random rates: -0.1 per step after 20 generations",
    "mixed_payoff": "a random game per opponent: -4.4 per step, where random play gets -4.5",
    "mixed_payoff_per_generation": "a random game per generation: -5.7 after 20 of them, few games each",
    "mixed_payoff_input": "a random game per opponent, shown to the shaper: -4.7 after 20 generations",
    "mixed_payoff_only_opponent": "noise on the opponents' payoffs: 0.1 after 20 generations",
    "mixed_ipd_payoff": "a random prisoner's dilemma per opponent: gets more than they do",
    "opponent=self": "against another that evolves as well: -1 / +1 after 20 generations",
    "opponent=shared": "on both seats, judged by the mean of both: not run (expected: 0 per step)",
    "shuffled": "on a seat drawn for every opponent: -0.1 per step after 20 generations",
    "self_play": "at first against itself, later against learners: 0.1 after 20 generations",
    "persistent": "against learners that live for ten trials: 0.0 per step after 20 generations",
    "eval_hard_stop": "also judged when opponents stop learning half-way: 0.0 after 20 generations",
    "eval_blinded": "also judged while blind in half of its environments: worse there",
}
VARIANTS = matrix_games.variants(EXPECTED) | meta_games.describe(META_EXPECTED)
VARIANTS["naive,opponent=self"] = (
    "Naive against itself: whoever wins first wins for good, +1 and -1 per step"
)
VARIANTS["naive,opponent=shared"] = (
    "Naive, one policy for both seats: tells them apart by what they saw, +1 and -1 per step"
)


def get_config(argument: str = "ppo"):
    return matrix_games.get_config(argument, "imp", "tit_for_tat", STRATEGIES)
