"""What a checkpoint of training says besides the state, as JSON values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pax.metrics.seeds import SeedMetrics

SPEED = "env_steps_per_second"


@dataclasses.dataclass(frozen=True)
class SavePoint:
    """Where training stands: two are equal if nothing but their times and metrics would differ."""

    step: int | None = None
    """Iterations done; None before anything is saved."""
    postponed: tuple[str, ...] = ()
    """Callbacks that are due at this step and wait until the run goes on."""
    ended: Mapping[str, Any] | None = None
    """Why a callback ended the run here, if one did: see `ending`."""
    metrics: SeedMetrics | None = dataclasses.field(default=None, compare=False)
    """Of the last chunk."""
    wall_time: float = dataclasses.field(default=0.0, compare=False)
    """Seconds that the run has taken."""

    def as_json(self) -> dict[str, Any]:
        """Returns all of it as JSON values; numbers keep their bits."""
        arrays: dict[str, np.ndarray] = {}
        if self.metrics is not None:
            arrays = {**self.metrics.per_seed, SPEED: self.metrics[SPEED]}
        # Callbacks that wait will want the whole chunk, others have seen it.
        first = 0 if self.postponed else -1
        metrics = {name: [str(a.dtype), a[first:].tolist()] for name, a in arrays.items()}
        return {
            "wall_time": self.wall_time,
            "metrics": metrics or None,
            "step": self.step,
            "postponed": list(self.postponed),
            "ended": self.ended,
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> SavePoint:
        """Reads what `as_json` returned; checkpoints of older versions lack all but the time."""
        metrics = None
        if saved.get("metrics"):
            arrays = {
                name: np.asarray(values, dtype)
                for name, (dtype, values) in saved["metrics"].items()
            }
            speed = arrays.pop(SPEED)
            metrics = SeedMetrics(arrays)
            metrics[SPEED] = speed
        postponed = tuple(saved.get("postponed", ()))
        return cls(saved.get("step"), postponed, saved.get("ended"), metrics, saved["wall_time"])

    def still_ends(
        self, num_iters: int, settings: Callable[[str | None], Mapping[str, Any]]
    ) -> str | None:
        """Returns why the run ended early here, unless it is asked for more now.

        Args:
            num_iters: iterations that are asked for now.
            settings: what the settings of a callback are now, by its name.
        """
        ended = self.ended
        if ended is None or num_iters > ended["num_iters"]:
            return None
        return ended["reason"] if settings(ended["by"]) == ended["settings"] else None


def ending(
    reason: str, num_iters: int, by: str | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what is known of an end before `num_iters` that a callback with these settings asked for."""
    return {"reason": reason, "num_iters": num_iters, "by": by, "settings": settings}
