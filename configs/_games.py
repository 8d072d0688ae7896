"""Independent learners and shapers in any game: what the configs of the larger games share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ml_collections import ConfigDict

from configs._trials import learn_from_trials
from pax.config import base_config, parse_variant, role
from pax.errors import ConfigError

LEARNERS = {"ppo": "PPO", "ppo_memory": "PPO_memory"}
# What plays, and who improves it across trials.
SHAPERS = {
    "shaper": ("Shaper", "evolution"),
    "gs": ("PPO", "evolution"),
    "mfos_es": ("MFOS", "evolution"),
    "mfos_rl": ("MFOS", "gradient"),
    "marl2": ("Shaper", "gradient"),
}
RECURRENT = ("PPO_memory", "Shaper", "MFOS")
CONTEXTS = ("none", "avg", "att")

Settings = Mapping[str, object]


@dataclasses.dataclass(frozen=True)
class Family:
    """What the experiments with one game have in common."""

    env: ConfigDict
    """The game and its settings, but for the number of steps."""
    num_players: int
    steps: int
    """Per episode."""
    network: Settings = dataclasses.field(default_factory=dict)
    """Of every learner."""
    feed_forward: Settings = dataclasses.field(default_factory=dict)
    """Of those without a memory."""
    recurrent: Settings = dataclasses.field(default_factory=dict)
    """Of those with one."""
    ppo: Settings = dataclasses.field(default_factory=dict)
    """How every PPO learns."""
    co_player: Settings = dataclasses.field(default_factory=dict)
    """How those learn whom others shape, where it is different."""
    strategies: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Agents that never learn, by the name they have in this game."""
    independent: Settings = dataclasses.field(default_factory=dict)
    """Settings of a run of independent learners: `num_envs`, `num_iters`, ..."""
    meta: Settings = dataclasses.field(default_factory=dict)
    """Settings of a run over whole trials: `num_outer_steps`, `num_envs`, `num_opps`, ..."""
    small: Settings = dataclasses.field(default_factory=dict)
    """The same for two cores and minutes; `popsize` goes to evolution."""
    evolution: Settings = dataclasses.field(default_factory=dict)

    def agent(self, kind: str, seat: int, **settings: object) -> ConfigDict:
        """Returns a role of this family on one seat."""
        if kind not in (*LEARNERS.values(), *(agent for agent, _ in SHAPERS.values())):
            return role(kind, seat)
        shape = self.recurrent if kind in RECURRENT else self.feed_forward
        return role(kind, seat, **{**self.network, **shape, **self.ppo, **settings})


def variants(
    family: Family, independent: Mapping[str, str], meta: Mapping[str, str]
) -> dict[str, str]:
    """Returns one line per variant: what it is, and what to expect.

    Args:
        family: the game.
        independent: by opponent, the first being the default, what becomes of independent learners.
        meta: by variant, what becomes of those that play whole trials.
    """
    lines = {}
    for name, agent in LEARNERS.items():
        for index, (opponent, outcome) in enumerate(independent.items()):
            argument = name if index == 0 else f"{name},opponent={opponent}"
            lines[argument] = f"{agent} against {opponent}: {outcome}"
    for argument, outcome in meta.items():
        agent, learner = SHAPERS[argument.partition(",")[0]]
        how = "evolution" if learner == "evolution" else "PPO across trials"
        lines[argument] = f"{agent} by {how}: {outcome}"
    return lines


