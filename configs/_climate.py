"""Climate-economy games: what the configs of Rice-N with and without a club share."""

from __future__ import annotations

import dataclasses

from ml_collections import ConfigDict

from configs import _games as games
from pax.config import game
from pax.errors import ConfigError

REGIONS = (5, 27)
INDEPENDENT = {
    "self": "every region for itself: they save, emit, and hardly mitigate",
    "shared": "one policy for all regions, each for itself (weight sharing)",
}
META = {
    "shaper": "not run (expected: one region shapes the others, which learn)",
    "gs": "not run (expected: one region without memory shapes the others, which learn)",
    "mfos_es": "not run (expected: one region shapes the others, which learn)",
    "shaper,small": "the same for two cores and a few minutes",
}
MEDIATOR = "a mediator that wants the utility of all, and regions that share a policy"


def family(kind: str, num_regions: int = 5, has_mediator: bool = False) -> games.Family:
    """Returns Rice-N by the name of the game."""
    return games.Family(
        env=game(kind, num_regions=num_regions, has_mediator=has_mediator),
        num_players=num_regions + has_mediator,
        steps=20,
        network={"hidden_size": 32, "head_init": "orthogonal", "symlog": True},
        recurrent={"sequence_length": 20},
        ppo={
            "discount": 0.99,
            "learning_rate": 1e-3,
            "entropy_coeff": 0.0,
            "num_epochs": 4,
            "num_minibatches": 4,
        },
        independent={"num_envs": 64, "num_iters": 500},
        meta={"num_outer_steps": 50, "num_envs": 16, "num_iters": 300},
        small={"num_outer_steps": 10, "num_envs": 4, "num_iters": 30, "popsize": 16},
        evolution={"popsize": 128, "sigma": 0.05, "learning_rate": 0.02},
    )


def variants(kind: str) -> dict[str, str]:
    """Returns one line per variant."""
    own = {"mediator": MEDIATOR, "ppo,regions=27": "PPO for each of 27 regions"}
    return games.variants(family(kind), INDEPENDENT, META) | own


def get_config(argument: str, kind: str) -> ConfigDict:
    """Takes `ppo`, `ppo_memory`, the shapers, or `mediator`; `regions=27` takes the finer calibration.

    Args:
        argument: the variant and its options.
        kind: the game.
    """
    variant, *rest = argument.split(",")
    regions = [part.partition("=")[2] for part in rest if part.startswith("regions=")]
    if regions and regions[0] not in map(str, REGIONS):
        raise ConfigError(
            f"regions is {regions[0]!r}: choose one of {', '.join(map(str, REGIONS))}"
        )
    number = int(regions[0]) if regions else REGIONS[0]
    rest = [part for part in rest if not part.startswith("regions=")]
    if variant != "mediator":
        return games.get_config(",".join([variant, *rest]), family(kind, number))
    # The first seat is the mediator's.
    mediated = dataclasses.replace(family(kind, number, True), num_players=2)
    config = games.get_config(",".join(["ppo", *rest]), mediated)
    config.agent2.seats = tuple(range(1, number + 1))
    return config
