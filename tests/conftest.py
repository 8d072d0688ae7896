"""What all tests share: compiled programs."""

import jax
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Many tests run the same programs: these are compiled once, for all processes of this run of tests."""
    root = tmp_path_factory.getbasetemp()
    # A process of pytest-xdist has a folder of its own beside those of the others.
    shared = root.parent if root.name.startswith("popen-") else root
    jax.config.update("jax_compilation_cache_dir", str(shared / "compilation_cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    reset_cache()
