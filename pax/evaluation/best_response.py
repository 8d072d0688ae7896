"""Best responses to a frozen policy: computed where it remembers one step, learned elsewhere."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from pax.checks import COUNT, COUNT_OR_NONE, check_choice, check_number, short
from pax.errors import ConfigError
from pax.evaluation import match_programs as matches
from pax.evaluation.match_programs import Setup
from pax.evaluation.memory_one import (
    StageGame,
    cooperation_of,
    outcome,
    stage_game,
)
from pax.evaluation.memory_one import best_response as exact_response
from pax.evaluation.players import (
    Game,
    PolicyFile,
    find_policies,
    is_strategy,
    load_policies,
    load_strategies,
)
from pax.evaluation.responses import Curve, Sizes, config_of_responder, learn
from pax.evaluation.round_robin import SEATS, Contestant, check
from pax.metrics.bootstrap import MeanInterval, mean_interval

METHODS = ("auto", "exact", "learned")
NUM_ENVS = 1000
FEWEST_SEEDS = 3
"""With fewer there are no intervals over seeds."""


@dataclasses.dataclass(frozen=True)
class ExploitOptions:
    """How a best response is found, and how rewards are measured."""

    method: str = "auto"
    """`exact` where there is an exact one, `learned`, or `auto`: exact where it can be."""
    num_seeds: int = 3
    num_iters: int = 0
    """0: those of the responder's config."""
    num_envs: int = NUM_ENVS
    """Environments in which rewards are measured."""
    num_episodes: int = 0
    """Of a trial; 0: those of the game where the policy remembers a trial, else 1."""
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class BestResponse:
    """What a best response to a policy earns; rewards are per step."""

    policy: str
    partner: str
    """Who earns `partner_reward` from the policy: the policy itself, or who was named."""
    seat: int
    """Of the policy, from 0."""
    method: str
    """`exact`, or `learned`."""
    policy_reward: float
    """Of the policy against the response; if learned, the mean over seeds."""
    response_reward: float
    partner_reward: float
    gain: float
    """`response_reward` - `partner_reward`."""
    half: float
    """Half the width of the 95 % interval of `gain`; 0 if exact, NaN with fewer than three seeds."""
    best_gain: float
    """That of the best seed."""
    is_converged: bool
    """Whether the response has stopped improving; else `gain` is a lower bound only."""
    curve: Curve | None = None
    """What was earned during training; None if exact."""
    by_step: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """If exact, the expected rewards of an episode's steps, `[T]`, by who earns them."""
    average: float = np.nan
    """If exact, the most that any strategy earns from the policy in the long run, without an end."""

    @property
    def is_exact(self) -> bool:
        """Whether it was computed, not learned."""
        return self.method == "exact"

    @property
    def interval(self) -> tuple[float, float]:
        """The ends of the 95 % interval of the gain."""
        return self.gain - self.half, self.gain + self.half

    @property
    def shown_half(self) -> float:
        """The half width to show; NaN where there is nothing to be unsure of."""
        return self.half or np.nan

    def notes(self) -> list[str]:
        """Returns what has to be known about the numbers, in sentences."""
        told = []
        if not self.is_converged:
            told.append(
                f"The response to {self.policy} has not converged, so that its gain is a lower bound: "
                "give more --num_iters."
            )
        if self.curve is not None and self.curve.response.shape[1] < FEWEST_SEEDS:
            num = self.curve.response.shape[1]
            told.append(
                f"The response to {self.policy} was learned with {num} seed{'s' if num > 1 else ''}, and "
                f"fewer than {FEWEST_SEEDS} have no interval."
            )
        if self.gain < 0:
            told.append(
                f"The partner of {self.policy} earns more than the response that was learned, so that it is "
                "the better response of the two."
            )
        return told


