"""What cross-play and tournaments share: flags, players, progress, and what becomes of errors."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from pax import checks
from pax.agents import Agent
from pax.config.command_line import GOES_ON, one_line, print_error, run_program
from pax.config.flags import definer
from pax.config.imports import check_named, leave_path
from pax.config.recorded import config_of_run
from pax.config.sections import base_config
from pax.config.sections import game as game_config
from pax.envs.environment import Environment
from pax.errors import ConfigError, PaxError
from pax.evaluation.players import (
    Game,
    PolicyFile,
    find_policies,
    load_policies,
    load_strategies,
)
from pax.evaluation.round_robin import Contestant, Matches, play_all
from pax.loop.xla import enable_compilation_cache
from pax.run.directory import make_workdir, new_name
from pax.run.files import contents
from pax.run.progress_line import ProgressLine

Options = TypeVar("Options")

RESULTS = (
    "crossplay",
    "teams",
    "episodes",
    "tournament",
    "matrix",
    "ranking",
    "shares",
    "exploit",
    "responses",
)
"""What files of results are called, without their endings: a folder that holds some is one of results."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """What is played, and by whom."""

    game: Game
    players: list[Contestant]
    errors: list[PaxError]
    """What is wrong with those who do not play."""


def define_flags(
    flag_values: flags.FlagValues, *, strategies: str, config: str, num_envs: int = 100
) -> None:
    """Defines the flags that all these programs have.

    Args:
        flag_values: where to define them.
        strategies: who plays if nobody says.
        config: the game if neither a config nor a run names one.
        num_envs: environments of a pair.
    """
    define = definer(flag_values)
    define(
        "config",
        None,
        "The game: a config file and a variant, as in configs/ipd.py:ppo, of which only env and "
        f"num_inner_steps are used. Default: that of the first run{config and f', or {config}'}.",
        kind=ConfigDict,
    )
    define(
        "strategies",
        strategies,
        "Fixed strategies: all, or names with commas in between, as in "
        "tit_for_tat,defect,zero_determinant:chi=2.",
    )
    define("workdir", None, "Where results are written. Default: exp/<program>-<time>.")
    define("num_envs", num_envs, "Environments that a pair plays at once.")
    define("num_steps", 0, "Steps per episode. 0: those of the game.")
    define(
        "num_episodes",
        0,
        "Episodes per trial. 0: those of the game where somebody learns or remembers a trial, else 1.",
    )
    define("seed", 0, "Of everything that is drawn.", low=0, high=checks.MAX_INT)
    define(
        "any_game",
        False,
        "Let policies of other games or stakes play, if they observe and act in the same way.",
    )
    define(
        "allow_imports",
        [],
        "Modules that are not of Pax and that may be imported for the game of the first run and the agents "
        "of policies, as in mygame.",
    )


def set_up(
    paths: Sequence[str],
    strategies: str,
    config: ConfigDict | None,
    *,
    default_game: str = "",
    num_steps: int = 0,
    any_game: bool = False,
    allow_imports: Sequence[str] = (),
    of_teams: bool = False,
    learned_only: bool = False,
) -> Setup:
    """Returns the game, and who plays it.

    Args:
        paths: runs and policy files.
        strategies: see `load_strategies`.
        config: names the game; None: the first run does, or else `default_game`.
        default_game: what to call the default game, the iterated prisoner's dilemma; "": there is none.
        num_steps: steps per episode; 0: those of the game.
        any_game: see `load_policies`.
        allow_imports: modules that the first run's game, and the policies' agents, may have imported: see
            `config_of_run`.
        of_teams: whether the game may have any number of players.
        learned_only: whether runs and folders stand only for policies that were learned there: not for those
            of frozen roles, nor of roles that learn within a trial, unless there are no others.

    Raises:
        ConfigError: if there is no such game, or nobody to play it.
    """
    files, errors = find_policies(paths)
    if learned_only:
        files = _learned(files)
    for file in files:
        if file.run is not None:
            leave_path(file.run)
    if config is not None:
        game = Game.of(config, "--config", num_steps, of_teams)
    elif of_run := game_of(files, num_steps, allow_imports, of_teams):
        game = of_run
    elif default_game and not files:
        own = base_config()
        own.env = game_config("IteratedMatrixGame")
        game = Game.of(own, default_game, num_steps)
    else:
        raise _told(
            errors,
            ConfigError("no run tells which game to play: give --config=<file>:<variant>"),
            bool(files),
        )
    policies, wrong = load_policies(files, game, any_game, allow_imports)
    fixed, unknown = load_strategies(strategies, game)
    errors = [*errors, *wrong, *unknown]
    if not policies and not fixed:
        raise _told(
            errors,
            ConfigError(
                "there is nobody to play: give runs or exported policies, or --strategies=all"
            ),
        )
    for error in errors:
        print_error(one_line(error), 1)
    return Setup(game, policies + fixed, errors)


def _learned(files: Sequence[PolicyFile]) -> list[PolicyFile]:
    """Returns policies without those in runs that nobody has learned there; says which these are."""
    kept = [file for file in files if file.is_named or not _why_left_out(file)]
    left_out = [file for file in files if file not in kept]
    if not kept:
        return list(files)
    for why in dict.fromkeys(map(_why_left_out, left_out)):
        names = ", ".join(file.shown for file in left_out if _why_left_out(file) == why)
        print(f"Left out, as {why}: {names}. Name the file of one to have it too.", flush=True)
    return kept


def _why_left_out(file: PolicyFile) -> str:
    """Returns why a policy is not one that its run has learned; empty if it is."""
    learner = file.section.get("learner")
    kind = learner.get("type") if isinstance(learner, Mapping) else learner
    if kind == "frozen":
        return "frozen in the run"
    return "learning within a trial of the run" if file.section.get("learns_in_trial") else ""


def _told(errors: Sequence[PaxError], otherwise: PaxError, is_apart: bool = False) -> PaxError:
    """Prints what is wrong with those who were named but the last one, which is returned to be raised.

    Args:
        errors: what is wrong with them.
        otherwise: what is raised if nothing is.
        is_apart: whether that is another fault than theirs, and is raised beside all of them.
    """
    *first, last = [*errors, otherwise] if is_apart or not errors else errors
    for error in first:
        print_error(one_line(error), 1)
    return last


def game_of(
    files: Sequence[PolicyFile],
    num_steps: int = 0,
    allow_imports: Sequence[str] = (),
    of_teams: bool = False,
) -> Game | None:
    """Returns the game of the first policy that comes from a run or the zoo; None if none does.

    Args:
        files: what `find_policies` found.
        num_steps: steps per episode; 0: those of the game.
        allow_imports: modules that the game may have imported: see `config_of_run`.
        of_teams: whether it may have any number of players.
    """
    for file in files:
        if file.run and file.config is not None:
            config = config_of_run(file.run, allow_imports, part="env")
            return Game.of(config, f"run {file.run}", num_steps, of_teams)
        if file.entry:
            assert file.config is not None
            check_named(f"zoo:{file.entry}", {"env": file.config.get("env")}, allow_imports)
            return Game.of(ConfigDict(file.config), f"zoo:{file.entry}", num_steps, of_teams)
    return None


def options_of(cls: type[Options], given: flags.FlagValues) -> Options:
    """Returns a dataclass of options, whose fields are called as their flags."""
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    return cls(**{name: given[name].value for name in names})


def num_episodes_for(setup: Setup, asked: int, learning: bool = False) -> int:
    """Episodes per trial: what is asked for, or what the players need."""
    lasting = learning or any(
        agent is not None and agent.remembers_trial for p in setup.players for agent in p.agents
    )
    return asked or (setup.game.config.num_outer_steps if lasting else 1)


def play_pairs(
    setup: Setup, env: Environment, sizes: Mapping[str, Any], seed: int
) -> tuple[Matches, float]:
    """Returns what comes of all pairs in a game, with sizes as `play_all` takes them, and the seconds."""
    started, show = time.monotonic(), ProgressLine("matches").count
    params = setup.game.env_params
    played = play_all(env, params, setup.players, **sizes, seed=seed, progress=show)
    return played, time.monotonic() - started


def play_one(
    game: Game,
    player: Contestant,
    seat: int,
    others: Sequence[Contestant],
    num_envs: int,
    num_episodes: int,
    seed: int,
) -> np.ndarray:
    """Plays matches of one player, on a seat, against each of N others on the other one.

    Returns:
        Rewards per step `[N, 2, E]`: of the player and of the other one, by environment.
    """
    one, *rest = (
        dataclasses.replace(each, agents=_on(each, place))
        for each, place in [(player, seat), *((other, 1 - seat) for other in others)]
    )
    played = play_all(
        game.env,
        game.env_params,
        [one, *rest],
        num_envs=num_envs,
        num_episodes=num_episodes,
        seed=seed,
    ).rewards
    rewards = played[0, 1:] if seat == 0 else played[1:, 0]
    return rewards[:, [seat, 1 - seat], 0]


def _on(player: Contestant, seat: int) -> tuple[Agent | None, Agent | None]:
    """Returns the agents of a player who takes one seat only."""
    return (player.agents[0], None) if seat == 0 else (None, player.agents[1])


@contextlib.contextmanager
def results_folder(workdir: str | None, program: str) -> Iterator[pathlib.Path]:
    """Yields the folder for results; one that is made for it is removed again if nothing is written.

    Raises:
        ConfigError: if it cannot be written.
    """
    path = check_folder(workdir) if workdir else new_name(program)
    missing = [each for each in (path, *path.parents) if not each.exists()]
    folder = open_folder(workdir, program)
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):
            for each in (folder, *missing[1:]) if missing else ():
                each.rmdir()
        raise


def check_folder(workdir: str) -> pathlib.Path:
    """Returns the folder that is named for results; nothing is written.

    Raises:
        ConfigError: if it is none, or holds something else.
    """
    folder = checks.folder("--workdir", workdir)
    try:
        held = contents(folder)
    except OSError as e:
        raise ConfigError(f"--workdir={folder} cannot be read ({e.strerror}): name another") from e
    if held and not any(pathlib.Path(name).stem in RESULTS for name in held):
        raise ConfigError(
            f"--workdir={folder} is not empty and holds no results of such a program: name another"
        )
    return folder


def open_folder(workdir: str | None, program: str) -> pathlib.Path:
    """Makes the folder for results.

    Raises:
        ConfigError: if it cannot be written.
    """
    if not workdir:
        return make_workdir(new_name(program))
    folder = check_folder(workdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable.tmp").touch()
        (folder / ".writable.tmp").unlink()
    except OSError as e:
        raise ConfigError(
            f"--workdir={folder} cannot be written ({e.strerror}): name another"
        ) from e
    return folder


def run(
    play: Callable[[Sequence[str], flags.FlagValues], Setup],
    define_flags: Callable[[flags.FlagValues], None],
    goes_on: bool = False,
) -> None:
    """Runs one of these programs; the exit code tells too whether everybody who was named has played.

    Args:
        play: does what the flags say.
        define_flags: defines them.
        goes_on: whether the same command, on its folder, goes on where a signal has ended it.
    """

    def work(paths: list[str], given: flags.FlagValues) -> int:
        enable_compilation_cache()
        try:
            setup = play(paths, given)
        except (MemoryError, jax.errors.JaxRuntimeError) as e:
            if not isinstance(e, MemoryError) and "RESOURCE_EXHAUSTED" not in str(e):
                raise
            raise ConfigError(
                "there is not enough memory: give fewer --num_envs, players or trials"
            ) from e
        if setup.errors:
            return print_error(f"{len(setup.errors)} of those named did not play, see above", 1)
        return 0

    kept = f"with --workdir, {GOES_ON}" if goes_on else None
    run_program(work, define_flags, computes=True, interrupted=kept)
