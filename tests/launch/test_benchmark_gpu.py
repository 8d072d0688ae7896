"""The benchmark of a GPU, with CPUs in its place: what is compared, when it stops, and what failures say."""

import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

from launch.benchmark import __main__ as program
from launch.benchmark import agreement, gpu, growth, kernels, report, training
from launch.benchmark.apart import ApartError, run_apart
from launch.benchmark.timing import Row, Sizes, TimeIsUpError
from pax.errors import ConfigError, PaxError

ROOT = pathlib.Path(__file__).parents[2]
QUICK = Sizes(repeats=2, num_envs=4, num_steps=8, min_seconds=0.0, quick=True, rehearse=True)


def run(*arguments):
    given = flags.FlagValues()
    program.define_flags(given)
    given(["benchmark", *arguments])
    return program.benchmark(given)


def training_row(rate, scale=1):
    details = {"program_mib": 2.0, "peak_memory_mib": 3.0, "compile_seconds": 1.0}
    details |= {"temporary_mib": 1.0}
    return Row("training", "it", "steps/s", [rate], details={**details, "scale": scale})


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="there is one")
def test_without_a_gpu_it_says_so_in_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"^--suite=gpu needs a GPU, .* or add --rehearse$"):
        run("--suite=gpu", f"--output={tmp_path}/new/gpu.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--rehearse", "--minutes=5"])
def test_flags_of_this_suite_are_refused_elsewhere(flag):
    with pytest.raises(ConfigError, match="is of no use with --suite=envs: add --suite=gpu"):
        run("--suite=envs", flag)


def test_all_training_settings_and_ten_configs_are_in_it():
    names = list(program.plan(["gpu"], QUICK))
    assert sum(name.startswith("gpu: agreement of one iteration") for name in names) == 10
    assert sum(name.startswith("gpu: agreement of a run that begins") for name in names) == 2
    for setting in training.SETTINGS:
        assert f"gpu: training {setting}" in names
    assert "gpu: large ipd shaper, 1000 candidates" in names


def test_a_part_that_fails_is_told_and_the_rest_goes_on(monkeypatch, tmp_path, capsys):
    def fails():
        raise ApartError("it failed (out of memory)", "")

    def is_late():
        gpu.Clock(minutes=-1.0).share(60.0)

    wrong = agreement.judged(Row("agreement", "b", "difference", [0.5], "reward"))
    calls = {"a": fails, "b": lambda: wrong, "c": is_late, "d": lambda: [training_row(1e6)]}
    monkeypatch.setitem(program.OTHERS, "gpu", lambda sizes: calls)
    path = tmp_path / "gpu.json"
    with pytest.raises(PaxError, match="^2 failed, see above$"):
        run("--suite=gpu", "--rehearse", f"--output={path}")
    said = capsys.readouterr().err
    assert "Error: gpu: a could not be measured: it failed (out of memory)\n" in said
    assert "Error: gpu: b: the largest difference is 5.0e-01, above 1e-04 (reward)\n" in said
    assert "3 of 4 measured, ETA " in said and "gpu: d" in said
    results = json.loads(path.read_text())
    assert [row["name"] for row in results["rows"]] == ["b", "it"]
    assert results["skipped"] == [
        "gpu: c is left out: the time is up, give more --minutes, or name it by --only"
    ]
    table = path.with_suffix(".md").read_text()
    assert "| b | 5.0e-01 | 1e-04 |" in table and "gpu: a could not be measured" in table


def test_time_is_shared_until_it_is_up():
    clock = gpu.Clock(minutes=1.0)
    assert clock.share(40.0) == 40.0
    # Whoever asks first has had it running already: the script ends all of it when it is up.
    before = clock.left()
    time.sleep(0.01)
    assert clock.left() <= before - 0.01 and gpu.Clock(minutes=1.0).left() < 60.0
    assert 59.0 < clock.share(100.0) <= 60.0
    assert 29.0 < clock.share(100.0, of_all=0.5) <= 30.0
    with pytest.raises(TimeIsUpError):
        gpu.Clock(minutes=0.2).share(100.0)
    with pytest.raises(TimeIsUpError, match=r"^its part of the time \(20%\) is up, give more"):
        gpu.Clock(minutes=1.0).share(100.0, of_all=0.2)


