"""The zoo: policies that ship with Pax, each with a card that says how it was trained and what it earns.

    pax zoo list
    pax zoo list coin_game
    pax zoo add RUN
    pax zoo add RUN --name=ipd/mine --role=agent2
    pax zoo verify
    pax zoo verify ipd/loqa/1

`zoo:ipd/loqa/1` is a policy wherever one is named: the path of a role in a config, pax.load_agent,
cross-play, tournaments and exploitability; `zoo:ipd/loqa` are all seeds of a method. `add` takes the policies
of a run that is done, one per seed, measures what each earns against itself and every fixed strategy of its
game, and writes it and its card. `verify` plays the matches of each card again; the exit code is 1 if one
does not agree.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from pax.checkpoints import zoo_policies
from pax.checkpoints.warm_start import SEED
from pax.checkpoints.zoo_policies import (
    CARD,
    FORMAT,
    LONGEST,
    PREFIX,
    SUFFIX,
    ZOO,
    read_card,
    too_long,
    zoo_entries,
)
from pax.checks import MAX_INT, Limit, brief, check_number
from pax.config.command_line import one_line, print_error, run_program
from pax.config.flags import definer
from pax.config.imports import check_named
from pax.config.recorded import todays
from pax.errors import CheckpointError, ConfigError, OutputError, PaxError, nearest
from pax.evaluation.players import Game, PolicyFile, find_policies, load_policies
from pax.evaluation.round_robin import Contestant
from pax.loop.xla import enable_compilation_cache
from pax.metrics.json_writer import read_metrics
from pax.metrics.tables import markdown, number
from pax.run.directory import jsonable, read_run
from pax.run.files import read_regular, write_whole
from pax.run.progress_line import ProgressLine
from pax.run.status import read_status
from pax.zoo.scores import ITSELF, differences, scores_of

COMMANDS = ("list", "add", "verify")
NAME = re.compile(r"[\w.=-]+/[\w.=-]+")


def list_entries(folder: pathlib.Path, words: Sequence[str]) -> list[PaxError]:
    """Prints a table of the policies whose names have all words; returns what is wrong with their cards."""
    rows, errors = [], []
    for entry in zoo_entries(folder):
        if not all(word in entry for word in words):
            continue
        try:
            card = read_card(_file(folder, entry))
        except PaxError as e:
            errors.append(e)
            continue
        itself = card["scores"].get("against", {}).get(ITSELF, {})
        reward = itself.get("reward")
        rows.append(
            [
                _name(folder, entry),
                str(card.get("config_path", "")),
                str(card["seed"]),
                str(card.get("iterations", "")),
                number(reward, float("nan")) if isinstance(reward, float) else "",
                str(card.get("date", "")),
            ]
        )
    print(markdown(("policy", "config", "seed", "iterations", "against itself", "date"), rows))
    return errors


def add(
    folder: pathlib.Path, run: str, name: str, role: str, num_envs: int, seed: int
) -> list[str]:
    """Makes entries of the policies of a run, one per seed; returns the names of those that are new.

    After an interruption, the same call adds those that are missing.

    Args:
        folder: of the zoo.
        run: the folder of a run that is done.
        name: `<game>/<method>`; empty: the config's file and variant.
        role: whose policies; empty: the first of the run.
        num_envs: environments in which scores are measured.
        seed: of the matches.

    Raises:
        PaxError: if there is no such run or role, or it is not done.
    """
    path = pathlib.Path(run)
    record = read_run(path)
    status = read_status(path)
    if status is None or status.state != "done":
        raise ConfigError(f"run {run} is not done: train it to its end, by the same command")
    config = jsonable(todays(record["config"]))
    role = role or str(next(iter(config.get("roles", ())), ""))
    config_path = str(record.get("config_path", ""))
    if not name:
        name = "/".join(re.findall(r"[\w.-]+", config_path.rpartition("/")[2])[:2])
        name = name.replace(".py", "", 1)
    if not NAME.fullmatch(name) or {".", ".."} & {*name.split("/")}:
        raise ConfigError(f"--name={name}: give <game>/<method>, as in --name=ipd/loqa")
    if too_long(name.split("/")):
        raise ConfigError(f"--name={brief(name)} is too long: give {LONGEST} letters to a part")
    files = _files_of_role(run, role, config)
    # By what is in them.
    entries = {read_card(_file(folder, entry))["sha256"]: entry for entry in zoo_entries(folder)}
    known = {digest: _name(folder, entry) for digest, entry in entries.items()}
    game_name, method = name.split("/")
    # All are looked at before one is written.
    new, there = [], []
    for offset, file in files:
        player, game = _load(dataclasses.replace(file, role=role))
        data = read_regular(file.path)
        digest = hashlib.sha256(data).hexdigest()
        if digest in known:
            there.append(f"policy {file.path} is in the zoo already, as {known[digest]}")
            if not entries[digest].startswith(f"{name}/"):
                raise ConfigError(there[-1])
            continue
        new.append((offset, player, game, data, digest))
    if not new:
        raise ConfigError(there[0])
    for each in there:
        print(f"{each[0].upper()}{each[1:]}")
    added = []
    for offset, player, game, data, digest in new:
        card = {
            "format": FORMAT,
            "game": game_name,
            "method": method,
            "config_path": config_path,
            "role": role,
            "seed": int(config.get("seed", 0)) + offset,
            "iterations": status.iteration,
            **_env_steps(path),
            "date": datetime.date.today().isoformat(),
            "versions": record.get("versions", {}),
            "sha256": digest,
            "scores": scores_of(game, player, num_envs, seed),
            "config": _with_names(config, offset, known),
        }
        added.append(_write(folder, name, data, card))
        print(f"Added {_name(folder, added[-1])}")
    return added


def _files_of_role(run: str, role: str, config: Mapping[str, Any]) -> list[tuple[int, PolicyFile]]:
    """Returns the policies of a role by seed; of several agents that one learner teaches, the first's."""
    files, errors = find_policies([run])
    if errors:
        raise errors[0]
    for name in (role, f"{role}_1"):
        own = re.compile(rf"{re.escape(name)}(?:_seed_(\d+))?")
        matches = [(own.fullmatch(file.path.stem), file) for file in files]
        if found := [(int(match[1] or 0), file) for match, file in matches if match]:
            return found
    raise CheckpointError(
        f"run {run} has exported no policy of {role!r}: {nearest(role, config.get('roles', ()))}"
    )


