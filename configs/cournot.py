"""Cournot competition: firms choose quantities, and the more is sold, the less everybody earns.

    python -m pax.main --config=configs/cournot.py:ppo

A variant is `<learner>[,opponent=...]` or `<shaper>[,opponent=...][,small]`, with the options of shapers
(docs/environments.md), each with `,players=2` to `6`; `python -m pax.main --list` shows them all.
"""

from typing import Any

from ml_collections import ConfigDict

from pax.config import game
from pax.configs import _helper as helper

VARIANTS = (
    helper.ppo_against(
        random="they sell hardly anything, and it the monopoly's 45, or in one of three seeds "
        "nothing",
        naive="about the Nash equilibrium, 60 in all",
    )
    | helper.describe(
        ("ppo", "ppo_memory"),
        {
            "self": "the Nash equilibrium, 60 in all at a price of 40",
            "shared": "one policy for both, each for itself: the Nash equilibrium",
        },
        {
            **dict.fromkeys(
                ("shaper", "gs", "mfos_es"),
                "needs a GPU, not run (expected: sells more than its opponents, which learn to sell less)",
            ),
            "mfos_rl": "needs a GPU, not run (expected: about the Nash equilibrium)",
            "shaper,small": "for two cores: sells as a Stackelberg leader does, 46 to their 21, "
            "and earns twice as much",
        },
    )
    | {
        "planner": "one firm in place of both: the monopoly's 45",
        "ppo,players=3": "PPO for each of three: about the Nash equilibrium, 67.5 in all",
    }
)

PPO: dict[str, Any] = {
    "learning_rate": 0.003,
    "entropy_coeff": 0.0,
    "num_epochs": 4,
    "num_minibatches": 4,
}
PPO |= {"head_init": "orthogonal", "symlog": True, "action_scale": 10.0}
MEMORY = {**PPO, "sequence_length": 1}


def get_config(argument: str = "ppo") -> ConfigDict:
    # The planner is PPO on the only seat.
    is_planned = argument.startswith("planner")
    number = 1 if is_planned else helper.num_players(argument, 2)
    seats = tuple((seat,) for seat in range(number))
    learners = helper.learners(PPO, MEMORY)
    experiment = helper.Experiment(
        env=game("Cournot", num_players=len(seats)),
        seats=seats,
        options={} if is_planned else helper.PLAYERS,
        num_inner_steps=1,
        learners={**learners, "planner": learners["ppo"]},
        sizes={"num_envs": 1000, "num_iters": 1000},
        shapers=helper.shapers(PPO, MEMORY, {"popsize": 128, "sigma": 0.1, "learning_rate": 0.05}),
        mixed_lr={"low": 3e-05, "high": 0.03},
        trials={"num_outer_steps": 300, "num_envs": 100, "num_opps": 2, "num_iters": 500},
        small={"num_envs": 20, "num_iters": 100, "popsize": 32},
    )
    return helper.get_config(argument, experiment)
