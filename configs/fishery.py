"""An open-access fishery: whoever fishes more takes more, of a stock that all live on.

    python -m pax.main --config=configs/fishery.py:ppo

A variant is `<learner>[,opponent=self|shared][,quicktest]` or `<shaper>[,opponent=ppo|ppo_memory][,small]`;
`python -m pax.main --list` shows them all.
"""

from configs import _games as games
from pax.config import game

INDEPENDENT = {
    "self": "they overfish: total effort some 6.4 where one owner would spend 4.2",
    "shared": "one policy for both, each for itself: they overfish as well",
}
META = {
    "shaper": "not run (expected: earns more than its opponents)",
    "gs": "not run (expected: earns more than its opponents)",
    "mfos_es": "not run (expected: earns more than its opponents)",
    "mfos_rl": "not run (expected: about as much as its opponents)",
    "shaper,small": "the same for two cores and a few minutes",
}


def _family() -> games.Family:
    return games.Family(
        env=game("Fishery", num_players=2),
        num_players=2,
        steps=300,
        network={"head_init": "orthogonal"},
        recurrent={"sequence_length": 20},
        ppo={
            "discount": 0.99,
            "learning_rate": 0.003,
            "entropy_coeff": 0.0,
            "num_epochs": 2,
            "num_minibatches": 10,
        },
        independent={"num_envs": 60, "num_iters": 300},
        meta={"num_outer_steps": 50, "num_envs": 10, "num_opps": 2, "num_iters": 500},
        small={"num_outer_steps": 20, "num_iters": 50, "popsize": 32},
        evolution={"popsize": 128, "sigma": 0.1, "learning_rate": 0.05},
    )


VARIANTS = games.variants(_family(), INDEPENDENT, META)


def get_config(argument: str = "ppo"):
    return games.get_config(argument, _family())
