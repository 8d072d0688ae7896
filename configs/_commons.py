"""What the commons of many players share: who plays, in which sizes, and what variants they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from pax.config import game
from pax.configs import _helper as helper

# Sizes of everything in small: on the small maps, for two cores.
OPTIONS: Mapping[str, Any] = {
    "players": tuple(str(number) for number in range(2, 17)),
    "small": None,
}

PPO: dict[str, Any] = {
    "learning_rate": 5e-4,
    "entropy_coeff": 0.01,
    "num_epochs": 2,
    "num_minibatches": 8,
}
PPO |= {"hidden_size": 64, "num_layers": 1, "head_init": "orthogonal", "conv_channels": (16,)}
PPO |= {"discount": 0.99}
MEMORY = {**PPO, "embed": True, "sequence_length": 50}
# As the field trains them, on GPUs: 10^8 steps.
SIZES: dict[str, Any] = {"num_envs": 256, "num_iters": 400}
SMALL: dict[str, Any] = {"num_envs": 16, "num_iters": 300}
QUICK = {**helper.QUICK, "num_envs": 2}


def get_config(argument: str, env: str, small_env: Mapping[str, Any]) -> ConfigDict:
    """Returns a variant `<learner>[,opponent=...][,players=...][,small][,quicktest]`.

    Args:
        argument: the variant.
        env: the class of the game.
        small_env: settings of the game in `small`: its map, players, window, and the steps of an episode.
    """
    given = helper.take_options(argument, OPTIONS)
    is_small = "small" in given
    # On the small map in a quick test, too: it is compiled in a fraction of the time.
    on_small_map = is_small or "quicktest" in argument.split(",")
    settings = dict(small_env) if on_small_map else {"num_players": 7}
    steps = settings.pop("num_inner_steps", 1000)
    settings["num_players"] = int(given.get("players", settings["num_players"]))
    own = {"learning_rate": 2e-3} if is_small else {}
    experiment = helper.Experiment(
        env=game(env, **settings),
        seats=tuple((seat,) for seat in range(settings["num_players"])),
        options=OPTIONS,
        opponent="shared",
        num_inner_steps=steps,
        learners=helper.learners({**PPO, **own}, {**MEMORY, **own}),
        sizes=SMALL if is_small else SIZES,
        quick=QUICK,
    )
    return helper.get_config(argument, experiment)