def best_response(
    policy: Contestant | str,
    game: Game | ConfigDict | None = None,
    options: ExploitOptions = ExploitOptions(),
    *,
    partner: Contestant | str | None = None,
    seat: int | None = None,
    responder: ConfigDict | None = None,
    workdir: pathlib.Path | None = None,
    quiet: bool = False,
) -> BestResponse:
    """Finds a best response to a frozen policy, and what it earns beyond the policy's own partner.

    Args:
        policy: who is played against: a policy file, the name of a fixed strategy, or a player of
            `load_policies` and `load_strategies`.
        game: what is played, or a config of it; None: the game of the run that the file is in.
        options: how to find it.
        partner: in place of the policy itself.
        seat: of the policy, from 0; None: where it was trained, or else the first that it can take.
        responder: a config whose first role learns; None: `ppo_memory` of the game's config.
        workdir: the folder of what is learned; None: nothing is written.
        quiet: show no progress.

    Raises:
        ConfigError: if there is no such policy, game or seat, or a best response to it cannot be found.
    """
    if not isinstance(policy, Contestant):
        policy, game = _read(policy, game)
    elif not isinstance(game, Game):
        if game is None:
            raise ConfigError("game is None: give the game that the policy plays, or its config")
        game = Game.of(game, "the config")
    if partner is not None and not isinstance(partner, Contestant):
        partner, _ = _read(partner, game)
    check_options(options)
    seat = seat_of(policy, seat)
    agent = policy.agents[seat]
    assert agent is not None
    check_frozen(policy, agent)
    partner = partner or policy
    check_partner(policy, partner, seat)
    round_of_game = stage_game(game.env, game.env_params, seat)
    cooperation = None
    if round_of_game is not None and options.method != "learned":
        cooperation = _cooperation(policy, game, seat)
    if round_of_game is not None and cooperation is not None:
        return _exact(policy, partner, seat, game, options, round_of_game, cooperation)
    if options.method == "exact":
        raise ConfigError(
            f"method is exact, and {policy.name} is no policy that remembers the last step only in an "
            "iterated matrix game of two players: use auto or learned"
        )
    responder = config_of_responder(game)[1] if responder is None else responder
    sizes = Sizes(options.num_seeds, options.num_iters, options.seed)
    num_episodes = _num_episodes(game, options, policy, partner)
    check(
        game.env,
        [policy],
        num_envs=options.num_envs,
        num_episodes=num_episodes,
        num_trials=1,
        learning=False,
    )
    learned = learn(game, policy, seat, responder, sizes, num_episodes, workdir, quiet)
    sizes_of_matches = (options.num_envs, num_episodes, options.seed)
    others = [partner, *learned.players]
    rewards = matches.play_one(game, policy, seat, others, *sizes_of_matches)
    partner_reward = mean_interval(rewards[0, 1])
    by_seed = rewards[1:].mean(axis=-1)  # [S, 2]
    response = mean_interval(by_seed[:, 1])
    half = np.nan
    if options.num_seeds >= FEWEST_SEEDS:
        half = float(np.hypot(response.half, np.nan_to_num(partner_reward.half)))
    reward = float(partner_reward.mean)
    return BestResponse(
        policy.name,
        partner.name,
        seat,
        "learned",
        float(by_seed[:, 0].mean()),
        float(response.mean),
        reward,
        float(response.mean) - reward,
        half,
        float(by_seed[:, 1].max()) - reward,
        learned.is_converged,
        learned.curve,
    )


def _read(named: str, game: Game | ConfigDict | None) -> tuple[Contestant, Game]:
    """Returns the one player that a path, or the name of a strategy, stands for, and the game."""
    files, errors = ([], []) if is_strategy(named) else find_policies([named])
    if errors:
        raise errors[0]
    if game is None:
        game = matches.game_of(files)
        if game is None:
            raise ConfigError(f"no run tells which game {named} plays: give game, a config of it")
    elif not isinstance(game, Game):
        game = Game.of(game, "the config")
    return player_of(named, files, game), game


def player_of(
    named: str,
    files: Sequence[PolicyFile],
    game: Game,
    any_game: bool = False,
    allow_imports: Sequence[str] = (),
) -> Contestant:
    """Returns the one player that policy files, or else the name of a strategy, stand for."""
    if files:
        players, errors = load_policies(files, game, any_game, allow_imports)
    else:
        players, errors = load_strategies(named, game)
    if errors:
        raise errors[0]
    if len(players) != 1:
        names = ", ".join(player.name for player in players)
        raise ConfigError(f"{named} stands for {len(players)} players ({names}): name one of them")
    return players[0]


