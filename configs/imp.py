"""Iterated matching pennies: player 1 wins 1 if both show the same side, player 2 if they do not.

    python -m pax.main --config=configs/imp.py:ppo

Heads is action 0 and tails action 1. Variants, learners and sizes are those of `ipd.py`.
"""

from ml_collections import ConfigDict

from pax.configs import _helper as helper
from pax.configs.ipd import matrix_game

STRATEGIES = {
    "tit_for_tat": "TitForTat",
    "heads": "Altruistic",
    "tails": "Defect",
    "random": "Random",
    "grim": "Grim",
}
# Outcomes of shapers as measured at the small size, mostly after 20 of its 100 generations: see
# docs/experiments.md.
VARIANTS = helper.describe(
    ("ppo", "ppo_memory", "tabular", "naive"),
    {
        "tit_for_tat": "always shows one side, which the opponent copies: +1 per step",
        "heads": "always shows heads, +1 per step",
        "tails": "always shows tails, +1 per step",
        "self": "the two cycle around the mixed equilibrium, 0 per step over time",
        "shared": "one policy for both seats: about 0 per step each",
    },
    {
        "shaper": "wins 0.7 per step",
        "shaper,context=avg": "wins 0.1 per step after 20 generations",
        "shaper,context=att": "loses 0.1 per step after 20 generations",
        "gs": "loses 0.3 per step",
        "mfos_es": "0.0 per step after 20 generations",
        "mfos_rl": "wins 0.8 per step after 100 updates at the small size",
        "marl2": "wins 0.5 per step after 100 updates at the small size",
        "hardstop": "opponents stop learning at a random episode: 0.1 per step after 20 generations",
        "mixed_lr": "opponents learn at random rates: -0.1 per step after 20 generations",
        "mixed_payoff": "a random game per opponent: -4.4 per step, where random play gets -4.5",
        "mixed_payoff_per_generation": "a random game per generation: -5.7 after 20 of them, few games each",
        "mixed_payoff_input": "a random game per opponent, shown to the shaper: -4.7 after 20 generations",
        "mixed_payoff_only_opponent": "noise on the opponents' payoffs: 0.1 after 20 generations",
        "mixed_ipd_payoff": "a random prisoner's dilemma per opponent: gets more than they do",
        "shaper,opponent=self": "against another that evolves as well: -1 / +1 after 20 generations",
        "shaper,opponent=shared": "on both seats, judged by the mean of both, which is 0: "
        "0.4 / -0.4 after 20 generations",
        "shaper,shuffled": "on a seat drawn for every opponent: -0.1 per step after 20 generations",
        "shaper,self_play": "at first against itself, later against learners: 0.1 after 20 generations",
        "shaper,persistent": "against learners that live for ten trials: 0.0 per step after 20 generations",
        "shaper,eval_hard_stop": "also judged when opponents stop learning half-way: 0.0 after "
        "20 generations",
        "shaper,eval_blinded": "also judged while blind in half of its environments: worse there",
        "shaper,small": "two cores, a few minutes: wins 0.7 per step",
        "mfos_es,context=avg": "with its memories mixed over environments: .1 per step after 34 generations",
        "gs,small": "two cores, a few minutes: loses 0.3 per step",
        "mfos_es,small": "two cores, a few minutes: 0.0 per step after 20 generations",
    },
) | {
    "naive,opponent=self": "Naive against itself: the one that wins first wins for good, +1 and -1 per step",
    "naive,opponent=shared": "Naive, one policy for both seats: tells them apart by what they saw, +1 and -1 "
    "per step",
}


def get_config(argument: str = "ppo") -> ConfigDict:
    return matrix_game(argument, "imp", STRATEGIES, evaluate_against=("tit_for_tat", "tails"))
