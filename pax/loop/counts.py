"""How many of everything a run has side by side and in a row."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from pax.checks import COUNT, MAX_INT, Limit, check_number


@dataclasses.dataclass(frozen=True)
class Counts:
    """The sizes of a run's loop. The batch axes are seeds S, candidates C, opponents O, environments E.

    Raises:
        ConfigError: if one is not a whole number in its range.
    """

    num_envs: int = 100
    """Environments E that an agent plays at once."""
    num_opps: int = 1
    """Sets of opponents O that each candidate meets."""
    num_outer_steps: int = 1
    """Episodes K per trial."""
    num_seeds: int = 1
    """Independent runs S, trained in one program."""
    chunk: int = 10
    """Iterations per compiled call."""
    seed: int = 0
    """Of the first run; run i has `seed + i`."""

    def __post_init__(self) -> None:
        """Checks each of them."""
        for name, size in dataclasses.asdict(self).items():
            if name != "seed":
                check_number(name, size, COUNT)
        check_number("seed", self.seed, Limit(0, MAX_INT - self.num_seeds, whole=True))

    @property
    def of_a_trial(self) -> dict[str, Any]:
        """What samplers of tasks are made for."""
        return {"num_envs": self.num_envs, "num_outer_steps": self.num_outer_steps}


def iterations_for(total_timesteps: int, env_steps_per_iteration: int) -> int:
    """Returns the fewest iterations that take at least `total_timesteps` environment steps."""
    return max(1, math.ceil(total_timesteps / env_steps_per_iteration))
