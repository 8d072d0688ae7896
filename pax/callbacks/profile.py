"""Records where the time goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax

from pax.callbacks.callback import Callback
from pax.checks import COUNT, check_number
from pax.errors import ConfigError

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer


class Profile(Callback):
    """Traces one stretch of training with JAX's profiler, for TensorBoard's profile plugin or Perfetto.

    Args:
        start: the iteration after which tracing starts; past the first chunk, so that compiling is left out.
        iterations: how many iterations to trace.
    """

    priority = 10

    def __init__(self, start: int = 20, iterations: int = 10):
        check_number("start", start, COUNT, "Profile")
        check_number("iterations", iterations, COUNT, "Profile")
        self.start = start
        self.iterations = iterations
        self._tracing = False
        self._done = False

    def check(self, trainer: MetaTrainer) -> None:
        if trainer.workdir is None:
            raise ConfigError("Profile has nowhere to write: give the trainer a workdir")

    def on_chunk_end(
        self, trainer: MetaTrainer, state: Any, step: int, metrics: Mapping[str, Any]
    ) -> None:
        if not trainer.is_lead or self._done:
            return
        if self._tracing and step >= self.start + self.iterations:
            self._stop()
        elif not self._tracing and self.start <= step < trainer.num_iters:
            jax.profiler.start_trace(str(trainer.workdir))
            self._tracing = True

    def teardown(self, trainer: MetaTrainer) -> None:
        if self._tracing:
            self._stop()

    def _stop(self) -> None:
        jax.profiler.stop_trace()
        self._tracing, self._done = False, True

    def state_dict(self) -> dict[str, Any]:
        return {"done": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._done = state["done"]