def _with_names(config: Mapping[str, Any], offset: int, known: Mapping[str, str]) -> dict[str, Any]:
    """Returns a config in which the policies that roles of a seed began with have their names in the zoo.

    Others do not have the files of the machine where it was trained.
    """
    named = dict(config)
    for role in config.get("roles", ()):
        section = dict(named[role])
        for key in ("path", "warm_start"):
            file = pathlib.Path(str(section.get(key, "")).replace(SEED, str(offset)))
            if file.is_file():
                digest = hashlib.sha256(read_regular(file)).hexdigest()
                section[key] = known.get(digest, section[key])
        named[role] = section
    return named


def _env_steps(run: pathlib.Path) -> dict[str, int]:
    """Returns the environment steps of one seed, if the run has reported them."""
    rows = read_metrics(run)
    steps = rows[-1].get("env_steps") if rows else None
    return {} if steps is None else {"env_steps": int(steps)}


def _write(folder: pathlib.Path, name: str, data: bytes, card: dict[str, Any]) -> str:
    """Writes an entry under the next number that is free; returns its name."""
    taken = [
        entry.rpartition("/")[2] for entry in zoo_entries(folder) if entry.startswith(f"{name}/")
    ]
    following = 1 + max((int(each) for each in taken if each.isdecimal()), default=0)
    file = _file(folder, f"{name}/{following}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # The card first: a policy without one would be an entry that is damaged.
        write_whole(file.with_suffix(CARD), json.dumps(card, indent=1) + "\n")
        write_whole(file, data)
    except OSError as e:
        raise OutputError(
            f"{file} cannot be written ({e.strerror}): name a --folder that you may write to"
        ) from e
    return f"{name}/{following}"


def verify(folder: pathlib.Path, names: Sequence[str], num_envs: int, seed: int) -> list[PaxError]:
    """Plays the matches of cards again, prints a line for each, and returns what is wrong with them.

    Args:
        folder: of the zoo.
        names: of entries, methods or games; none: all there are.
        num_envs: environments of each match; 0: as many as the card says.
        seed: of the matches.

    Raises:
        ConfigError: if the zoo has no such entry, or is empty.
    """
    known = zoo_entries(folder)
    chosen = []
    for name in names:
        name = name.removeprefix(PREFIX).strip("/")
        found = [entry for entry in known if f"{entry}/".startswith(f"{name}/")]
        if not found or not name:
            raise ConfigError(f"{name!r} is no policy of the zoo: {nearest(name, known)}")
        chosen += found
    chosen = list(dict.fromkeys(chosen)) if names else known
    if not chosen:
        raise ConfigError(f"the zoo {folder} is empty: add the policies of a run")
    errors: list[PaxError] = []
    line = ProgressLine("policies")
    for index, entry in enumerate(chosen):
        line.count(index, len(chosen), entry)
        try:
            count = _verify(folder, entry, num_envs, seed)
        except PaxError as e:
            errors.append(type(e)(f"{_name(folder, entry)}: {e}"))
            line.clear()
            continue
        line.clear()
        print(f"{_name(folder, entry)}: {count} matches as on its card", flush=True)
    return errors


def _verify(folder: pathlib.Path, entry: str, num_envs: int, seed: int) -> int:
    """Plays the matches of one card again; returns how many.

    Raises:
        PaxError: if its policy or card cannot be read, or they do not agree.
    """
    file = _file(folder, entry)
    card = read_card(file)
    player, game = _load(PolicyFile(file, None, card["config"], role=card["role"]))
    before = card["scores"].get("num_envs")
    num_envs = num_envs or (before if isinstance(before, int) and before > 1 else 1000)
    scores = scores_of(game, player, num_envs, seed)
    if told := differences(card["scores"], scores):
        raise CheckpointError(f"it is not as on its card: {'; '.join(told)}")
    return len(scores["against"])


def _load(file: PolicyFile) -> tuple[Contestant, Game]:
    """Returns a policy, and the game that it was trained in; nothing is imported that is not of Pax."""
    config = dict(file.config or {})
    check_named(f"policy {file.path}", {"env": config.get("env")})
    game = Game.of(ConfigDict(todays(config)), f"policy {file.path}")
    players, errors = load_policies([file], game)
    if errors:
        raise errors[0]
    return players[0], game


def _file(folder: pathlib.Path, entry: str) -> pathlib.Path:
    return folder / f"{entry}{SUFFIX}"


def _name(folder: pathlib.Path, entry: str) -> str:
    """Returns what names an entry wherever a policy is named: of another zoo than Pax's, its path."""
    is_of_pax = folder.resolve() == zoo_policies.ZOO.resolve()
    return f"{PREFIX}{entry}" if is_of_pax else str(_file(folder, entry))


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this program."""
    define = definer(flag_values)
    define("folder", str(ZOO), "The folder of the zoo. Default: that of Pax.")
    define("name", "", "With add: <game>/<method>. Default: the config's file and variant.")
    define("role", "", "With add: whose policies. Default: the first role of the run.")
    define(
        "num_envs",
        0,
        "Environments in which matches are played. 0: with add 1000, with verify as many as the card says.",
        low=0,
    )
    define(
        "seed",
        None,
        "Of the matches. Default: with add 0, with verify 1, so that other matches are played.",
        kind=int,
        low=0,
        high=MAX_INT,
    )


def main(arguments: list[str], given: flags.FlagValues) -> int:
    """Does what the first argument says; returns the exit code."""
    command, *rest = arguments or ["list"]
    folder = pathlib.Path(given.folder)
    if given.num_envs:
        # Of one alone nothing tells how far its reward is from the mean.
        check_number("--num_envs", given.num_envs, Limit(2, whole=True))
    if command not in COMMANDS:
        raise ConfigError(f"pax zoo has no command {command!r}: {nearest(command, COMMANDS)}")
    if command != "add" and not folder.is_dir():
        raise ConfigError(f"--folder={folder} is no folder: check the path")
    if command != "add":
        for name in ("name", "role"):
            if given[name].value:
                raise ConfigError(f"--{name} is of no use with {command}: leave it out")
    enable_compilation_cache()
    if command == "list":
        errors = list_entries(folder, rest)
    elif command == "add":
        if len(rest) != 1:
            raise ConfigError("name one run to add, as in pax zoo add exp/mine")
        add(folder, rest[0], given.name, given.role, given.num_envs or 1000, given.seed or 0)
        errors = []
    else:
        errors = verify(folder, rest, given.num_envs, 1 if given.seed is None else given.seed)
    for error in errors:
        print_error(one_line(error), 1)
    return 1 if errors else 0


def run() -> None:
    """Runs the program."""
    run_program(main, define_flags, computes=True)


if __name__ == "__main__":
    run()
