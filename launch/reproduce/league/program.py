"""The league of a game: trains its methods, plays all matches, and writes tables and figures.

python -m launch.reproduce league ipd
python -m launch.reproduce league ipd --small --noise=.02,.05
python -m launch.reproduce league coin_game --enter=mine=my_configs/coin_game.py:mine
"""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from launch.reproduce.cells import config_of
from launch.reproduce.folder import alone_in, claim
from launch.reproduce.league import tables
from launch.reproduce.league.entrants import GAMES, Entrant, LeagueGame, Sizes
from launch.reproduce.league.matches import (
    Field,
    assemble,
    learners_of,
    play_kept,
    policies_of,
    symmetric,
)
from launch.reproduce.league.training import ELSEWHERE, Plan, Trained, config_for, entered, train
from pax import checks
from pax.checks import short
from pax.config.build import build_env
from pax.config.command_line import one_line, print_error
from pax.envs.environment import Environment
from pax.envs.iterated_matrix_game import PAYOFFS
from pax.envs.wrappers import Noise
from pax.errors import ConfigError, PaxError, nearest
from pax.evaluation.methods import LEAST_SEEDS, Standing, over_units, standing
from pax.evaluation.players import Game
from pax.evaluation.round_robin import Contestant, check
from pax.run.files import write_whole

NUM_SEEDS = 5
NUM_SEEDS_SMALL = 3


def define_flags(define: Callable[..., None]) -> None:
    """Defines the flags that only a league has."""
    define("small", False, "League: three seeds and less training, minutes in place of an hour.")
    define(
        "num_seeds",
        0,
        "League: of each method. 0: 5, or 3 with --small or --quick.",
        low=0,
        high=1000,
    )
    define("methods", [], "League: the methods that take part, as in naive,loqa. Default: all.")
    define(
        "enter",
        (),
        "League: a method of your own, <name>=<config file>:<variant>, or <name>=<run or policy file> of "
        "one that is trained. May be given several times.",
    )
    define("noise", [], "League: probabilities that an action is the other one, as in .02,.05.")
    define("steps", [], "League: other numbers of steps per episode, as in 50,500.")
    define("payoffs", [], f"League: other payoffs of a matrix game, of {', '.join(PAYOFFS)}.")


FLAGS = ("small", "num_seeds", "methods", "enter", "noise", "steps", "payoffs")


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


