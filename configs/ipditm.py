"""The prisoner's dilemma in the matrix: on a grid, players collect what they then play with.

    python -m pax.main --config=configs/ipditm.py:ppo_memory

A variant is `<learner>[,opponent=...]` or `<shaper>[,opponent=...][,small]`, with the options of shapers
(docs/environments.md); `python -m pax.main --list` shows them all.
"""

from typing import Any

from ml_collections import ConfigDict

from pax.config import game
from pax.configs import _helper as helper
from pax.envs.in_the_matrix import PAYOFFS

VARIANTS = helper.ppo_against(
    random="gets .04 per step, they .01",
    naive="defects sooner, .09 per step, they get .05",
) | helper.describe(
    ("ppo", "ppo_memory"),
    {
        "self": "both learn to defect: interactions pay 1",
        "shared": "one policy for both: both learn to defect: interactions pay 1",
    },
    {
        **dict.fromkeys(
            ("shaper", "shaper,context=avg", "shaper,context=att", "gs", "mfos_es"),
            "needs a GPU, not run (expected: earns more than its opponents)",
        ),
        "mfos_rl": "needs a GPU, not run (expected: about as much as its opponents)",
        "marl2": "needs a GPU, not run (expected: about as much as its opponents)",
        "marl2,small": "for two cores: defects before they have learned to, .07 per step, they get .04",
        "shaper,small": "for two cores, to see that it works: earns less than its opponents, .023 per step",
    },
)

PPO: dict[str, Any] = {
    "learning_rate": 0.005,
    "entropy_coeff": 0.1,
    "num_epochs": 2,
    "num_minibatches": 8,
}
PPO |= {"hidden_size": 16, "head_init": "orthogonal", "conv_channels": (16,)}
ONE_LAYER = {**PPO, "num_layers": 1}
MEMORY = {**PPO, "sequence_length": 19}
# On two cores, those that learn in a trial learn fast, so that something becomes of them within 20 episodes.
FAST = {"learning_rate": 0.02, "num_epochs": 4}
# PPO across trials, from whole trials of many sets of opponents.
ACROSS_TRIALS = {"learning_rate": 0.004, "entropy_coeff": 0.02, "entropy_coeff_end": 0.02}
SMALL = {"num_outer_steps": 20, "num_envs": 8, "num_iters": 50, "popsize": 16}
SMALL_GRADIENT = {**SMALL, "num_envs": 32, "num_opps": 2, "num_iters": 150}


def get_config(argument: str = "ppo_memory") -> ConfigDict:
    return in_the_matrix(argument, "ipd")


def in_the_matrix(argument: str, payoff: str) -> ConfigDict:
    """Returns a variant of the game with this payoff, by its name in `pax.envs.in_the_matrix`."""
    variant, *rest = argument.split(",")
    learners = helper.learners(ONE_LAYER, MEMORY)
    fast = {name: {**learner, **FAST} for name, learner in learners.items()}
    experiment = helper.Experiment(
        env=game("InTheMatrix", payoff=PAYOFFS[payoff]),
        num_inner_steps=152,
        learners=learners,
        sizes={"num_envs": 50, "num_iters": 500},
        shapers=helper.shapers(
            ONE_LAYER,
            MEMORY,
            {"popsize": 128, "sigma": 0.075, "learning_rate": 0.05},
            gradient=ACROSS_TRIALS,
        ),
        co_players=fast if "small" in rest else learners,
        mixed_lr={"low": 5e-05, "high": 0.05},
        trials={"num_outer_steps": 500, "num_envs": 50, "num_iters": 1000},
        small=SMALL_GRADIENT if variant in ("marl2", "mfos_rl") else SMALL,
    )
    return helper.get_config(argument, experiment)
