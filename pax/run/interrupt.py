"""Signals that ask a program to end: stop between two chunks instead of in the middle of one.

Python runs handlers in the main thread, where they wait for the end of a compiled call, which may take
minutes. So what is said of a signal, and the end of a program that does not get to its handler, come from
another thread.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, NoReturn

STOP_SIGNALS: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name)
    # Ctrl-C; what clusters send; a terminal that is closed; what Slurm can send ahead of the end.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
)
STOP_NAMES = tuple(number.name for number in STOP_SIGNALS)
PATIENCE = 1.0
"""Seconds that the main thread has to act on a signal that is to end the process at once."""
AGAIN = 0.05
"""Seconds after which a signal comes once more whose exception Python has dropped."""
_last_words: list[Callable[[signal.Signals], object]] = []


class Interrupted(KeyboardInterrupt):
    """One of `STOP_SIGNALS`, of a program that ends in order: see `raised`."""

    def __init__(self, number: signal.Signals):
        """Takes the signal."""
        super().__init__(number.name)
        self.number = number


def heeded() -> tuple[signal.Signals, ...]:
    """Returns those of `STOP_SIGNALS` that this program may handle.

    One that was ignored when the program started, by nohup or a shell that put it into the background, stays
    ignored; and only Python's own handlers can be put back.
    """
    return tuple(
        number for number in STOP_SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)
    )


def how_it_ended(code: int) -> str:
    """Returns what the exit code of a process says, as in `was killed by SIGKILL`."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def leaving(say: Callable[[signal.Signals], object]) -> Iterator[None]:
    """Lets signals end the process within the context though the main thread waits for a compiled call.

    Only programs do that: a notebook is to survive.

    Args:
        say: is called with the signal, in another thread; the process ends with code 128 + its number.
    """
    _last_words.append(say)
    try:
        yield
    finally:
        _last_words.pop()


def _leave_unless(heard: threading.Event, number: signal.Signals) -> None:
    """Ends the process, if it is a program, unless the main thread acts on the signal soon."""
    if _last_words and not heard.wait(PATIENCE):
        _last_words[-1](number)
        end_at_once(128 + number)


def end_at_once(code: int) -> NoReturn:
    """Ends the process with an exit code, and without what Python does at its end.

    After an interruption, as an orderly end in the middle of compiling crashes.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


@contextlib.contextmanager
def _seen(see: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Has a thread of its own call `see` for each of `STOP_SIGNALS` that Python handles, as it comes."""
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)

    def watch() -> None:
        while number := os.read(receiver, 1):
            if number[0] in STOP_SIGNALS:
                see(signal.Signals(number[0]))

    before = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(sender)
        thread.join()
        os.close(receiver)


@contextlib.contextmanager
def _handled(
    previous: Mapping[signal.Signals, Any],
    handle: Callable[[int, FrameType | None], None],
    heard: threading.Event,
) -> Iterator[None]:
    """Has `handle` act on signals within the context, and puts back their `previous` handlers at its end."""
    for number in previous:
        signal.signal(number, handle)
    try:
        yield
    finally:
        heard.set()
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Has the first of `STOP_SIGNALS` within the context raise `Interrupted`; those after it do nothing.

    With `leaving`, the process ends though the main thread is in a compiled call, and a SIGINT after the
    first signal ends it though what is done about `Interrupted` takes long. Where Python drops an exception,
    in a destructor or when garbage is collected, the signal comes once more.

    Only the main thread may handle signals: in any other, nothing is changed.
    """
    if not _in_main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in heeded()}
    heard, came = threading.Event(), False
    unraisable = sys.unraisablehook

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if not heard.is_set():
            heard.set()
            raise Interrupted(signal.Signals(number))

    def dropped(what: sys.UnraisableHookArgs) -> None:
        nonlocal came
        if not isinstance(what.exc_value, Interrupted):
            unraisable(what)
            return
        came = False
        heard.clear()
        send = functools.partial(os.kill, os.getpid(), what.exc_value.number)
        threading.Timer(AGAIN, send).start()

    def see(number: signal.Signals) -> None:
        nonlocal came
        if not came or number == signal.SIGINT:
            _leave_unless(threading.Event() if came else heard, number)
        came = True

    with _seen(see), _handled(previous, handle, heard):
        sys.unraisablehook = dropped
        try:
            yield
        finally:
            sys.unraisablehook = unraisable


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Has the first of `STOP_SIGNALS` within the context call `stop`; a SIGINT after it acts as usual.

    The others do nothing after it: clusters send them to every process and to those that wait for them, who
    pass them on, and once more before SIGKILL. With `leaving`, the SIGINT after it ends the process at once.

    Only the main thread may handle signals: in any other, nothing is changed.
    """
    if not _in_main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in heeded()}
    heard = threading.Event()
    came = False

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        for other in previous:
            signal.signal(other, again if other == signal.SIGINT else lambda *_: None)
        stop(signal.Signals(number))

    def again(number: int, frame: FrameType | None) -> None:
        heard.set()
        signal.signal(number, previous[signal.SIGINT])
        del frame
        signal.raise_signal(signal.SIGINT)

    def see(number: signal.Signals) -> None:
        nonlocal came
        if not came:
            came = True
            text = f"\n{number.name}: stopping after this chunk; Ctrl-C to leave at once.\n"
            with contextlib.suppress(OSError):
                os.write(2, text.encode())
        elif number == signal.SIGINT:
            _leave_unless(heard, number)

    with _seen(see), _handled(previous, handle, heard):
        yield


def pass_on(name: str | None) -> None:
    """Has a signal that was held back act as it would have: on Ctrl-C, KeyboardInterrupt is raised.

    Args:
        name: of one of `STOP_SIGNALS`; anything else, and a call from another than the main thread, does
            nothing.
    """
    if name in STOP_NAMES and _in_main_thread():
        signal.raise_signal(signal.Signals[name])
