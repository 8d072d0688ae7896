"""The benchmark program: what it measures is what it says, its file, comparisons, and errors."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

from launch.benchmark import __main__ as program
from launch.benchmark import devices as benchmark_devices
from launch.benchmark import envs as benchmark_envs
from launch.benchmark import report as benchmark_report
from launch.benchmark import training as benchmark_training
from launch.benchmark.machine import count
from launch.benchmark.timing import Row, Sizes, take_turns
from pax.envs import ENVS, IteratedMatrixGame
from pax.errors import ConfigError

ROOT = pathlib.Path(__file__).parents[2]
QUICK = Sizes(repeats=2, num_envs=4, num_steps=8, min_seconds=0.0, quick=True)


def run(*arguments):
    given = flags.FlagValues()
    program.define_flags(given)
    given(["benchmark", *arguments])
    return program.benchmark(given)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmark") / "new" / "bench.json"
    run("--suite=envs", "--only=IteratedMatrix", "--quick", f"--output={path}")
    return path


def test_the_file_holds_machine_settings_and_every_repeat(measured):
    results = json.loads(measured.read_text())
    assert results["machine"]["num_devices"] == jax.device_count()
    assert results["machine"]["versions"]["jax"] == jax.__version__
    assert results["settings"]["repeats"] == 2
    (row,) = results["rows"]
    assert (row["suite"], row["name"], row["unit"]) == ("envs", "IteratedMatrixGame", "steps/s")
    assert len(row["values"]) == len(row["limit"]["values"]) == 2
    assert row["low"] <= row["median"] <= row["high"]
    assert row["median"] == pytest.approx(np.median(row["values"]))
    table = measured.with_suffix(".md").read_text()
    assert "| IteratedMatrixGame |" in table
    assert "Limit of IteratedMatrixGame: " in table


def test_ratios_to_an_earlier_file_and_a_warning_if_the_machine_was_another(
    measured, tmp_path, capsys
):
    old = json.loads(measured.read_text())
    old["machine"]["cpu"] = "Another"
    for key in ("median", "low", "high"):
        old["rows"][0][key] = 1.0
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old))
    new = run("--suite=envs", "--only=IteratedMatrix", "--quick", f"--compare={path}")
    output = capsys.readouterr()
    assert "Warning: The machine differs: cpu is" in output.err and "'Another'" in output.err
    (line,) = [line for line in output.out.splitlines() if "envs: IteratedMatrixGame" in line]
    faster = float(line.split("|")[-2].split()[0])
    assert faster == pytest.approx(new["rows"][0]["median"], rel=0.01)


def test_seconds_are_better_if_they_are_fewer():
    def results(seconds):
        return {"rows": [Row("startup", "it", "s", [seconds]).to_json()]}

    assert "| 8 | 2 | 4.00 |" in benchmark_report.compared(results(2.0), results(8.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite=env"], "--suite is 'env'"),
        (["--suite=envs", "--only=Chess"], "--only='Chess' is part of no name in --suite=envs"),
        (["--compare=missing.json"], "--compare=missing.json cannot be read"),
        (["--output=/proc/no/bench.json"], "--output=/proc/no/bench.json cannot be written"),
        (["--markdown=/proc/no/bench.md"], "--markdown=/proc/no/bench.md cannot be written"),
    ],
)
def test_errors_are_one_sentence_before_anything_runs(arguments, message, monkeypatch):
    monkeypatch.setattr(program, "describe_machine", lambda: pytest.fail("it began"))
    with pytest.raises(ConfigError) as error:
        run(*arguments)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_nothing_is_written_before_all_is_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "describe_machine", lambda: pytest.fail("it began"))
    with pytest.raises(ConfigError, match="is part of no name"):
        run("--suite=envs", "--only=Chess", f"--output={tmp_path}/new/bench.json")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="cannot be written .it is no regular file."):
        run("--suite=envs", f"--output={tmp_path}/pipe")
    with pytest.raises(ConfigError, match="cannot be read .*no regular file"):
        run("--suite=envs", f"--compare={tmp_path}/pipe")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_file_that_is_no_benchmark_is_refused(tmp_path):
    path = tmp_path / "other.json"
    path.write_text("[]")
    with pytest.raises(ConfigError, match="holds no results of launch.benchmark"):
        benchmark_report.read(str(path))


def test_every_registered_game_is_stepped():
    assert {case.env for case in benchmark_envs.cases().values()} == set(ENVS)


def test_a_rollout_plays_the_game():
    """Sums of what a plain loop sees, with the same draws."""
    env, key = IteratedMatrixGame(num_inner_steps=3), jax.random.key(5)
    total = 0.0
    for episode_key in jax.random.split(key, 2):
        reset_key, step_key = jax.random.split(episode_key)
        for index in range(4):
            seen, state = env.reset(jax.random.split(reset_key, 4)[index], env.default_params)
            total += float(sum(seen))
            for t in range(3):
                keys, actions = benchmark_envs.step_draws(env, jax.random.split(step_key, 3)[t], 4)
                joint = tuple(player[index] for player in actions)
                seen, state, rewards, done, _ = env.step(
                    keys[index], state, joint, env.default_params
                )
                total += float(sum(seen)) + float(sum(rewards)) + float(done)
    assert float(jax.jit(benchmark_envs.rollout(env, 4, 2))(key)) == pytest.approx(total, rel=1e-5)


def test_calls_take_turns_and_short_ones_are_repeated():
    order = []
    take_turns({"a": lambda n: order.append("a"), "b": lambda n: order.append("b")}, repeats=3)
    assert "".join(order) == "aabb" + "ab" * 3
    calls = []
    (seconds,) = take_turns({"a": calls.append}, 1, min_seconds=0.01).values()
    assert len(calls) > 10 and len(set(calls)) == len(calls) and seconds[0] < 0.01


def test_counts_of_a_program_are_those_worked_out_by_hand():
    def it(x, key):
        def body(x, key):
            # 2 x 8 x 4 x 4 operations, 32 functions, 32 draws, five times.
            return jnp.tanh(x @ jnp.ones((4, 4))) + jax.random.uniform(key, (8, 4)), jnp.exp(x)

        # The exponentials are read by nobody.
        return jax.lax.scan(body, x, jax.random.split(key, 5))[0]

    counts = count(jax.make_jaxpr(it)(jnp.zeros((8, 4)), jax.random.key(0)))
    assert counts == {"products": 5 * 256, "functions": 5 * 32, "draws": 5 * 32 + 5}


def test_a_setting_counts_steps_as_the_trainer_does_and_has_a_limit():
    row = benchmark_training.measure("ipd tabular", QUICK, with_limit=False)
    # num_envs x num_inner_steps of the quick test.
    assert row.details["env_steps_per_iteration"] == 10 * 20
    assert row.details["compile_seconds"] > 0 and row.details["peak_memory_mib"] > 50
    again = benchmark_training.from_json(json.loads(json.dumps(row.to_json())))
    assert again == row


def test_a_setting_has_a_section_that_tells_its_bound():
    machine = [
        Row("machine", name, "G/s", [speed]).to_json()
        for name, speed in (("products", 100.0), ("functions", 1.0), ("draws", 1.0))
    ]
    details = {"per_step": {"products": 1000.0, "functions": 40.0, "draws": 1.0}, "aim": 5e6}
    details |= {"compile_seconds": 1.0, "peak_memory_mib": 1.0, "temporary_mib": 1.0}
    limit = Row("training", "it: bare", "steps/s", [8e6], "its networks")
    row = Row("training", "it", "steps/s", [2e6], "config", limit=limit, details=details)
    results = {"rows": [*machine, row.to_json()], "skipped": []}
    results["machine"] = {**program.describe_machine(), "load_at_start": 0.0, "platform": "cpu"}
    text = benchmark_report.to_markdown(results)
    # 1000 products at 1e11 a second are 10 ns, 40 functions 40 ns, of the 500 ns of a step.
    assert "| it | 1 k | 40 | 1 | 2.0% | 8.0% | 0.2% | functions, 12.5 times away |" in text
    assert "### it\n\n" in text and "is missed by 2.5 times. That is 0.25 of its limit, 8 M" in text
    # Without a limit of its own: 10 + 40 + 1 ns of the 500 ns of a step.
    row.limit = None
    text = benchmark_report.to_markdown(results | {"rows": [*machine, row.to_json()]})
    assert "That is 0.10 of its limit, 19.6 M: its products, functions and draws" in text
    assert "| it | 2 M (2 M to 2 M) | 5 M | 19.6 M | 0.10 |" in text
    # What is missed on a busy machine tells nothing.
    results["machine"]["load_at_start"] = 100.0
    assert "is missed" not in benchmark_report.to_markdown(results)
    results["machine"] |= {"load_at_start": 0.0, "stolen": 0.25}
    text = benchmark_report.to_markdown(results)
    assert "Its host gave 25.0% of its cores' time to others. The machine was busy" in text
    assert "is missed" not in text


def test_who_is_slower_is_told_unless_ranges_overlap():
    def text(ours, theirs):
        peer = Row("peers", "other", "steps/s", theirs)
        row = Row("peers", "it", "steps/s", ours, peer=peer)
        machine = program.describe_machine()
        results = {"rows": [row.to_json()], "skipped": [], "machine": machine}
        return benchmark_report.to_markdown(results)

    assert "Slower than other: it, at 0.50 times its speed." in text(
        [1.0, 1.1, 0.9], [2.0, 2.1, 1.9]
    )
    assert "| 0.67 (ranges overlap) |" in text([2.0, 1.0, 3.5], [3.0, 2.0, 4.0])
    assert "| 2.00 |" in text([2.0], [1.0])


@pytest.mark.slow
def test_the_peak_of_a_process_is_not_that_of_who_started_it():
    code = "from launch.benchmark.training import peak_of_process; print(peak_of_process())"
    ballast = np.ones(200 << 20)  # 1.6 GiB, all of it touched.
    assert benchmark_training.peak_of_process() > ballast.nbytes
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 50 << 20 < int(result.stdout) < ballast.nbytes / 2


def test_one_seed_on_several_devices_can_be_divided_by_each_of_them():
    for setting in benchmark_devices.SETTINGS.values():
        assert all(setting.num_envs % number == 0 for number in benchmark_devices.DEVICES)


@pytest.mark.slow
def test_one_seed_on_several_devices_takes_as_many_steps_on_each(tmp_path):
    path = tmp_path / "devices.json"
    run("--suite=devices", "--quick", "--only=cartpole ppo, 8", f"--output={path}")
    rows = json.loads(path.read_text())["rows"]
    assert [row["details"]["devices"] for row in rows] == [1, 2, 4, 8]
    assert len({row["details"]["steps"] for row in rows}) == 1
    assert rows[0]["details"]["times_one"] == 1.0
    assert "opponents (8) over 8 of 8 devices" in rows[3]["what"]
    table = path.with_suffix(".md").read_text()
    assert "| cartpole ppo, 8 envs, 8 devices |" in table
