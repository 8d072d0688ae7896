"""What a run does besides training: the base class of callbacks.

The loops of Pax are compiled, so hooks run between compiled chunks of iterations. To look inside a
chunk, a callback defines `probe`, which becomes part of the compiled step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pax.checks import Limit
from pax.errors import PaxError

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer


class Postponed(Exception):  # noqa: N818
    """Raised by `on_chunk_end` that a signal cut short: it is called again when the run goes on."""


class CallbackError(PaxError):
    """A callback failed; the error it raised is the `__cause__`."""


class Callback:
    """Base class of everything a run does besides training.

    Override the hooks you need; all of them do nothing here. Hooks run on every process with
    identical arguments: put file writing behind `trainer.is_lead`, never a save or an evaluation.
    What a process may read of a state that is spread over several is `trainer.placement.local(state)`.

    Attributes:
        every: `on_chunk_end` runs when the iteration counter is a multiple of it, and once at the
            last iteration of a fit. Must be a multiple of the trainer's `chunk`; None: every chunk.
        when_interrupted: What becomes of `on_chunk_end` when a signal ends the fit. "later": if it is
            due, it is made up for when the run goes on, so that saving need not wait for it; "if_due":
            it runs if it is due; "always": it runs, due or not, as what saves does.
        priority: Callbacks run in ascending order of it, ties in list order. Writers have 0,
            evaluation 50, early stopping 60, checkpoints 100.
        strict: Whether an error ends the run. If False it is logged, and after three in a row the
            callback switches itself off; errors of type `PaxError` are deliberate and end the run
            either way.
        name: The key of the callback's state in a checkpoint, and its name in messages. By default
            the name of the class.
        limits: By setting that is a number and an attribute of the same name, those that it may be;
            checked before anything compiles. `kinds`: the same of text and of True or False, by an example.
        probe: None, or a method `probe(trial) -> {name: scalar}`: a pure function of the outputs of
            one trial, traced into the compiled step, whose scalars join the metrics.
    """

    limits: ClassVar[Mapping[str, Limit]] = {}
    kinds: ClassVar[Mapping[str, Any]] = {}
    every: int | None = None
    when_interrupted: Literal["later", "if_due", "always"] = "later"
    priority: int = 30
    strict: bool = True
    name: str = "Callback"
    probe: Callable[[Any], Mapping[str, Any]] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__

    def check(self, trainer: MetaTrainer) -> None:
        """Checks, before anything is written, the settings: raise a `ConfigError` if one does not fit."""

    def setup(self, trainer: MetaTrainer) -> None:
        """Acquires resources; called before anything is compiled."""

    def on_fit_start(self, trainer: MetaTrainer, state: Any) -> None:
        """Takes the initial or restored state, before the first chunk."""

    def on_chunk_end(
        self, trainer: MetaTrainer, state: Any, step: int, metrics: Mapping[str, Any]
    ) -> None:
        """Runs between chunks, as often as `every` says.

        Args:
            trainer: The trainer.
            state: The train state after `step` iterations. The next chunk donates it: copy what you
                want to keep.
            step: Iterations done so far.
            metrics: Metrics of the last chunk: numpy leaves [chunk, ...].
        """

    def on_evaluation_end(
        self, trainer: MetaTrainer, step: int, name: str, metrics: Mapping[str, Any]
    ) -> None:
        """Runs after the evaluation `name` of the state after `step` iterations."""

    def on_save(self, trainer: MetaTrainer, step: int) -> None:
        """Runs after the checkpoint of `step` has been handed to the writer."""

    def on_export(self, trainer: MetaTrainer, step: int, paths: Sequence[str]) -> None:
        """Runs after the policies of the state after `step` iterations were written, on the lead only.

        Args:
            trainer: The trainer.
            step: Iterations done so far.
            paths: The files.
        """

    def on_fit_end(self, trainer: MetaTrainer, state: Any, step: int) -> None:
        """Runs once after the last chunk, unless the fit failed."""

    def on_exception(self, trainer: MetaTrainer, error: BaseException) -> None:
        """Runs when the fit fails. The train state is gone: its chunk has donated it."""

    def teardown(self, trainer: MetaTrainer) -> None:
        """Releases resources; called last, also after an error, if `setup` succeeded."""

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed run needs to know, as JSON values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` returned."""
