"""What a program asks of JAX: when it starts, and when it compiles."""

from __future__ import annotations

import contextlib
import logging as python_logging
import os
from collections.abc import Iterator
from typing import Any

import jax
from absl import flags, logging

from pax.errors import ConfigError
from pax.run.files import cache_folder

_OUR_HANDLERS: set[python_logging.Handler] = set()
"""Of log lines, in programs that have none of their own."""


def use_all_cores() -> None:
    """Makes every core a device, on a CPU, unless JAX was told how many there are.

    To be called before anything else asks JAX for a device.
    """
    if not is_told_devices():
        jax.config.update("jax_num_cpu_devices", available_cores())


def is_told_devices() -> bool:
    """Returns whether the environment says how many devices a CPU is."""
    flag = "--xla_force_host_platform_device_count"
    return "JAX_NUM_CPU_DEVICES" in os.environ or flag in os.environ.get("XLA_FLAGS", "")


def available_cores() -> int:
    """Returns how many cores this process may use: all of the machine where the system has no such limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_jax_settings() -> None:
    """Checks what the environment has set JAX to.

    Raises:
        ConfigError: if Pax cannot train that way.
    """
    if jax.dtypes.canonicalize_dtype("float64") == "float64":
        raise ConfigError(
            "JAX_ENABLE_X64 is set, and Pax trains in 32 bits: set JAX_ENABLE_X64=0, or "
            "jax.config.update('jax_enable_x64', False)"
        )
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        raise ConfigError(
            "JAX_DISABLE_JIT is set, and Pax trains in compiled calls: set JAX_DISABLE_JIT=0; to look "
            "inside, use jax.debug.print"
        )


def enable_compilation_cache() -> None:
    """Keeps compiled programs on disk, unless JAX was told where to keep them, or not to."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    cache = cache_folder()
    if cache is None:
        return
    jax.config.update("jax_compilation_cache_dir", str(cache / "pax" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def show_log_lines(quiet: bool = False) -> None:
    """Shows what Pax logs, on stderr, in scripts and notebooks that set up no logging of their own.

    Programs that use `absl.app`, such as `pax.main`, have set it up, and so has who called
    `logging.basicConfig()`, of which level ever: that is another way to silence Pax.

    Args:
        quiet: whether only warnings are shown, until the next call.
    """
    handlers = python_logging.getLogger().handlers
    if flags.FLAGS.is_parsed() or not set(handlers) <= _OUR_HANDLERS:
        return
    if not handlers:
        # What absl would do at the first line, with a format for people.
        python_logging.basicConfig(format="%(message)s")
        _OUR_HANDLERS.update(handlers)
    logging.set_verbosity(logging.WARNING if quiet else logging.INFO)


@contextlib.contextmanager
def undefined_numbers() -> Iterator[None]:
    """Lets compiled programs return numbers that are not finite, while it lasts.

    Statistics of what never happened are NaN on purpose, and so is what evolution has not seen yet. JAX's own
    checks (JAX_DEBUG_NANS, JAX_DEBUG_INFS) would end healthy runs there, and could name only the loop as
    the operation at fault. Trainers check the metrics of training themselves.
    """
    with jax.debug_nans(False), jax.debug_infs(False):
        yield


def compiler_options(*, runs_once: bool = False) -> dict[str, Any]:
    """Returns what XLA is asked for, but for what the environment's XLA_FLAGS names.

    On CPUs, wide vectors where there are any, and LLVM's -O2: -O3 takes a fifth longer to compile, and what
    it unrolls is slower, if it makes a difference (the coin game's shaper takes 1.5 times as long).

    Args:
        runs_once: whether compiling takes longer than running.
    """
    if jax.default_backend() != "cpu":
        return {}
    options = {
        "xla_backend_optimization_level": 0 if runs_once else 2,
        "xla_cpu_prefer_vector_width": 512,
    }
    given = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in options.items() if f"--{name}=" not in given}
