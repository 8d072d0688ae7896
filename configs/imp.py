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
    "shared": "one policy for both seats: 0 per step each, whatever it does",
}
STRATEGIES = {
    "tit_for_tat": "TitForTat",
    "heads": "Altruistic",
    "tails": "Defect",
    "random": "Random",
    "grim": "Grim",
}
META_EXPECTED = {
    "shaper": "wins more than 0 per step",
    "avg": "wins more than 0 per step",
    "att": "two environments tell it little: about 0 per step at first",
    "gs": "wins more than 0 per step",
    "mfos_es": "wins more than 0 per step",
    "mfos_rl": "about 0 per step",
    "marl2": "about 0 per step",
    "hardstop": "opponents stop learning at a random episode: wins more than 0 per step",
    "mixed_lr": "opponents learn at random rates: wins more than 0 per step",
    "mixed_payoff": "a random game per opponent: better than playing at random",
    "mixed_payoff_per_generation": "a random game per generation: better than playing at random",
    "mixed_payoff_input": "a random game per opponent, shown to the shaper: better than unseen",
    "mixed_payoff_only_opponent": "noise on the opponents' payoffs: wins more than 0 per step",
    "mixed_ipd_payoff": "a random prisoner's dilemma per opponent: gets more than they do",
    "opponent=self": "against another that evolves as well: about 0 per step",
    "opponent=shared": "on both seats, judged by the mean of both: 0 per step, whatever it does",
    "shuffled": "on a seat drawn for every opponent: wins more than 0 per step",
    "self_play": "at first against itself, later against learners: wins more than 0 per step",
    "persistent": "against learners that live for ten trials: wins more than 0 per step",
    "eval_hard_stop": "also judged when opponents stop learning half-way: wins more than 0 per step",
    "eval_blinded": "also judged while blind in half of its environments: worse there",
}
VARIANTS = matrix_games.variants(EXPECTED) | meta_games.describe(META_EXPECTED)
VARIANTS["naive,opponent=self"] = (
    "Naive against itself: whoever wins first wins for good, +1 and -1 per step"
)


def get_config(argument: str = "ppo"):
    return matrix_games.get_config(argument, "imp", "tit_for_tat", STRATEGIES)
