"""Helpers of several games: checks of settings, quantities as actions, and names of metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pax.checks import STEPS, check_number, short
from pax.errors import ConfigError


def check_steps(num_inner_steps: int) -> None:
    """Raises ConfigError unless an episode has a whole number of steps, at least one."""
    check_number("num_inner_steps", num_inner_steps, STEPS)


def real_number(name: str, value: Any, remedy: str) -> float:
    """Returns the value of a setting as float32 holds it.

    Raises:
        ConfigError: with the remedy, unless it is a single finite number.
    """
    try:
        number = np.asarray(value)
    except ValueError:  # ragged
        number = np.empty(0)
    if number.shape == () and number.dtype.kind in "iuf":
        with np.errstate(over="ignore"):
            rounded = float(number.astype(np.float32))
        if np.isfinite(rounded):
            return rounded
    raise ConfigError(f"{name} is {short(value)}: {remedy}")


def check_numbers(
    name: str,
    value: Any,
    shape: tuple[int, ...],
    remedy: str,
    unread: Sequence[tuple[int, ...]] = (),
) -> None:
    """Checks a setting that is an array of numbers, such as payoffs.

    Args:
        name: of the setting.
        value: array or nested sequence of numbers.
        shape: that it must have.
        remedy: what to give, for the message.
        unread: cells that are never read, and may hold anything.

    Raises:
        ConfigError: if it has another shape, or a number that float32 cannot hold.
    """
    numbers = np.empty((), dtype=object)
    try:
        cells = np.array(value, dtype=object)
        if cells.shape == shape:
            numbers = np.array([cells[at] for at in np.ndindex(shape) if at not in unread])
    except ValueError:  # ragged, at its top or within a cell
        pass
    if numbers.ndim != 1 or numbers.dtype.kind not in "iuf":
        raise ConfigError(f"{name} is {value}: {remedy}")
    with np.errstate(over="ignore"):
        finite = np.isfinite(numbers.astype(np.float32))
    if not finite.all():
        raise ConfigError(f"{name} is {value}: give finite numbers only")


def per_part(metric: str, parts: Sequence[str], values: Any) -> dict[str, jax.Array]:
    """Names the entries of `values`, one per part: `<metric>/<part>`."""
    return {f"{metric}/{part}": values[index] for index, part in enumerate(parts)}


def per_player(metric: str, values: Any, parts: Sequence[str] = ()) -> dict[str, jax.Array]:
    """Names the entries of `values`, one per player: `<metric>/player_1`, `<metric>/player_2`, ....

    With `parts`, entries are `[len(parts)]` and names `<metric>/player_1/<part>`.
    """
    names = [f"player_{player + 1}" for player in range(len(values))]
    if not parts:
        return per_part(metric, names, values)
    named: dict[str, jax.Array] = {}
    for name, of_player in zip(names, values, strict=True):
        named |= per_part(f"{metric}/{name}", parts, of_player)
    return named


def nonnegative(actions: tuple[Any, ...]) -> jax.Array:
    """Returns one number per player, `[num_players]`, those below 0 as 0; actions are `[1]` or scalars."""
    return jnp.stack(
        [jnp.maximum(jnp.asarray(action, jnp.float32).reshape(()), 0.0) for action in actions]
    )
