"""What several test modules share."""

import jax
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache


@pytest.fixture(scope="module")
def compilation_cache(tmp_path_factory):
    """For modules whose trainers mostly run the same program: it is compiled once."""
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    directory = str(tmp_path_factory.getbasetemp() / "compilation_cache")
    for name, value in zip(names, (directory, 0.0, -1), strict=True):
        jax.config.update(name, value)
    reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    reset_cache()