def get_config(argument: str, family: Family, default_opponent: str = "self") -> ConfigDict:
    """Returns independent learners, or shapers and those whom they shape.

    Args:
        argument: `<variant>[,opponent=...][,context=...][,shapers=...][,small|quicktest]`.
        family: the game.
        default_opponent: of independent learners, if nobody is named.
    """
    options = {
        "opponent": [*LEARNERS, *family.strategies, "self", "shared"],
        "context": CONTEXTS,
        "shapers": [str(number) for number in range(1, family.num_players)],
        **dict.fromkeys(("small", "quicktest")),
    }
    variant, given = parse_variant(argument, [*LEARNERS, *SHAPERS], options)
    config = base_config()
    config.env = ConfigDict(family.env)
    config.num_inner_steps = family.steps
    if variant in LEARNERS:
        for option in ("context", "shapers", "small"):
            if option in given:
                raise ConfigError(
                    f"option {option} is one of {', '.join(SHAPERS)}, and not of {variant}"
                )
        _independent(config, family, variant, given.get("opponent", default_opponent))
    else:
        _meta(config, family, variant, given)
    if "quicktest" in given:
        make_quick(config)
    learn_from_trials(config)
    return config


def _independent(config: ConfigDict, family: Family, learner: str, opponent: str) -> None:
    config.update(dict(family.independent))
    opponent = learner if opponent == "self" else opponent
    _seat(config, family, LEARNERS[learner], 0)
    if opponent == "shared":
        # One policy on all seats, updated from all of them as one batch.
        config.agent1.seats = tuple(range(family.num_players))
    else:
        kind = LEARNERS.get(opponent) or family.strategies[opponent]
        for seat in range(1, family.num_players):
            _seat(config, family, kind, seat)
    config.evaluation.as_trained = ConfigDict()


def _meta(config: ConfigDict, family: Family, variant: str, given: Mapping[str, str]) -> None:
    config.num_opps = 1
    config.chunk = 1
    config.update(dict(family.meta))
    agent, learner = SHAPERS[variant]
    settings: dict[str, object] = {"learner": learner}
    if "context" in given:
        if agent != "Shaper":
            raise ConfigError(
                f"option context is one of Shaper, and {variant} plays {agent}: leave it out"
            )
        settings["context"] = given["context"]
    if learner == "evolution":
        evolution = {"fitness_shaping": "centered_rank", **family.evolution}
        settings["learner"] = {"type": learner, **evolution}
        if agent == "MFOS":
            settings["critic"] = False
    if "small" in given:
        own = dict(family.small)
        popsize = own.pop("popsize", None)
        config.update(own)
        if learner == "evolution" and popsize:
            settings["learner"] = {**settings["learner"], "popsize": popsize}
    shapers = int(given.get("shapers", 1))
    opponent = given.get("opponent", "ppo_memory")
    if opponent == "shared":
        raise ConfigError("opponent=shared is one of independent learners: name another opponent")
    for seat in range(family.num_players):
        if seat < shapers or opponent == "self":
            _seat(config, family, agent, seat, **settings)
        elif opponent in LEARNERS:
            co_player = {"learner": "none", "learns_in_trial": True, **family.co_player}
            _seat(config, family, LEARNERS[opponent], seat, **co_player)
        else:
            _seat(config, family, family.strategies[opponent], seat)
    config.evaluation.as_trained = ConfigDict()
    for name, every in (("scalars", 1), ("checkpoint", 10), ("evaluation", 50)):
        config.callbacks[name].every = every


def _seat(config: ConfigDict, family: Family, kind: str, seat: int, **settings: object) -> None:
    name = f"agent{seat + 1}"
    config[name] = family.agent(kind, seat, **settings)
    config.roles = (*config.get("roles", ()), name)


def make_quick(config: ConfigDict) -> None:
    """Seconds, to see that everything works."""
    config.num_inner_steps = min(config.num_inner_steps, 8)
    config.num_outer_steps = min(config.num_outer_steps, 3)
    config.num_envs, config.num_opps = 4, min(config.num_opps, 2)
    config.num_iters, config.chunk = 2, 1
    for name in config.roles:
        if config[name].learner.type == "evolution":
            config[name].learner.update({"popsize": 4, "top_k": 2})
        if "sequence_length" in config[name]:
            config[name].sequence_length = min(config.num_inner_steps, 4)
            config[name].num_minibatches = 2
    for callback in ("scalars", "evaluation", "checkpoint"):
        config.callbacks[callback].every = 1
