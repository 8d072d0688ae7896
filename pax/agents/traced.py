"""Settings as code that JAX traces sees them."""

from __future__ import annotations

from typing import Any

import jax


def is_on(number: Any) -> bool:
    """Returns whether a number of a setting is other than 0, so that what it weighs has to be computed.

    One that is traced is: runs of a sweep in which a number is 0 are no part of the program of the others.
    """
    return isinstance(number, jax.core.Tracer) or bool(number)