def check_options(options: ExploitOptions) -> None:
    """Raises ConfigError if a number is out of range, or there is no such method."""
    check_choice("method", options.method, METHODS)
    check_number("num_seeds", options.num_seeds, COUNT)
    check_number("num_envs", options.num_envs, COUNT)
    for name in ("num_iters", "num_episodes"):
        check_number(name, getattr(options, name), COUNT_OR_NONE)


def seat_of(policy: Contestant, asked: int | None) -> int:
    """Returns the seat that a policy takes: the one asked for, where it was trained, or the first that fits.

    Raises:
        ConfigError: if it cannot take the one that is asked for.
    """
    able = [seat for seat in SEATS if policy.agents[seat] is not None]
    if asked is None:
        trained = [seat for seat in policy.section.get("seats", ()) if seat in able]
        return (trained or able)[0]
    if asked not in SEATS:
        raise ConfigError(f"seat is {asked}: a game of two players has the seats 0 and 1")
    if asked not in able:
        raise ConfigError(
            f"seat is {asked}, and {policy.name} observes and acts as the player on seat {able[0]} only: "
            "leave it out"
        )
    return asked


def check_frozen(policy: Contestant, agent: Any) -> None:
    """Raises ConfigError if a policy is of somebody who learns while it plays."""
    told = "and exploitability is that of policies that stay as they are: train a shaper against it"
    if agent.learns_within_episode:
        raise ConfigError(
            f"{policy.name} is {type(agent).__name__}, which learns as it plays, {told}"
        )
    if policy.section.get("learns_in_trial"):
        raise ConfigError(
            f"{policy.name} is the policy of a role that learns within a trial, {told}, or copy the file "
            "out of its run to have it judged as it was exported"
        )


def check_partner(policy: Contestant, partner: Contestant, seat: int) -> None:
    """Raises ConfigError if the partner cannot sit opposite the policy."""
    if partner.agents[1 - seat] is not None:
        return
    if partner is policy:
        raise ConfigError(
            f"{policy.name} has seat {seat} and cannot take seat {1 - seat}, where players observe or act "
            "differently, so that it is no partner of its own: name one by --partner"
        )
    raise ConfigError(
        f"the partner {partner.name} cannot take seat {1 - seat}, as {policy.name} has seat {seat}: name "
        "another, or give the other --seat"
    )


def _num_episodes(
    game: Game, options: ExploitOptions, policy: Contestant, partner: Contestant
) -> int:
    return matches.num_episodes_for(Setup(game, [policy, partner], []), options.num_episodes)


def _cooperation(player: Contestant, game: Game, seat: int) -> np.ndarray | None:
    """Returns what `cooperation_of` does; raises ConfigError if it is no probability."""
    agent = player.agents[seat]
    assert agent is not None
    found = cooperation_of(agent, player.params, game.env, game.env_params, seat)
    if found is not None and not np.isfinite(found).all():
        raise ConfigError(
            f"{player.name} acts with probabilities that are no numbers ({short(found.tolist())}), as its "
            "parameters are infinite: leave it out"
        )
    return found


def _exact(
    policy: Contestant,
    partner: Contestant,
    seat: int,
    game: Game,
    options: ExploitOptions,
    stage: StageGame,
    cooperation: np.ndarray,
) -> BestResponse:
    """Computes the best response to a policy that cooperates with these probabilities `[5]`."""
    found = exact_response(cooperation, stage)
    by_step = {"best response": found.outcome.by_step[:, 1], "policy": found.outcome.by_step[:, 0]}
    theirs = _cooperation(partner, game, 1 - seat)
    if theirs is not None:
        expected = outcome(cooperation, theirs, stage)
        earned = MeanInterval(np.array(expected.other), np.array(0.0))
        by_step["partner"] = expected.by_step[:, 1]
    else:
        num_episodes = _num_episodes(game, options, policy, partner)
        sizes = (options.num_envs, num_episodes, options.seed)
        earned = mean_interval(matches.play_one(game, policy, seat, [partner], *sizes)[0, 1])
    gain = found.outcome.other - float(earned.mean)
    return BestResponse(
        policy.name,
        partner.name,
        seat,
        "exact",
        found.outcome.own,
        found.outcome.other,
        float(earned.mean),
        gain,
        float(earned.half),
        gain,
        True,
        by_step=by_step,
        average=found.average,
    )
