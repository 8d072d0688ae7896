"""Rice-N: regions that trade, save and mitigate share one climate; 20 steps of 5 years.

    python -m pax.main --config=configs/rice.py:ppo

A variant is `<learner>[,opponent=self|shared|...]`, `mediator`, or `<shaper>[,opponent=...][,small]`, each
with `,regions=27` and `,quicktest`; `python -m pax.main --list` shows them all. `mediator_gs` and
`mediator_shaper` are mediators by evolution, of regions that learn in a trial, `sarl` is a planner for all
regions.
"""

from typing import Any

from ml_collections import ConfigDict

from pax.config import game
from pax.configs import _helper as helper

VARIANTS = (
    helper.ppo_against(
        random="saves and emits for itself, as against itself",
        naive="as against itself, they save, emit, and hardly mitigate",
    )
    | helper.describe(
        ("ppo", "ppo_memory"),
        {
            "self": "every region for itself: they save, emit, and hardly mitigate",
            "shared": "one policy for all regions, each for itself (weight sharing)",
        },
        {
            "shaper": "needs a GPU, not run (expected: one region shapes the others, which learn)",
            "gs": "needs a GPU, not run "
            "(expected: one region without memory shapes the others, which learn)",
            "mfos_es": "needs a GPU, not run (expected: one region shapes the others, which learn)",
            "shaper,small": "the same for two cores and a few minutes",
        },
    )
    | {
        "mediator": "a mediator that wants the utility of all, and regions that share a policy",
        "mediator_gs,opponent=ppo": "a mediator without memory by evolution, regions that share PPO: "
        "needs a GPU, not run (expected: mitigation rises)",
        "mediator_gs,opponent=naive": "the same, regions that share Naive: needs a GPU, not run "
        "(expected: mitigation rises)",
        "mediator_shaper,opponent=ppo_memory": "a mediator with memory by evolution: needs a GPU, not run "
        "(expected: mitigation rises)",
        "mediator_gs,opponent=ppo,small": "for two cores and a few minutes: too few generations to "
        "change anything, mitigation stays at .5",
        "mediator_gs,opponent=naive,small": "for two cores and a few minutes: the same",
        "sarl": "PPO plans for all regions: the sum of their utilities, 7.6",
        "ppo,regions=27": "PPO for each of 27 regions",
    }
)

OPTIONS = {"regions": ("5", "27")}
PPO: dict[str, Any] = {
    "learning_rate": 1e-3,
    "entropy_coeff": 0.0,
    "num_epochs": 4,
    "num_minibatches": 4,
}
PPO |= {"discount": 0.99, "hidden_size": 32, "head_init": "orthogonal", "symlog": True}
MEMORY = {**PPO, "sequence_length": 20}


def get_config(argument: str = "ppo") -> ConfigDict:
    if argument.partition(",")[0] == "sarl":
        return planner(argument)
    return climate_game(argument, "Rice")


def planner(argument: str) -> ConfigDict:
    """Returns a variant `sarl[,regions=27][,quicktest]`: one agent acts for all regions."""
    number = int(helper.take_options(argument, OPTIONS).get("regions", 5))
    experiment = helper.Experiment(
        env=game("SarlRice", num_regions=number),
        seats=((0,),),
        options=OPTIONS,
        num_inner_steps=20,
        learners={"sarl": {"agent": "PPO", **PPO, "separate_critic": True}},
        sizes={"num_envs": 64, "num_iters": 500},
    )
    return helper.get_config(argument, experiment)


def climate_game(argument: str, kind: str) -> ConfigDict:
    """Returns a variant of Rice-N, or of C-Rice-N, by the name of the game."""
    number = int(helper.take_options(argument, OPTIONS).get("regions", 5))
    variant = argument.partition(",")[0]
    learners = helper.learners(PPO, MEMORY)
    shapers = helper.shapers(PPO, MEMORY, {"popsize": 128, "sigma": 0.05, "learning_rate": 0.02})
    seats: tuple[tuple[int, ...], ...] = tuple((seat,) for seat in range(number))
    has_mediator = variant.startswith("mediator")
    if has_mediator:
        # The first seat is the mediator's.
        learners["mediator"], seats = learners["ppo"], ((0,), tuple(range(1, number + 1)))
    shapers |= {"mediator_gs": shapers["gs"], "mediator_shaper": shapers["shaper"]}
    experiment = helper.Experiment(
        env=game(kind, num_regions=number, has_mediator=has_mediator),
        seats=seats,
        are_equal=not has_mediator,
        options=OPTIONS,
        num_inner_steps=20,
        learners=learners,
        sizes={"num_envs": 64, "num_iters": 500},
        shapers=shapers,
        mixed_lr={"low": 1e-05, "high": 0.01},
        trials={"num_outer_steps": 50, "num_envs": 16, "num_iters": 300},
        small={"num_outer_steps": 10, "num_envs": 4, "num_iters": 30, "popsize": 16},
    )
    return helper.get_config(argument, experiment)
