"""Infinitely long matrix games, played by policies that are chosen at once and valued exactly.

    python -m pax.main --config=configs/infinite.py:ppo,game=ipd

A variant is `<learner>[,opponent=<opponent>][,game=ipd|imp|chicken][,quicktest]` or
`<shaper>[,opponent=ppo][,game=...][,small]`; `python -m pax.main --list` shows them all.
"""

from configs import _games as games
from pax.config import defaults
from pax.envs.infinite_matrix_game import InfiniteMatrixGame
from pax.envs.iterated_matrix_game import PAYOFFS

GAMES = ("ipd", "imp", "chicken")
STRATEGIES = {"altruistic": "HyperAltruistic", "defect": "HyperDefect", "tit_for_tat": "HyperTFT"}
INDEPENDENT = {
    "self": "both defect, -2 per step each",
    "tit_for_tat": "cooperates, -1 per step",
    "defect": "defects, -2 per step",
    "altruistic": "defects, 0 per step; the opponent gets -3",
}
META = {
    "shaper": "better than -1 per step",
    "mfos_es": "better than -1 per step",
    "shaper,small": "the same for two cores and a few minutes",
}


def _family(game: str = "ipd") -> games.Family:
    env = defaults(InfiniteMatrixGame)
    del env.num_inner_steps
    env.type = "InfiniteMatrixGame"
    env.payoff, env.gamma = PAYOFFS[game], 0.96
    return games.Family(
        env=env,
        num_players=2,
        steps=10,
        network={"head_init": "orthogonal"},
        recurrent={"sequence_length": 10},
        # Moves do not follow one another: each is a whole game.
        ppo={
            "discount": 0.0,
            "learning_rate": 0.01,
            "entropy_coeff": 0.0,
            "num_epochs": 4,
            "num_minibatches": 5,
        },
        strategies=STRATEGIES,
        independent={"num_envs": 100, "num_iters": 500},
        meta={"num_outer_steps": 100, "num_envs": 10, "num_opps": 2, "num_iters": 500},
        small={"num_iters": 100, "popsize": 32},
        evolution={"popsize": 128, "sigma": 0.1, "learning_rate": 0.05},
    )


VARIANTS = games.variants(_family(), INDEPENDENT, META)


def get_config(argument: str = "ppo"):
    parts = argument.split(",")
    chosen = [part for part in parts if part in {f"game={game}" for game in GAMES}]
    rest = ",".join(part for part in parts if part not in chosen)
    return games.get_config(rest, _family(chosen[0].partition("=")[2] if chosen else "ipd"))
