"""What all tests share: compiled programs."""

import os
import signal

import jax
import jaxlib.version
import pytest

from pax.callbacks import Curves
from pax.run.interrupt import STOP_SIGNALS
from tests.app_server import app_server

# Each process compiles on one core, as there is a process for each.
XLA_FLAGS = "--xla_cpu_parallel_codegen_split_count=1"
# Programs of quick tests run for milliseconds: compiled with the least effort, they take a third of the time.
# A flag that XLA does not know ends the process, and these are flags of one version.
if jaxlib.version.__version__.startswith("0.10."):
    XLA_FLAGS_OF_QUICK_TESTS = (
        f"{XLA_FLAGS} --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
        "--xla_cpu_use_fusion_emitters=false"
    )
else:
    XLA_FLAGS_OF_QUICK_TESTS = XLA_FLAGS


def pytest_configure(config: pytest.Config) -> None:
    """Keeps compiled programs, for the next test, the other process, what tests start, and the next run.

    Compiling is most of the time, and many tests compile the same. `pytest --cache-clear` forgets them.
    """
    settings = {
        "jax_compilation_cache_dir": str(config.cache.mkdir("programs")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        # The only such cache is of GPUs, and its path would be part of what names a program.
        "jax_persistent_cache_enable_xla_caches": "none",
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    is_quick = config.option.markexpr == "not slow"
    os.environ.setdefault("XLA_FLAGS", XLA_FLAGS_OF_QUICK_TESTS if is_quick else XLA_FLAGS)


DRAW = Curves._draw


@pytest.fixture(scope="session", autouse=True)
def runs_without_curves():
    """Has runs leave no `curves.png`: it takes longer than many a run of a test."""
    Curves._draw = lambda self, trainer: None
    yield
    Curves._draw = DRAW


@pytest.fixture(autouse=True)
def runs_with_curves(request, monkeypatch):
    """Has those of a test with the marker `draws_curves` leave one."""
    if request.node.get_closest_marker("draws_curves"):
        monkeypatch.setattr(Curves, "_draw", DRAW)


@pytest.fixture(scope="session")
def app(tmp_path_factory):
    """Runs programs as processes that need not import Pax first: see `app_server`."""
    with app_server(tmp_path_factory.mktemp("app")) as run:
        yield run


@pytest.fixture
def signals_received():
    """Signals that ask to stop, as they reach this process; whatever was done about them is undone.

    What started the tests may have had some of them ignored, as nohup does, and as shells do in the
    background.
    """
    received = []
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, frame: received.append(signal.Signals(number)))
    yield received
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def ctrl_c_works():
    """What a test starts heeds SIGINT, and so does this process, also if it was started in the background."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
