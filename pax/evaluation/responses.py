"""Learned best responses: the config that trains one against a frozen policy, and when it has converged."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from pax.agents import AGENTS, Agent
from pax.agents.ppo import divisors
from pax.checkpoints.policies import load_policy, save_policy
from pax.config.build import build_trainer, check_settings
from pax.config.files import CONFIGS, SHIPPED, load_config
from pax.config.recorded import todays
from pax.config.sections import base_config, role
from pax.errors import ConfigError
from pax.evaluation.players import Game
from pax.evaluation.round_robin import Contestant
from pax.metrics.json_writer import STEP_KEY
from pax.run.directory import check_run, describe_differences, jsonable, keep_record, open_run
from pax.types import PyTree

POLICY, RESPONSE = "policy", "response"
"""The roles of the run that trains a response."""
POLICY_FILE = "policy.msgpack"
"""What is played against, in the folder of a response, beside the run that trains it."""
RUN = "run"
LAST = 0.25
"""The share of training, its end, over which rewards of a response that has converged stay where they are."""
STAYS = 0.02
"""How far the reward may move there, as a share of all that it moved during training."""


class Curve(NamedTuple):
    """What a response earns while it learns."""

    iterations: np.ndarray
    """`[I]`"""
    response: np.ndarray
    """Its reward per step, `[I, S]`, by seed."""
    policy: np.ndarray
    """That of the policy it plays against."""


class Learned(NamedTuple):
    """Responses that were trained against a policy, one per seed."""

    players: list[Contestant]
    curve: Curve
    is_converged: bool


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much training a response gets."""

    num_seeds: int = 3
    num_iters: int = 0
    """0: those of the responder's config."""
    seed: int = 0


def config_of_responder(game: Game) -> tuple[str, ConfigDict]:
    """Returns the variant `ppo_memory` of the game's own config, and its name; defaults if it has none.

    Of several configs of one game it is the one whose game has the most settings in common.
    """
    own, found = jsonable(game.config.env.to_dict()), []
    for path in sorted(SHIPPED.glob("[!_]*.py")):
        text = path.read_text()
        if re.search(r"\bgame\(", text) and f'"{own["type"]}"' not in text:
            continue  # It makes other games, some of which take seconds to import.
        try:
            config = load_config(f"{path}:ppo_memory")
        except ConfigError:  # It has no such variant.
            continue
        theirs = jsonable(config.env.to_dict())
        if theirs.get("type") == own["type"]:
            found.append(
                (
                    len(describe_differences(theirs, own)),
                    f"{CONFIGS}/{path.name}:ppo_memory",
                    config,
                )
            )
    if found:
        _, name, config = min(found, key=lambda each: each[:2])
        return name, config
    config = base_config()
    config.roles = (RESPONSE,)
    config[RESPONSE] = role("PPO_memory", 0)
    return "PPO_memory with default settings", config


def config_of_response(
    game: Game,
    policy: Contestant,
    seat: int,
    file: pathlib.Path | None,
    responder: ConfigDict,
    sizes: Sizes,
    num_episodes: int,
) -> ConfigDict:
    """Returns the config of the run in which the first role of `responder` learns against a policy.

    Args:
        game: what is played.
        policy: who stays as they are.
        seat: of the policy; the responder sits on the other one.
        file: the policy's; None: an agent without parameters.
        responder: whose first role learns, for as long and in as many environments as it says.
        sizes: how much it is trained.
        num_episodes: of a trial.

    Raises:
        ConfigError: if the responder is no config of a run, or its first role does not learn.
    """
    check_settings(responder)
    config = responder.copy_and_resolve_references()
    section = config[config.roles[0]] if config.roles else ConfigDict()
    kind = section.get("learner", {}).get("type", "none")
    if kind in ("none", "frozen"):
        raise ConfigError(
            f"the first role of the responder is one that does not learn (its learner is {kind}): give a "
            "config whose first role does, such as configs/ipd.py:ppo_memory"
        )
    for name in config.roles:
        del config[name]
    config.env = game.config.env
    config.num_inner_steps = game.config.num_inner_steps
    config.num_outer_steps = num_episodes
    config.num_seeds, config.seed = sizes.num_seeds, sizes.seed
    if sizes.num_iters:
        config.num_iters, config.total_timesteps = sizes.num_iters, 0
    config.tasks, config.evaluation, config.extra_callbacks = ConfigDict(), ConfigDict(), ()
    # It answers to what the game pays.
    config.rewards = base_config().rewards
    config.callbacks.scalars.update({"every": config.chunk, "each_iteration": True})
    for name in ("evaluation", "curves"):
        config.callbacks[name].enabled = False
    section.seats = (1 - seat,)
    section.learns_in_trial, section.self_play_seats = False, ()
    _fit(section, config)
    config[RESPONSE], config[POLICY] = section, _frozen(policy, seat, file)
    config.roles = (RESPONSE, POLICY)
    return config


def _frozen(policy: Contestant, seat: int, file: pathlib.Path | None) -> ConfigDict:
    """Returns the section of a role that stays as it is."""
    agent = policy.agents[seat]
    assert agent is not None
    described: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in agent.describe().items()
        if key not in ("agent", "observation_space", "action_space")
    }
    by_class = {cls: name for name, cls in AGENTS.items()}
    kind = by_class.get(type(agent), agent.describe()["agent"])
    place = {"learner": "frozen", "path": str(file)} if file else {"learner": "none"}
    return role(kind, seat, **place, **described)


