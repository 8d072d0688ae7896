"""Checks of the numbers of commons."""

from __future__ import annotations

from typing import Any

import numpy as np

from pax.checks import short
from pax.envs.common import real_number
from pax.errors import ConfigError

MAX_STEPS = 2**20
MAX_LENGTH = 30


def check_probabilities(name: str, values: Any) -> None:
    """Raises ConfigError unless all numbers are from 0 to 1."""
    numbers = np.asarray(values, np.float64)
    if not ((numbers >= 0) & (numbers <= 1)).all():
        raise ConfigError(f"{name} is {short(values)}: give probabilities, from 0 to 1")


def check_whole(name: str, value: Any, low: int, high: int) -> None:
    """Raises ConfigError unless a number is whole and within its bounds."""
    remedy = f"give a whole number from {low} to {high}"
    number = real_number(name, value, remedy)
    if number % 1 or not low <= number <= high:
        raise ConfigError(f"{name} is {short(value)}: {remedy}")


def check_beams(params: Any, *more: str) -> None:
    """Raises ConfigError unless `beam_length`, those of `more` beams, and `out_steps` are possible."""
    for name in ("beam_length", *more):
        check_whole(name, getattr(params, name), 1, MAX_LENGTH)
    check_whole("out_steps", params.out_steps, 0, MAX_STEPS)
