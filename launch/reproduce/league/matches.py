"""The matches of a league: everybody against everybody, and against those who learn; kept in its folder."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from launch.reproduce.league.entrants import LeagueGame, Sizes
from launch.reproduce.league.training import ELSEWHERE, Trained
from pax.config.build import build_agent
from pax.envs.environment import Environment
from pax.errors import CheckpointError, ConfigError, PaxError
from pax.evaluation.methods import Method
from pax.evaluation.players import Game, PolicyFile, find_policies, load_policies, load_strategies
from pax.evaluation.round_robin import Contestant, Matches, play_all
from pax.run.files import read_regular, write_whole
from pax.run.progress_line import ProgressLine


@dataclasses.dataclass(frozen=True)
class Field:
    """Who takes part: players, and the methods that they are of."""

    players: Sequence[Contestant]
    methods: Sequence[Method]
    files: Sequence[PolicyFile | None]
    """Of the players; None: a strategy that is not exported."""

    @property
    def names(self) -> list[str]:
        """The names of the methods."""
        return [method.name for method in self.methods]

    def digest(self) -> str:
        """Returns a text that changes with who takes part."""
        parts = [self.digest_of(place) for place in range(len(self.players))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def digest_of(self, place: int) -> str:
        """Returns a text that changes with one of the players."""
        file, name = self.files[place], self.players[place].name
        held = b"" if file is None else read_regular(file.path)
        return f"{name} {hashlib.sha256(held).hexdigest()}"


def policies_of(trained: Trained, game: Game) -> tuple[list[Contestant], list[PolicyFile]]:
    """Loads the policies of a method, one per seed, in the order of the seeds.

    Raises:
        PaxError: if there are none, they are of several methods, or one is damaged or of another game.
    """
    files, errors = find_policies([trained.policies])
    role = trained.entrant.role
    of_role = _of_role(files, role)
    if not of_role and trained.entrant.trained == ELSEWHERE:
        of_role = _of_one_method(trained, files)
    files = of_role
    if not files and not errors:
        raise CheckpointError(
            f"{trained.entrant.name}: {trained.policies} holds no policies of {role}: give a run that was "
            "trained to its end"
        )
    # Payoffs that differ by a constant, say, make other stakes of the same game.
    players, wrong = load_policies(files, game, any_game=True, allow_imports=trained.allow_imports)
    if errors or wrong:
        raise [*errors, *wrong][0]
    name = trained.entrant.name
    return [
        dataclasses.replace(player, name=f"{name}/{seed}", role=name, seed=seed)
        for seed, player in enumerate(players)
    ], files


def _of_role(files: Sequence[PolicyFile], role: str) -> list[PolicyFile]:
    # Of several agents that one learner teaches, the first enters.
    names = (role, f"{role}_1")
    return [file for file in files if file.path.stem.split("_seed_")[0] in names]


def _of_one_method(trained: Trained, files: Sequence[PolicyFile]) -> list[PolicyFile]:
    """Returns the policies of somebody else who has no such role: of a run, those of its first role.

    Raises:
        ConfigError: if they are of several methods of the zoo.
    """
    methods = {file.entry.rpartition("/")[0] for file in files if file.entry}
    if len(methods) > 1:
        raise ConfigError(
            f"{trained.entrant.name}: {trained.policies} holds policies of several methods "
            f"({', '.join(sorted(methods))}): name one of them, as in zoo:{min(methods)}"
        )
    of_roles = [
        found
        for file in files[:1]
        if file.run is not None and file.config is not None and not file.is_named
        for role in file.config.get("roles", ())
        if (found := _of_role(files, str(role)))
    ]
    # Those of a folder are one method, whatever they are called.
    return of_roles[0] if of_roles else [*files]


def assemble(
    trained: Sequence[Trained], strategies: str, game: Game
) -> tuple[Field, list[tuple[str, PaxError]]]:
    """Returns who takes part, and by method what is wrong with those who cannot."""
    players: list[Contestant] = []
    files: list[PolicyFile | None] = []
    methods, errors = [], []
    for each in trained:
        try:
            own, own_files = policies_of(each, game)
        except PaxError as e:
            errors.append((each.entrant.name, e))
            continue
        methods.append(
            Method(each.entrant.name, tuple(range(len(players), len(players) + len(own))))
        )
        players, files = [*players, *own], [*files, *own_files]
    fixed, wrong = load_strategies(strategies, game)
    errors += [("strategies", e) for e in wrong]
    for player in fixed:
        methods.append(Method(player.name, (len(players),), is_fixed=True))
        players, files = [*players, player], [*files, None]
    return Field(players, methods, files), errors


def learners_of(league: LeagueGame, game: Game) -> list[Contestant]:
    """Returns those who learn in a trial, in seat 1.

    Raises:
        ConfigError: if one cannot play the game.
    """
    found = []
    for name, settings in league.learners.items():
        own = dict(settings)
        agent = build_agent(own.pop("agent"), own, game.env, 1, name, game.env_params)
        found.append(Contestant(name, (None, agent)))
    return found


def play_kept(
    path: pathlib.Path,
    key: Mapping[str, Any],
    env: Environment,
    env_params: Any,
    players: Sequence[Contestant],
    sizes: Sizes,
    learners: Sequence[Contestant] = (),
) -> Matches:
    """Plays matches as `play_all` does, or reads them from a file in which they are kept.

    Args:
        path: the file.
        key: what the matches depend on; matches that are kept of others are played anew.
        env: the game.
        env_params: what is played for.
        players: who plays.
        sizes: how much.
        learners: against whom; empty: against each other.
    """
    text = json.dumps({**key, "sizes": dataclasses.asdict(sizes)}, sort_keys=True)
    kept = _read(path, text)
    if kept is not None:
        return kept
    show: Callable[[int, int], None] = ProgressLine("matches").count
    played = play_all(
        env,
        env_params,
        players,
        learners=learners,
        **dataclasses.asdict(sizes),
        progress=show,
    )
    # What is kept are means over environments: samples are seeds, and of strategies trials.
    means = Matches(played.rewards.mean(axis=-1, keepdims=True), played.by_episode)
    buffer = io.BytesIO()
    np.savez(buffer, key=np.array(text), rewards=means.rewards, by_episode=means.by_episode)
    path.parent.mkdir(exist_ok=True)
    write_whole(path, buffer.getvalue())
    return means


def _read(path: pathlib.Path, key: str) -> Matches | None:
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(read_regular(path)), allow_pickle=False) as held:
            if str(held["key"]) != key:
                return None
            return Matches(held["rewards"], held["by_episode"])
    # RuntimeError: of what says that it is encrypted, or of another version; TypeError: of a single array.
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        RuntimeError,
        zipfile.BadZipFile,
    ) as e:
        reason = " ".join(str(e).split())
        raise ConfigError(
            f"{path} is damaged ({reason}): take it away, and it is played anew"
        ) from e


def symmetric(rewards: np.ndarray) -> np.ndarray:
    """Returns what player (row) gets from player (column), `[N, N]`: the mean over both seats.

    Args:
        rewards: of ordered pairs, `[N, N, 2, R, E]`.
    """
    means = rewards.mean(axis=(3, 4), dtype=np.float64)
    return (means[:, :, 0] + means[:, :, 1].T) / 2
