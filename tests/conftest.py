"""What all tests share: compiled programs."""

import os

import jax
import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Keeps compiled programs, for the next test, the other process, what tests start, and the next run.

    Compiling is most of the time, and many tests compile the same. `pytest --cache-clear` forgets them.
    """
    settings = {
        "jax_compilation_cache_dir": str(config.cache.mkdir("programs")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    # Each process compiles on one core, as there is a process for each.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_parallel_codegen_split_count=1")
