"""Infinitely long matrix games, played by policies that are chosen at once and valued exactly.

    python -m pax.main --config=configs/infinite.py:ppo,game=ipd

A variant is `<learner>[,opponent=<opponent>][,game=ipd|imp|chicken][,quicktest]` or
`<shaper>[,opponent=ppo|naive_exact|...][,game=...][,small]`; `python -m pax.main --list` shows them all.
Exact learners learn within an episode, one learner per environment, and start afresh in the next.
"""

from configs import _helper as helper
from pax.config import game
from pax.envs.iterated_matrix_game import PAYOFFS

EXACT = {
    "naive_exact": "NaiveExact",
    "lola_exact": "LOLAExact",
    "sos_exact": "SOSExact",
    "static": "Static",
}
STRATEGIES = {
    "altruistic": "HyperAltruistic",
    "defect": "HyperDefect",
    "tit_for_tat": "HyperTFT",
    "win_stay_lose_shift": "WinStayLoseShift",
    "zero_determinant": "ZeroDeterminant",
    "memory_one": "MemoryOne",
    **EXACT,
}
EXACT_LEARNERS = {name: {"agent": agent} for name, agent in EXACT.items()}
VARIANTS = helper.describe(
    ("ppo", "ppo_memory"),
    {
        "self": "both defect, -2 per step each",
        "tit_for_tat": "cooperates, -1 per step",
        "defect": "defects, -2 per step",
        "altruistic": "defects, 0 per step; the opponent gets -3",
    },
    {
        "shaper": "not run (expected: better than -1 per step)",
        "mfos_es": "not run (expected: better than -1 per step)",
        "shaper,small": "the same for two cores and ten minutes: -0.65, they get -2.00",
    },
) | {
    "naive_exact": "Naive by exact gradients against itself: -1.98 per step over 100 updates",
    "naive_exact,opponent=static": "Naive by exact gradients against who never learns: -1.00, and -2.45",
    "lola_exact": "LOLA by exact gradients against itself: -1.09 per step over 100 updates",
    "lola_exact,opponent=naive_exact": "LOLA against Naive, both exact: -1.37, and -1.53",
    "sos_exact": "SOS by exact gradients against itself: -1.10 per step over 100 updates",
    "shaper,opponent=naive_exact,small": "Shaper by evolution against exact naive learners: above -0.60",
    "mfos_es,opponent=naive_exact,small": "MFOS by evolution against exact naive learners: about -0.6",
    "shaper,opponent=lola_exact,small": "Shaper by evolution against exact LOLA learners: above -1",
}


# Here players see policies, so that there is no place for what is played for.
TASKS = {name: task for name, task in helper.PAYOFF_TASKS.items() if name != "mixed_payoff_input"}
OPTIONS = {"game": ("ipd", "imp", "chicken")}
PPO = {"learning_rate": 0.01, "entropy_coeff": 0.0, "num_epochs": 4, "num_minibatches": 5}
# Moves do not follow one another: each is a whole game.
PPO |= {"head_init": "orthogonal", "discount": 0.0}
MEMORY = {**PPO, "sequence_length": 10}
SIZES = {"num_envs": 100, "num_iters": 500}
TRIALS = {"num_outer_steps": 100, "num_envs": 10, "num_opps": 2, "num_iters": 500}
# Nobody learns across trials: an iteration is 100 updates of each, and the first step shows what was drawn.
EXACT_SIZES = {
    "num_envs": 4096,
    "num_iters": 4,
    "chunk": 1,
    **helper.every(scalars=1, evaluation=1),
}
EXACT_QUICK = {"num_inner_steps": 5, "num_envs": 8, "num_iters": 2}


def get_config(argument: str = "ppo"):
    payoff = PAYOFFS[helper.take_options(argument, OPTIONS).get("game", "ipd")]
    variant, *rest = argument.split(",")
    is_exact = variant in EXACT
    # A trial is then one episode, a whole life of those who learn within it.
    meets_exact = any(f"opponent={name}" in rest for name in EXACT)
    experiment = helper.Experiment(
        env=game("InfiniteMatrixGame", payoff=payoff),
        options=OPTIONS,
        num_inner_steps=101 if is_exact else 100 if meets_exact else 10,
        learners=EXACT_LEARNERS if is_exact else helper.learners(PPO, MEMORY),
        sizes=EXACT_SIZES if is_exact else SIZES,
        quick=EXACT_QUICK if is_exact else helper.QUICK,
        strategies=STRATEGIES,
        shapers=helper.shapers(PPO, MEMORY, {"popsize": 128, "sigma": 0.1, "learning_rate": 0.05}),
        tasks=TASKS,
        mixed_lr={"low": 0.0001, "high": 0.1},
        trials={**TRIALS, "num_outer_steps": 1} if meets_exact else TRIALS,
        small={"num_iters": 100, "popsize": 32},
    )
    return helper.get_config(argument, experiment)
