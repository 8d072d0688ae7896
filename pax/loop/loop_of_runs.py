"""One compiled loop for several runs that differ in numbers only, with these as arguments."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pax.loop.compiled import are_finite
from pax.loop.evaluator import PROGRAMS, Evaluator
from pax.loop.iteration import Loop, over
from pax.loop.memory import program_bytes
from pax.loop.numbers import Numbers
from pax.loop.xla import compiler_options, undefined_numbers
from pax.types import Metrics, PyTree, RunState, take

AXIS = "runs"


class Parts(NamedTuple):
    """What a run compiles."""

    loop: Loop
    evaluators: Mapping[str, Evaluator]


class Advanced(NamedTuple):
    """What came of a chunk of iterations of one run."""

    state: RunState
    metrics: dict[str, np.ndarray]
    """By name, `[n, S]`."""
    finite: dict[str, bool]
    """By role, whether its parameters are."""


class LoopOfRuns:
    """Trains runs side by side in one program: an axis beside that of their seeds.

    The number of runs side by side is fixed, a multiple of the devices, over which they are spread. Each run
    has a step of its own. Where fewer train, one of them stands in the other places, and what comes of these
    is thrown away. Where a device has one run, its program is that of the run alone, but for the numbers,
    which are arguments.

    Args:
        parts: of each run.
        numbers: those in which the parts differ: see `check_numbers`.
        seeds: the first seed of each run.
        num_seeds: S, of each run.
        per_device: runs side by side on a device.
        num_devices: over how many devices they are spread.

    Attributes:
        compile_seconds: what compiling took so far.
    """

    def __init__(
        self,
        parts: Sequence[Parts],
        numbers: Numbers,
        seeds: Sequence[int],
        num_seeds: int,
        *,
        per_device: int = 1,
        num_devices: int = 1,
    ):
        self._numbers = numbers
        self._loops = [each.loop for each in parts]
        self._seeds = seeds
        self._num_seeds = num_seeds
        self._per_device = per_device
        mesh = Mesh(
            np.array(jax.local_devices()[:num_devices]), (AXIS,), axis_types=(AxisType.Auto,)
        )
        self._mesh = mesh
        self._whole = NamedSharding(mesh, PartitionSpec())
        self._programs: dict[int, Any] = {}
        self._metric_names: list[str] | None = None
        self._init: jax.stages.Compiled | None = None
        self.compile_seconds = 0.0
        self._evaluations = {name: self._programs_of(name) for name in parts[0].evaluators}
        self._share(parts)

    def take(self, parts: Sequence[Parts], numbers: Numbers) -> bool:
        """Goes on with other numbers of the same runs; returns False if they want another program.

        Args:
            parts: of each run. What was equal in all runs, and is in all of these, has not changed.
            numbers: those in which they differ.
        """
        if not numbers.are_in_the_places_of(self._numbers):
            return False
        self._numbers = numbers
        self._share(parts)
        return True

    @property
    def num_side_by_side(self) -> int:
        """How many runs train at once."""
        return self._per_device * self._mesh.size

    def initial_state(self, run: int) -> RunState:
        """Returns the state of a run before its first iteration."""
        arguments = self._of([run]), jnp.array([self._seeds[run]], jnp.int32)
        if self._init is None:
            init = jax.jit(self._initial, out_shardings=self._whole)
            options = compiler_options(runs_once=True)
            self._init = init.lower(*arguments).compile(compiler_options=options)
        with undefined_numbers():
            return self._init(*arguments)

    @functools.cached_property
    def _shapes(self) -> RunState:
        return jax.eval_shape(self._initial, self._of([0]), jnp.zeros(1, jnp.int32))

    def abstract_state(self) -> RunState:
        """Shapes, types and places of the state of each run."""
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self._whole),
            self._shapes,
        )

    def metric_names(self) -> list[str]:
        """Returns what an iteration reports; found by tracing, without compiling."""
        if self._metric_names is None:
            step = functools.partial(self._advance, size=1)
            self._metric_names = sorted(jax.eval_shape(step, self._of([0], 0), self._shapes)[1])
        return self._metric_names

    def is_compiled(self, size: int) -> bool:
        """Returns whether `size` iterations are ready to run."""
        return size in self._programs

    def compile(self, size: int) -> Any:
        """Makes `size` iterations ready to run, unless they are; returns the program, to look into."""
        if size in self._programs:
            return self._programs[size]
        started = time.monotonic()
        places = self.num_side_by_side
        lowered = jax.jit(
            functools.partial(self._run, size=size), donate_argnums=1, out_shardings=self._whole
        ).lower(self._of([0] * places), (self.abstract_state(),) * places)
        self._programs[size] = lowered.compile(compiler_options=compiler_options())
        seconds = time.monotonic() - started
        self.compile_seconds += seconds
        logging.info("Compiled %d iterations of %d runs in %.1f s.", size, places, seconds)
        return self._programs[size]

    def bytes_needed(self, size: int) -> int:
        """Returns the memory that `size` iterations take, on all devices together; compiles them."""
        return program_bytes(self.compile(size), self._mesh.size)

    def run(self, runs: Sequence[int], states: Sequence[RunState], size: int) -> list[Advanced]:
        """Runs `size` iterations of some runs, to which their states are donated.

        Args:
            runs: which ones, no more than train at once.
            states: of each of them.
            size: that has been compiled.
        """
        missing = self.num_side_by_side - len(runs)
        copies = [jax.tree.map(jnp.copy, states[0]) for _ in range(missing)]
        numbers = self._of([*runs, *[runs[0]] * missing])
        placed = tuple(jax.device_put(state, self._whole) for state in (*states, *copies))
        with undefined_numbers():
            new, *told = self._programs[size](numbers, placed)
        metrics, finite = jax.device_get(told)
        return [
            Advanced(
                new[index],
                {name: values[index] for name, values in metrics.items()},
                {name: bool(values[index]) for name, values in finite.items()},
            )
            for index in range(len(runs))
        ]

    def _of(self, runs: Sequence[int], index: int | None = None) -> list[jax.Array]:
        """Returns the numbers of some runs, `[runs, ...]`, or of one."""
        chosen = [column[np.array(runs)] for column in self._numbers.columns]
        if index is not None:
            chosen = [column[index] for column in chosen]
        return [jax.device_put(column, self._whole) for column in chosen]

    def _loop(self, numbers: Sequence[jax.Array]) -> Loop:
        """Returns the loop of a run from its numbers."""
        loop = self._numbers.rebuild(numbers).loop
        if loop.placement is not None:
            # Devices have whole runs.
            loop = loop.without_placement()
        return loop

    def _initial(self, numbers: Sequence[jax.Array], seed: jax.Array) -> RunState:
        keys = jax.vmap(jax.random.key)(seed[0] + jnp.arange(self._num_seeds))
        return self._loop([column[0] for column in numbers]).init(keys)

    def _advance(
        self, numbers: Sequence[jax.Array], state: RunState, size: int
    ) -> tuple[RunState, Metrics, dict[str, jax.Array]]:
        """Runs iterations of one run."""
        loop = self._loop(numbers)
        state, metrics = loop.run(state, size)
        return state, metrics, are_finite(loop.roles, state)

    def _run(
        self, numbers: Sequence[jax.Array], states: tuple[RunState, ...], size: int
    ) -> tuple[tuple[RunState, ...], PyTree, PyTree]:
        """Runs iterations of all runs that are side by side."""
        advance = over(
            functools.partial(self._advance, size=size), self._per_device, in_axes=(0, 0)
        )
        if self._mesh.size > 1:
            spec = PartitionSpec(AXIS)
            advance = jax.shard_map(
                advance, mesh=self._mesh, in_specs=spec, out_specs=spec, check_vma=False
            )
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        state, metrics, finite = advance(list(numbers), stacked)
        return tuple(take(state, index) for index in range(len(states))), metrics, finite

    def _programs_of(self, name: str) -> dict[str, Callable[..., Any]]:
        """Returns the programs of the evaluators of one name, whose first arguments are numbers."""
        programs: dict[str, Callable[..., Any]] = {}
        for program, static in PROGRAMS.items():

            def call(numbers: Any, *arguments: Any, program: str = program) -> Any:
                evaluator = self._numbers.rebuild(numbers).evaluators[name]
                return getattr(evaluator, f"_{program}")(*arguments)

            programs[program] = jax.jit(
                call,
                static_argnums=tuple(index + 1 for index in static),
                compiler_options=compiler_options(),
            )
        return programs

    def _share(self, parts: Sequence[Parts]) -> None:
        """Has the evaluators of one name share their programs."""
        for name, programs in self._evaluations.items():
            for run, each in enumerate(parts):
                each.evaluators[name].share(
                    {
                        key: functools.partial(self._call, program, run)
                        for key, program in programs.items()
                    }
                )

    def _call(self, program: Callable[..., Any], run: int, *arguments: Any) -> Any:
        return program(self._of([run], 0), *arguments)


class RunOfMany:
    """The compiled loop of one run of a `LoopOfRuns`: what its trainer asks of one between chunks."""

    def __init__(self, loops: LoopOfRuns, run: int):
        self._loops, self._run = loops, run

    @property
    def compile_seconds(self) -> float:
        """What compiling took so far, of all runs together."""
        return self._loops.compile_seconds

    def initial_state(self) -> RunState:
        """Returns the state before the first iteration."""
        return self._loops.initial_state(self._run)

    def abstract_state(self) -> RunState:
        """Shapes, types and places of the state."""
        return self._loops.abstract_state()

    def metric_names(self) -> list[str]:
        """Returns what an iteration reports."""
        return self._loops.metric_names()

    def is_compiled(self, size: int) -> bool:
        """Returns whether `size` iterations are ready to run."""
        return self._loops.is_compiled(size)
