"""An open-access fishery: whoever fishes more takes more, of a stock that all live on.

    python -m pax.main --config=configs/fishery.py:ppo

A variant is `<learner>[,opponent=...]` or `<shaper>[,opponent=...][,small]`, with the options of shapers
(docs/environments.md), each with `,players=2` to `6`; `python -m pax.main --list` shows them all.
"""

from typing import Any

from ml_collections import ConfigDict

from pax.config import game
from pax.configs import _helper as helper

VARIANTS = (
    helper.ppo_against(
        random="fishes for both, and earns ten times as much",
        naive="as against itself, they overfish",
    )
    | helper.describe(
        ("ppo", "ppo_memory"),
        {
            "self": "they overfish: total effort some 6.4 where one owner would spend 4.2",
            "shared": "one policy for both, each for itself: they overfish as well",
        },
        {
            **dict.fromkeys(
                ("shaper", "gs", "mfos_es"),
                "needs a GPU, not run (expected: earns more than its opponents)",
            ),
            "mfos_rl": "needs a GPU, not run (expected: about as much as its opponents)",
            "shaper,small": "the same for two cores and a few minutes",
        },
    )
    | {"ppo,players=3": "PPO for each of three: they overfish, total effort 6.9, two spend 6.4"}
)

PPO: dict[str, Any] = {
    "learning_rate": 0.003,
    "entropy_coeff": 0.0,
    "num_epochs": 2,
    "num_minibatches": 10,
}
PPO |= {"head_init": "orthogonal", "discount": 0.99}
MEMORY = {**PPO, "sequence_length": 20}


def get_config(argument: str = "ppo") -> ConfigDict:
    number = helper.num_players(argument, 2)
    experiment = helper.Experiment(
        env=game("Fishery", num_players=number),
        seats=tuple((seat,) for seat in range(number)),
        options=helper.PLAYERS,
        num_inner_steps=300,
        learners=helper.learners(PPO, MEMORY),
        sizes={"num_envs": 60, "num_iters": 300},
        shapers=helper.shapers(PPO, MEMORY, {"popsize": 128, "sigma": 0.1, "learning_rate": 0.05}),
        mixed_lr={"low": 3e-05, "high": 0.03},
        trials={"num_outer_steps": 50, "num_envs": 10, "num_opps": 2, "num_iters": 500},
        small={"num_outer_steps": 20, "num_iters": 50, "popsize": 32},
    )
    return helper.get_config(argument, experiment)
