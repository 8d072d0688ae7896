"""What a policy of the zoo earns: against itself, and against every fixed strategy of its game."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pax.evaluation.match_programs import Setup, num_episodes_for, play_one
from pax.evaluation.players import OLD_NAMES, Game, load_strategies
from pax.evaluation.round_robin import SEATS, Contestant
from pax.metrics.bootstrap import standard_error

ITSELF = "itself"
KEYS = ("reward", "other")
"""The rewards per step of the policy, and of who plays against it."""
WITHIN = 4.0
"""Standard errors by which two measurements may differ: of 10000 that are right, one does not."""
ERRORS = 3.0
"""How many times as large the error on a card may be: with a large enough one, any score would agree."""
ROUNDING = 0.01
"""What they may differ by besides, as a share of the rewards: rare events are not in every sample."""


def seat_of(player: Contestant) -> int:
    """Returns the seat of a policy: that where it was trained."""
    seats = [seat for seat in player.section.get("seats", ()) if seat in SEATS]
    return next((seat for seat in seats if player.agents[seat]), 0)


def scores_of(game: Game, player: Contestant, num_envs: int, seed: int) -> dict[str, Any]:
    """Measures what a policy earns per step from itself and from fixed strategies.

    Args:
        game: what is played.
        player: the policy, on the seat where it was trained.
        num_envs: environments of each match.
        seed: of what is drawn.

    Returns:
        The sizes, and by opponent both rewards per step and their standard errors.
    """
    seat = seat_of(player)
    strategies, _ = load_strategies("all", game)
    others = {ITSELF: player} if player.agents[1 - seat] is not None else {}
    others |= {each.name: each for each in strategies if each.agents[1 - seat] is not None}
    num_episodes = num_episodes_for(Setup(game, [player], []), 0)
    rewards = play_one(game, player, seat, [*others.values()], num_envs, num_episodes, seed)
    means, errors = rewards.mean(axis=-1, dtype=np.float64), standard_error(rewards)
    matches = {
        name: {
            **dict(zip(KEYS, _rounded(mean), strict=True)),
            **dict(zip((f"{key}_error" for key in KEYS), _rounded(error), strict=True)),
        }
        for name, mean, error in zip(others, means, errors, strict=True)
    }
    return {"num_envs": num_envs, "num_episodes": num_episodes, "seed": seed, "against": matches}


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], within: float = WITHIN
) -> list[str]:
    """Returns in words where the scores of a card and new ones differ by more than chance would have it.

    Args:
        old: what `scores_of` returned once, read back.
        new: what it returns now.
        within: standard errors of the difference.
    """
    told = []
    theirs, ours = old.get("against"), new["against"]
    if isinstance(theirs, Mapping):
        theirs = {OLD_NAMES.get(name, name): match for name, match in theirs.items()}
    # Of the same matches, errors differ by the numbers of environments only, and a little by chance.
    sizes = [each.get("num_envs") for each in (old, new)]
    before, now_in = (size if isinstance(size, int) and size > 1 else 0 for size in sizes)
    scale = math.sqrt(now_in / before) if before and now_in else 1.0
    if not isinstance(theirs, Mapping):
        return ["it has no scores"]
    for name in [*theirs, *(name for name in ours if name not in theirs)]:
        if name not in ours:
            told.append(f"it plays against {name}, which this version of Pax does not have")
            continue
        if name not in theirs:
            told.append(f"it has no score against {name}")
            continue
        for key in KEYS:
            numbers = [_numbers(each.get(name), key) for each in (theirs, ours)]
            if None in numbers:
                told.append(f"its {key} against {name} is no number")
                continue
            (was, error), (now, new_error) = numbers  # type: ignore[misc]
            expected = new_error * scale
            if not 0 <= error <= ERRORS * expected + ROUNDING * max(1.0, abs(now)):
                told.append(
                    f"the error of its {key} against {name} is {error:.4g} on its card, and about "
                    f"{expected:.4g} is right"
                )
                continue
            room = within * math.hypot(error, new_error) + ROUNDING * max(1.0, abs(was))
            if not abs(now - was) <= room:
                told.append(f"its {key} against {name} is {was:.4g} on its card and {now:.4g} now")
    return told


def _numbers(match: Any, key: str) -> tuple[float, float] | None:
    """Returns a mean and its standard error, None if they are none."""
    if not isinstance(match, Mapping):
        return None
    values = [match.get(name) for name in (key, f"{key}_error")]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return None
    try:
        mean, error = float(values[0]), float(values[1])  # type: ignore[arg-type]
    except OverflowError:
        return None
    # What differs from infinity by no more than a share of it would be everything.
    return (mean, error) if math.isfinite(mean) else None
