"""In-the-matrix games: what the configs of the prisoner's dilemma and of matching pennies share."""

from collections.abc import Mapping

from configs import _games as games
from pax.config import game
from pax.envs.in_the_matrix import PAYOFFS


def family(payoff: str) -> games.Family:
    """Returns in-the-matrix with a payoff by name, from `pax.envs.in_the_matrix.PAYOFFS`."""
    env = game("InTheMatrix", payoff=PAYOFFS[payoff])
    return games.Family(
        env=env,
        num_players=2,
        steps=152,
        network={"hidden_size": 16, "head_init": "orthogonal", "conv_channels": (16,)},
        feed_forward={"num_layers": 1},
        recurrent={"sequence_length": 19},
        ppo={
            "learning_rate": 0.005,
            "entropy_coeff": 0.1,
            "num_epochs": 2,
            "num_minibatches": 8,
        },
        independent={"num_envs": 50, "num_iters": 500},
        meta={"num_outer_steps": 500, "num_envs": 50, "num_iters": 1000},
        small={"num_outer_steps": 20, "num_envs": 8, "num_iters": 50, "popsize": 16},
        evolution={"popsize": 128, "sigma": 0.075, "learning_rate": 0.05},
    )


def variants(self_play: str, shaping: str, small: str) -> Mapping[str, str]:
    """Returns one line per variant.

    Args:
        self_play: what becomes of independent learners.
        shaping: what is expected of those that shape them.
        small: what was measured of the small one.
    """
    independent = {"self": self_play, "shared": f"one policy for both: {self_play}"}
    not_run = f"not run (expected: {shaping})"
    meta = {
        **dict.fromkeys(
            ("shaper", "shaper,context=avg", "shaper,context=att", "gs", "mfos_es"), not_run
        ),
        **dict.fromkeys(("mfos_rl", "marl2"), "not run (expected: about as much as its opponents)"),
        "shaper,small": f"for two cores, to see that it works: {small}",
    }
    return games.variants(family("ipd"), independent, meta)
