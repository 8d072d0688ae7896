"""The iterated prisoner's dilemma: CC pays -1 per step, DD -2; in coala and in_context 1 and 0.

    python -m pax.main --config=configs/ipd.py:ppo

A variant is `<learner>[,opponent=<opponent>]`, or, for whole learning lifetimes, `<shaper>[,opponent=...]`
with the options of shapers (docs/environments.md); `python -m pax.main --list` shows them all.

    python -m launch.sweep --config=configs/ipd.py:ppo --workdir=exp/rates

trains each of the learning rates of `get_sweep` with each seed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from pax.config import game
from pax.configs import _coala
from pax.configs import _helper as helper
from pax.configs._in_context import in_context
from pax.envs.iterated_matrix_game import PAYOFFS
from pax.sweeps import product

STRATEGIES = {
    "tit_for_tat": "TitForTat",
    "defect": "Defect",
    "always_cooperate": "Altruistic",
    "random": "Random",
    "grim": "Grim",
    "win_stay_lose_shift": "WinStayLoseShift",
    "zero_determinant": "ZeroDeterminant",
    "memory_one": "MemoryOne",
}
# Outcomes of shapers as measured at the small size: see docs/experiments.md.
VARIANTS = helper.describe(
    ("ppo", "ppo_memory", "tabular", "naive"),
    {
        "tit_for_tat": "both always cooperate, -1 per step each",
        "defect": "both always defect, -2 per step each",
        "always_cooperate": "always defects, 0 per step; the opponent gets -3",
        "self": "both always defect, -2 per step each",
        "shared": "one policy for both seats: both always defect, -2 per step each",
    },
    {
        "shaper": "extorts tabular PPO: better than -1 per step, they get less than -1.5",
        "gs": "tabular PPO gets less, -1.1 / -1.3, but it no more than cooperation pays",
        "mfos_es": "extorts tabular PPO: better than -1 per step, they get less than -1.5",
        "mfos_rl": "leaves mutual defection within 100 updates: about -1.2 per step, they get -1.3",
        "marl2": "leaves mutual defection slowly: about -1.7 per step after 300 updates, they get -1.8",
        "shaper,context=avg": "extorts them: better than -1 per step, they get less than -1.5",
        "shaper,context=att": "two environments tell it little: still near mutual defection after 100 "
        "generations",
        "hardstop": "opponents stop learning at a random episode: still better than mutual defection",
        "mixed_lr": "opponents learn at random rates: gets more than they do, -1.4 / -2.3",
        "mixed_payoff": "a random game per opponent: -4.4 per step, where random play gets -4.5",
        "mixed_payoff_per_generation": "a random game per generation: better than playing at random",
        "mixed_payoff_input": "a random game per opponent, shown to the shaper: better than unseen",
        "mixed_payoff_only_opponent": "noise on the opponents' payoffs: extorts them",
        "mixed_ipd_payoff": "a random prisoner's dilemma per opponent: gets more than they do",
        "shaper,opponent=self": "against another that evolves as well, paired by candidate: both defect",
        "shaper,opponent=shared": "on both seats, judged by the mean of both: mutual cooperation",
        "shaper,shuffled": "on a seat drawn for every opponent: extorts them",
        "shaper,self_play": "at first against itself, later against learners: cooperates, and is exploited",
        "shaper,persistent": "against learners that live for ten trials: both defect",
        "shaper,eval_hard_stop": "also judged when opponents stop learning half-way: extorts them",
        "shaper,eval_blinded": "also judged while blind in half of its environments: worse there",
        "shaper,small": "two cores, a few minutes: better than -1 per step, they get less than -1.5",
        "mfos_es,context=avg": "with its memories mixed over environments: gets more than they do, -1.8",
        "shaper,opponent=tit_for_tat": "against tit-for-tat: both cooperate, -1 per step each",
        "marl2,opponent=tit_for_tat": "against tit-for-tat: both cooperate, -1 per step each",
        "shaper,opponent=naive,strategy=CMA_ES": "by CMA-ES, against naive learners: gets more than they "
        "do, -1.3 per step, they get -2.3",
        "shaper,opponent=naive,strategy=PGPE": "by PGPE, against naive learners: gets more than they "
        "do at times, and as much at others",
        "gs,small": "two cores, a few minutes: -1.1 / -1.3",
        "mfos_es,small": "two cores, a few minutes: better than -1 per step, they get less than -1.5",
    },
) | {
    "tabular,opponent=shared": "Tabular, one policy for both seats: both cooperate, -1 per step each",
    "lola_dice": "LOLA-DiCE against itself, one large step ahead: -1.1 per step, cooperation",
    "lola_dice,look_ahead_steps=0": "LOLA-DiCE that does not look ahead, against itself: -2 per step",
    "lola_dice,look_ahead_steps=2": "LOLA-DiCE against itself, two steps ahead: -1.1 per step, cooperation",
    "lola_dice,look_ahead_steps=3": "LOLA-DiCE against itself, three steps ahead: -1.1 per step, cooperation",
    "pola": "POLA-DiCE against itself, of the published size: needs a GPU, not run "
    "(expected: cooperation)",
    "pola,small": "POLA-DiCE against itself, on tables: -1 per step, cooperation",
    "advantage_alignment": "Tabular by advantage alignment, against itself: -1 per step, cooperation",
    "loqa": "Tabular by LOQA's rule, against itself: -1 per step, cooperation",
    "coala": "COALA-PG against learners with a GRU: .80 per step after 160 of 3000 iterations, they get "
    "-.35, nearly always defecting",
    "coala,mfos": "the same by M-FOS's estimator, with standardised advantages: always defects after 140 of "
    "3000 iterations, .76 per step, they get -.36",
    "coala,batch_unaware": "the same by plain PPO, with standardised advantages: always defects after 160 of "
    "3000 iterations, .76 per step, they get -.37",
    "coala,mixed": "four agents by COALA-PG and learners: needs a GPU, not run "
    "(expected: the four cooperate)",
    "coala,small": "COALA-PG against tables: extorts them, 1.5 per step, they get -.5",
    "coala,mfos,small": "the same by M-FOS's estimator: always defects, .15 per step, they get -.08",
    "coala,batch_unaware,small": "the same by plain PPO: always defects, .15 per step, they get -.08",
    "coala,mixed,small": "two agents by COALA-PG, and tables: the two cooperate with each other, .9 per step",
    "in_context": "two agents in one long episode, against each other or random memory-one strategies: "
    "needs a GPU, not run (expected: they cooperate)",
    "in_context,small": "the same for two cores, from the policy of step=best_response,small: "
    ".95 with each other (one of three seeds .02), 1.1 against strategies",
    "in_context,without_tables,small": "the same, from that policy too, against each other only: "
    ".98 per step (one of three seeds .00)",
    "in_context,told,small": "the same, from that policy too, told whom they meet: .95 with each other "
    "(one of three seeds .02)",
    "in_context,step=best_response,small": "one agent against random memory-one strategies, nearly "
    "deterministic ones: finds out how to respond, 1.14 per step, they get -.42",
    "in_context,step=two_extortioners,small": "two agents who learned to extort that one (step=extortion), "
    "from their policies: .7 per step for a while, then defection in two of three seeds",
}

# Steps and rates of the published runs, there of one logit and here of two, which move twice as far. One step
# ahead is worth three smaller ones.
LOLA_RATES = {"0": 0.0, "1": 0.15, "2": 0.05, "3": 0.05}
LOLA = {"optimizer": "sgd", "learning_rate": 0.1, "max_gradient_norm": 1e9}
# POLA (Zhao et al. 2022): players give 1 to a pot that pays 1.33 times as much to both, half each. Small, a
# table learns within minutes.
POLA_PAYOFF = ((0.33, 0.33), (-0.335, 0.665), (0.665, -0.335), (0.0, 0.0))
POLA: dict[str, Any] = {"agent": "PPO_memory", "hidden_size": 64, "embed": True}
POLA |= {"learning_rate": 0.003, "learner": {"type": "pola"}}
# With less outer_beta, or fewer environments, they cooperate for a while, and then forget how to answer what
# no longer happens.
NEAR = {"look_ahead_steps": 2, "look_ahead_rate": 0.1, "outer_steps": 20}
NEAR |= {"outer_beta": 50.0, "inner_beta": 10.0}
POLA_SMALL: dict[str, Any] = {"agent": "Naive", "network": "table", "learning_rate": 0.01}
POLA_SMALL |= {"max_gradient_norm": 1e9, "learner": {"type": "pola", **NEAR}}
ALIGNED: dict[str, Any] = {"learning_rate": 0.05, "entropy_coeff": 0.1, "gae_lambda": 0.0}
ALIGNED |= {"agent": "Tabular", "num_epochs": 2, "num_minibatches": 4}
LEARNERS = {
    "ppo": {"agent": "PPO", "learning_rate": 0.01},
    "ppo_memory": {"agent": "PPO_memory", "learning_rate": 0.01},
    # Faster ones make self-play settle wherever it happens to be.
    "tabular": {"agent": "Tabular", "learning_rate": 0.1},
    "naive": {"agent": "Naive", "learning_rate": 0.1},
    "lola_dice": {"agent": "Naive", "network": "table", **LOLA, "learner": {"type": "lola_dice"}},
    "pola": POLA,
    "advantage_alignment": {**ALIGNED, "learner": {"type": "advantage_alignment", "weight": 10.0}},
    "loqa": {**ALIGNED, "learner": {"type": "loqa", "weight": 10.0}},
}
SIZES: dict[str, dict[str, Any]] = {
    "ppo": {"num_iters": 1000},
    "ppo_memory": {"num_iters": 150},
    "tabular": {"num_iters": 1000},
    "naive": {"num_iters": 500},
    "lola_dice": {"num_iters": 200, "num_inner_steps": 150, "num_envs": 64},
    "pola": {
        "num_iters": 101,
        "num_inner_steps": 50,
        "num_envs": 2000,
        "chunk": 1,
        **helper.every(scalars=1, checkpoint=10, evaluation=10),
    },
    "advantage_alignment": {"num_iters": 1000, "num_inner_steps": 100, "num_envs": 128},
    "loqa": {"num_iters": 1000, "num_inner_steps": 100, "num_envs": 128},
}
POLA_SIZES: dict[str, Any] = {"num_iters": 30, "num_inner_steps": 50, "num_envs": 512, "chunk": 1}
POLA_SIZES |= helper.every(scalars=1, checkpoint=10, evaluation=10)
# Less sigma, or z-scores, and some seeds never leave mutual defection.
EVOLUTION = {"popsize": 1000, "sigma": 0.2, "sigma_decay": 0.999, "learning_rate_decay": 0.9999}
QUICK: dict[str, Any] = {"num_inner_steps": 20, "num_envs": 10, "num_iters": 4, "chunk": 2}
QUICK |= helper.every(scalars=2, evaluation=2, checkpoint=2)
QUICK_TRIALS: dict[str, Any] = {
    "num_inner_steps": 10,
    "num_outer_steps": 3,
    "num_opps": 2,
    "num_iters": 2,
}
QUICK_TRIALS |= {"popsize": 8, **helper.every(scalars=1, evaluation=1, checkpoint=1)}


# COALA-PG (Meulemans et al. 2025): mutual cooperation pays 1, mutual defection nothing.
COALA_PAYOFF = ((1.0, 1.0), (-1.0, 2.0), (2.0, -1.0), (0.0, 0.0))
COALA_SIZES: dict[str, Any] = {"num_inner_steps": 10, "num_outer_steps": 20}
COALA_SIZES |= {"num_envs": 16, "num_opps": 128, "num_iters": 3000}
# Returns of the whole trial, of 200 steps, become numbers that a network learns quickly.
META = {**_coala.META, "learning_rate": 3e-4, "reward_scale": 0.05}
META |= {"standardise_advantages": False}
# Smaller values, so that their loss leaves room for the policy's within one clipped gradient.
META_SMALL = {"hidden_size": 16, "learning_rate": 2e-3, "reward_scale": 0.01}
META_SMALL |= {"standardise_advantages": True}
NAIVE: dict[str, Any] = {
    "agent": "PPO_memory",
    "hidden_size": 32,
    "embed": True,
    "learning_rate": 5e-3,
    "reward_scale": 0.05,
}
NAIVE |= {"sequence_length": 0, **_coala.A2C}
NAIVE_SMALL = {"agent": "Tabular", "learning_rate": 0.3, **_coala.A2C}


def coala(argument: str) -> ConfigDict:
    """Returns a variant `coala[,mixed][,mfos|batch_unaware][,small][,quicktest]`."""
    given = _coala.read_options(argument)
    if "small" not in given:
        sizes, meta, naive = COALA_SIZES, META, NAIVE
    else:
        sizes = {**COALA_SIZES, "num_opps": 48, "num_iters": 200}
        meta, naive = {**META, **META_SMALL}, NAIVE_SMALL
        if "mixed" in given:
            # Agents that still try things once they know how to extort learn to cooperate with each other.
            sizes, meta = {**sizes, "num_iters": 300}, {**meta, "entropy_coeff": 0.003}
    return _coala.build(
        given,
        game("IteratedMatrixGame", payoff=COALA_PAYOFF),
        sizes,
        meta,
        naive,
        num_agents=2 if "small" in given else 4,
        balance_after=200 if "small" in given else 0,
    )


def get_config(argument: str = "ppo") -> ConfigDict:
    variant = argument.split(",")[0]
    if variant == "coala":
        return coala(argument)
    if variant == "in_context":
        return in_context(argument, game("IteratedMatrixGame", payoff=COALA_PAYOFF))
    return matrix_game(argument, "ipd", STRATEGIES, evaluate_against=("tit_for_tat", "defect"))


def matrix_game(
    argument: str, payoff: str, strategies: Mapping[str, str], evaluate_against: Sequence[str]
) -> ConfigDict:
    """Returns a variant of a game of two players and two actions.

    Args:
        argument: what follows the colon on the command line.
        payoff: the game, one of `PAYOFFS`.
        strategies: agents that never learn, by the name they have in this game; learners play the first one
            if no opponent is named.
        evaluate_against: those of them that learners are evaluated against.
    """
    # The earlier name of this option.
    argument = argument.replace(",look_ahead=", ",look_ahead_steps=")
    variant, *rest = argument.split(",")
    options: dict[str, Sequence[str] | None] = {}
    if variant == "lola_dice":
        options["look_ahead_steps"] = tuple(LOLA_RATES)
    if variant == "pola":
        options["small"] = None
    is_small_pola = variant == "pola" and "small" in rest
    steps = helper.take_options(argument, options).get("look_ahead_steps", "1")
    ahead = {"look_ahead_steps": int(steps), "look_ahead_rate": LOLA_RATES[steps]}
    lola = {**LEARNERS["lola_dice"], "learner": {"type": "lola_dice", **ahead}}
    is_published_pola = variant == "pola" and not is_small_pola
    payoffs = POLA_PAYOFF if is_published_pola and payoff == "ipd" else PAYOFFS[payoff]
    shapes = variant not in LEARNERS
    # Opponents that learn within a trial.
    table = {"learning_rate": 1.0, "num_epochs": 2, "num_minibatches": 4}
    if "quicktest" in rest:
        table["sequence_length"] = 5
    experiment = helper.Experiment(
        # Rows CC, CD, DC, DD as player 1 sees them; a column per player.
        env=game("IteratedMatrixGame", payoff=payoffs),
        num_inner_steps=100 if shapes else 150,
        learners={**LEARNERS, "lola_dice": lola, "pola": POLA_SMALL if is_small_pola else POLA},
        sizes=POLA_SIZES if is_small_pola else SIZES.get(variant, {}),
        strategies=strategies,
        opponent="self" if "learner" in LEARNERS.get(variant, ()) else next(iter(strategies)),
        evaluate_against=evaluate_against,
        quick=QUICK_TRIALS if shapes else QUICK,
        shapers=helper.shapers({}, {}, EVOLUTION, {"learning_rate": 3e-3, "num_minibatches": 4}),
        co_players={
            "tabular": {"agent": "Tabular", **table},
            "ppo": {"agent": "PPO", **table},
            "ppo_memory": {"agent": "PPO_memory", **table},
            "naive": {"agent": "Naive", "learning_rate": 1.0},
        },
        co_player="tabular",
        tasks=helper.PAYOFF_TASKS,
        trials={"num_outer_steps": 100, "num_envs": 2, "num_opps": 10, "num_iters": 1000},
        # mfos_es is slower to leave mutual defection.
        small={"num_opps": 4, "num_iters": 120 if variant == "mfos_es" else 100, "popsize": 128},
        options=options,
    )
    return helper.get_config(argument, experiment)


def get_sweep() -> list[dict[str, Any]]:
    return product(**{"agent1.learning_rate": (0.003, 0.01, 0.03, 0.1)}, seed=range(3))
