"""What several games share: checks of their settings, and quantities as actions."""

from __future__ import annotations

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


def nonnegative(actions: tuple[Any, ...]) -> jax.Array:
    """Returns one number per player, `[num_players]`, those below 0 as 0; actions are `[1]` or scalars."""
    return jnp.stack(
        [jnp.maximum(jnp.asarray(action, jnp.float32).reshape(()), 0.0) for action in actions]
    )