def _fit(section: ConfigDict, config: ConfigDict) -> None:
    """Has PPO cut episodes of this length into sequences and minibatches of whole ones."""
    steps = config.num_inner_steps * config.num_outer_steps
    if "sequence_length" in section and section.sequence_length:
        length = section.sequence_length
        section.sequence_length = min(
            divisors(config.num_inner_steps), key=lambda each: (abs(each - length), -each)
        )
    if "num_minibatches" in section and "sequence_length" in section:
        sequences = steps // (section.sequence_length or steps) * config.num_envs * config.num_opps
        section.num_minibatches = max(
            each for each in range(1, section.num_minibatches + 1) if sequences % each == 0
        )


def learn(
    game: Game,
    policy: Contestant,
    seat: int,
    responder: ConfigDict,
    sizes: Sizes,
    num_episodes: int,
    workdir: pathlib.Path | None,
    quiet: bool = False,
) -> Learned:
    """Trains responses to a policy, one per seed; goes on with those that are in the folder already.

    Args:
        game: what is played.
        policy: who stays as they are.
        seat: of the policy.
        responder: see `config_of_response`.
        sizes: how much training.
        num_episodes: of a trial.
        workdir: where the policy and the run are kept; None: nothing is written.
        quiet: show no progress.

    Raises:
        ConfigError: if the responder cannot play this, or the folder holds a response to something else.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = workdir or pathlib.Path(temporary)
        with _kept(policy, seat, folder / POLICY_FILE) as file:
            config = config_of_response(game, policy, seat, file, responder, sizes, num_episodes)
            config.callbacks.progress.enabled = not quiet
            if workdir is None:
                for name in ("checkpoint", "scalars"):
                    config.callbacks[name].enabled = False
            run = workdir.absolute() / RUN if workdir else None
            trainer = build_trainer(config, str(run) if run else None)
            trainer.check()
            if run is not None:
                check_run(run, config.to_dict(), todays)
    if run is None:
        trainer.fit()
    else:
        with trainer.claim():
            recorded = open_run(run, config.to_dict(), f"{RESPONSE} to {policy.name}", None, todays)
            try:
                trainer.fit()
            finally:
                if not trainer.workdir_is_gone:
                    keep_record(run, recorded)
    table = trainer.history
    shape = (-1, sizes.num_seeds)
    rewards = [
        table[f"train/reward_per_timestep/player_{player + 1}"].reshape(shape)
        for player in (1 - seat, seat)
    ]
    curve = Curve(table[STEP_KEY].reshape(shape)[:, 0], *rewards)
    players = []
    for number in range(sizes.num_seeds):
        state = trainer.agent(RESPONSE, seed=number).state
        agents: list[Agent | None] = [None, None]
        agents[1 - seat] = trainer.roles[0].agent
        name = f"{RESPONSE}_seed_{number}"
        players.append(Contestant(name, (agents[0], agents[1]), state.params, RESPONSE, number))
    return Learned(players, curve, is_converged(curve.response))


@contextlib.contextmanager
def _kept(policy: Contestant, seat: int, file: pathlib.Path) -> Iterator[pathlib.Path | None]:
    """Keeps the policy beside the run that trains a response to it; yields its path, None if it has no file.

    What is written here is taken away again if the run cannot begin.
    """
    agent = policy.agents[seat]
    assert agent is not None
    if policy.params is None:
        yield None
        return
    if file.exists():
        kept = load_policy(file)
        if kept.agent != agent.describe() or not _are_equal(kept.params, policy.params):
            raise ConfigError(
                f"{file} is another policy than {policy.name} is now: name another --workdir, or take "
                f"{file.parent} away"
            )
        yield file.absolute()
        return
    missing = [each for each in file.parents if not each.exists()]
    save_policy(file, agent=agent.describe(), params=policy.params)
    try:
        yield file.absolute()
    except BaseException:
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            for each in missing:
                each.rmdir()
        raise


def _are_equal(first: PyTree, second: PyTree) -> bool:
    leaves = [jax.tree.leaves_with_path(each) for each in (first, second)]
    return len(leaves[0]) == len(leaves[1]) and all(
        str(a) == str(b) and np.array_equal(x, y) for (a, x), (b, y) in zip(*leaves, strict=True)
    )


def is_converged(rewards: np.ndarray) -> bool:
    """Returns whether rewards `[I, S]` of S seeds have stopped moving, over the last quarter of training.

    They have if a straight line through their means moves there by no more than a fiftieth of what they
    span during training, within two standard errors of the line.
    """
    means = rewards[np.isfinite(rewards).all(axis=1)].mean(axis=1)
    last = means[-max(int(len(means) * LAST), 1) :]
    if len(last) < 4:
        return False
    time = np.linspace(-0.5, 0.5, len(last))
    slope = (time @ last) / (time @ time)
    residuals = last - last.mean() - slope * time
    error = np.sqrt(residuals @ residuals / (len(last) - 2) / (time @ time))
    # A twentieth of training is a point of the span, so that noise is not part of it.
    blocks = np.array([part.mean() for part in np.array_split(means, min(20, len(means)))])
    rounding = 1e-6 * abs(means).max()
    return bool(abs(slope) <= max(STAYS * np.ptp(blocks) + 2 * error, rounding))
