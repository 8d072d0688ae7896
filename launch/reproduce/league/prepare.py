"""What is asked of a league, checked before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from launch.reproduce.cells import config_of
from launch.reproduce.league.entrants import GAMES, Entrant, LeagueGame, Sizes
from launch.reproduce.league.matches import learners_of, policies_of
from launch.reproduce.league.training import (
    ELSEWHERE,
    ENTERED,
    Plan,
    Trained,
    config_for,
    entered,
)
from pax.checks import short
from pax.config.build import build_env, build_trainer
from pax.envs.environment import Environment
from pax.envs.iterated_matrix_game import PAYOFFS
from pax.envs.wrappers import Noise
from pax.errors import ConfigError, PaxError, nearest
from pax.evaluation.methods import LEAST_SEEDS
from pax.evaluation.players import Game
from pax.evaluation.round_robin import Contestant, check

NUM_SEEDS = 5
NUM_SEEDS_SMALL = 3


@dataclasses.dataclass(frozen=True)
class Condition:
    """Under what the same policies play once more."""

    name: str
    env: Environment
    env_params: Any


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A league that can begin: all that could be wrong with what was asked for is checked."""

    name: str
    league: LeagueGame
    plan: Plan
    entrants: Sequence[Entrant]
    game: Game
    learners: Sequence[Contestant]
    conditions: Sequence[Condition]
    zero_shot: Sizes
    learning: Sizes
    allow_imports: Sequence[str] = ()
    """Modules that are not of Pax and that may be imported for the agents of policies that enter."""


def prepare(names: Sequence[str], given: flags.FlagValues) -> Prepared:
    """Returns the league that is asked for, before anything compiles.

    Raises:
        ConfigError: if something of it cannot be.
    """
    if len(names) != 1:
        raise ConfigError(
            f"give one game, league {' or league '.join(GAMES)}, and not {len(names)}"
        )
    if names[0] not in GAMES:
        raise ConfigError(f"there is no league of {short(names[0])}: {nearest(names[0], GAMES)}")
    if given.small and given.quick:
        raise ConfigError("--small and --quick are both given: give one of them")
    league = GAMES[names[0]]
    is_short = given.small or given.quick
    plan = Plan(
        given.num_seeds or (NUM_SEEDS_SMALL if is_short else NUM_SEEDS), given.small, given.quick
    )
    entrants = _chosen(names[0], league, given.methods, given.enter, plan)
    config = config_of(league.config, 1, quick=False)
    steps = league.quick_steps if plan.quick else league.num_steps
    game = Game.of(config, f"league {names[0]}", steps)
    for entrant in entrants:
        _check_game(entrant, plan, game, given.allow_imports)
    zero_shot, learning = _sizes(league, plan)
    learners = learners_of(league, game)
    conditions = _conditions(game, given.noise, given.steps, given.payoffs)
    check(game.env, [], zero_shot.num_envs, zero_shot.num_episodes, 1, False)
    for learner in learners:
        agent = learner.agents[1]
        assert agent is not None
        agent.check_rollout(game.env.num_inner_steps, learning.num_envs)
    return Prepared(
        names[0],
        league,
        plan,
        entrants,
        game,
        learners,
        conditions,
        zero_shot,
        learning,
        given.allow_imports,
    )


def _chosen(
    game: str, league: LeagueGame, methods: Sequence[str], enter: Sequence[str] | None, plan: Plan
) -> list[Entrant]:
    """Returns who is to take part."""
    known = {
        each.name: each for each in league.entrants if not plan.small or each.small is not None
    }
    for name in methods:
        if name in known:
            continue
        if name in {each.name for each in league.entrants}:
            raise ConfigError(
                f"--methods names {name!r}, which is too slow for --small: leave it out"
            )
        others = [
            other
            for other, of_other in GAMES.items()
            if name in {each.name for each in of_other.entrants}
        ]
        where = f"is one of {', '.join(others)} only" if others else f"is no method of {game}"
        raise ConfigError(f"--methods names {name!r}, which {where}: {nearest(name, known)}")
    chosen = [each for name, each in known.items() if not methods or name in methods]
    for each in chosen:
        if each.starts_from and each.starts_from not in [other.name for other in chosen]:
            raise ConfigError(
                f"--methods names {each.name}, which starts from the policies of {each.starts_from}: "
                f"name {each.starts_from}, too"
            )
    others = [*league.strategies.split(","), *league.learners]
    for text in enter or ():
        taken = [each.name for each in [*league.entrants, *chosen]] + others
        chosen.append(entered(text, taken))
    return chosen


