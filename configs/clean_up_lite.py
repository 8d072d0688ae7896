"""Clean-up lite: an apple pays 1, and apples grow while somebody cleans the river.

    python -m pax.main --config=configs/clean_up_lite.py:ppo_memory

A variant is `<learner>[,opponent=...]`, or, for whole learning lifetimes, `<shaper>[,opponent=...]` with
the options of shapers (docs/environments.md) or `coala[,mixed][,mfos|batch_unaware][,small]`, meta-agents
that learn by gradients; `python -m pax.main --list` shows them all.
"""

from typing import Any

from ml_collections import ConfigDict

from pax.config import game, role
from pax.configs import _coala
from pax.configs import _helper as helper

VARIANTS = (
    helper.ppo_against(
        random="cleans and eats, .2 per step, they get .05",
        naive="PPO cleans, and they eat: .12 and .23 per step",
    )
    | helper.describe(
        ("ppo", "ppo_memory"),
        {
            "self": "one cleans, and the other eats: some .05 and .3 per step",
            "shared": "one policy for both: both clean and eat, some .08 per step each",
        },
        {},
    )
    | {
        "coala": "COALA-PG against learners with a GRU: needs a GPU, not run "
        "(expected: earns more than a learner "
        "in its place)",
        "coala,mfos": "the same by M-FOS's estimator: needs a GPU, not run "
        "(expected: less than COALA-PG)",
        "coala,batch_unaware": "the same by plain PPO: needs a GPU, not run "
        "(expected: less than COALA-PG)",
        "coala,mixed": "three agents by COALA-PG, and learners that start as copies of them: "
        "needs a GPU, not run "
        "(expected: they clean more and zap less than without learners)",
        "coala,small": "COALA-PG against PPO: .07 per step, three times what PPO earns in its place",
        "coala,mfos,small": "the same by M-FOS's estimator: .02 per step, what PPO earns in its place",
        "coala,batch_unaware,small": "the same by plain PPO: .02 per step, what PPO earns in its place",
        "coala,mixed,small": "the pool for two cores: all clean and eat, .09 per step each, and zap less; "
        "with a learner that begins afresh .01",
    }
)

PPO: dict[str, Any] = {
    "learning_rate": 0.003,
    "entropy_coeff": 0.01,
    "num_epochs": 2,
    "num_minibatches": 8,
}
PPO |= {"hidden_size": 32, "head_init": "orthogonal"}
MEMORY = {**PPO, "embed": True, "sequence_length": 16}

# As published (Meulemans et al. 2025).
SHAPING: dict[str, Any] = {"num_inner_steps": 64, "num_outer_steps": 100}
SHAPING |= {"num_envs": 32, "num_opps": 512, "num_iters": 3000}
MIXED: dict[str, Any] = {"num_inner_steps": 64, "num_outer_steps": 5}
MIXED |= {"num_envs": 64, "num_opps": 512, "num_iters": 30000}
META = {**_coala.META, "standardise_advantages": True}
META_RATES = {"coala": 1e-3, "mfos": 3e-3, "batch_unaware": 1e-3}
TD_LAMBDAS = {"coala": 0.1, "mfos": 1.0, "batch_unaware": 1.0}
# Advantage actor-critic by plain gradient descent.
META_MIXED = {"num_epochs": 1, "num_minibatches": 1, "optimizer": "sgd"}
MIXED_RATES = {"coala": 0.1, "mfos": 0.03, "batch_unaware": 0.1}
NAIVE: dict[str, Any] = {
    "agent": "PPO_memory",
    "hidden_size": 32,
    "embed": True,
    "learning_rate": 5e-3,
}
NAIVE |= {"sequence_length": 0, "reward_scale": 0.1, **_coala.A2C}
# For two cores: learners who learn something in twenty episodes.
SMALL: dict[str, Any] = {"num_inner_steps": 64, "num_outer_steps": 20}
SMALL |= {"num_envs": 8, "num_opps": 16, "num_iters": 100}
META_SMALL: dict[str, Any] = {"hidden_size": 16, "learning_rate": 0.01, "gae_lambda": 0.98}
META_SMALL |= {"num_epochs": 2, "num_minibatches": 8}
NAIVE_SMALL: dict[str, Any] = {"agent": "PPO", "hidden_size": 16, "learning_rate": 0.02}
NAIVE_SMALL |= {"num_epochs": 4, "num_minibatches": 4, "discount": 0.99, "entropy_coeff": 0.0}
# With the network of the meta-agents.
NAIVE_SMALL_COPIES = {**NAIVE_SMALL, "agent": "PPO_memory", "embed": True, "sequence_length": 0}


def coala(argument: str) -> ConfigDict:
    """Returns a variant `coala[,mixed][,mfos|batch_unaware][,small][,quicktest]`."""
    given = _coala.read_options(argument)
    form, small, mixed = given["form"], "small" in given, "mixed" in given
    sizes, rates = (MIXED, MIXED_RATES) if mixed else (SHAPING, META_RATES)
    meta = {**META, "learning_rate": rates[form], **(META_MIXED if mixed else {})}
    naive, td_lambda = NAIVE, TD_LAMBDAS[form]
    if small:
        sizes, meta = SMALL, {**META, **META_SMALL}
        naive = NAIVE_SMALL_COPIES if mixed else NAIVE_SMALL
    config = _coala.build(
        given,
        game("CleanUpLite"),
        sizes,
        meta,
        naive,
        num_agents=3,
        td_lambda=td_lambda,
        naive_copies=True,
    )
    if not mixed:
        # What a naive learner earns in the place of the meta-agent.
        seated = role(seat=0, **naive, learner="none", learns_in_trial=True)
        config.evaluation.naive = {"agent1": seated}
    return config


def get_config(argument: str = "ppo_memory") -> ConfigDict:
    if argument.split(",")[0] == "coala":
        return coala(argument)
    experiment = helper.Experiment(
        env=game("CleanUpLite"),
        num_inner_steps=64,
        learners=helper.learners(PPO, MEMORY),
        sizes={"num_envs": 100, "num_iters": 500},
        shapers=helper.shapers(
            PPO, MEMORY, {"popsize": 1000, "sigma": 0.04, "learning_rate": 0.05}
        ),
        mixed_lr={"low": 1e-4, "high": 0.1},
        trials={"num_outer_steps": 100, "num_envs": 32, "num_iters": 1000},
        small={
            "num_outer_steps": 20,
            "num_envs": 8,
            "num_opps": 4,
            "num_iters": 100,
            "popsize": 32,
        },
    )
    return helper.get_config(argument, experiment)
