"""The players, sizes and variants that the configs of Commons Harvest and Clean Up share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from pax.config import game, rewards
from pax.configs import _helper as helper

PLAYERS = tuple(str(number) for number in range(2, 17))
OPTIONS: Mapping[str, Any] = {"players": PLAYERS, "small": None}

# As SocialJax trains: PPO with convolutions, 5e-4, 256 environments, 10^8 steps.
PPO: dict[str, Any] = {
    "learning_rate": 5e-4,
    "entropy_coeff": 0.01,
    "num_epochs": 2,
    "num_minibatches": 8,
}
PPO |= {"hidden_size": 64, "num_layers": 1, "head_init": "orthogonal", "conv_channels": (32,)}
PPO |= {"discount": 0.99}
SIZES: dict[str, Any] = {"num_envs": 256, "num_iters": 400}
# For two cores: a smaller network and fewer environments.
PPO_SMALL = {**PPO, "learning_rate": 2e-3, "conv_channels": (16,)}
SMALL: dict[str, Any] = {"num_envs": 32, "num_iters": 150}
# What PPO learns from in the variants of these names.
FELT: Mapping[str, ConfigDict] = {
    "common": rewards("common"),
    "svo": rewards("social_value_orientation"),
    "inequity": rewards("inequity_aversion"),
    "exchange": rewards("exchange"),
}
TRIALS: dict[str, Any] = {"num_outer_steps": 20, "num_envs": 8, "num_opps": 2, "num_iters": 500}
TRIALS_SMALL: dict[str, Any] = {"num_outer_steps": 4, "num_envs": 2, "num_opps": 1}
TRIALS_SMALL |= {"num_iters": 50, "popsize": 8}
EVOLUTION: dict[str, Any] = {"popsize": 128, "sigma": 0.05, "learning_rate": 0.02}
QUICK = {**helper.QUICK, "num_envs": 2}


def describe(individual: str, common: str, measured: Mapping[str, str]) -> dict[str, str]:
    """Returns what each variant is, and what to expect of it.

    Args:
        individual: the expected outcome where each player learns from its own reward.
        common: the expected outcome where each player learns from the sum of all rewards.
        measured: by variant, the outcome of those that were run.
    """
    lines = {
        "ppo": f"PPO against shared, one policy for all: needs a GPU, not run (expected: {individual})",
        "ppo,opponent=self": "PPO against self, one policy per seat: needs a GPU, not run "
        f"(expected: {individual})",
        "ppo_memory": f"PPO_memory against shared: needs a GPU, not run (expected: {individual})",
        "ppo,opponent=random": "PPO against random actions: needs a GPU, not run "
        "(expected: eats more than the others)",
        "ppo,opponent=naive": "PPO against Naive, which has its network and rates: needs a GPU, not run "
        "(expected: as against itself)",
    }
    others = {
        "common": ("the sum of all rewards", common),
        "svo": ("own and others' rewards at an angle of 45 degrees", common),
        "inequity": ("inequity aversion", "apples are shared more evenly"),
        "exchange": ("half of the own reward and half of the others' mean", common),
    }
    for name, (felt, outcome) in others.items():
        lines[name] = f"PPO that learns from {felt}: needs a GPU, not run (expected: {outcome})"
    lines["advantage_alignment"] = (
        "PPO by advantage alignment, one policy for all: needs a GPU, not run "
        "(expected: more than independent PPO)"
    )
    lines["loqa"] = (
        "PPO by LOQA, one policy for all: needs a GPU, not run (expected: more than independent PPO)"
    )
    lines["shaper"] = (
        "Shaper by evolution among learners: needs a GPU, not run (expected: earns more than they do)"
    )
    small = {
        f"{name},small": f"{text.partition(':')[0]}, for two cores: not run "
        f"({text[text.index('expected') :]}"
        for name, text in lines.items()
        if "opponent=" not in name or name.endswith("self")
    }
    for name, outcome in measured.items():
        small[name] = f"{small[name].partition(':')[0]}: {outcome}"
    return lines | small


def get_config(argument: str, env: str, small_env: Mapping[str, Any]) -> ConfigDict:
    """Returns a variant `<learner>[,opponent=...][,players=...][,small][,quicktest]`.

    Args:
        argument: the variant.
        env: the class of the game.
        small_env: settings of the game in `small`: its map, players, window, and the steps of an episode.
    """
    given = helper.take_options(argument, OPTIONS)
    variant, *options = argument.split(",")
    is_small = "small" in given
    # On the small map in a quick test, too: it is compiled in a fraction of the time.
    on_small_map = is_small or "quicktest" in options
    settings = dict(small_env) if on_small_map else {"num_players": 7}
    steps = settings.pop("num_inner_steps", 1000)
    settings["num_players"] = int(given.get("players", settings["num_players"]))
    ppo = PPO_SMALL if is_small else PPO
    memory = {**ppo, "embed": True, "sequence_length": 50}
    learners = helper.learners(ppo, memory)
    learners |= dict.fromkeys(FELT, learners["ppo"])
    # Below 10, alignment in Harvest did nothing: see docs/experiments.md.
    for name in ("advantage_alignment", "loqa"):
        learners[name] = {**learners["ppo"], "learner": {"type": name, "weight": 20.0}}
    experiment = helper.Experiment(
        env=game(env, **settings),
        seats=tuple((seat,) for seat in range(settings["num_players"])),
        options=OPTIONS,
        opponent="shared",
        num_inner_steps=steps,
        learners=learners,
        sizes=SMALL if is_small else SIZES,
        shapers=helper.shapers(ppo, memory, EVOLUTION),
        # In a trial they learn from a few environments, whose steps 8 does not divide.
        co_players=helper.learners(
            {**ppo, "num_minibatches": 10}, {**memory, "num_minibatches": 10}
        ),
        co_player="ppo",
        mixed_lr={"low": 5e-5, "high": 5e-3},
        trials=TRIALS,
        small=TRIALS_SMALL,
        quick=QUICK,
    )
    config = helper.get_config(argument, experiment)
    if variant in FELT:
        config.rewards = FELT[variant].copy_and_resolve_references()
    return config
