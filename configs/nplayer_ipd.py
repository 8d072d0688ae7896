"""The prisoner's dilemma of three players: everybody gains by defecting, and loses by others' defection.

    python -m pax.main --config=configs/nplayer_ipd.py:shaper,shapers=2

A variant is `<learner>[,opponent=<opponent>][,quicktest]` or `<shaper>[,shapers=1|2][,opponent=...][,small]`,
with that many shapers and the others being shaped, or `lola_dice[,opponent=...]`, each with `,players=2` to
`6`; `python -m pax.main --list` shows them all.
"""

from typing import Any

from ml_collections import ConfigDict

from pax.config import game
from pax.configs import _helper as helper

STRATEGIES = {
    "defect": "Defect",
    "always_cooperate": "Altruistic",
    "tit_for_tat_strict_stay": "TitForTatStrictStay",
    "tit_for_tat_strict_switch": "TitForTatStrictSwitch",
    "tit_for_tat_cooperate": "TitForTatCooperate",
    "tit_for_tat_defect": "TitForTatDefect",
    "tit_for_tat_harsh": "TitForTatHarsh",
    "tit_for_tat_soft": "TitForTatSoft",
}
VARIANTS = (
    helper.ppo_against(
        random="always defects, 3 per step, they get 1.5",
        naive="as against itself, all defect, 1 per step each",
    )
    | helper.describe(
        ("ppo", "ppo_memory"),
        {
            "self": "all defect, 1 per step each",
            "shared": "one policy for all: all defect, 1 per step each",
            "tit_for_tat_harsh": "one defection is never forgiven: all defect, 1 per step",
            "tit_for_tat_soft": "defects, 5 per step: one defector alone is not punished",
            "defect": "defects, 1 per step",
            "always_cooperate": "defects, 5 per step; the others get 2",
        },
        {
            "shaper": "one shaper and two learners: needs a GPU, not run "
            "(expected: more than 1 per step)",
            "shaper,shapers=2": "two shapers, paired by candidate, and one learner: "
            "needs a GPU, not run (expected: it is exploited)",
            "gs": "one shaper without memory and two learners: needs a GPU, not run "
            "(expected: more than 1 per step)",
            "mfos_es": "one shaper and two learners: needs a GPU, not run "
            "(expected: more than 1 per step)",
            "mfos_rl": "needs a GPU, not run (expected: about 1 per step)",
            "marl2": "needs a GPU, not run (expected: about 1 per step)",
            "shaper,shapers=2,small": "the same for two cores and a few minutes",
        },
    )
    | {
        "lola_dice": "LOLA-DiCE of three against itself, one step ahead: 4 each, cooperation",
        "lola_dice,players=2": "LOLA-DiCE of two against itself, one step ahead: nearly 2 each, "
        "cooperation",
        "lola_dice,players=2,opponent=ppo": "LOLA-DiCE against PPO: 2 each, cooperation",
    }
)

PPO = {"learning_rate": 0.01, "num_epochs": 2, "num_minibatches": 4}
MEMORY = {**PPO, "sequence_length": 10}
# As in the two-player game, those who learn within a trial keep a fast table.
TABLE = {**PPO, "agent": "Tabular", "learning_rate": 1.0}


# As in the two-player game: a large step ahead, and a table.
LOLA: dict[str, Any] = {"agent": "Naive", "network": "table", "optimizer": "sgd"}
LOLA |= {"learning_rate": 0.1, "max_gradient_norm": 1e9}
LOLA |= {"learner": {"type": "lola_dice", "look_ahead_steps": 1, "look_ahead_rate": 0.15}}


def payoffs(num_players: int) -> tuple[tuple[float, float], ...]:
    """Returns a row per number of defectors; columns: for those who cooperate, and for those who defect.

    Every other player who cooperates adds 2, and one's own defection 1.
    """
    return tuple(
        (
            max(2.0 * (num_players - 1 - defectors), 0.0),
            2.0 * (num_players - defectors) + 1.0 if defectors else 0.0,
        )
        for defectors in range(num_players + 1)
    )


def get_config(argument: str = "ppo") -> ConfigDict:
    number = helper.num_players(argument, 3)
    learners = helper.learners(PPO, MEMORY)
    is_lola = argument.partition(",")[0] == "lola_dice"
    experiment = helper.Experiment(
        env=game("IteratedTensorGame", num_players=number, payoff=payoffs(number)),
        seats=tuple((seat,) for seat in range(number)),
        options=helper.PLAYERS,
        num_inner_steps=100,
        learners={**learners, "lola_dice": LOLA},
        sizes={"num_envs": 64 if is_lola else 100, "num_iters": 300},
        strategies=STRATEGIES,
        shapers=helper.shapers(PPO, MEMORY, {"popsize": 1000, "sigma": 0.2, "learning_rate": 0.1}),
        co_players={**learners, "ppo": TABLE},
        trials={"num_outer_steps": 100, "num_envs": 2, "num_opps": 10, "num_iters": 1000},
        small={"num_opps": 4, "num_iters": 100, "popsize": 64},
    )
    return helper.get_config(argument, experiment)
