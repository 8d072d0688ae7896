"""Reports what all players of a game earn together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax

from pax.callbacks.callback import Callback

if TYPE_CHECKING:
    from pax.types import Trial


class Welfare(Callback):
    """Reports `welfare_per_timestep`, the sum of the players' rewards per step."""

    def probe(self, trial: Trial) -> dict[str, jax.Array]:
        """Reads the rewards of one trial, `[num_players]`."""
        return {"welfare_per_timestep": trial.reward_per_timestep.sum()}
