"""Who plays whom: exported policies, whole runs, and fixed strategies, checked against one game."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from pax.agents import AGENTS, Agent
from pax.checkpoints.elsewhere import is_elsewhere, local_policy
from pax.checkpoints.policies import load_policy
from pax.checkpoints.zoo_policies import entry_of, is_in_zoo, read_card
from pax.config.build import build_agent, build_env
from pax.config.imports import check_named
from pax.config.recorded import todays
from pax.envs.environment import Environment
from pax.errors import CheckpointError, ConfigError, PaxError, nearest
from pax.evaluation.round_robin import SEATS, Contestant
from pax.run.directory import IMPORTS, POLICIES, RUN_FILE, describe_differences, jsonable, read_run
from pax.run.remote import named_by

SUFFIX = ".msgpack"
TIT_FOR_TAT_AGAIN = ("MemoryOne", *(name for name in AGENTS if re.match("TitForTat.", name)))
"""Agents that between two players, or by default, are tit-for-tat under another name."""
OLD_NAMES = {"altruistic": "always_cooperate"}
"""Names of strategies that may still be given, and what they are called now: the same in all games."""


@dataclasses.dataclass(frozen=True)
class Game:
    """What is played."""

    config: ConfigDict
    env: Environment
    env_params: Any
    origin: str
    """Where it comes from, for messages."""

    @classmethod
    def of(
        cls, config: ConfigDict, origin: str, num_steps: int = 0, of_teams: bool = False
    ) -> Game:
        """Returns the game of a config, with other steps per episode if they are given.

        Args:
            config: has the sections of a game.
            origin: where it comes from, for messages.
            num_steps: steps per episode; 0: those of the game.
            of_teams: whether it may have any number of players.

        Raises:
            ConfigError: if it is none, or is not between two players and not one of teams.
        """
        config = ConfigDict(config)
        if num_steps:
            config.num_inner_steps = num_steps
        try:
            env, env_params = build_env(config)
        except (AttributeError, KeyError) as e:
            raise ConfigError(f"the config of {origin} has no game ({e}): give --config") from e
        if env.num_players != 2 and not of_teams:
            remedy = "let teams play by pax crossplay --teams, or " if env.num_players > 2 else ""
            raise ConfigError(
                f"the game of {origin}, {type(env).__name__}, has {env.num_players} players, and pairs need "
                f"two: {remedy}evaluate saved policies of it by trainer.evaluate (docs/from_python.md)"
            )
        return cls(config, env, env_params, origin)


@dataclasses.dataclass(frozen=True)
class PolicyFile:
    """An exported policy, and the run that it comes from, if there is one."""

    path: pathlib.Path
    run: pathlib.Path | None
    config: Mapping[str, Any] | None
    """Of the run."""
    imports: Any = None
    """Of the run: where the modules were that it named."""
    entry: str = ""
    """Its name in the zoo; empty if it is not from there."""
    role: str = ""
    """The role that it was; empty: what its file is called."""
    seed: int = 0
    """Of an entry of the zoo: that of its training."""
    is_named: bool = True
    """Whether it was named itself, and not a run or a folder that it is in."""

    @property
    def section(self) -> Mapping[str, Any]:
        """The role of the run's config that it was exported from; {} if there is none."""
        role = self.role or re.sub(r"(_best|_average)?(_seed_\d+)?$", "", self.path.stem)
        section = (self.config or {}).get(role)
        return section if isinstance(section, Mapping) else {}

    @property
    def shown(self) -> str:
        """What messages call it."""
        return f"zoo:{self.entry}" if self.entry else str(self.path)


def find_policies(paths: Iterable[str]) -> tuple[list[PolicyFile], list[PaxError]]:
    """Returns the policy files that runs, folders and files stand for; and what is wrong with the others."""
    found: dict[pathlib.Path, PolicyFile] = {}
    errors: list[PaxError] = []
    runs: dict[pathlib.Path, tuple[Mapping[str, Any], Any]] = {}
    for given in paths:
        try:
            place = local_policy("the policy", given)
            with named_by(place, str(given) if is_elsewhere(given) else None):
                if is_in_zoo(given):
                    found |= {file.path: file for file in _of_zoo(place)}
                    continue
                for file in _files(place):
                    run, before = file.resolve().parent.parent, found.get(file.resolve())
                    is_named = file == place or (before is not None and before.is_named)
                    if not (run / RUN_FILE).exists():
                        found[file.resolve()] = PolicyFile(file, None, None, is_named=is_named)
                        continue
                    if run not in runs:
                        record = read_run(run)
                        runs[run] = jsonable(todays(record["config"])), record.get(IMPORTS)
                    config, imports = runs[run]
                    found[file.resolve()] = PolicyFile(
                        file, run if config else None, config, imports, is_named=is_named
                    )
        except PaxError as e:
            errors.append(e)
    return list(found.values()), errors


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    if not path.exists():
        raise CheckpointError(f"there is no run or policy {path}: check the path")
    if not path.is_dir():
        return [path]
    folder = path / POLICIES if (path / RUN_FILE).exists() else path
    files = sorted(folder.glob(f"*{SUFFIX}"), key=_in_order)
    if not files:
        raise CheckpointError(
            f"{path} holds no exported policies: give a run that was trained to its end, or a policy file"
        )
    return files


