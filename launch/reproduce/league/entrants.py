"""Who enters the league of each game: a line per method, the strategies, the learners, and the sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

SELF_PLAY = "self-play"
LEARNERS = "against learners"


@dataclasses.dataclass(frozen=True)
class Entrant:
    """A method that enters the league of a game."""

    name: str
    config: str
    """The config that trains it, such as `configs/ipd.py:ppo,opponent=self`."""
    trained: str = SELF_PLAY
    """Against whom."""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Of the config, by their dotted names."""
    small: Mapping[str, Any] | None = dataclasses.field(default_factory=dict)
    """Further settings at the small size; None: it does not enter there."""
    role: str = "agent1"
    """Whose exported policy enters."""
    starts_from: str = ""
    """The entrant before it whose policies those of `role` start from, seed by seed; if empty, none."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much of something is played."""

    num_envs: int
    num_episodes: int
    num_trials: int = 1


@dataclasses.dataclass(frozen=True)
class LeagueGame:
    """The league of one game."""

    title: str
    config: str
    """The config whose game is played."""
    num_steps: int
    """Per episode."""
    entrants: Sequence[Entrant]
    strategies: str
    """As `pax crossplay --strategies` takes them."""
    learners: Mapping[str, Mapping[str, Any]]
    """Those who learn in a trial, by name: their agent and its settings."""
    zero_shot: Sizes
    learning: Sizes
    """Against learners; of strategies, trials are the sample."""
    quick_steps: int = 20
    """Per episode in a quick run."""


def _evolution(popsize: int, num_iters: int) -> dict[str, Any]:
    return {"agent1.learner.popsize": popsize, "num_iters": num_iters}


_OF_IPD = "configs/ipd.py"
IPD = LeagueGame(
    title="the iterated prisoner's dilemma",
    config=f"{_OF_IPD}:ppo",
    num_steps=100,
    entrants=(
        Entrant("naive", f"{_OF_IPD}:naive,opponent=self", small={"num_iters": 300}),
        Entrant(
            "ppo",
            f"{_OF_IPD}:ppo,opponent=self",
            settings={"num_iters": 500},
            small={"num_iters": 200},
        ),
        Entrant("ppo_memory", f"{_OF_IPD}:ppo_memory,opponent=self", small={"num_iters": 100}),
        Entrant("tabular", f"{_OF_IPD}:tabular,opponent=self", small={"num_iters": 300}),
        Entrant("lola_dice", f"{_OF_IPD}:lola_dice"),
        Entrant("pola", f"{_OF_IPD}:pola,small", small={"num_iters": 15}),
        Entrant("advantage_alignment", f"{_OF_IPD}:advantage_alignment", small={"num_iters": 400}),
        Entrant("loqa", f"{_OF_IPD}:loqa", small={"num_iters": 400}),
        Entrant(
            "shaper",
            f"{_OF_IPD}:shaper,small",
            LEARNERS,
            settings={"num_iters": 60},
            small={"agent1.learner.popsize": 64},
        ),
        Entrant(
            "gs",
            f"{_OF_IPD}:gs,small",
            LEARNERS,
            settings={"num_iters": 60},
            small=_evolution(32, 40),
        ),
        Entrant(
            "mfos",
            f"{_OF_IPD}:mfos_es,small",
            LEARNERS,
            # A candidate of it takes three times as long as one of the shaper.
            settings=_evolution(64, 40),
            small=_evolution(32, 40),
        ),
        Entrant(
            "coala",
            f"{_OF_IPD}:coala,small",
            LEARNERS,
            settings={"num_iters": 150},
            small={"num_opps": 24, "num_iters": 60},
        ),
        Entrant(
            "responder",
            f"{_OF_IPD}:in_context,step=best_response,small",
            "against random strategies",
            settings={"num_iters": 150},
            small={"num_opps": 64, "num_iters": 60},
        ),
        Entrant(
            "in_context",
            f"{_OF_IPD}:in_context,small",
            "in self-play and against random strategies",
            settings={"num_iters": 50},
            small={"num_opps": 64, "num_iters": 20},
            starts_from="responder",
        ),
    ),
    strategies="always_cooperate,defect,tit_for_tat,grim,win_stay_lose_shift,zero_determinant,random",
    # The table is the one that shapers of this game are trained against.
    learners={
        "learning tabular": {
            "agent": "Tabular",
            "learning_rate": 1.0,
            "num_epochs": 2,
            "num_minibatches": 4,
        },
        "learning ppo": {
            "agent": "PPO",
            "learning_rate": 0.03,
            "num_epochs": 2,
            "num_minibatches": 4,
        },
        "learning ppo_memory": {
            "agent": "PPO_memory",
            "learning_rate": 0.03,
            "num_epochs": 2,
            "num_minibatches": 4,
        },
    },
    zero_shot=Sizes(num_envs=32, num_episodes=5),
    learning=Sizes(num_envs=2, num_episodes=100, num_trials=8),
)

