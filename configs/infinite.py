"""Infinitely long matrix games, played by policies that are chosen at once and valued exactly.

    python -m pax.main --config=configs/infinite.py:ppo,game=ipd

A variant is `<learner>[,opponent=<opponent>][,game=ipd|imp|chicken][,quicktest]` or
`<shaper>[,opponent=ppo|naive_exact|...][,game=...][,small]`; `python -m pax.main --list` shows them all.
Exact learners learn within an episode, one learner per environment, and start afresh in the next. PPO
takes into account what it does to their later policies by `,discounted`, with `,small` for two cores.
`lola_exact,look_ahead_steps=1|2|3|10|20` differentiates through that many steps of the other, from 3 on also
with `,mixed`.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from pax.config import game
from pax.configs import _helper as helper
from pax.envs.iterated_matrix_game import PAYOFFS
from pax.errors import ConfigError

EXACT = {
    "naive_exact": "NaiveExact",
    "lola_exact": "LOLAExact",
    "sos_exact": "SOSExact",
    "static": "Static",
}
STRATEGIES = {
    "always_cooperate": "HyperAltruistic",
    "defect": "HyperDefect",
    "tit_for_tat": "HyperTFT",
    "win_stay_lose_shift": "WinStayLoseShift",
    "zero_determinant": "ZeroDeterminant",
    "memory_one": "MemoryOne",
    **EXACT,
}
EXACT_LEARNERS = {name: {"agent": agent} for name, agent in EXACT.items()}
VARIANTS = (
    helper.ppo_against(
        random="always defects, -1 per step, they get -2.5",
        naive="as against itself, both defect, -2 per step each",
    )
    | helper.describe(
        ("ppo", "ppo_memory"),
        {
            "self": "both defect, -2 per step each",
            "tit_for_tat": "cooperates, -1 per step",
            "defect": "defects, -2 per step",
            "always_cooperate": "defects, 0 per step; the opponent gets -3",
        },
        {
            "shaper": "needs a GPU, not run (expected: better than -1 per step)",
            "mfos_es": "needs a GPU, not run (expected: better than -1 per step)",
            "shaper,small": "the same for two cores and ten minutes: -0.65, they get -2.00",
        },
    )
    | {
        "naive_exact": "Naive by exact gradients against itself: -1.98 per step over 100 updates",
        "naive_exact,opponent=static": "Naive by exact gradients against who never learns: -1.00, and -2.45",
        "lola_exact": "LOLA by exact gradients against itself: -1.09 per step over 100 updates",
        "lola_exact,opponent=naive_exact": "LOLA against Naive, both exact: -1.37, and -1.53",
        "lola_exact,look_ahead_steps=1": "LOLA 1 step ahead: 0.77 per step (CC pays 1)",
        "lola_exact,look_ahead_steps=2": "LOLA 2 steps ahead: 0.77 per step (CC pays 1)",
        "lola_exact,look_ahead_steps=3": "LOLA 3 steps ahead: 0.66 per step (CC pays 1)",
        "lola_exact,look_ahead_steps=3,mixed": "LOLA 3 steps ahead, mixed: 0.77 per step (CC pays 1)",
        "lola_exact,look_ahead_steps=10": "LOLA 10 steps ahead: 0.44 per step (CC pays 1)",
        "lola_exact,look_ahead_steps=10,mixed": "LOLA 10 steps ahead, mixed: 0.64 per step (CC pays 1)",
        "lola_exact,look_ahead_steps=20": "LOLA 20 steps ahead: 0.21 per step (CC pays 1)",
        "lola_exact,look_ahead_steps=20,mixed": "LOLA 20 steps ahead, mixed: 0.41 per step (CC pays 1)",
        "ppo,opponent=naive_exact,discounted": "PPO with a discount of .96 against exact naive learners: "
        "needs a GPU, not run (expected: it extorts them)",
        "ppo,opponent=naive_exact,discounted,small": "the same for two cores: extorts them, above -0.5, "
        "they get less than -2",
        "sos_exact": "SOS by exact gradients against itself: -1.10 per step over 100 updates",
        "shaper,opponent=naive_exact,small": "Shaper by evolution against exact naive learners: above -0.60",
        "mfos_es,opponent=naive_exact,small": "MFOS by evolution against exact naive learners: about -0.6",
        "shaper,opponent=lola_exact,small": "Shaper by evolution against exact LOLA learners: above -1",
    }
)


# Here players see policies, so that there is no place for what is played for.
TASKS = {name: task for name, task in helper.PAYOFF_TASKS.items() if name != "mixed_payoff_input"}
OPTIONS: Mapping[str, Any] = {"game": ("ipd", "imp", "chicken")}
PPO: dict[str, Any] = {
    "learning_rate": 0.01,
    "entropy_coeff": 0.0,
    "num_epochs": 4,
    "num_minibatches": 5,
}
# Moves do not follow one another: each is a whole game.
PPO |= {"head_init": "orthogonal", "discount": 0.0}
MEMORY = {**PPO, "sequence_length": 10}
SIZES = {"num_envs": 100, "num_iters": 500}
TRIALS = {"num_outer_steps": 100, "num_envs": 10, "num_opps": 2, "num_iters": 500}
# Nobody learns across trials: an iteration is 100 updates of each, and the first step shows what was drawn.
EXACT_SIZES = {
    "num_envs": 4096,
    "num_iters": 4,
    "chunk": 1,
    **helper.every(scalars=1, evaluation=1),
}
# LOLA with exact gradients (Meulemans et al. 2025): mutual cooperation pays 1, mutual defection nothing.
# By the number of steps ahead, the share of the gradient that looks ahead in `mixed`.
LOOK_AHEAD_SHARES = {"1": 1.0, "2": 1.0, "3": 0.75, "10": 0.6, "20": 0.4}
LOOK_AHEAD_GAME = {"payoff": ((1.0, 1.0), (-1.0, 2.0), (2.0, -1.0), (0.0, 0.0)), "gamma": 0.95}
LOOK_AHEAD = {"form": "full", "optimizer": "adamw", "learning_rate": 0.005}
NUM_UPDATES = 5000
LOOK_AHEAD_SIZES = {**EXACT_SIZES, "num_envs": 64, "num_iters": 1}
# PPO that looks ahead to the updates of exact learners, so that what it does to them pays.
DISCOUNTED_LEARNERS = ("ppo", "ppo_memory")
DISCOUNTED: dict[str, Any] = {"discount": 0.96, "gae_lambda": 0.99, "learning_rate": 4e-3}
DISCOUNTED |= {"entropy_coeff": 0.01, "num_minibatches": 1}
DISCOUNTED_SIZES = {"num_envs": 4000, "num_iters": 10000}
DISCOUNTED_SMALL = {"num_envs": 256, "num_iters": 300}
EXACT_QUICK = {"num_inner_steps": 5, "num_envs": 8, "num_iters": 2}


def look_ahead(given: Mapping[str, str]) -> dict[str, Any]:
    """Returns the settings of `LOLAExact` of `lola_exact,look_ahead_steps=...[,mixed]`, none without it."""
    if "look_ahead_steps" not in given:
        if "mixed" in given:
            raise ConfigError(
                "mixed is about looking many steps ahead: add look_ahead_steps=20, say"
            )
        return {}
    steps = given["look_ahead_steps"]
    if "mixed" in given and LOOK_AHEAD_SHARES[steps] == 1.0:
        raise ConfigError(
            f"mixed changes nothing with look_ahead_steps={steps}, where the whole gradient looks ahead: "
            "leave it out, or add it to look_ahead_steps=3, 10 or 20"
        )
    # Rates of 10 and 5 for the mean reward: values here are sums, 1 / (1 - gamma) = 20 times as large.
    rate = 0.5 if steps == "1" else 0.25
    share = LOOK_AHEAD_SHARES[steps] if "mixed" in given else 1.0
    ahead = {"look_ahead_steps": int(steps), "look_ahead_rate": rate, "look_ahead_share": share}
    return {**LOOK_AHEAD, **ahead}


def get_config(argument: str = "ppo") -> ConfigDict:
    variant, *rest = argument.split(",")
    is_exact = variant in EXACT
    options: dict[str, Any] = dict(OPTIONS)
    if variant in DISCOUNTED_LEARNERS:
        options |= {"discounted": None, "small": None}
    if variant == "lola_exact":
        options |= {"look_ahead_steps": tuple(LOOK_AHEAD_SHARES), "mixed": None}
    given = helper.take_options(argument, options)
    is_discounted = "discounted" in given
    if "small" in given and variant in DISCOUNTED_LEARNERS and not is_discounted:
        raise ConfigError(
            f"small is a size of {variant},discounted: add discounted, or leave it out"
        )
    settings = look_ahead(given)
    stakes = LOOK_AHEAD_GAME if settings else {}
    if "game" in given or not settings:
        stakes = {**stakes, "payoff": PAYOFFS[given.get("game", "ipd")]}
    sizes = LOOK_AHEAD_SIZES if settings else EXACT_SIZES if is_exact else SIZES
    learners = helper.learners(PPO, MEMORY)
    if is_discounted:
        learners[variant] = {**learners[variant], **DISCOUNTED}
        sizes = DISCOUNTED_SMALL if "small" in given else DISCOUNTED_SIZES
    num_updates = NUM_UPDATES if settings else 100
    # A trial is then one episode, a whole life of those who learn within it.
    meets_exact = any(f"opponent={name}" in rest for name in EXACT)
    exact = {**EXACT_LEARNERS, "lola_exact": {**EXACT_LEARNERS["lola_exact"], **settings}}
    experiment = helper.Experiment(
        env=game("InfiniteMatrixGame", **stakes),
        options=options,
        num_inner_steps=num_updates + 1 if is_exact else 100 if meets_exact else 10,
        learners=exact if is_exact else learners,
        sizes=sizes,
        quick=EXACT_QUICK if is_exact else helper.QUICK,
        strategies=STRATEGIES,
        shapers=helper.shapers(PPO, MEMORY, {"popsize": 128, "sigma": 0.1, "learning_rate": 0.05}),
        tasks=TASKS,
        mixed_lr={"low": 0.0001, "high": 0.1},
        trials={**TRIALS, "num_outer_steps": 1} if meets_exact else TRIALS,
        small={"num_iters": 100, "popsize": 32},
    )
    return helper.get_config(argument, experiment)
