"""Signals that ask a program to end: stop between two chunks instead of in the middle of one."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

STOP_SIGNALS: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name)
    # Ctrl-C; what clusters send; a terminal that is closed; what Slurm can send ahead of the end.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
)
STOP_NAMES = tuple(number.name for number in STOP_SIGNALS)


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


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Has the first of `STOP_SIGNALS` within the context call `stop`; a SIGINT after it acts as usual.

    The others do nothing after it: clusters send them to every process and to those that wait for them, who
    pass them on, and once more before SIGKILL.

    Only the main thread may handle signals: in any other, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = heeded()
    previous = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        restore()
        for other in numbers:
            if other != signal.SIGINT:
                signal.signal(other, lambda *_: None)
        stop(signal.Signals(number))
        # Written at once: a log may be held back until the chunk has ended.
        name = signal.Signals(number).name
        with contextlib.suppress(OSError):
            os.write(2, f"\n{name}: stopping after this chunk; Ctrl-C to leave at once.\n".encode())

    for number in numbers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()


def pass_on(name: str | None) -> None:
    """Has a signal that was held back act as it would have: on Ctrl-C, KeyboardInterrupt is raised.

    Args:
        name: of one of `STOP_SIGNALS`; anything else, and a call from another than the main thread, does
            nothing.
    """
    if name in STOP_NAMES and threading.current_thread() is threading.main_thread():
        signal.raise_signal(signal.Signals[name])
