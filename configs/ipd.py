"""The iterated prisoner's dilemma: mutual cooperation pays -1 per step, mutual defection -2.

    python -m pax.main --config=configs/ipd.py:ppo

A variant is `<learner>[,opponent=<opponent>][,quicktest]`; `python -m pax.main --list` shows them all.

    python -m launch.sweep --config=configs/ipd.py:ppo --workdir=exp/rates

trains each of the learning rates of `get_sweep` with each seed.
"""

from configs import _matrix_games as matrix_games
from configs import _meta_games as meta_games
from pax.sweeps import product

EXPECTED = {
    "tit_for_tat": "both always cooperate, -1 per step each",
    "defect": "both always defect, -2 per step each",
    "altruistic": "always defects, 0 per step; the opponent gets -3",
    "self": "both always defect, -2 per step each",
    "shared": "one policy for both seats: both always defect, -2 per step each",
}
STRATEGIES = {
    "tit_for_tat": "TitForTat",
    "defect": "Defect",
    "altruistic": "Altruistic",
    "random": "Random",
    "grim": "Grim",
    "win_stay_lose_shift": "WinStayLoseShift",
    "zero_determinant": "ZeroDeterminant",
    "memory_one": "MemoryOne",
}
# As measured at the small size: see docs/experiments.md.
META_EXPECTED = {
    "shaper": "extorts them: better than -1 per step, they get less than -1.5",
    "avg": "extorts them: better than -1 per step, they get less than -1.5",
    "att": "two environments tell it little: still near mutual defection after 100 generations",
    "gs": "they get less, -1.1 / -1.3, but it no more than cooperation pays",
    "mfos_es": "extorts them: better than -1 per step, they get less than -1.5",
    "mfos_rl": "leaves mutual defection within 100 updates: about -1.2 per step, they get -1.3",
    "marl2": "leaves mutual defection slowly: about -1.7 per step after 300 updates, they get -1.8",
    "hardstop": "opponents stop learning at a random episode: still better than mutual defection",
    "mixed_lr": "opponents learn at random rates: gets more than they do, -1.4 / -2.3",
    "mixed_payoff": "a random game per opponent: -4.4 per step, where random play gets -4.5",
    "mixed_payoff_per_generation": "a random game per generation: better than playing at random",
    "mixed_payoff_input": "a random game per opponent, shown to the shaper: better than unseen",
    "mixed_payoff_only_opponent": "noise on the opponents' payoffs: extorts them",
    "mixed_ipd_payoff": "a random prisoner's dilemma per opponent: gets more than they do",
    "opponent=self": "against another that evolves as well, paired by candidate: both defect",
    "opponent=shared": "on both seats, judged by the mean of both: mutual cooperation",
    "shuffled": "on a seat drawn for every opponent: extorts them",
    "self_play": "at first against itself, later against learners: cooperates, and is exploited",
    "persistent": "against learners that live for ten trials: both defect",
    "eval_hard_stop": "also judged when opponents stop learning half-way: extorts them",
    "eval_blinded": "also judged while blind in half of its environments: worse there",
}
LOLA = {
    "lola_dice": "LOLA-DiCE against itself, one large step ahead: -1.1 per step, cooperation",
    "lola_dice,look_ahead=0": "LOLA-DiCE that does not look ahead, against itself: -2 per step",
    "lola_dice,look_ahead=2": "LOLA-DiCE against itself, two steps ahead: -1.1 per step, cooperation",
    "lola_dice,look_ahead=3": "LOLA-DiCE against itself, three steps ahead: -1.1 per step, cooperation",
}
ALIGNED = {
    "advantage_alignment": "Tabular by advantage alignment, against itself: -1 per step, cooperation",
    "loqa": "Tabular by LOQA's rule, against itself: -1 per step, cooperation",
}
VARIANTS = matrix_games.variants(EXPECTED) | LOLA | ALIGNED | meta_games.describe(META_EXPECTED)
VARIANTS["tabular,opponent=shared"] = (
    "Tabular, one policy for both seats: both cooperate, -1 per step each"
)


def get_config(argument: str = "ppo"):
    return matrix_games.get_config(argument, "ipd", "tit_for_tat", STRATEGIES)


def get_sweep():
    return product(**{"agent1.learning_rate": (0.003, 0.01, 0.03, 0.1)}, seed=range(3))
