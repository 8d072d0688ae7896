"""Builds the variants of every game from its `Experiment`: roles, tasks, evaluations and smaller sizes.

A game's own file says what the players and the sizes of its runs are (`Experiment`). Its variants are
`<learner>[,opponent=...]`, who learn from one iteration to the next, and `<shaper>[,opponent=...]`, who play
whole trials, in which their opponents learn. `TRIAL_OPTIONS` and `TASK_OPTIONS` are options of every shaper.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from pax.config import base_config, parse_variant, role
from pax.errors import ConfigError

Settings = Mapping[str, Any]

# Of games of any number of players: how many play.
PLAYERS: Mapping[str, Sequence[str]] = {"players": tuple(str(number) for number in range(2, 7))}

# Who plays, by name: the agent, and who improves it across trials where that is not its own update.
AGENTS = {"ppo": "PPO", "ppo_memory": "PPO_memory", "tabular": "Tabular", "naive": "Naive"}
SHAPERS = {
    "shaper": "Shaper by evolution",
    "gs": "PPO by evolution",
    "mfos_es": "MFOS by evolution",
    "mfos_rl": "MFOS by PPO across trials",
    "marl2": "Shaper by PPO across trials",
}
# What is drawn per opponent and trial. Each is an option of a shaper, and by itself a variant, of `shaper`.
TASK_OPTIONS: Mapping[str, Settings] = {
    "hardstop": {"type": "hard_stop"},
    "mixed_lr": {"type": "mixed_learning_rate"},
}
# In games of two players whose payoffs are a table of four outcomes.
PAYOFF_TASKS: Mapping[str, Settings] = {
    "mixed_payoff": {"type": "mixed_payoff"},
    "mixed_payoff_per_generation": {"type": "mixed_payoff", "per_generation": True},
    "mixed_payoff_input": {"type": "mixed_payoff"},
    "mixed_payoff_only_opponent": {"type": "noisy_opponent_payoff"},
    "mixed_ipd_payoff": {"type": "mixed_ipd_payoff"},
}
# Other ways to train (who else plays, and for how long), and to be judged, beside playing on as trained.
SELF_PLAY = ("self_play", "self_play_by_seat")
TRIAL_OPTIONS = ("shuffled", *SELF_PLAY, "persistent", "eval_hard_stop", "eval_blinded")
# Of all these, what needs opponents who learn in a trial, and what needs players who observe and act alike.
ABOUT_LEARNERS = ("hardstop", "mixed_lr", "persistent", "eval_hard_stop")
ABOUT_EQUALS = ("shuffled", *SELF_PLAY)
CONTEXTS = {"Shaper": ("none", "avg", "att"), "MFOS": ("none", "avg")}
"""The ways to mix memories over environments, by agent."""
STRATEGIES = ("Open_ES", "CMA_ES", "PGPE", "SimpleGA", "SNES")


def every(**iterations: int) -> Settings:
    """Returns the sizes that say how often callbacks are called, by their names."""
    return {"callbacks": {name: {"every": number} for name, number in iterations.items()}}


# Seconds, to see that everything works.
QUICK: Settings = {
    "num_inner_steps": 8,
    "num_outer_steps": 3,
    "num_envs": 4,
    "num_opps": 2,
    "num_iters": 2,
    "chunk": 1,
    "popsize": 4,
    "top_k": 2,
    "sequence_length": 4,
    "num_minibatches": 2,
    **every(scalars=1, evaluation=1, checkpoint=1),
}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The players of a game and the sizes of its runs.

    Players are given by their names on the command line, as arguments of `pax.config.role`. Sizes are
    settings of the run, such as `num_envs`; `popsize` among them goes to evolution.
    """

    env: ConfigDict
    num_inner_steps: int
    """Steps of an episode."""
    learners: Mapping[str, Settings]
    """Who learns from one iteration to the next; where PPO does, `naive` with its network does as well."""
    sizes: Settings
    """Settings of a run of `learners`, such as `num_envs`."""
    strategies: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Agents that never learn, by the name they have in this game; every game has `random`."""
    opponent: str = "self"
    """Whom learners play if nobody is named."""
    evaluate_against: Sequence[str] = ()
    """Strategies that learners are evaluated against, beside the opponents that they train with."""
    quick: Settings = dataclasses.field(default_factory=lambda: QUICK)
    """Sizes of a run in seconds: at most these steps, episodes and opponents."""
    shapers: Mapping[str, Settings] = dataclasses.field(default_factory=dict)
    """Who plays whole trials; see `shapers`."""
    co_players: Mapping[str, Settings] = dataclasses.field(default_factory=dict)
    """Whom they play, by default any of `learners`: these start afresh in every trial and learn after every
    episode of it."""
    co_player: str = "ppo_memory"
    """Whom shapers play if nobody is named."""
    mixed_lr: Settings = dataclasses.field(default_factory=dict)
    """The range of the learning rates of the task `mixed_lr`, `low` and `high`."""
    tasks: Mapping[str, Settings] = dataclasses.field(default_factory=dict)
    """Tasks that this game has besides those of `TASK_OPTIONS`, by the name of the option."""
    trials: Settings = dataclasses.field(default_factory=dict)
    """Sizes of a run of shapers."""
    small: Settings = dataclasses.field(default_factory=dict)
    """The same for two cores and minutes."""
    seats: Sequence[tuple[int, ...]] = ((0,), (1,))
    """The seats of each role."""
    are_equal: bool = True
    """Whether all players have the same observation and action spaces, so that seats can be exchanged."""
    options: Mapping[str, Sequence[str] | None] = dataclasses.field(default_factory=dict)
    """Options that only this game has, with their values; its own file reads them by `take_options`."""

    def __post_init__(self) -> None:
        own = {"learners": self.learners, "co_players": self.co_players or self.learners}
        for name, players in own.items():
            object.__setattr__(self, name, _with_naive(players))
        object.__setattr__(self, "strategies", {**self.strategies, "random": "Random"})


def _with_naive(players: Mapping[str, Settings]) -> Mapping[str, Settings]:
    """Adds the naive learner with the network and the rates of PPO, where that is and it is not."""
    if "ppo" not in players or "naive" in players:
        return players
    known = role("Naive", 0)
    same = {name: value for name, value in players["ppo"].items() if name in known}
    # Weights of an entropy that PPO sees many times per rollout say nothing about one step.
    return {**players, "naive": {**same, "agent": "Naive", "entropy_coeff": 0.0}}


def learners(feed_forward: Settings, recurrent: Settings) -> dict[str, Settings]:
    """Returns PPO by name, with the settings of networks without and with a memory."""
    return {
        "ppo": {"agent": "PPO", **feed_forward},
        "ppo_memory": {"agent": "PPO_memory", **recurrent},
    }


def shapers(
    feed_forward: Settings,
    recurrent: Settings,
    evolution: Settings,
    gradient: Settings | None = None,
) -> dict[str, Settings]:
    """Returns the shapers by name, with the settings of networks without and with a memory.

    Args:
        feed_forward: of networks without a memory.
        recurrent: of those with one.
        evolution: of `Evolution`.
        gradient: what differs where PPO learns across trials.
    """
    evolving = {"learner": {"type": "evolution", "fitness_shaping": "centered_rank", **evolution}}
    learning = {"learner": "gradient", **(gradient or {})}
    return {
        "shaper": {"agent": "Shaper", **recurrent, **evolving},
        "gs": {"agent": "PPO", **feed_forward, **evolving},
        "mfos_es": {"agent": "MFOS", **recurrent, "critic": False, **evolving},
        "mfos_rl": {"agent": "MFOS", **recurrent, **learning},
        "marl2": {"agent": "Shaper", **recurrent, **learning},
    }


def describe(
    learners: Sequence[str], opponents: Mapping[str, str], shaping: Mapping[str, str]
) -> dict[str, str]:
    """Returns one line per variant: what it is, and what to expect.

    Args:
        learners: by their names in `AGENTS`.
        opponents: by name of the opponent, the default one first, the outcome for each of the learners.
        shaping: by variant, what becomes of those that play whole trials.
    """
    lines = {}
    for name in learners:
        for index, (opponent, outcome) in enumerate(opponents.items()):
            argument = name if index == 0 else f"{name},opponent={opponent}"
            lines[argument] = f"{AGENTS[name]} against {opponent}: {outcome}"
    for argument, outcome in shaping.items():
        kind = SHAPERS.get(argument.partition(",")[0], SHAPERS["shaper"])
        lines[argument] = f"{kind}: {outcome}"
    return lines


def ppo_against(random: str | None = None, naive: str | None = None) -> dict[str, str]:
    """Returns the lines of PPO against opponents that every game has.

    Args:
        random: the outcome against random actions; None: not run, as two cores are too slow.
        naive: the outcome against Naive; None: the same.
    """
    against = random or "needs a GPU, not run (expected: a best response to it)"
    alike = naive or "needs a GPU, not run (expected: as against itself)"
    return {
        "ppo,opponent=random": f"PPO against random actions: {against}",
        "ppo,opponent=naive": f"PPO against Naive, which has its network and rates: {alike}",
    }


def num_players(argument: str, default: int) -> int:
    """Returns how many play by the option `players` of an argument."""
    return int(take_options(argument, PLAYERS).get("players", default))


def take_options(argument: str, options: Mapping[str, Sequence[str] | None]) -> dict[str, str]:
    """Returns those of `options` that an argument gives, as `parse_variant` does, whatever else it says."""
    variant, *rest = argument.split(",")
    given = [part for part in rest if part.partition("=")[0] in options]
    return parse_variant(",".join([variant, *given]), [variant], options)[1]


def get_config(argument: str, experiment: Experiment) -> ConfigDict:
    """Returns the config of a variant.

    Args:
        argument: `<learner>[,opponent=...]` or `<shaper or task>[,opponent=...][,context=...][,shapers=...]
            [,strategy=...][,<task> ...][,<option of trials> ...][,small]`, each with `[,quicktest]`.
        experiment: the players of the game and the sizes of its runs.

    Raises:
        ConfigError: that tells what there is, if the argument says something else.
    """
    own = experiment
    # The earlier name of this opponent.
    argument = re.sub(r"\bopponent=altruistic\b", "opponent=always_cooperate", argument)
    tasks = {**TASK_OPTIONS, **own.tasks} if own.shapers else {}
    variant, *rest = argument.split(",")
    shapes = variant in {**own.shapers, **tasks}
    opponents = (
        {**own.co_players, **own.strategies} if shapes else {**own.strategies, **own.learners}
    )
    options: dict[str, Sequence[str] | None] = {}
    if len(own.seats) > 1:
        options["opponent"] = [*opponents, "self", *(["shared"] if own.are_equal else [])]
    options |= own.options
    of_shapers: dict[str, Sequence[str] | None] = {
        "context": CONTEXTS["Shaper"],
        "shapers": [str(number) for number in range(1, len(own.seats))],
        "strategy": STRATEGIES,
        **dict.fromkeys((*tasks, *TRIAL_OPTIONS, "small")),
    }
    if shapes:
        options |= of_shapers
    for name in (part.partition("=")[0] for part in rest if variant in own.learners):
        if name in of_shapers and own.shapers and name not in own.options:
            raise ConfigError(
                f"option {name} is one of {', '.join([*own.shapers, *tasks])}, and not of {variant}"
            )
    options["quicktest"] = None
    variant, given = parse_variant(argument, [*own.learners, *own.shapers, *tasks], options)
    config = base_config()
    config.env = ConfigDict(own.env)
    config.num_inner_steps = own.num_inner_steps
    config.roles = ()
    config.evaluation.as_trained = ConfigDict()
    if not shapes:
        _add_learners(config, own, variant, given.get("opponent", own.opponent))
        if "quicktest" in given:
            _resize(config, own.quick, at_most=True)
        return config
    _check_options(own, variant, given, tasks)
    _add_shapers(config, own, variant, given)
    for name in tasks:
        if name == variant or name in given:
            _add_task(config, name, {**tasks[name]}, own)
    if "small" in given:
        _resize(config, own.small)
    if "quicktest" in given:
        _resize(config, own.quick, at_most=True)
    learn_from_trials(config)
    _add_trial_options(config, given)
    return config


def _add_learners(config: ConfigDict, own: Experiment, variant: str, opponent: str) -> None:
    config.update(own.sizes)
    _add_roles(config, own, own.learners[variant], 1, opponent, own.learners)
    for name in own.evaluate_against:
        if opponent not in (name, "shared"):
            config.evaluation[name] = {"agent2": role(own.strategies[name], 1)}


def _add_shapers(
    config: ConfigDict, own: Experiment, variant: str, given: Mapping[str, str]
) -> None:
    config.update({"chunk": 1, **every(scalars=1, checkpoint=10, evaluation=50), **own.trials})
    shaper = dict(own.shapers.get(variant, own.shapers["shaper"]))
    if "context" in given:
        shaper["context"] = given["context"]
    strategy = given.get("strategy", "Open_ES")
    if strategy != "Open_ES" and shaper["learner"] != "gradient":
        # How the others rank candidates, and most of them also how they move, is their own.
        theirs = {"strategy": strategy, "fitness_shaping": "default"}
        theirs |= {} if strategy == "PGPE" else {"optimizer": "default"}
        shaper["learner"] = {**shaper["learner"], **theirs}
    learns = {"learner": "none", "learns_in_trial": True}
    others = {name: {**player, **learns} for name, player in own.co_players.items()}
    opponent = given.get("opponent", own.co_player)
    _add_roles(config, own, shaper, int(given.get("shapers", 1)), opponent, others)


def _add_roles(
    config: ConfigDict,
    own: Experiment,
    player: Settings,
    number: int,
    opponent: str,
    others: Mapping[str, Settings],
) -> None:
    """Adds `number` roles of a player, and gives the remaining seats to the opponent."""
    everybody = tuple(seat for seats in own.seats for seat in seats)
    # One policy on all seats is updated from all of them as one batch.
    for index, seats in enumerate([everybody] if opponent == "shared" else own.seats):
        each = player
        if index >= number and opponent != "self":
            each = others.get(opponent) or {"agent": own.strategies[opponent]}
        name = f"agent{index + 1}"
        config[name] = role(seat=seats[0], **each)
        config[name].seats = seats
        config.roles = (*config.roles, name)


def _check_options(
    own: Experiment, variant: str, given: Mapping[str, str], tasks: Settings
) -> None:
    """Raises ConfigError if options of a shaper do not go together."""
    agent = own.shapers.get(variant, own.shapers["shaper"])["agent"]
    if "context" in given and given["context"] not in CONTEXTS.get(agent, ()):
        kinds = CONTEXTS.get(agent)
        remedy = f"choose from {', '.join(kinds)}" if kinds else "leave it out"
        raise ConfigError(
            f"option context is {given['context']}, and {variant} plays {agent}: {remedy}"
        )
    opponent = given.get("opponent", own.co_player)
    if "shapers" in given and opponent == "shared":
        raise ConfigError(
            f"shapers is {given['shapers']}, and opponent=shared has one play all seats: leave one out"
        )
    for name in (variant, *given):
        if name in ABOUT_LEARNERS and opponent not in own.co_players:
            raise ConfigError(
                f"{name} is about who learns in a trial, and opponent is {opponent}: choose one of "
                f"{', '.join(own.co_players)}"
            )
        if name in ABOUT_EQUALS and not own.are_equal:
            others = [each for each in (*tasks, *TRIAL_OPTIONS) if each not in ABOUT_EQUALS]
            raise ConfigError(
                f"{name} is about players that observe and act alike, and those of this variant do not: "
                f"choose from {', '.join(others)}"
            )
    self_play = [name for name in SELF_PLAY if name in given]
    if len(self_play) == 2:
        raise ConfigError(
            "self_play and self_play_by_seat are two ways of one thing: give one of them"
        )
    if self_play and opponent in ("self", "shared"):
        raise ConfigError(
            f"{self_play[0]} is about the seats of others, and opponent is {opponent}: choose one of "
            f"{', '.join([*own.co_players, *own.strategies])}"
        )


def _add_task(config: ConfigDict, name: str, task: dict[str, Any], own: Experiment) -> None:
    if name == "mixed_lr":
        for index, co_player in enumerate(_co_players(config)):
            about = {**task, "role": co_player, **own.mixed_lr}
            config.tasks[name if index == 0 else f"{name}_{co_player}"] = about
        return
    config.tasks[name] = task
    if name == "mixed_payoff_input":
        config.env.show_payoff_to = (0,)


def _add_trial_options(config: ConfigDict, given: Mapping[str, str]) -> None:
    """Adds who else plays, for how long, and how the frozen shaper is judged, once all sizes are known."""
    others = [name for name in config.roles if config[name].learner.type == "none"]
    if "shuffled" in given:
        config.tasks.shuffled_seats = ConfigDict()
    if any(name in given for name in SELF_PLAY):
        config.agent1.self_play_seats = sum((tuple(config[name].seats) for name in others), ())
    if "self_play" in given:
        # At first mostly against itself, from half-way on only against others.
        horizon = (config.get_oneway_ref("num_iters") + 1) // 2
        config.tasks.annealed_self_play = {"start": 1.0, "end": 0.0, "horizon": horizon}
    if "self_play_by_seat" in given:
        # At first only against others, at the end only against itself.
        horizon = config.get_oneway_ref("num_iters")
        config.tasks.self_play_by_seat = {"start": 0.0, "end": 1.0, "horizon": horizon}
    if "persistent" in given:
        for name in _co_players(config):
            config[name].reset_every = 10
    if "eval_hard_stop" in given:
        # The opponents' learning ends half-way, and play goes on.
        stop = {"at": config.num_outer_steps // 2}
        config.evaluation.hard_stop = {"tasks": {"hard_stop": stop}}
    if "eval_blinded" in given:
        # In half of the environments the shaper sees nothing of what happens.
        blinded = {"role": "agent1", "num_blind": max(config.num_envs // 2, 1)}
        config.evaluation.blinded = {"tasks": {"blinded": blinded}}


def _co_players(config: ConfigDict) -> list[str]:
    return [name for name in config.roles if config[name].learns_in_trial]


def _resize(config: ConfigDict, sizes: Settings, at_most: bool = False) -> None:
    """Sets the sizes of a run, of evolution, and of what PPO learns from."""
    sizes = dict(sizes)
    evolution = {name: sizes.pop(name) for name in ("popsize", "top_k") if name in sizes}
    ppo = {
        name: sizes.pop(name) for name in ("sequence_length", "num_minibatches") if name in sizes
    }
    if at_most:
        for name in ("num_inner_steps", "num_outer_steps", "num_opps"):
            sizes[name] = min(sizes.get(name, config[name]), config[name])
    config.update(sizes)
    for name in config.roles:
        each = config[name]
        if each.learner.type == "evolution":
            each.learner.update(evolution)
        if "sequence_length" in each and ppo:
            length = min(ppo["sequence_length"], each.sequence_length, config.num_inner_steps)
            each.update({**ppo, "sequence_length": length})


# PPO across trials. As published (Lu et al. 2022): what the next episodes bring has to count now.
DISCOUNT = 0.995
# Discounted sums over hundreds of steps become numbers that a network of this size learns quickly.
REWARD_SCALE = 0.05
# A long trial is cut into sequences of this many episodes: they teach nearly as much, and are processed side
# by side.
EPISODES = 5
# Steps up to which a sequence is the whole trial.
SHORT_TRIAL = 1000


def learn_from_trials(config: ConfigDict) -> None:
    """Sets up the roles that remember a trial and learn by PPO across trials, once all sizes are known."""
    for name in config.roles:
        each = config[name]
        if each.learner.type != "gradient" or each.type not in ("Shaper", "MFOS"):
            continue
        each.discount, each.reward_scale = DISCOUNT, REWARD_SCALE
        steps = config.num_outer_steps * config.num_inner_steps
        whole = steps <= SHORT_TRIAL or config.num_outer_steps % EPISODES
        each.sequence_length = 0 if whole else EPISODES * config.num_inner_steps
        sequences = config.num_opps * steps // (each.sequence_length or steps)
        if each.get("context", "none") == "none":
            # Otherwise those of one opponent stay together.
            sequences *= config.num_envs * len(each.seats)
        each.num_minibatches = max(
            number for number in range(1, each.num_minibatches + 1) if sequences % number == 0
        )
