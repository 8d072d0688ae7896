"""Cournot competition: firms choose quantities, and the more is sold, the less everybody earns.

    python -m pax.main --config=configs/cournot.py:ppo

A variant is `<learner>[,opponent=self|shared][,quicktest]` or `<shaper>[,opponent=ppo][,small]`;
`python -m pax.main --list` shows them all.
"""

from configs import _games as games
from pax.config import game

INDEPENDENT = {
    "self": "the Nash equilibrium, 60 in all at a price of 40",
    "shared": "one policy for both, each for itself: the Nash equilibrium",
}
META = {
    "shaper": "not run (expected: sells more than its opponents, which learn to sell less)",
    "gs": "not run (expected: sells more than its opponents, which learn to sell less)",
    "mfos_es": "not run (expected: sells more than its opponents, which learn to sell less)",
    "mfos_rl": "not run (expected: about the Nash equilibrium)",
    "shaper,small": "the same for two cores and a few minutes",
}


def _family(num_players: int = 2) -> games.Family:
    return games.Family(
        env=game("Cournot", num_players=num_players),
        num_players=num_players,
        steps=1,
        network={"head_init": "orthogonal", "symlog": True, "action_scale": 10.0},
        recurrent={"sequence_length": 1},
        ppo={
            "learning_rate": 0.003,
            "entropy_coeff": 0.0,
            "num_epochs": 4,
            "num_minibatches": 4,
        },
        independent={"num_envs": 1000, "num_iters": 1000},
        meta={"num_outer_steps": 300, "num_envs": 100, "num_opps": 2, "num_iters": 500},
        small={"num_envs": 20, "num_iters": 100, "popsize": 32},
        evolution={"popsize": 128, "sigma": 0.1, "learning_rate": 0.05},
    )


VARIANTS = games.variants(_family(), INDEPENDENT, META) | {
    "planner": "one firm in place of both: the monopoly's 45"
}


def get_config(argument: str = "ppo"):
    variant, *rest = argument.split(",")
    if variant == "planner":
        return games.get_config(",".join(["ppo", *rest]), _family(num_players=1))
    return games.get_config(argument, _family())
