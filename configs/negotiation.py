"""A negotiation: both ask at once for parts of three items, each of which one of them values more.

    python -m pax.main --config=configs/negotiation.py:ppo,small

A variant is `<learner>[,opponent=...]` or `<shaper>[,opponent=...]` with the options of shapers
(docs/environments.md), each with `,small` for two cores; `python -m pax.main --list` shows them all.
"""

from typing import Any

from ml_collections import ConfigDict

from pax.config import game, rewards
from pax.configs import _helper as helper

STRATEGIES = {
    "always_cooperate": "NegotiationCooperator",
    "always_defect": "NegotiationDefector",
}
LEARNERS = {
    "ppo": ("PPO against shared, one policy for both", "both ask for all of everything, .30 each"),
    "ppo_memory": (
        "PPO_memory against shared, one policy for both",
        "both ask for all of everything, .30 each",
    ),
    "common": (
        "PPO that learns from the sum of all rewards",
        "each leaves to the other what that one values more, .50 each",
    ),
    "advantage_alignment": (
        "PPO_memory by advantage alignment, one policy for both",
        "both leave most of it, .44 each",
    ),
}
MEASURED = {
    "ppo": "both ask for nearly everything, .30 to .35 each",
    "ppo_memory": "both ask for nearly everything, .30 to .31 each",
    "common": "each leaves to the other what that one values more, .49 each",
    "advantage_alignment": "both leave most of what the other values more, also to a defector; .45 each",
}
VARIANTS = (
    helper.ppo_against()
    | {
        name: f"{what}: needs a GPU, not run (expected: {outcome})"
        for name, (what, outcome) in LEARNERS.items()
    }
    | {f"{name},small": f"{LEARNERS[name][0]}: {outcome}" for name, outcome in MEASURED.items()}
    | {
        "shaper": "Shaper by evolution: needs a GPU, not run (expected: earns more than its opponents)",
        "shaper,small": "Shaper by evolution, for two cores: asks for everything: .40 per round, "
        "those who learn get .20 and hardly learn within its ten episodes",
    }
)

# As published (Duque et al. 2024): a GRU of 64 units, 16384 games of 50 rounds, 800 iterations of Adam with
# 1e-3, discount .96, weight 3. One policy plays both seats.
PPO: dict[str, Any] = {
    "learning_rate": 1e-3,
    "max_gradient_norm": 1.0,
    "entropy_coeff": 0.005,
    "num_epochs": 2,
    "num_minibatches": 4,
    "hidden_size": 64,
    "head_init": "orthogonal",
    "discount": 0.96,
    "clip_value": False,
}
# What items come next is luck, and estimates over many steps put it down to what was asked before.
PPO["gae_lambda"] = 0.0
SIZES: dict[str, Any] = {"num_envs": 16384, "num_iters": 800}
WEIGHT = 3.0
# For two cores. Values of some 12 would take up the gradient, which is clipped, for a hundred iterations.
PPO_SMALL = {**PPO, "learning_rate": 3e-3, "hidden_size": 32, "num_minibatches": 8}
PPO_SMALL["reward_scale"] = 0.1
# With less, it takes longer to tell whose item is whose.
COMMON_SMALL = {"entropy_coeff": 0.02}
SMALL: dict[str, Any] = {"num_envs": 128, "num_iters": 200}
# In more iterations, players that align begin to defect again; with a weight of 3 they always did.
ALIGNED_SMALL = {"reward_scale": 1.0, "num_minibatches": 4}
ALIGNED_ITERATIONS = 120
WEIGHT_SMALL = 25.0
OPTIONS = {"small": None}


def get_config(argument: str = "ppo") -> ConfigDict:
    variant = argument.partition(",")[0]
    is_small = "small" in helper.take_options(argument, OPTIONS)
    ppo = PPO_SMALL if is_small else PPO
    memory = {**ppo, "embed": True, "sequence_length": 50}
    learners = helper.learners(ppo, memory)
    learners["common"] = {**learners["ppo"], **(COMMON_SMALL if is_small else {})}
    aligned = ALIGNED_SMALL if is_small else {}
    learners["advantage_alignment"] = {
        **learners["ppo_memory"],
        **aligned,
        "learner": {
            "type": "advantage_alignment",
            "weight": WEIGHT_SMALL if is_small else WEIGHT,
        },
    }
    sizes = SMALL if is_small else SIZES
    if is_small and variant == "advantage_alignment":
        sizes = {**sizes, "num_iters": ALIGNED_ITERATIONS}
    experiment = helper.Experiment(
        env=game("Negotiation"),
        options=OPTIONS,
        opponent="shared",
        num_inner_steps=50,
        learners=learners,
        sizes=sizes,
        strategies=STRATEGIES,
        shapers=helper.shapers(ppo, memory, {"popsize": 128, "sigma": 0.1, "learning_rate": 0.05}),
        co_players=helper.learners(ppo, memory),
        mixed_lr={"low": 3e-05, "high": 0.03},
        trials={"num_outer_steps": 50, "num_envs": 16, "num_opps": 2, "num_iters": 500},
        small={"num_outer_steps": 10, "num_envs": 8, "num_iters": 60, "popsize": 16},
    )
    config = helper.get_config(argument, experiment)
    if variant == "common":
        config.rewards = rewards("common")
    return config
