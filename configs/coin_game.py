"""The coin game: taking a coin pays 1, and costs the other 2 if it was of the other's colour.

    python -m pax.main --config=configs/coin_game.py:ppo_memory

A variant is `<learner>[,opponent=...]`, or, for whole learning lifetimes, `<shaper>[,opponent=...]` with
the options of shapers (docs/environments.md); `absolute`, `cnn`, `one_coin` and `last_coins` change the game.
Shapers of two cores (`small`) play the game with `last_coins`.
`python -m pax.main --list` shows them all.
"""

from typing import Any

from ml_collections import ConfigDict

from pax.config import game
from pax.configs import _helper as helper

STRATEGIES = {
    "good_greedy": "GoodGreedy",
    "evil_greedy": "EvilGreedy",
    "random_greedy": "RandomGreedy",
    "own_coins": "OwnCoins",
    "always_cooperate": "AlwaysCooperate",
    "stay": "Stay",
}
VARIANTS = (
    helper.ppo_against(
        random="takes every coin, .65 per step, they lose .8",
        naive="as against itself, both take what is near",
    )
    | helper.describe(
        ("ppo", "ppo_memory"),
        {
            "self": "both take most of the coins that they can reach, some 10 each per episode",
            "shared": "one policy for both: takes whatever coin is near",
            "evil_greedy": "takes whatever coin is near",
            "good_greedy": "takes whatever coin is near, and earns more than the other",
            "own_coins": "takes whatever coin is near, and earns more than the other",
            "stay": "takes every coin, 1 per coin",
        },
        {
            "shaper": "needs a GPU, not run "
            "(expected: earns more than its opponents, which learn to leave coins to it)",
            "shaper,context=avg": "the same, with the memory mixed over environments: "
            "needs a GPU, not run (expected: the same)",
            "shaper,context=att": "the same, with attention over environments: needs a GPU, not run "
            "(expected: the same)",
            "gs": "needs a GPU, not run (expected: earns more than its opponents)",
            "mfos_es": "needs a GPU, not run (expected: earns more than its opponents)",
            "mfos_rl": "takes coins faster than they learn to: .6 per step, they lose as much "
            "(trials of 100 episodes)",
            "marl2": "takes coins faster than they learn to: .6 per step, they lose as much "
            "(trials of 100 episodes)",
            "marl2,small": "for two cores: takes whatever is near, and faster than they learn to: "
            ".4 per step, they lose .5",
            "shaper,small": "for two cores, from the policy of marl2,small: .6 per step, they lose .5, "
            "and leave coins to it",
        },
    )
    | {
        "ppo_memory,absolute": "PPO_memory against itself, seeing the grid as it is: takes fewer coins",
        "ppo,cnn": "PPO with convolutions against itself",
        "ppo,one_coin": "PPO against itself with one coin at a time and no staying",
        "shaper,opponent=tabular": "Shaper by evolution against Tabular: "
        "needs a GPU, not run (expected: earns more than its opponents)",
        "tabular": "Tabular against itself, on all 9^4 positions: slow, and takes what is near",
        "advantage_alignment": "PPO_memory by advantage_alignment, one coin at a time, against itself: "
        "each takes its own, .3 per step",
        "pola": "PPO_memory by pola, one coin at a time, against itself, of the published size: needs a GPU, "
        "not run (expected: each takes its own, .2 per step)",
        "loqa": "PPO_memory by loqa, one coin at a time, against itself: each takes its own, .3 per step",
    }
)

