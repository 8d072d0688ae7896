"""Measures Pax on a GPU within minutes: agreement with the CPU, speed, and what limits it.

Parts that need an idle machine run one after the other, each in a process of its own with a part of the time;
what does not fit is left out.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable

import jax

from launch.benchmark import agreement, growth, kernels, startup, training
from launch.benchmark.apart import ApartError
from launch.benchmark.timing import Row, Sizes, TimeIsUpError
from pax.errors import ConfigError

MOST_SECONDS = 180.0
"""For one process, which otherwise hangs."""
LEAST_SECONDS = 15.0
"""Below which nothing is begun: a process takes as long to start and to compile."""
COMPARED = 0.5
"""Share of the time after which no further config is compared, so that there is some for what is timed."""
PROFILED = ("ipd ppo", "ipd shaper", "coin game ppo_memory")


class Clock:
    """Tells how much time is left for all parts; it starts before the first, the machine's bounds."""

    def __init__(self, minutes: float):
        self._seconds = 60.0 * minutes
        self._started = time.monotonic()

    def left(self) -> float:
        """Returns the seconds that are left."""
        return self._seconds - (time.monotonic() - self._started)

    def share(self, most: float, of_all: float = 1.0) -> float:
        """Returns so many seconds, or what is left of a share of all.

        Raises:
            TimeIsUpError: if that is too little to begin anything.
        """
        left = self.left() - (1.0 - of_all) * self._seconds
        if left < min(most, LEAST_SECONDS):
            which = "the time" if of_all == 1.0 else f"its part of the time ({of_all:.0%})"
            raise TimeIsUpError(f"{which} is up, give more --minutes, or name it by --only")
        return min(most, left)

    def within(self, call: Callable[[], Row | list[Row]], of_all: float = 1.0) -> Row | list[Row]:
        """Returns what a call measures in processes that end with a share of the time.

        Raises:
            TimeIsUpError: if one of them was ended by that, which is no failure.
            ApartError: if one failed, or took longer than any may.
        """
        try:
            return call()
        except ApartError as e:
            if e.is_late and self.left() <= (1.0 - of_all) * self._seconds:
                raise TimeIsUpError(f"the time is up ({e}), give more --minutes") from e
            raise


def check_devices(sizes: Sizes) -> None:
    """Has CPU devices stand in for a GPU in a rehearsal.

    Raises:
        ConfigError: if there is no GPU, and it is none.
    """
    if sizes.rehearse:
        # Of this process, and of those that it starts.
        os.environ["JAX_PLATFORMS"] = "cpu"
        jax.config.update("jax_platforms", "cpu")
    elif jax.default_backend() != "gpu":
        raise ConfigError(
            '--suite=gpu needs a GPU, and JAX has found none: pip install -e ".[cuda]" where there is one, '
            "or add --rehearse"
        )


def kinds(rehearse: bool) -> tuple[agreement.Kinds, dict[str, str]]:
    """Returns the environments that have only CPUs and only GPUs, and the names of JAX's backends."""
    # These programs run once.
    given = os.environ.get("XLA_FLAGS", "")
    cpu = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{given} --xla_backend_optimization_level=0"}
    if rehearse:
        # Another number of devices is what a CPU has in place of another kind.
        numbers = {"CPU": "1", "stand-in": "2"}
        environments: agreement.Kinds = {
            name: {**cpu, "JAX_NUM_CPU_DEVICES": number} for name, number in numbers.items()
        }
        return environments, dict.fromkeys(numbers, "cpu")
    # Several share the card.
    shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return {"CPU": cpu, "GPU": shared}, {"CPU": "cpu", "GPU": "gpu"}


def rows(sizes: Sizes) -> dict[str, Callable[[], Row | list[Row]]]:
    """Returns what there is to measure, in an order in which what is left out is missed least."""
    clock = Clock(sizes.minutes)
    few = dataclasses.replace(sizes, repeats=min(sizes.repeats, 3), most_iterations=10)
    once = dataclasses.replace(few, repeats=1)
    environments, backends = kinds(sizes.rehearse)
    calls: dict[str, Callable[[], Row | list[Row]]] = {
        f"agreement of {name}": functools.partial(clock.within, call, COMPARED)
        for name, call in agreement.rows(
            environments,
            backends,
            lambda: clock.share(MOST_SECONDS, COMPARED),
            lambda name: sizes.names(f"agreement of {name}"),
        ).items()
    }
    for name in training.LARGE:
        call = functools.partial(_large, name, once, clock)
        calls[f"large {name}"] = functools.partial(clock.within, call)
    for name in PROFILED:
        call = functools.partial(_kernels, name, few, clock)
        calls[f"kernels of {name}"] = functools.partial(clock.within, call)
    waiting = list(training.SETTINGS)

    def fill(name: str) -> list[Row]:
        # What one of them leaves is for the others.
        seconds = clock.share(max(LEAST_SECONDS, clock.left() / len(waiting)))
        waiting.remove(name)
        return growth.grow_apart(name, few, seconds, limit=clock.left())

    for name, measure in startup.rows(once, lambda: clock.share(MOST_SECONDS)).items():
        calls[f"startup {name}"] = functools.partial(clock.within, measure)
    for name in training.SETTINGS:
        calls[f"training {name}"] = functools.partial(clock.within, functools.partial(fill, name))
    return calls


def _large(name: str, sizes: Sizes, clock: Clock) -> Row:
    row = training.measure_apart(name, sizes, with_limit=False, limit=clock.share(MOST_SECONDS))
    row.suite = "filling"
    return row


def _kernels(name: str, sizes: Sizes, clock: Clock) -> Row:
    return kernels.measure_apart(name, sizes, clock.share(MOST_SECONDS))