def run(names: Sequence[str], given: flags.FlagValues) -> int:
    """Runs the league that the flags say; returns the exit code."""
    prepared = prepare(names, given)
    size = "-quick" if given.quick else "-small" if given.small else ""
    folder = checks.folder(
        "--workdir", given.workdir or f"exp/reproduce-league-{prepared.name}{size}"
    )
    claim(
        folder,
        {"table": "league", "game": prepared.name, **dataclasses.asdict(prepared.plan)},
    )
    with alone_in(folder):
        return play(prepared, folder)


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
        _check_game(entrant, plan, game)
    zero_shot, learning = _sizes(league, plan)
    learners = learners_of(league, game)
    conditions = _conditions(game, given.noise, given.steps, given.payoffs)
    check(game.env, [], zero_shot.num_envs, zero_shot.num_episodes, 1, False)
    for learner in learners:
        agent = learner.agents[1]
        assert agent is not None
        agent.check_rollout(game.env.num_inner_steps, learning.num_envs)
    return Prepared(
        names[0], league, plan, entrants, game, learners, conditions, zero_shot, learning
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
    for text in enter or ():
        chosen.append(entered(text, [each.name for each in [*league.entrants, *chosen]]))
    return chosen


def _check_game(entrant: Entrant, plan: Plan, game: Game) -> None:
    """Raises PaxError if an entrant is of another game."""
    if entrant.trained == ELSEWHERE:
        policies_of(Trained(entrant, pathlib.Path(entrant.config), 0.0), game)
        return
    config = config_for(entrant, plan)
    env, _ = build_env(config)
    seat = config[entrant.role].seats[0]
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
    return found


def _number(flag: str, text: str, kind: type, remedy: str) -> Any:
    try:
        return kind(text)
    except ValueError as e:
        raise ConfigError(f"{flag} has {short(text)}: give {remedy}") from e


def play(prepared: Prepared, folder: pathlib.Path) -> int:
    """Trains, plays, and writes what came of it; returns 1 if a method is missing."""
    trained, failed = _train_all(prepared, folder)
    field, wrong = assemble(trained, prepared.league.strategies, prepared.game)
    failed += [name for name, _ in wrong]
    for name, error in wrong:
        print_error(f"{name}: {one_line(error)}", 1)
    if all(method.is_fixed for method in field.methods):
        return print_error(f"{', '.join(failed)} did not take part, and there is nobody else", 1)
    found, against = _play_all(prepared, field, folder)
    page = _page(prepared, field, trained, found, against, folder)
    write_whole(folder / "league.md", page + "\n")
    print(page)
    print(f"\nWritten to {folder}/league.md, and .csv and .png files beside it")
    if failed:
        return print_error(f"{', '.join(failed)} did not take part, see above", 1)
    return 0


def _train_all(prepared: Prepared, folder: pathlib.Path) -> tuple[list[Trained], list[str]]:
    """Returns the methods that are trained, and the names of those that failed."""
    trained, failed = [], []
    for index, entrant in enumerate(prepared.entrants):
        if entrant.trained == ELSEWHERE:
            trained.append(Trained(entrant, pathlib.Path(entrant.config), 0.0))
            continue
        print(f"{index + 1}/{len(prepared.entrants)} {entrant.name}: {entrant.config}", flush=True)
        try:
            trained.append(train(entrant, prepared.plan, folder))
        except PaxError as e:
            print_error(f"{entrant.name}: {one_line(e)}", 1)
            failed.append(entrant.name)
        except Exception as e:
            # One method, maybe of somebody else, is not to end what takes an hour.
            logging.exception("%s failed", entrant.name)
            print_error(f"{entrant.name}: {type(e).__name__}: {one_line(e)}", 1)
            failed.append(entrant.name)
    return trained, failed


def _play_all(
    prepared: Prepared, field: Field, folder: pathlib.Path
) -> tuple[dict[str, Standing], tables.AgainstLearners]:
    """Returns how methods stand under each condition, and what they get from learners."""
    game, players = prepared.game, field.players
    key = {"who": field.digest(), "game": json.dumps(game.config.env.to_dict(), default=str)}
    found = {}
    as_is = Condition("as it is", game.env, game.env_params)
    for number, condition in enumerate([as_is, *prepared.conditions]):
        steps = condition.env.num_inner_steps
        played = play_kept(
            folder / "matches" / f"{condition.name.replace(' ', '_')}.npz",
            {**key, "condition": condition.name, "steps": steps},
            condition.env,
            condition.env_params,
            players,
            prepared.zero_shot,
        )
        found[condition.name] = standing(symmetric(played.rewards), field.methods, seed=number)
    # Later learners are compared with what is kept, so that their settings belong to it.
    described = {
        learner.name: learner.agents[1].describe()  # type: ignore[union-attr]
        for learner in prepared.learners
    }
    played = play_kept(
        folder / "matches" / "learners.npz",
        {**key, "steps": game.env.num_inner_steps, "learners": described},
        game.env,
        game.env_params,
        players,
        prepared.learning,
        prepared.learners,
    )
    by_episode = np.moveaxis(played.by_episode, 3, 1)  # [N, R, L, 2, K]
    against = tables.AgainstLearners(
        [learner.name for learner in prepared.learners],
        over_units(by_episode.mean(axis=-1), field.methods),
        over_units(by_episode, field.methods),
    )
    return found, against


def _page(
    prepared: Prepared,
    field: Field,
    trained: Sequence[Trained],
    found: Mapping[str, Standing],
    against: tables.AgainstLearners,
    folder: pathlib.Path,
) -> str:
    """Writes tables and figures; returns all tables as Markdown."""
    standing_as_is = next(iter(found.values()))
    names = field.names
    order = np.argsort(-standing_as_is.scores.mean, kind="stable")
    seeds = {method.name: len(method.places) for method in field.methods if not method.is_fixed}
    title = f"The league of {prepared.league.title}"
    zero_shot, learning, steps = (
        prepared.zero_shot,
        prepared.learning,
        prepared.game.env.num_inner_steps,
    )
    parts = [f"# {title}"]
    if prepared.plan.quick:
        parts.append(
            "A small part of the work (--quick): these numbers are not those of the league."
        )
    few = [name for name, num in seeds.items() if num < LEAST_SEEDS]
    if few:
        parts.append(
            f"There are no intervals and no ranks' probabilities where {', '.join(few)} "
            f"take{'s' if len(few) == 1 else ''} part: fewer than {LEAST_SEEDS} seeds tell nothing of others."
        )
    parts += [
        "Rewards per step, with 95 % intervals over seeds. Score: the mean of what a method gets from all "
        "methods and strategies, itself (other seeds) among them.",
        tables.ranking(names, standing_as_is, tables.how_trained(trained), against, folder),
        f"## Zero-shot\n\nFrozen against frozen, {zero_shot.num_episodes} episodes of {steps} steps in "
        f"{zero_shot.num_envs} environments, both seats. The row's reward.",
        tables.zero_shot(names, standing_as_is, f"{title}: zero-shot", folder),
        f"## Against learners\n\nFrozen against those who start afresh and learn after each of "
        f"{learning.num_episodes} episodes of {steps} steps in {learning.num_envs} environments, "
        f"{learning.num_trials} trials per seed. Means over the trial.",
        tables.against_learners(names, order, against, f"{title}: against learners", folder),
    ]
    if len(found) > 1:
        parts += [
            "## Robustness\n\nRank and score of the same policies.",
            tables.robustness(names, found, folder),
        ]
    parts += ["## Training", tables.training(trained, seeds)]
    return "\n\n".join(parts)
