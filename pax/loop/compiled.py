"""The loop as compiled programs: where its state is, and one program per number of iterations."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
from absl import logging

from pax.loop.counts import Counts
from pax.loop.iteration import Loop
from pax.loop.kept_programs import KeptPrograms
from pax.loop.memory import free_bytes, no_room, program_bytes
from pax.loop.sharding import Placement
from pax.loop.xla import compiler_options, undefined_numbers
from pax.roles import Role
from pax.types import Metrics, RunState


class CompiledLoop:
    """Runs iterations of a loop on the devices that a placement names.

    Attributes:
        compile_seconds: what compiling took so far.
        kept: where traced programs are kept for the next run; None: nowhere.
    """

    def __init__(self, loop: Loop, placement: Placement, counts: Counts):
        """Takes of the counts the seeds of the run."""
        self._loop = loop
        self._placement = placement
        self._seed = counts.seed
        self._num_seeds = counts.num_seeds
        self._programs: dict[int, jax.stages.Compiled] = {}
        self._metric_names: list[str] | None = None
        self._finite = jax.jit(
            functools.partial(are_finite, loop.roles), out_shardings=placement.whole
        )
        self.compile_seconds = 0.0
        self.kept: KeptPrograms | None = None

    def run(self, state: RunState, size: int) -> tuple[RunState, Metrics]:
        """Runs `size` iterations, to which `state` is donated; metrics are `[size, S]`, on the device."""
        if size not in self._programs:
            raise KeyError(f"{size} iterations have not been compiled")
        with undefined_numbers():
            return self._programs[size](state)

    def finite(self, state: RunState) -> dict[str, bool]:
        """Returns whether all parameters are finite, by role that has some which outlive an iteration."""
        return {name: bool(finite) for name, finite in jax.device_get(self._finite(state)).items()}

    def is_compiled(self, size: int) -> bool:
        """Returns whether `size` iterations are ready to run."""
        return size in self._programs

    def compile(self, size: int) -> jax.stages.Compiled:
        """Makes `size` iterations ready to run, unless they are; returns the program, to look into.

        Raises:
            ConfigError: if they need more memory than there is.
        """
        if size in self._programs:
            return self._programs[size]
        started = time.monotonic()
        run = functools.partial(self._run, size=size)

        def jitted(run: Callable[[RunState], Any], state: RunState) -> Any:
            # The state comes back where it was: another placement would compile everything twice.
            where = self._placement.of_state(state)
            results = (where, self._placement.of_metrics)
            return jax.jit(run, donate_argnums=0, in_shardings=(where,), out_shardings=results)

        def export() -> jax.export.Exported:
            state = self.abstract_state()
            return jax.export.export(jitted(run, state))(state)

        kept = self._exported(f"{size} iterations", export)
        if kept is None:
            state = self.abstract_state()
        else:
            state = self._placed(jax.tree.unflatten(kept.in_tree, kept.in_avals)[0][0])
            run = kept.call  # type: ignore[assignment]
        lowered = jitted(run, state).lower(state)
        program = lowered.compile(compiler_options=compiler_options())
        self._check_memory(program)
        self._programs[size] = program
        seconds = time.monotonic() - started
        self.compile_seconds += seconds
        logging.info("Compiled %d iterations in %.1f s.", size, seconds)
        return self._programs[size]

    def _check_memory(self, program: jax.stages.Compiled) -> None:
        num_local = max(1, self._placement.num_devices // jax.process_count())
        needed, free = program_bytes(program, num_local), free_bytes()
        if free is not None and needed > free:
            raise no_room("an iteration", needed, free)

    def trace(self, size: int) -> jax.extend.core.ClosedJaxpr:
        """Returns what `size` iterations consist of, as JAX traces them, to look into."""
        return jax.make_jaxpr(lambda state: self._loop.run(state, size))(self.abstract_state())

    def initial_state(self) -> RunState:
        """Returns the state before the first iteration, where it belongs."""

        def jitted(init: Callable[[], Any], state: RunState) -> Any:
            return jax.jit(init, out_shardings=self._placement.of_state(state))

        def export() -> jax.export.Exported:
            state = jax.eval_shape(self._init_state)
            return jax.export.export(jitted(self._init_state, state))()

        kept = self._exported(f"initial state of seed {self._seed}", export)
        if kept is None:
            lowered = jitted(self._init_state, jax.eval_shape(self._init_state)).lower()
        else:
            lowered = jitted(kept.call, jax.tree.unflatten(kept.out_tree, kept.out_avals)).lower()
        compiled = lowered.compile(compiler_options=compiler_options(runs_once=True))
        with undefined_numbers():
            return compiled()

    def place(self, state: RunState) -> RunState:
        """Returns a state where it belongs."""
        return jax.device_put(state, self._placement.of_state(jax.eval_shape(lambda: state)))

    def abstract_state(self) -> RunState:
        """Shapes, types and places of the state."""
        return self._placed(jax.eval_shape(self._init_state))

    def _placed(self, shapes: RunState) -> RunState:
        return jax.tree.map(
            lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
            shapes,
            self._placement.of_state(shapes),
        )

    def _exported(
        self, name: str, export: Callable[[], jax.export.Exported]
    ) -> jax.export.Exported | None:
        """Returns a traced program of this run, or None if none is kept, or JAX cannot export it."""
        if self.kept is None:
            return None
        try:
            return self.kept.get(name, export)
        except Exception as e:
            # If it cannot be traced either, the error will come again.
            logging.vlog(1, "The program of %s is not kept: %s", name, e)
            return None

    def metric_names(self) -> list[str]:
        """Returns what an iteration reports; found by tracing, without compiling."""
        if self._metric_names is None:
            state = jax.eval_shape(self._init_state)
            self._metric_names = sorted(
                jax.eval_shape(lambda state: self._loop.run(state, 1), state)[1]
            )
        return self._metric_names

    def _run(self, state: RunState, *, size: int) -> tuple[RunState, Metrics]:
        state, metrics = self._loop.run(self._placement.with_copies(state), size)
        return self._placement.without_copies(state, metrics)

    def _init_state(self) -> RunState:
        keys = jax.vmap(jax.random.key)(self._seed + jnp.arange(self._num_seeds))
        return self._loop.init(keys)


def are_finite(roles: Sequence[Role], state: RunState) -> dict[str, jax.Array]:
    """Returns whether all parameters are finite, by role that has some which outlive an iteration."""
    # Not of all that a learner knows: the best fitness of evolution is infinite before there is one.
    params = {name: inner.params for name, inner in state.inner.items()} | {
        role.name: jax.vmap(role.learner.deploy)(state.learners[role.name]).params
        for role in roles
        if role.learner
    }
    finite = jnp.bool_(True)
    return {
        name: jnp.stack(
            [finite, *(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(own))]
        ).all()
        for name, own in params.items()
    }