def _check_game(
    entrant: Entrant, plan: Plan, game: Game, allow_imports: Sequence[str] = ()
) -> None:
    """Raises PaxError if an entrant is of another game, or cannot be trained."""
    if entrant.trained == ELSEWHERE:
        policies_of(Trained(entrant, entrant.config, 0.0, allow_imports), game)
        return
    config = config_for(entrant, plan)
    if entrant.trained == ENTERED:
        try:
            role = next(
                role for role in build_trainer(config, None).roles if role.name == entrant.role
            )
        except PaxError as e:
            raise ConfigError(f"{entrant.name}: {entrant.config}: {e}") from e
        if not (role.learner or role.carried):
            raise ConfigError(
                f"{entrant.name}: {entrant.role} of {entrant.config} does not learn, and leaves no policy: "
                "give a config in which it does"
            )
    env, _ = build_env(config)
    seat = (*config[entrant.role].seats, *config[entrant.role].self_play_seats)[0]
    if env.num_players != 2 or env.spaces(seat) != game.env.spaces(0):
        spaces = ", ".join(map(str, env.spaces(seat)))
        wanted = ", ".join(map(str, game.env.spaces(0)))
        raise ConfigError(
            f"{entrant.name}: {entrant.config} is of another game than {game.origin}: it has "
            f"{env.num_players} players, observations and actions {spaces}, where the league has 2, {wanted}"
        )


def _sizes(league: LeagueGame, plan: Plan) -> tuple[Sizes, Sizes]:
    zero_shot, learning = league.zero_shot, league.learning
    if plan.quick:
        zero_shot = Sizes(num_envs=4, num_episodes=1)
        learning = dataclasses.replace(learning, num_episodes=3, num_trials=LEAST_SEEDS)
    elif plan.small:
        zero_shot = dataclasses.replace(zero_shot, num_envs=zero_shot.num_envs // 2)
        learning = dataclasses.replace(
            learning, num_trials=max(learning.num_trials // 2, LEAST_SEEDS)
        )
    return zero_shot, learning


def _conditions(
    game: Game, noise: Sequence[str], steps: Sequence[str], payoffs: Sequence[str]
) -> list[Condition]:
    """Returns under what the policies play besides."""
    found = []
    for text in noise:
        probability = _number("--noise", text, float, "probabilities, as in .02,.05")
        if not 0 <= probability <= 1:
            raise ConfigError(f"--noise has {probability:g}: give probabilities, from 0 to 1")
        found.append(
            Condition(f"noise {probability:g}", Noise(game.env, probability), game.env_params)
        )
    for text in steps:
        number = _number("--steps", text, int, "numbers of steps, as in 50,500")
        if not 0 < number <= 100_000:
            raise ConfigError(f"--steps has {number}: give 1 to 100000")
        other = Game.of(game.config, game.origin, number)
        found.append(Condition(f"{number} steps", other.env, other.env_params))
    for name in payoffs:
        if game.config.env.type != "IteratedMatrixGame":
            raise ConfigError(
                f"--payoffs is {','.join(payoffs)}, and {game.origin} is no matrix game: leave it out"
            )
        if name not in PAYOFFS:
            raise ConfigError(f"--payoffs has {short(name)}: {nearest(name, PAYOFFS)}")
        config = ConfigDict(game.config)
        config.env = ConfigDict({**config.env.to_dict(), "payoff": PAYOFFS[name]})
        other = Game.of(config, game.origin)
        found.append(Condition(f"payoffs {name}", other.env, other.env_params))
    names = [condition.name for condition in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"the league is to be played twice with {name}: give it once")
    return found


def _number(flag: str, text: str, kind: type, remedy: str) -> Any:
    try:
        return kind(text)
    except ValueError as e:
        raise ConfigError(f"{flag} has {short(text)}: give {remedy}") from e
