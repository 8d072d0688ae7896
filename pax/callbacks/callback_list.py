"""The callbacks of a run: called in order, and what becomes of their errors."""

from __future__ import annotations

import collections
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import logging

from pax.callbacks.callback import Callback, CallbackError, Postponed
from pax.checks import check_items, check_kind, check_limits, check_name
from pax.errors import ConfigError, PaxError
from pax.run.files import is_full

if TYPE_CHECKING:
    from pax.trainer import MetaTrainer

_MAX_ERRORS_IN_A_ROW = 3


@dataclasses.dataclass(eq=False)
class _Entry:
    """A callback and what its list remembers about it."""

    callback: Callback
    name: str
    key: str
    """Of its state in a checkpoint."""
    is_set_up: bool = False
    is_off: bool = False
    last_step: int | None = None
    # Errors in a row by hook: the success of one hook says nothing about another.
    errors: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def overrides(self, hook: str) -> bool:
        method = getattr(self.callback, hook)
        return getattr(method, "__func__", method) is not getattr(Callback, hook)


class CallbackList:
    """Calls callbacks in order of priority and decides what becomes of their errors.

    Names are made unique: the second callback called `Video` is `Video_2`.

    Every method that fires a hook raises `CallbackError` if a strict callback fails, and lets
    `PaxError`, `KeyboardInterrupt` and `SystemExit` through unchanged.

    Raises:
        ConfigError: An item is not an instance of `Callback`.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        check_items("callbacks", callbacks, "a list of callbacks")
        names: set[str] = set()
        entries = []
        for i, callback in enumerate[Any](callbacks):
            if not isinstance(callback, Callback):
                hint = "; pass an instance, not the class" if isinstance(callback, type) else ""
                raise ConfigError(
                    f"callbacks[{i}] is {callback!r}, which is not a pax.Callback{hint}."
                )
            check_name("a callback", callback.name)
            name, count = callback.name, 1
            while name in names:
                count += 1
                name = f"{callback.name}_{count}"
            names.add(name)
            entries.append(_Entry(callback, name, name))
        _key_by_settings(entries)
        self._entries = sorted(entries, key=lambda entry: entry.callback.priority)
        self._calling: _Entry | None = None
        # Those that are due at the current step and wait until the run goes on.
        self._postponed: list[str] = []

    def __iter__(self) -> Iterator[Callback]:
        return (entry.callback for entry in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The unique names, in calling order."""
        return tuple(entry.name for entry in self._entries)

    def validate(self, chunk: int) -> None:
        """Checks the settings of each callback, and that `every` is a positive multiple of `chunk`.

        Args:
            chunk: Iterations per compiled call.

        Raises:
            ConfigError: With the nearest valid values.
        """
        for entry in self._entries:
            check_limits(entry.callback, entry.name)
            for name, like in entry.callback.kinds.items():
                check_kind(name, getattr(entry.callback, name), like, entry.name)
            every = entry.callback.every
            setting = inspect.signature(type(entry.callback)).parameters.get("every")
            may_be_none = setting is None or setting.annotation not in (int, "int")
            is_exempt = may_be_none if every is None else not entry.overrides("on_chunk_end")
            if is_exempt:
                continue
            if isinstance(every, bool) or not isinstance(every, int):
                raise ConfigError(
                    f"{entry.name}.every={every!r} must be a whole number of iterations that is a "
                    f"multiple of chunk={chunk}, for example {chunk}, which is every chunk."
                )
            if every > 0 and every % chunk == 0:
                continue
            below = every // chunk * chunk
            nearest = f"{below} or {below + chunk}" if below > 0 else f"{chunk}"
            raise ConfigError(
                f"{entry.name}.every={every} must be a positive multiple of chunk={chunk}, because "
                f"callbacks run between chunks: use {nearest}."
            )

    @property
    def calling(self) -> str | None:
        """The name of the callback that is being called, if one is."""
        return self._calling.name if self._calling else None

    def settings(self, name: str | None) -> dict[str, Any]:
        """Returns a callback's public attributes that are numbers, texts or None; {} if there is none."""
        return {
            key: value
            for entry in self._entries
            if entry.name == name
            for key, value in vars(entry.callback).items()
            if not key.startswith("_") and (value is None or isinstance(value, (int, float, str)))
        }

    def check(self, trainer: MetaTrainer) -> None:
        """Fires `check`."""
        for entry in self._entries:
            entry.is_off = False
            self._call(entry, "check", None, trainer)

    def setup(self, trainer: MetaTrainer) -> None:
        """Sets up each callback. One whose setup fails is not torn down, nor called again."""
        for entry in self._entries:
            entry.is_off = False
            entry.errors.clear()
            self._call(entry, "setup", None, trainer)
            entry.is_set_up = not entry.errors["setup"]
            if not entry.is_set_up:
                entry.is_off = True
                logging.warning("Callback %s is off: its setup failed.", entry.name)

    def on_fit_start(self, trainer: MetaTrainer, state: Any) -> None:
        """Fires `on_fit_start`."""
        for entry in self._entries:
            entry.last_step = None
            self._call(entry, "on_fit_start", None, trainer, state)

    def on_chunk_end(
        self,
        trainer: MetaTrainer,
        state: Any,
        step: int,
        metrics: Mapping[str, Any],
        is_last: Callable[[], bool],
    ) -> None:
        """Fires `on_chunk_end` of the callbacks that are due, each at most once per step.

        A callback is due if the chunk reached a multiple of its `every`, or if this is the last
        step. A callback may make it the last one by asking for a stop. Then those that were passed over
        are called first, so that the order holds: an evaluation still precedes the checkpoint.

        Once a signal has asked for a stop, what saves comes first: of the others only those are called
        that are due and say so (`Callback.when_interrupted`). The rest of those that are due are
        `postponed`.

        Args:
            trainer: The trainer.
            state: The train state.
            step: Iterations done so far.
            metrics: Metrics of the chunk.
            is_last: Tells whether no chunk will follow; asked again after each callback.
        """
        self._postponed = []
        restart = True
        while restart:
            restart = False
            was_last, was_interrupted = is_last(), trainer.is_interrupted
            is_end = was_last and (not was_interrupted or step >= trainer.num_iters)
            due = [entry for entry in self._entries if self._is_due(entry, trainer, step, is_end)]
            calls = due
            if was_interrupted:
                calls = [e for e in self._entries if self._acts_at_once(e, e in due)]
                waiting = [e.name for e in due if e not in calls and e.last_step != step]
                # What is saved now will have to be saved again: as the best, perhaps.
                saves = [e.name for e in due if e.callback.when_interrupted == "always"]
                self._postponed = [*waiting, *saves] if waiting else []
            for entry in calls:
                if entry.last_step == step:
                    continue
                entry.last_step = step
                try:
                    self._call(entry, "on_chunk_end", step, trainer, state, step, metrics)
                except Postponed:
                    entry.last_step = None
                if (is_last(), trainer.is_interrupted) != (was_last, was_interrupted):
                    restart = True
                    break

    @staticmethod
    def _is_due(entry: _Entry, trainer: MetaTrainer, step: int, is_end: bool) -> bool:
        """Returns whether a callback is to be called at a step, if that was not done yet."""
        every = entry.callback.every
        # A fit may start at a step that is not a multiple of the chunk: then the chunk that passes a
        # multiple of `every` counts.
        return is_end or every is None or step % every < trainer.chunk

    @staticmethod
    def _acts_at_once(entry: _Entry, is_due: bool) -> bool:
        when = entry.callback.when_interrupted
        return when == "always" or (when == "if_due" and is_due)

    @property
    def postponed(self) -> tuple[str, ...]:
        """The names of the callbacks whose `on_chunk_end` waits until the run goes on."""
        return tuple(self._postponed)

    def make_up(
        self,
        names: Sequence[str],
        trainer: MetaTrainer,
        state: Any,
        step: int,
        metrics: Mapping[str, Any],
        is_last: Callable[[], bool],
    ) -> None:
        """Fires `on_chunk_end` of the callbacks that were postponed at a step, as if they came in turn.

        Args:
            names: What `postponed` was.
            trainer: The trainer.
            state: The train state.
            step: Iterations done so far.
            metrics: Metrics of the chunk.
            is_last: See `on_chunk_end`.
        """
        for entry in self._entries:
            is_called = entry.name not in names and self._is_due(entry, trainer, step, is_last())
            entry.last_step = step if is_called else None
        self.on_chunk_end(trainer, state, step, metrics, is_last)

    def save_again(
        self, trainer: MetaTrainer, state: Any, step: int, metrics: Mapping[str, Any]
    ) -> None:
        """Fires `on_chunk_end` of what saves once more: something has changed since it saved this step."""
        for entry in self._entries:
            if entry.callback.when_interrupted == "always":
                self._call(entry, "on_chunk_end", step, trainer, state, step, metrics)

    def on_evaluation_end(
        self, trainer: MetaTrainer, step: int, name: str, metrics: Mapping[str, Any]
    ) -> None:
        """Fires `on_evaluation_end`."""
        for entry in self._entries:
            self._call(entry, "on_evaluation_end", step, trainer, step, name, metrics)

    def on_save(self, trainer: MetaTrainer, step: int) -> None:
        """Fires `on_save`."""
        for entry in self._entries:
            self._call(entry, "on_save", step, trainer, step)

    def on_export(self, trainer: MetaTrainer, step: int, paths: Sequence[str]) -> None:
        """Fires `on_export`."""
        for entry in self._entries:
            self._call(entry, "on_export", step, trainer, step, paths)

    def on_fit_end(self, trainer: MetaTrainer, state: Any, step: int) -> None:
        """Fires `on_fit_end`."""
        for entry in self._entries:
            self._call(entry, "on_fit_end", step, trainer, state, step)

    def on_exception(self, trainer: MetaTrainer, error: BaseException) -> None:
        """Fires `on_exception`. Errors of the callbacks are logged: they must not hide `error`."""
        for entry in self._entries:
            if entry.is_off:
                continue
            try:
                entry.callback.on_exception(trainer, error)
            except Exception:
                logging.exception("%s.on_exception failed.", entry.name)

    def teardown(self, trainer: MetaTrainer, error: BaseException | None = None) -> None:
        """Tears down every callback whose setup ran, in reverse order, whatever happens.

        Calling it again does nothing.

        Args:
            trainer: The trainer.
            error: The error in flight, if any. Errors of the callbacks are then only logged.

        Raises:
            CallbackError: The first error of a strict callback, once all have been torn down.
        """
        first: BaseException | None = None
        for entry in reversed(self._entries):
            if not entry.is_set_up:
                continue
            entry.is_set_up = False
            try:
                entry.callback.teardown(trainer)
            except Exception as e:
                is_raised = error is None and first is None
                if is_raised and (entry.callback.strict or isinstance(e, PaxError)):
                    first = e if isinstance(e, PaxError) else _wrap(entry, "teardown", None, e)
                    first.__cause__ = e if first is not e else e.__cause__
                else:
                    logging.exception("%s.teardown failed.", entry.name)
            except BaseException as e:
                # The user asked to leave. The others still get to release what they hold.
                first = e
        if first is not None:
            raise first

    @property
    def are_of_pax(self) -> bool:
        """Whether all of them ship with Pax, so that it is known what they report."""
        return all(type(callback).__module__.startswith("pax.callbacks.") for callback in self)

    @property
    def has_probes(self) -> bool:
        """Whether any callback defines `probe`."""
        return any(entry.callback.probe is not None for entry in self._entries)

    def probe(self, trial: Any) -> dict[str, Any]:
        """Returns the scalars of all probes; pure, to be traced into the compiled step.

        Args:
            trial: The outputs of one trial.

        Raises:
            ConfigError: Two probes report the same name.
        """
        scalars: dict[str, Any] = {}
        owners: dict[str, str] = {}
        for entry in self._entries:
            if entry.callback.probe is None:
                continue
            for key, value in (self._call(entry, "probe", None, trial) or {}).items():
                if key in owners:
                    raise ConfigError(
                        f"the probes of {owners[key]} and {entry.name} both report {key!r}: "
                        "rename one of them."
                    )
                owners[key] = entry.name
                scalars[key] = value
        return scalars

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Returns the state of every callback, by its name; of several of one name also by its settings."""
        return {entry.key: self._call(entry, "state_dict", None) or {} for entry in self._entries}

    def load_state_dict(self, state: Mapping[str, dict[str, Any]]) -> None:
        """Gives every callback its state back.

        Callbacks may come and go between runs: a callback without an entry starts afresh, and an
        entry without a callback is ignored. Both are logged, unless there was nothing to remember.

        Args:
            state: What `state_dict` returned, perhaps for another list.
        """
        known = {entry.key for entry in self._entries}
        for name in sorted(name for name in set(state) - known if state[name]):
            logging.warning("Ignored the saved state of %s: this run has no such callback.", name)
        for entry in self._entries:
            if entry.key in state:
                self._call(entry, "load_state_dict", None, state[entry.key])
            else:
                logging.info("Callback %s starts afresh: no state was saved.", entry.name)

    def _call(self, entry: _Entry, hook: str, step: int | None, *args: Any) -> Any:
        """Calls a hook; returns its result, or None if it failed or the callback is off."""
        if entry.is_off:
            return None
        outer, self._calling = self._calling, entry
        try:
            result = getattr(entry.callback, hook)(*args)
            entry.errors[hook] = 0
            return result
        except (PaxError, Postponed):
            # Raised deliberately, here or by a callback further down: already says what to do.
            raise
        except Exception as e:
            if is_full(e):
                # Nothing that can be written from here on is worth going on for.
                raise
            if entry.callback.strict:
                raise _wrap(entry, hook, step, e) from e
            entry.errors[hook] += 1
            logging.exception("%s.", _describe(entry, hook, step))
            if entry.errors[hook] >= _MAX_ERRORS_IN_A_ROW:
                entry.is_off = True
                logging.warning(
                    "Callback %s is off: %s failed %d times in a row.",
                    entry.name,
                    hook,
                    _MAX_ERRORS_IN_A_ROW,
                )
            return None
        finally:
            self._calling = outer


def _key_by_settings(entries: Sequence[_Entry]) -> None:
    """Tells callbacks of one name apart by the settings in which they differ, whatever their order."""
    by_name: dict[str, list[_Entry]] = {}
    for entry in entries:
        by_name.setdefault(entry.callback.name, []).append(entry)
    for name, alike in by_name.items():
        if len(alike) == 1:
            continue
        settings = [
            {
                key: getattr(entry.callback, key)
                for key in inspect.signature(type(entry.callback)).parameters
                if isinstance(getattr(entry.callback, key, None), (bool, int, float, str))
            }
            for entry in alike
        ]
        differing = sorted(
            {
                key
                for own in settings
                for key in own
                if len({repr(other.get(key)) for other in settings}) > 1
            }
        )
        if not differing:
            # Their names tell them apart, by their order.
            continue
        taken: collections.Counter[str] = collections.Counter()
        for entry, own in zip(alike, settings, strict=True):
            told = ", ".join(f"{key}={own.get(key)!r}" for key in differing)
            key = f"{name}({told})"
            taken[key] += 1
            entry.key = key if taken[key] == 1 else f"{key}_{taken[key]}"


def _describe(entry: _Entry, hook: str, step: int | None) -> str:
    at_step = "" if step is None else f" at step {step}"
    return f"{entry.name}.{hook} failed{at_step}"


def _wrap(entry: _Entry, hook: str, step: int | None, error: Exception) -> CallbackError:
    # The message of a KeyError is the bare key, and some errors have none.
    text = repr(error) if isinstance(error, KeyError) or not str(error) else str(error)
    return CallbackError(f"{_describe(entry, hook, step)}: {text}")
