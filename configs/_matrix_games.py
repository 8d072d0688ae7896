"""Independent learners in two-player matrix games: what the configs of these games share."""

from __future__ import annotations

from collections.abc import Mapping

from ml_collections import ConfigDict

from configs import _meta_games as meta_games
from pax.config import base_config, parse_variant, role
from pax.config import game as game_config
from pax.envs.iterated_matrix_game import PAYOFFS

LEARNERS = {"ppo": "PPO", "ppo_memory": "PPO_memory", "tabular": "Tabular", "naive": "Naive"}
SETTINGS = {
    "ppo": {"learning_rate": 0.01},
    "ppo_memory": {"learning_rate": 0.01},
    # Faster ones make self-play settle wherever it happens to be.
    "tabular": {"learning_rate": 0.1},
    "naive": {"learning_rate": 0.1},
}
# Steps and rates of the published runs, there of one logit and here of two, which move twice as far. One step
# ahead is worth three smaller ones.
LOLA_RATES = {0: 0.0, 1: 0.15, 2: 0.05, 3: 0.05}
ALIGNED = ("advantage_alignment", "loqa")
NUM_ITERS = {
    "ppo": 1000,
    "ppo_memory": 150,
    "tabular": 1000,
    "naive": 500,
    "lola_dice": 200,
    **dict.fromkeys(ALIGNED, 1000),
}


def variants(expected: Mapping[str, str]) -> dict[str, str]:
    """Returns one line per learner and opponent: what it is, and what to expect.

    Args:
        expected: by opponent, the default one first, the outcome for any of the learners.
    """
    lines = {}
    for name, agent in LEARNERS.items():
        for index, (opponent, outcome) in enumerate(expected.items()):
            argument = name if index == 0 else f"{name},opponent={opponent}"
            lines[argument] = f"{agent} against {opponent}: {outcome}"
    return lines


def get_config(
    argument: str, game: str, default_opponent: str, strategies: Mapping[str, str]
) -> ConfigDict:
    """Returns a learner on the first seat, an opponent on the second.

    Args:
        argument: `<learner>[,opponent=<opponent>][,quicktest]`.
        game: the name of the payoffs.
        default_opponent: who plays if nobody is named.
        strategies: fixed opponents by the name they have in this game.
    """
    opponents = [*strategies, "self", "shared", *LEARNERS]
    env = game_config("IteratedMatrixGame", payoff=PAYOFFS[game])
    # Rows CC, CD, DC, DD as player 1 sees them; a column per player.
    if argument.partition(",")[0] in meta_games.VARIANTS:
        return meta_games.get_config(argument, env, strategies)
    options = {"opponent": opponents, "quicktest": None}
    if argument.partition(",")[0] == "lola_dice":
        options["look_ahead"] = [str(steps) for steps in LOLA_RATES]
    if argument.partition(",")[0] in ("lola_dice", *ALIGNED):
        default_opponent = "self"
    # Those of the meta-games are named here for the message that lists what there is.
    learner, given = parse_variant(
        argument, [*LEARNERS, "lola_dice", *ALIGNED, *meta_games.VARIANTS], options
    )
    opponent = given.get("opponent", default_opponent)
    if opponent == "self":
        opponent = learner

    config = base_config()
    config.env = env
    config.num_iters = NUM_ITERS[learner]
    config.roles = ("agent1", "agent2")
    config.agent1 = _learner(learner, 0, given)
    if opponent == "shared":
        # One policy on both seats, updated from both as one batch.
        config.roles = ("agent1",)
        config.agent1.seats = (0, 1)
    elif opponent in NUM_ITERS:
        config.agent2 = _learner(opponent, 1, given)
    else:
        config.agent2 = role(strategies[opponent], 1)
    if learner == "lola_dice":
        config.num_inner_steps, config.num_envs = 150, 64
    if learner in ALIGNED:
        config.num_inner_steps, config.num_envs = 100, 128
    config.evaluation.as_trained = ConfigDict()
    for name, strategy in strategies.items():
        if opponent not in (name, "shared") and name in ("tit_for_tat", "defect", "tails"):
            config.evaluation[name] = ConfigDict({"agent2": role(strategy, 1)})
    if "quicktest" in given:
        config.num_iters, config.num_inner_steps, config.num_envs = 4, 20, 10
        config.chunk = 2
        for callback in ("scalars", "evaluation", "checkpoint"):
            config.callbacks[callback].every = 2
    return config


def _learner(name: str, seat: int, given: Mapping[str, str]) -> ConfigDict:
    if name in ALIGNED:
        return role(
            "Tabular",
            seat,
            learner={"type": name, "weight": 10.0},
            learning_rate=0.05,
            entropy_coeff=0.1,
            gae_lambda=0.0,
            num_epochs=2,
            num_minibatches=4,
        )
    if name != "lola_dice":
        return role(LEARNERS[name], seat, **SETTINGS[name])
    steps = int(given.get("look_ahead", 1))
    return role(
        "Naive",
        seat,
        learner={
            "type": "lola_dice",
            "look_ahead_steps": steps,
            "look_ahead_rate": LOLA_RATES[steps],
        },
        network="table",
        optimizer="sgd",
        learning_rate=0.1,
        max_gradient_norm=1e9,
    )
