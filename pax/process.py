"""What a program asks of JAX: when it starts, and when it compiles."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import jax


def use_all_cores() -> None:
    """On a CPU, makes every core a device, unless JAX was told how many there are.

    To be called before anything else asks JAX for a device.
    """
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))


def enable_compilation_cache() -> None:
    """Keeps compiled programs on disk, unless JAX was told where to keep them, or not to."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    jax.config.update("jax_compilation_cache_dir", str(cache / "pax" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def compiler_options(*, runs_once: bool = False) -> dict[str, Any]:
    """What XLA is asked for, but for what the environment's XLA_FLAGS names.

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
