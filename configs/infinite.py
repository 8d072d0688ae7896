"""Infinitely long matrix games, played by policies that are chosen at once and valued exactly.

    python -m pax.main --config=configs/infinite.py:ppo,game=ipd

A variant is `<learner>[,opponent=<opponent>][,game=ipd|imp|chicken][,quicktest]` or
`<shaper>[,opponent=ppo|naive_exact|...][,game=...][,small]`; `python -m pax.main --list` shows them all.
Exact learners learn within an episode, one learner per environment, and start afresh in the next.
"""

from ml_collections import ConfigDict

from configs import _games as games
from configs._trials import learn_from_trials
from pax.config import base_config, parse_variant, role
from pax.config import game as game_config
from pax.envs.iterated_matrix_game import PAYOFFS

GAMES = ("ipd", "imp", "chicken")
EXACT = {
    "naive_exact": "NaiveExact",
    "lola_exact": "LOLAExact",
    "sos_exact": "SOSExact",
    "static": "Static",
}
STRATEGIES = {
    "altruistic": "HyperAltruistic",
    "defect": "HyperDefect",
    "tit_for_tat": "HyperTFT",
    "win_stay_lose_shift": "WinStayLoseShift",
    "zero_determinant": "ZeroDeterminant",
    "memory_one": "MemoryOne",
    **EXACT,
}
INDEPENDENT = {
    "self": "both defect, -2 per step each",
    "tit_for_tat": "cooperates, -1 per step",
    "defect": "defects, -2 per step",
    "altruistic": "defects, 0 per step; the opponent gets -3",
}
META = {
    "shaper": "not run (expected: better than -1 per step)",
    "mfos_es": "not run (expected: better than -1 per step)",
    "shaper,small": "the same for two cores and ten minutes: -0.65, they get -2.00",
}


def _family(game: str = "ipd") -> games.Family:
    env = game_config("InfiniteMatrixGame", payoff=PAYOFFS[game])
    return games.Family(
        env=env,
        num_players=2,
        steps=10,
        network={"head_init": "orthogonal"},
        recurrent={"sequence_length": 10},
        # Moves do not follow one another: each is a whole game.
        ppo={
            "discount": 0.0,
            "learning_rate": 0.01,
            "entropy_coeff": 0.0,
            "num_epochs": 4,
            "num_minibatches": 5,
        },
        strategies=STRATEGIES,
        independent={"num_envs": 100, "num_iters": 500},
        meta={"num_outer_steps": 100, "num_envs": 10, "num_opps": 2, "num_iters": 500},
        small={"num_iters": 100, "popsize": 32},
        evolution={"popsize": 128, "sigma": 0.1, "learning_rate": 0.05},
    )


VARIANTS = games.variants(_family(), INDEPENDENT, META) | {
    "naive_exact": "Naive by exact gradients against itself: -1.98 per step over 100 updates",
    "naive_exact,opponent=static": "Naive by exact gradients against who never learns: -1.00, and -2.45",
    "lola_exact": "LOLA by exact gradients against itself: -1.09 per step over 100 updates",
    "lola_exact,opponent=naive_exact": "LOLA against Naive, both exact: -1.37, and -1.53",
    "sos_exact": "SOS by exact gradients against itself: -1.10 per step over 100 updates",
    "shaper,opponent=naive_exact,small": "Shaper by evolution against exact naive learners: above -0.60",
    "mfos_es,opponent=naive_exact,small": "MFOS by evolution against exact naive learners: about -0.6",
    "shaper,opponent=lola_exact,small": "Shaper by evolution against exact LOLA learners: above -1",
}


def get_config(argument: str = "ppo"):
    parts = argument.split(",")
    chosen = [part for part in parts if part in {f"game={game}" for game in GAMES}]
    rest = ",".join(part for part in parts if part not in chosen)
    family = _family(chosen[0].partition("=")[2] if chosen else "ipd")
    if parts[0] in EXACT:
        return _exact(rest, family)
    config = games.get_config(rest, family)
    if any(config[name].type in EXACT.values() for name in config.roles):
        # A trial is one episode, a whole life of those who learn within it.
        config.num_inner_steps, config.num_outer_steps = 100, 1
        if "quicktest" in parts:
            config.num_inner_steps = 8
        learn_from_trials(config)
    return config


def _exact(argument, family):
    """Nobody learns across trials: an iteration is 100 updates of each."""
    options = {"opponent": [*STRATEGIES, "self"], "quicktest": None}
    learner, given = parse_variant(argument, EXACT, options)
    opponent = given.get("opponent", "self")
    config = base_config()
    config.env = family.env
    # The first of them shows what was drawn.
    config.num_inner_steps = 101
    config.num_envs, config.num_iters, config.chunk = 4096, 4, 1
    if "quicktest" in given:
        config.num_envs, config.num_inner_steps, config.num_iters = 8, 5, 2
    config.agent1 = role(EXACT[learner], 0)
    config.agent2 = role(STRATEGIES[learner if opponent == "self" else opponent], 1)
    config.roles = ("agent1", "agent2")
    config.evaluation.as_trained = ConfigDict()
    for name in ("scalars", "evaluation"):
        config.callbacks[name].every = 1
    return config