_OF_COINS = "configs/coin_game.py"
# Trials that two cores can play: a learner of its own in each of them.
_COIN_TRIALS = {"num_outer_steps": 30, "num_envs": 32, "num_opps": 16}
_COIN_GRADIENT = {**_COIN_TRIALS, "num_iters": 40}
_COIN_EVOLUTION = {**_COIN_TRIALS, "num_opps": 1, **_evolution(16, 60)}
_COIN_SHORT = _evolution(16, 40)
# Evolution of few candidates hardly learns to take coins, so that it starts from what PPO has learned.
_FINE_TUNING = {"agent1.learner.sigma": 0.12, "agent1.learner.learning_rate": 0.03}
# How fast those learn whom shapers of two cores meet.
_FAST = {"agent2.learning_rate": 0.02, "agent2.num_epochs": 4}
_PPO_OF_COINS = {
    "num_epochs": 4,
    "num_minibatches": 8,
    "learning_rate": 0.02,
    "entropy_coeff": 0.02,
    "hidden_size": 16,
    "head_init": "orthogonal",
}
COIN_GAME = LeagueGame(
    title="the coin game with one coin",
    config=f"{_OF_COINS}:ppo,one_coin",
    num_steps=50,
    entrants=(
        Entrant("ppo", f"{_OF_COINS}:ppo,one_coin", small={"num_iters": 150}),
        Entrant("ppo_memory", f"{_OF_COINS}:ppo_memory,one_coin", small={"num_iters": 150}),
        Entrant(
            "advantage_alignment", f"{_OF_COINS}:advantage_alignment", small={"num_iters": 200}
        ),
        Entrant("loqa", f"{_OF_COINS}:loqa", small={"num_iters": 200}),
        Entrant(
            "marl2",
            f"{_OF_COINS}:marl2,one_coin",
            LEARNERS,
            settings={**_COIN_GRADIENT, **_FAST},
            small={"num_iters": 15},
        ),
        Entrant(
            "coala",
            f"{_OF_COINS}:marl2,one_coin",
            LEARNERS,
            settings={
                **_COIN_GRADIENT,
                **_FAST,
                "agent1.learner.type": "coala",
                "num_iters": 15,
            },
            small={"num_iters": 5},
            starts_from="marl2",
        ),
        Entrant(
            "mfos_rl",
            f"{_OF_COINS}:mfos_rl,one_coin",
            LEARNERS,
            # Its network takes five times as long as that of marl2.
            settings={**_COIN_GRADIENT, **_FAST, "num_iters": 12},
            small=None,
        ),
        *(
            Entrant(
                name,
                f"{_OF_COINS}:{variant},one_coin",
                LEARNERS,
                settings={**_COIN_EVOLUTION, **_FAST, **_FINE_TUNING},
                small=small,
                starts_from=start,
            )
            for name, variant, start, small in (
                ("shaper", "shaper", "marl2", _COIN_SHORT),
                ("gs", "gs", "ppo", _COIN_SHORT),
                ("mfos", "mfos_es", "mfos_rl", None),
            )
        ),
    ),
    strategies="always_cooperate,evil_greedy,own_coins,random",
    learners={
        "learning ppo": {"agent": "PPO", "num_layers": 1, **_PPO_OF_COINS},
        "learning ppo_memory": {
            "agent": "PPO_memory",
            "embed": True,
            "sequence_length": 10,
            **_PPO_OF_COINS,
        },
    },
    zero_shot=Sizes(num_envs=64, num_episodes=1),
    learning=Sizes(num_envs=32, num_episodes=30, num_trials=3),
)

_OF_IPDITM = "configs/ipditm.py"
_GRID_EVOLUTION = {"num_outer_steps": 10, "num_envs": 8, **_evolution(16, 30)}
_GRID_SHORT = {"num_iters": 8}
_PPO_OF_GRID = {
    "learning_rate": 0.02,
    "num_epochs": 4,
    "entropy_coeff": 0.1,
    "num_minibatches": 8,
    "hidden_size": 16,
    "head_init": "orthogonal",
    "conv_channels": (16,),
}
IPDITM = LeagueGame(
    title="the prisoner's dilemma in the matrix",
    config=f"{_OF_IPDITM}:ppo_memory",
    num_steps=152,
    entrants=(
        Entrant("ppo", f"{_OF_IPDITM}:ppo", settings={"num_iters": 150}, small={"num_iters": 20}),
        Entrant(
            "ppo_memory",
            f"{_OF_IPDITM}:ppo_memory",
            settings={"num_iters": 150},
            small={"num_iters": 20},
        ),
        *(
            Entrant(
                name,
                f"{_OF_IPDITM}:{name},small",
                LEARNERS,
                settings={"num_iters": 50},
                small={**_GRID_SHORT, "num_envs": 8},
            )
            for name in ("marl2", "mfos_rl")
        ),
        *(
            Entrant(
                name,
                f"{_OF_IPDITM}:{variant},small",
                LEARNERS,
                settings=_GRID_EVOLUTION,
                small=_GRID_SHORT,
            )
            for name, variant in (("shaper", "shaper"), ("gs", "gs"), ("mfos", "mfos_es"))
        ),
    ),
    strategies="random",
    learners={
        "learning ppo": {"agent": "PPO", "num_layers": 1, **_PPO_OF_GRID},
        "learning ppo_memory": {"agent": "PPO_memory", "sequence_length": 19, **_PPO_OF_GRID},
    },
    zero_shot=Sizes(num_envs=16, num_episodes=1),
    learning=Sizes(num_envs=8, num_episodes=20, num_trials=3),
    quick_steps=19,
)

GAMES: Mapping[str, LeagueGame] = {"ipd": IPD, "coin_game": COIN_GAME, "ipditm": IPDITM}