def test_what_the_end_of_the_time_ends_has_not_failed():
    def takes(clock, seconds, is_late):
        def call():
            clock._started -= seconds
            raise ApartError("it took longer than 9 s", "", is_late)

        return clock.within(call, of_all=0.5)

    with pytest.raises(
        TimeIsUpError, match=r"^the time is up \(it took .*\), give more --minutes$"
    ):
        takes(gpu.Clock(minutes=1.0), 30.0, is_late=True)
    # It was ended long before, or by itself.
    for seconds, is_late in ((20.0, True), (30.0, False)):
        with pytest.raises(ApartError):
            takes(gpu.Clock(minutes=1.0), seconds, is_late)


@pytest.mark.parametrize(
    ("rates", "scales", "why"),
    [
        ([1.0, 10.0, 11.0], [1, 16, 256], "the rate no longer grows"),
        ([1.0, 10.0, 100.0, 1000.0], [1, 16, 256, 4096], "the largest size that is tried"),
        ([1.0, PaxError("too large")], [1], "memory, at 16 times the size"),
        (
            [1.0, 9.0, jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no room")],
            [1, 16],
            "memory, at 256 times the size",
        ),
    ],
)
def test_batches_grow_until_it_is_of_no_use(rates, scales, why, monkeypatch):
    waiting = iter(rates)

    def measure(name, sizes, with_limit):
        rate = next(waiting)
        if isinstance(rate, Exception):
            raise rate
        return training_row(rate, sizes.scale)

    monkeypatch.setattr(growth, "measure", measure)
    monkeypatch.setattr(growth.gc, "collect", lambda: None)
    growing, found = growth.grow("it", Sizes(), seconds=1000.0), []
    with pytest.raises(StopIteration) as end:
        while True:
            found.append(next(growing))
    assert end.value.value == why
    assert [row.details["scale"] for row in found] == scales
    assert [row.name for row in found][1:] == [f"it, x{scale}" for scale in scales[1:]]


def test_no_larger_batch_is_begun_than_there_is_time_for(monkeypatch):
    monkeypatch.setattr(growth, "measure", lambda name, sizes, with_limit: training_row(1.0))
    growing = growth.grow("it", Sizes(), seconds=0.0)
    assert next(growing).name == "it"
    with pytest.raises(StopIteration) as end:
        next(growing)
    assert end.value.value == "the time is up"


def test_what_was_measured_before_a_process_died_is_kept(monkeypatch):
    row = training_row(1e6).to_json()

    def dies(*command, environment, limit):
        raise ApartError("it failed (killed)", f"a line\n{json.dumps(row)}\n")

    monkeypatch.setattr(growth, "run_apart", dies)
    (found,) = growth.grow_apart("it", QUICK, 1.0, 1.0)
    assert found.values == [1e6] and found.details["ended"] == "it failed (killed)"
    lines = [json.dumps(row), json.dumps({"ended": "the time is up"})]
    (found,) = growth.rows_of("\n".join(lines))
    assert found.details["ended"] == "the time is up"
    results = {"rows": [row, {**found.to_json(), "suite": "filling", "name": "it, x16"}]}
    text = report.to_markdown({**results, "skipped": [], "machine": program.describe_machine()})
    filling = text.partition("### Training that fills the card")[2]
    assert "| it | 1 M (1 M to 1 M) | 1.0 | 2.0 | 3 |  |  |" in filling
    assert "| it, x16 | 1 M (1 M to 1 M) | 1.0 | 2.0 | 3 |  | the time is up |" in filling


@pytest.mark.usefixtures("ctrl_c_works")
def test_an_interruption_ends_what_is_compared(monkeypatch):
    """Else Python would wait for threads, and they for processes."""
    ended = []

    def compare(*arguments):
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            run_apart("timeit", "-n1", "-r1", "import time; time.sleep(60)", environment={})
        finally:
            ended.append(time.monotonic())

    monkeypatch.setattr(agreement, "compare_iteration", compare)
    calls = agreement.rows({}, {}, lambda: 60.0, lambda name: "ipd.py:tabular" in name)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(iter(calls.values()))()
    while not ended and time.monotonic() < started + 30.0:
        time.sleep(0.01)
    assert ended and ended[0] < started + 30.0


def test_tables_say_what_they_are_and_what_is_missing():
    sizes = {"rehearse": True, "quick": True}
    results = {"rows": [], "machine": program.describe_machine(), "settings": sizes}
    results |= {"waiting": ["gpu: b", "gpu: c"], "skipped": ["a is left out: it"]}
    text = report.to_markdown(results)
    assert text.startswith("**A rehearsal**: CPU devices stand in for a GPU")
    assert "**Not all is measured**: 2 are missing, gpu: b; gpu: c." in text
    assert text.endswith("### Left out\n\n- a is left out: it")
    text = report.to_markdown({**results, "settings": {}, "waiting": [], "failed": ["b failed"]})
    assert "missing" not in text and "rehearsal" not in text
    assert text.endswith("### Failed\n\n- b failed")


def test_a_process_that_takes_too_long_is_ended():
    with pytest.raises(ApartError, match=r"^timeit took longer than 0 s$"):
        run_apart("timeit", "-n1", "-r1", "import time; time.sleep(60)", environment={}, limit=0.3)


@pytest.mark.parametrize(
    ("times", "idle", "short", "long", "bound"),
    [
        # Of 100 us, 30 us of a long kernel and 2 us of a short one: for 68 us nothing runs.
        ([("a", 0, 30), ("b", 98, 2)], 0.68, 0.02, 0.3, "starting kernels"),
        # The second begins within the first: what they share counts once.
        ([("a", 0, 60), ("b", 40, 60)], 0.0, 0.0, 1.0, "the kernels themselves, a first (60%)"),
    ],
)
def test_what_bounds_kernels(times, idle, short, long, bound):
    found = kernels.summary(
        [kernels.Kernel(name, 1e-6 * start, 1e-6 * seconds) for name, start, seconds in times]
    )
    assert [found[name] for name in ("idle", "short", "long")] == pytest.approx(
        [idle, short, long], abs=1e-9
    )
    assert found["bound"] == bound


def test_operations_of_a_profile_are_counted(tmp_path):
    """Three rounds of a loop, each with a sort, which nothing is fused with; it may be more than one."""
    step = lambda x, _: (jnp.sort(x)[::-1], None)  # noqa: E731
    program = jax.jit(lambda x: jax.lax.scan(step, x, length=3)[0])
    x = jnp.arange(64.0)
    program(x).block_until_ready()
    with jax.profiler.trace(tmp_path):
        program(x).block_until_ready()
    found = kernels.read_kernels(tmp_path)
    number = sum(kernel.name.startswith("sort") for kernel in found)
    assert number >= 3 and number % 3 == 0
    assert not any(kernel.name.startswith("while") for kernel in found)


def test_differences_are_relative_above_one_and_undefined_numbers_agree():
    ours = {"a": 100.0, "b": 0.1, "c": math.nan, "d": None}
    others = {"a": 100.5, "b": 0.102, "c": None, "d": math.nan}
    assert agreement.largest_difference(ours, others) == (pytest.approx(0.5 / 100.5), "a")
    assert agreement.largest_difference({"a": 1.0}, {}) == (math.inf, "a")
    assert agreement.largest_difference({"a": 1.0}, {"a": math.nan}) == (math.inf, "a")
    assert agreement.largest_difference({}, {}) == (0.0, "")


def test_a_state_of_one_kind_is_that_of_the_other(tmp_path):
    state = {"key": jax.random.split(jax.random.key(3), 2), "x": jnp.arange(3.0)}
    np.savez(tmp_path / "s.npz", *map(agreement.as_numbers, jax.tree.leaves(state)))
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
    )
    found = agreement.with_numbers(shapes, str(tmp_path / "s.npz"))
    assert (jax.random.key_data(found["key"]) == jax.random.key_data(state["key"])).all()
    assert (found["x"] == state["x"]).all()


