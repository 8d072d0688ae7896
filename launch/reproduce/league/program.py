"""The league of a game: trains its methods, plays all matches, and writes tables and figures.

python -m launch.reproduce league ipd
python -m launch.reproduce league ipd --small --noise=.02,.05
python -m launch.reproduce league coin_game --enter=mine=my_configs/coin_game.py:mine
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from absl import flags, logging

from launch.reproduce.folder import alone_in
from launch.reproduce.league import exploitability, tables
from launch.reproduce.league.matches import (
    Field,
    assemble,
    play_kept,
    symmetric,
)
from launch.reproduce.league.prepare import Condition, Prepared, prepare
from launch.reproduce.league.training import ELSEWHERE, Plan, Trained, train
from pax import checks
from pax.config.command_line import one_line, print_error
from pax.envs.iterated_matrix_game import PAYOFFS
from pax.errors import PaxError
from pax.evaluation.methods import LEAST_SEEDS, Standing, over_units, standing
from pax.run.files import write_whole


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
    define(
        "allow_imports",
        [],
        "League: modules that are not of Pax and that may be imported for the agents of policies that enter, "
        "as in mygame.",
    )
    define("noise", [], "League: probabilities that an action is the other one, as in .02,.05.")
    define("steps", [], "League: other numbers of steps per episode, as in 50,500.")
    define("payoffs", [], f"League: other payoffs of a matrix game, of {', '.join(PAYOFFS)}.")


FLAGS = ("small", "num_seeds", "methods", "enter", "allow_imports", "noise", "steps", "payoffs")


def run(names: Sequence[str], given: flags.FlagValues) -> int:
    """Runs the league that the flags say; returns the exit code."""
    prepared = prepare(names, given)
    size = "-quick" if given.quick else "-small" if given.small else ""
    folder = checks.folder(
        "--workdir", given.workdir or f"exp/reproduce-league-{prepared.name}{size}"
    )
    what = {"table": "league", "game": prepared.name, **dataclasses.asdict(prepared.plan)}
    with alone_in(folder, what):
        _say_replaced([entrant.name for entrant in prepared.entrants], folder)
        return play(prepared, folder)


def _say_replaced(names: Sequence[str], folder: pathlib.Path) -> None:
    """Says so if the tables that are there are of other methods than these."""
    before = tables.ranked(folder)
    if before and {*before} != {*names}:
        print(
            f"The tables in {folder}, of {', '.join(before)}, will be replaced by those of "
            f"{', '.join(names)}: runs, matches and best responses are kept, so that the command that wrote "
            "the former writes them again without playing.",
            flush=True,
        )


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
    num_iters, most_learned = _responses(prepared.plan)
    rewards, how, wrong = exploitability.measure(
        field, prepared.game, folder / "exploitability", num_iters, most_learned
    )
    for name, error in wrong:
        print_error(f"best response to {name}: {one_line(error)}", 1)
    failed += [f"best response to {name}" for name, _ in wrong]
    page = _page(prepared, field, trained, found, against, folder, rewards, how)
    write_whole(folder / "league.md", page + "\n")
    print(page)
    print(f"\nWritten to {folder}/league.md, and .csv and .png files beside it")
    if failed:
        return print_error(f"{', '.join(failed)} did not take part, see above", 1)
    return 0


def _responses(plan: Plan) -> tuple[int, int]:
    """Returns how long responses learn that cannot be computed, and against how many seeds of a method."""
    if plan.quick:
        return 10, 1
    # Three are enough for an interval; each takes up to a minute or two.
    return 40, 1 if plan.small else min(3, plan.num_seeds)


def _train_all(prepared: Prepared, folder: pathlib.Path) -> tuple[list[Trained], list[str]]:
    """Returns the methods that are trained, and the names of those that failed."""
    trained, failed = [], []
    for index, entrant in enumerate(prepared.entrants):
        if entrant.trained == ELSEWHERE:
            trained.append(Trained(entrant, entrant.config, 0.0, prepared.allow_imports))
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
    game, players, who = prepared.game, field.players, field.digest()
    key = {"who": who, "game": json.dumps(game.config.env.to_dict(), default=str)}
    print(f"Matches of {len(players)} policies and strategies", flush=True)
    found = {}
    as_is = Condition("as it is", game.env, game.env_params)
    for number, condition in enumerate([as_is, *prepared.conditions]):
        steps = condition.env.num_inner_steps
        played = play_kept(
            folder / "matches" / f"{condition.name.replace(' ', '_')}_{who[:8]}.npz",
            {**key, "condition": condition.name, "steps": steps},
            condition.env,
            condition.env_params,
            players,
            prepared.zero_shot,
        )
        found[condition.name] = standing(symmetric(played.rewards), field.methods, seed=number)
    print(f"Trials against {len(prepared.learners)} learners", flush=True)
    # Later learners are compared with what is kept, so that their settings belong to it.
    described = {
        learner.name: learner.agents[1].describe()  # type: ignore[union-attr]
        for learner in prepared.learners
    }
    played = play_kept(
        folder / "matches" / f"learners_{who[:8]}.npz",
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
    responses: np.ndarray,
    how: Sequence[str],
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
            f"There are no intervals and no ranks of {', '.join(few)}: fewer than {LEAST_SEEDS} seeds tell "
            "nothing of others, so that its policies are taken as they are."
        )
    parts += [
        "Rewards per step, with 95 % intervals over seeds. Score: the mean of what a method gets from all "
        "methods and strategies, itself (other seeds) among them.",
        tables.ranking(names, standing_as_is, tables.how_trained(trained), against, folder),
        f"## Zero-shot\n\nFrozen against frozen, episodes of {steps} steps on both seats: "
        f"{zero_shot.num_episodes} in each of {zero_shot.num_envs} environments. The row's reward.",
        tables.zero_shot(names, standing_as_is, f"{title}: zero-shot", folder),
        f"## Against learners\n\nFrozen against those who start afresh and learn after each of "
        f"{learning.num_episodes} episodes of {steps} steps in {learning.num_envs} environments, "
        f"{learning.num_trials} trials per seed. Means over the trial.",
        tables.against_learners(names, order, against, f"{title}: against learners", folder),
    ]
    parts += [
        "## Exploitability\n\nWhat a best response to a frozen policy gets, and how much more than the "
        "policy gets from itself. Exact where a policy of a matrix game remembers the last step only, "
        "elsewhere learned by PPO_memory, which is a lower bound where it has not converged.",
        exploitability.table(field, responses, how, order, folder),
    ]
    # It would stay beside tables of others.
    (folder / "robustness.csv").unlink(missing_ok=True)
    if len(found) > 1:
        parts += [
            "## Robustness\n\nRank and score of the same policies.",
            tables.robustness(names, found, folder),
        ]
    parts += ["## Training", tables.training(trained, seeds, prepared.plan)]
    return "\n\n".join(parts)