def _of_zoo(place: pathlib.Path) -> list[PolicyFile]:
    """Returns the policy of the zoo, or all of a folder of it, with what their cards say."""
    files = [place]
    if place.is_dir():
        files = sorted(place.rglob(f"*{SUFFIX}"), key=lambda file: (file.parent, _in_order(file)))
    found = []
    for file in files:
        card = read_card(file)
        config = jsonable(todays(card["config"]))
        found.append(
            PolicyFile(
                file, None, config, entry=entry_of(file), role=card["role"], seed=card["seed"]
            )
        )
    return found


def _in_order(path: pathlib.Path) -> list[Any]:
    """Returns the key by which policies are sorted: seed 10 comes after seed 9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.stem)]


def load_policies(
    files: Sequence[PolicyFile],
    game: Game,
    any_game: bool = False,
    allow_imports: Sequence[str] = (),
) -> tuple[list[Contestant], list[PaxError]]:
    """Loads the players of a game; and what is wrong with those that cannot play it.

    Args:
        files: what `find_policies` found.
        game: what they are to play.
        any_game: whether it is enough that a policy observes and acts as players of this game do.
        allow_imports: modules that are not of Pax and that may be imported for their agents and networks.
    """
    players: list[Contestant] = []
    errors: list[PaxError] = []
    runs = {file.run for file in files}
    for file in files:
        name = file.entry or file.path.stem
        if len(runs) > 1 and not file.entry:
            name = f"{(file.run or file.path.absolute().parent).name}/{name}"
        names = [player.name for player in players]
        if name in names:
            name = str(file.path)
        try:
            if not any_game and file.config is not None:
                _check_game(file, game)
            players.append(_load(file, game, name, allow_imports))
        except PaxError as e:
            errors.append(e)
    return players, errors


def _check_game(file: PolicyFile, game: Game) -> None:
    """Raises ConfigError if the run of a policy played something else."""
    assert file.config is not None
    theirs, ours = file.config.get("env", {}), jsonable(game.config.env.to_dict())
    differences = describe_differences(theirs, ours)
    if theirs.get("type") != ours.get("type"):
        differences = [f"{theirs.get('type')} -> {ours.get('type')}"]
    if differences:
        raise ConfigError(
            f"policy {file.shown} was trained in another game than that of {game.origin} "
            f"({'; '.join(differences)}): leave it out, or give --any_game if its spaces are to be enough"
        )


def _load(file: PolicyFile, game: Game, name: str, allow_imports: Sequence[str]) -> Contestant:
    described = load_policy(file.path).agent
    named = {"type": described.get("agent"), "network": described.get("network")}
    check_named(f"policy {file.shown}", named, allow_imports, file.run, file.imports)
    agents = [_build(file, described, game, seat) for seat in SEATS]
    able = next((agent for agent in agents if agent is not None), None)
    if able is None:
        raise CheckpointError(
            f"policy {file.shown} observes {described.get('observation_space')} and acts in "
            f"{described.get('action_space')}, which no player of {type(game.env).__name__} does "
            f"({game.env.observation_space(0)}, {game.env.action_space(0)}): it was trained for another game"
        )
    fresh = jax.eval_shape(able.init, jax.random.key(0)).params
    params = load_policy(file.path, like=fresh).params
    player = Contestant(name, (agents[0], agents[1]), params, file=file.path, section=file.section)
    if file.entry:
        # Each method is a run of its own, whose seeds are compared with those of others.
        role = f"{file.entry.rpartition('/')[0]}/{file.role}"
        return dataclasses.replace(player, role=role, seed=file.seed)
    role, _, seed = name.partition("_seed_")
    if not seed.isdecimal():
        return player
    return dataclasses.replace(player, role=role, seed=int(seed))


def _build(file: PolicyFile, described: Mapping[str, Any], game: Game, seat: int) -> Agent | None:
    """Returns the agent that a policy file describes, or None if this seat has other spaces."""
    spaces = [str(space) for space in game.env.spaces(seat)]
    if spaces != [described.get(key) for key in ("observation_space", "action_space")]:
        return None
    by_class = {cls.__name__: name for name, cls in AGENTS.items()}
    kind = str(described.get("agent"))
    if kind not in by_class and "." not in kind:
        raise CheckpointError(
            f"policy {file.shown} is one of {kind}, which is no agent of Pax, and does not say of which "
            "module: export it again, or leave it out"
        )
    settings = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in described.items()
        if key not in ("agent", "observation_space", "action_space")
    }
    where = f"policy {file.shown}: its agent"
    kind = by_class.get(kind, kind)
    return build_agent(kind, settings, game.env, seat, where, game.env_params)


def load_strategies(text: str, game: Game) -> tuple[list[Contestant], list[PaxError]]:
    """Makes fixed strategies by name; and tells what is wrong with those that cannot play.

    Args:
        text: `all`, or names with commas in between, each with settings if need be:
            `tit_for_tat,memory_one:probabilities=(.9,.1,.9,.1,1),zero_determinant:chi=2:strength=1`. One
            of the user's own is named by its dotted path, `mygame.Copycat`.
        game: what they are to play.
    """
    players: list[Contestant] = []
    errors: list[PaxError] = []
    for item in re.split(r",(?![^(]*\))", text):
        if item.strip() == "all":
            players += _all_strategies(game)
        elif item.strip():
            try:
                players.append(_strategy(item.strip(), game))
            except PaxError as e:
                errors.append(e)
    by_name = {player.name: player for player in players}
    return list(by_name.values()), errors


def fixed_agents() -> dict[str, type[Agent]]:
    """Returns all agents that never learn, by their names in the shell, such as `tit_for_tat`.

    Those that draw how they play when they start afresh are many strategies, and none of these.
    """
    return {
        _snake_case(name): cls
        for name, cls in AGENTS.items()
        if not cls.learns and cls.init is Agent.init
    }


def is_strategy(text: str) -> bool:
    """Returns whether a text is what `load_strategies` takes, and not the path of a policy or a run."""
    name = text.partition(":")[0]
    if "." in name:
        # The class of somebody else.
        return bool(re.fullmatch(r"(\w+\.)+[A-Z]\w*", name)) and not pathlib.Path(text).exists()
    return _snake_case(name) in fixed_agents()


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _all_strategies(game: Game) -> list[Contestant]:
    players = []
    for name, cls in fixed_agents().items():
        if cls.learns_within_episode or cls.__name__ in TIT_FOR_TAT_AGAIN:
            continue
        try:
            players.append(_strategy(name, game))
        except ConfigError:  # It plays other games.
            continue
    return players


def _strategy(item: str, game: Game) -> Contestant:
    name, *assignments = re.split(r":", item)
    known = fixed_agents()
    key = name if "." in name else _snake_case(name)
    if key not in known and "." not in key:
        raise ConfigError(f"--strategies names {name!r}: {nearest(key, known)}")
    settings = {}
    for assignment in assignments:
        setting, is_assigned, value = assignment.partition("=")
        if not is_assigned:
            raise ConfigError(
                f"--strategies has {item!r}: write a setting as name=value, as in zero_determinant:chi=2"
            )
        try:
            settings[setting] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            settings[setting] = value
    by_class = {cls: agent for agent, cls in AGENTS.items()}
    kinds = [by_class[cls] for other, cls in known.items() if _today(other) == _today(key)] or [key]
    key = _today(key)
    agents = _first_that_plays(kinds, settings, game, f"--strategies: {key}")
    if agents[0].learns:
        raise ConfigError(
            f"--strategies names {name!r}, which learns: give the run that trained it, or a policy file"
        )
    return Contestant(":".join([key, *assignments]), (agents[0], agents[1]))


def _today(name: str) -> str:
    """Returns what a strategy is called."""
    return OLD_NAMES.get(name, name)


def _first_that_plays(
    kinds: Sequence[str], settings: Mapping[str, Any], game: Game, where: str
) -> list[Agent]:
    """Returns the agents of both seats, of the first of these kinds that plays the game."""
    *others, last = kinds
    for kind in others:
        with contextlib.suppress(ConfigError):
            return _first_that_plays([kind], settings, game, where)
    return [build_agent(last, settings, game.env, seat, where, game.env_params) for seat in SEATS]