@pytest.mark.slow
def test_the_rehearsal_on_another_number_of_devices(tmp_path):
    """Through the script, as on a machine with a GPU that has all installed; a few parts of it."""
    variables = {"OUT": str(tmp_path), "PYTHON": sys.executable, "INSTALL": "0", "REHEARSE": "1"}
    for only in ("ipd ppo", "a run that begins on", "fishery.py:ppo", "1000 candidates"):
        done = subprocess.run(
            ["bash", ROOT / "launch/benchmark/gpu.sh", f"--only={only}"],
            env={**os.environ, **variables, "MINUTES": "60"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        results = json.loads((tmp_path / "gpu.json").read_text())
        assert not results["failed"] and not results["skipped"] and results["rows"]
        assert (tmp_path / "gpu.md").read_text() in (tmp_path / "log.txt").read_text()


@pytest.mark.slow
def test_the_script_wants_a_gpu(tmp_path):
    """As there is no program that finds one."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname", "mkdir"):
        (programs / name).symlink_to(f"/bin/{name}")
    done = subprocess.run(
        ["bash", ROOT / "launch/benchmark/gpu.sh"],
        env={"PATH": str(programs), "PYTHON": sys.executable, "OUT": str(tmp_path / "out")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "Error: nvidia-smi finds no GPU here: use a machine with one, or REHEARSE=1\n"
    )
