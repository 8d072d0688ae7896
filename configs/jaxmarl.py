"""Any environment of JaxMARL, under PPO and every shaper.

    python -m pax.main --config=configs/jaxmarl.py:hanabi

A variant is `<environment>[,<learner or shaper>][,opponent=...]`: a name of JaxMARL, and whatever games of
two players take (docs/environments.md). Without more, one PPO policy plays all agents that observe and act
alike. Needs `pip install -e ".[jaxmarl]"`.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from pax.config import game
from pax.config.build import build_env
from pax.config.sections import base_config
from pax.configs import _helper as helper
from pax.errors import ConfigError, nearest

VARIANTS = {
    "MPE_simple_spread_v3": "PPO for all agents: they come closer to the landmarks, -20 per episode, where "
    "they begin at -24",
    "overcooked": "PPO for both cooks, paid for what leads to a dish as well: 225 per episode, 11 dishes",
    "HeuristicEnemySMAX": "PPO for all allies, under masks of legal actions: .6 to 1 per "
    "episode, at random .2",
    "hanabi": "PPO for both players, under masks of legal actions: 3 points per game, where they begin "
    "with 0",
    "switch_riddle,ppo_memory": "PPO_memory for all prisoners: .5 per game",
    "storm_2p,ppo_memory,opponent=self": "PPO_memory against PPO_memory: 11 to 13 per episode, at random 1",
    "coin_game,ppo_memory,opponent=self": "PPO_memory against PPO_memory: take coins of both colours, .1 to "
    ".2 per step each",
    "coin_game,advantage_alignment": "PPO_memory by advantage_alignment, against itself: .4 per step each",
    "storm_2p,advantage_alignment": "PPO_memory by advantage_alignment, against itself: 10 per episode each",
    "jaxnav": "PPO for all robots, with continuous actions: after 40 iterations they collide less, "
    "and get nowhere",
    "coin_game,shaper,small": "Shaper by evolution against PPO_memory: .05 per step, they lose as much",
    "storm_2p,shaper,small": "Shaper by evolution against PPO_memory: 3 per episode, they get as much",
}
# Steps of a rollout: of one episode at least, where those have a limit.
STEPS = {"overcooked": 400, "overcooked_v2": 400, "jaxnav": 500, "storm": 152, "storm_2p": 152}
STEPS |= {"storm_np": 152, "coin_game": 100, "MPE_simple_spread_v3": 100}
USUAL_STEPS = 128
# A dish that is delivered pays 20. Nobody finds that out unless onions in a pot, which shape, pay something.
SETTINGS: dict[str, dict[str, Any]] = {
    "overcooked": {"shaped_reward": 1.0},
    "overcooked_v2": {"shaped_reward": 1.0},
    "coin_game": {"settings": {"num_inner_steps": 100, "num_outer_steps": 1}},
}
PPO: dict[str, Any] = {
    "learning_rate": 1e-3,
    "discount": 0.99,
    "entropy_coeff": 0.01,
    "num_epochs": 4,
    "num_minibatches": 4,
    "hidden_size": 64,
    "head_init": "orthogonal",
    "separate_critic": True,
}
MEMORY = {**PPO, "embed": True, "sequence_length": 0}
MEMORY.pop("separate_critic")
# Those who take each other's advantages into account, each with a policy of their own, as in coin_game.py.
ALIGNED: dict[str, Any] = {"agent": "PPO_memory", **MEMORY, "discount": 0.96}
ALIGNED |= {"entropy_coeff": 0.1, "gae_lambda": 0.5}
ALIGNED_WEIGHTS = {"advantage_alignment": 5.0, "loqa": 20.0}


def get_config(argument: str = "coin_game") -> ConfigDict:
    name, *rest = argument.split(",")
    env = game("JaxMARL", name=name, **SETTINGS.get(name, {}))
    steps = STEPS.get(name, USUAL_STEPS)
    seats, are_equal = _seats(env, steps)
    aligned = {
        learner: {**ALIGNED, "learner": {"type": learner, "weight": weight}}
        for learner, weight in ALIGNED_WEIGHTS.items()
    }
    is_shared = are_equal and not (rest and rest[0] in aligned)
    experiment = helper.Experiment(
        env=env,
        num_inner_steps=steps,
        learners={**helper.learners(PPO, MEMORY), **aligned},
        sizes={"num_envs": 16, "num_iters": 500},
        strategies={"random": "Random"},
        opponent="shared" if is_shared else "self",
        shapers=helper.shapers(PPO, MEMORY, {"popsize": 128, "sigma": 0.1, "learning_rate": 0.05}),
        mixed_lr={"low": 3e-5, "high": 0.03},
        trials={"num_outer_steps": 50, "num_envs": 10, "num_opps": 2, "num_iters": 500},
        small={"num_outer_steps": 10, "num_envs": 4, "num_iters": 50, "popsize": 32},
        seats=seats,
        are_equal=are_equal,
    )
    kinds = [*experiment.learners, *experiment.shapers, *helper.TASK_OPTIONS]
    if not rest or rest[0].partition("=")[0] in ("opponent", "quicktest"):
        rest = ["ppo", *rest]
    elif rest[0] not in kinds:
        raise ConfigError(
            f"{rest[0]!r} comes after {name}, and is no learner or shaper there: {nearest(rest[0], kinds)}"
        )
    return helper.get_config(",".join(rest), experiment)


def _seats(env: ConfigDict, steps: int) -> tuple[tuple[tuple[int, ...], ...], bool]:
    """Returns the seats of each role, and whether all players observe and act alike.

    If not, those that do share a role.
    """
    config = base_config()
    config.env, config.num_inner_steps = env, steps
    made, _ = build_env(config)
    groups: dict[Any, list[int]] = {}
    for player in range(made.num_players):
        alike = made.observation_space(player), made.action_space(player)
        groups.setdefault(alike, []).append(player)
    if len(groups) == 1:
        return tuple((player,) for player in range(made.num_players)), True
    return tuple(map(tuple, groups.values())), False