# What changes the game.
OPTIONS = {"absolute": None, "cnn": None, "one_coin": None, "last_coins": None}
PPO: dict[str, Any] = {
    "learning_rate": 0.005,
    "entropy_coeff": 0.02,
    "num_epochs": 2,
    "num_minibatches": 8,
}
PPO |= {"hidden_size": 16, "head_init": "orthogonal"}
# On two cores, those that learn in a trial learn fast, so that shaping them pays within 30 episodes.
FAST = {"learning_rate": 0.02, "num_epochs": 4}
# Few parameters, few candidates and large steps. It starts from a policy that plays already (`path`).
FINE_TUNING = {"sigma": 0.12, "learning_rate": 0.03, "only": "torso"}
SMALL = {"num_outer_steps": 30, "num_envs": 32, "num_iters": 400, "popsize": 48}
SMALL_GRADIENT = {**SMALL, "num_opps": 16, "num_iters": 150}
# Players that take each other's advantages into account play the published game of 50 steps.
# LOQA weights a step by one minus the probability of the other's action, which is seldom above .1.
ALIGNED_WEIGHTS = {"advantage_alignment": 5.0, "loqa": 20.0}
ALIGNED: dict[str, Any] = {"hidden_size": 32, "discount": 0.96, "entropy_coeff": 0.1}
# With a larger gae_lambda they cooperate with everybody, defectors as well.
ALIGNED |= {"gae_lambda": 0.5}

# POLA of the published size plays that game, too.
POLA: dict[str, Any] = {"agent": "PPO_memory", "hidden_size": 64, "embed": True, "discount": 0.96}
POLA |= {"learning_rate": 0.003, "learner": {"type": "pola", "look_ahead_steps": 4}}
POLA["learner"] |= {"look_ahead_rate": 0.01, "outer_beta": 150.0, "inner_beta": 5.0}
POLA_SIZES = {"num_envs": 1000, "num_iters": 251, "chunk": 1}
POLA_SIZES |= helper.every(scalars=1, checkpoint=10, evaluation=25)


def get_config(argument: str = "ppo") -> ConfigDict:
    variant, *rest = argument.split(",")
    given = helper.take_options(argument, OPTIONS)
    is_tabular, is_pola = variant == "tabular", variant == "pola"
    is_aligned = variant in ALIGNED_WEIGHTS or is_pola
    is_small = "small" in rest
    sees_coins = "last_coins" in given or (is_small and "cnn" not in given)
    # Others see planes, and a table that they play sees the number of the situation.
    meets_table = "opponent=tabular" in rest and not is_tabular
    network = {**PPO, **({"conv_channels": (16, 16)} if "cnn" in given else {})}
    one_layer = {**network, "num_layers": 1}
    memory = {**network, "embed": True, "sequence_length": 10 if is_aligned else 4}
    table = {"agent": "Tabular", **one_layer, "learning_rate": 0.1}
    learners = {**helper.learners(one_layer, memory), "tabular": table}
    fast = {name: {**learners[name], **FAST} for name in ("ppo", "ppo_memory")}
    aligned = {
        name: {
            "agent": "PPO_memory",
            **memory,
            **ALIGNED,
            "learner": {"type": name, "weight": weight},
        }
        for name, weight in ALIGNED_WEIGHTS.items()
    }
    aligned["pola"] = POLA
    sizes = {"num_envs": 100, "num_iters": 500}
    if is_aligned:
        sizes = POLA_SIZES if is_pola else {"num_envs": 128, "num_iters": 1500}
    experiment = helper.Experiment(
        env=game(
            "CoinGame",
            egocentric="absolute" not in given,
            cnn="cnn" in given,
            one_coin=is_aligned or "one_coin" in given,
            tabular=is_tabular or meets_table,
            **({"tabular_players": (1,)} if meets_table else {}),
            last_coin_players=((0,) if meets_table else (0, 1)) if sees_coins else (),
        ),
        are_equal=not meets_table,
        options=OPTIONS,
        num_inner_steps=50 if is_aligned else 16,
        learners=learners if variant in learners else {**learners, **aligned},
        sizes=sizes,
        strategies=STRATEGIES,
        evaluate_against=("always_cooperate", "evil_greedy") if is_aligned else (),
        shapers=helper.shapers(
            one_layer,
            memory,
            {"popsize": 1000, "sigma": 0.04, "learning_rate": 0.05}
            | (FINE_TUNING if is_small and variant not in ("gs", "mfos_es") else {}),
        ),
        co_players={**learners, **(fast if is_small else {})},
        mixed_lr={"low": 5e-05, "high": 0.05},
        trials={"num_outer_steps": 600, "num_envs": 100, "num_iters": 1000},
        small=SMALL_GRADIENT if variant in ("marl2", "mfos_rl") else SMALL,
    )
    return helper.get_config(argument, experiment)
