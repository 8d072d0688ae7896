"""Ctrl-C and SIGTERM: stop between two chunks instead of in the middle of one."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Within the context, the first SIGINT or SIGTERM calls `stop`; a SIGINT after it acts as usual.

    A SIGTERM after it does nothing: clusters send it to every process and to those that wait for them, who
    pass it on, and once more before SIGKILL.

    Only the main thread may handle signals: in any other, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        restore()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop(signal.Signals(number))
        # Written at once: a log may be held back until the chunk has ended.
        name = signal.Signals(number).name
        os.write(2, f"\n{name}: stopping after this chunk; Ctrl-C to leave at once.\n".encode())

    for number in numbers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()
