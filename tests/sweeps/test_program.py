"""A sweep ends with all of its runs done, once each, whatever happens to it on the way."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest
from absl import flags

from launch import sweep as program
from pax.errors import ConfigError
from pax.metrics.writers import read_metrics
from pax.run.interrupt import STOP_SIGNALS
from pax.sweeps.curves import draw_curves
from pax.sweeps.folder import SweepRun, claim, runs_of
from pax.sweeps.pool import Pool
from pax.sweeps.table import write_table

ROOT = pathlib.Path(__file__).parents[2]
# How ml_collections loads a file is not ours to change.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

METRIC = "train/reward_per_timestep/player_1"

# Stands for pax.main where only the pool is looked at: it leaves what pax.main would, and says when it ran.
PROGRAM = """
import json, os, pathlib, signal, sys, time
workdir, seconds, fail = pathlib.Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
workdir.mkdir(exist_ok=True)
def say(state, iteration):
    status = {"state": state, "iteration": iteration, "num_iters": 4, "reason": None, "saved": []}
    (workdir / "training.json").write_text(json.dumps(status))
def log(event):
    with open(workdir.parent / "events", "a") as file:
        file.write(f"{event} {workdir.name} {os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}\\n")
def stop(number, frame):
    log(f"signal{number}"); say("stopped", 2); sys.exit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, stop)
tries = workdir / "tries"
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
say("training", 2)
log("start")
time.sleep(seconds)
if len(tries.read_text()) <= fail:
    print("Error: the disk is full", file=sys.stderr)
    sys.exit(1)
say("done", 4)
log("end")
"""


class Fake(SweepRun):
    """Overrides say how long it takes, and how often it fails."""

    @property
    def command(self):
        seconds, fail = self.overrides.get("seconds", 0.0), self.overrides.get("fail", 0)
        return [sys.executable, "-c", PROGRAM, str(self.workdir), str(seconds), str(fail)]


def fakes(folder, *overrides):
    runs = [Fake(index, each, folder, "a.py", {}) for index, each in enumerate(overrides)]
    claim(runs)
    return runs


def events(folder):
    path = folder / "events"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_no_more_runs_at_a_time_than_asked_for_and_each_has_a_gpu_of_its_own(tmp_path):
    runs = fakes(tmp_path, *[{"seconds": 0.3}] * 5)
    pool = Pool(runs, max_parallel=2, gpus=["3", "5"], say=lambda line: None)
    assert pool.work() is None
    running, most = {}, 0
    for event, name, _, gpu in events(tmp_path):
        if event == "start":
            assert gpu in ("3", "5") and gpu not in running.values()
            running[name] = gpu
        else:
            del running[name]
        most = max(most, len(running))
    assert most == 2
    assert all(run.is_done for run in runs)


def test_what_died_is_tried_again_but_not_for_ever(tmp_path):
    said = []
    runs = fakes(tmp_path, {"fail": 1}, {"fail": 9}, {})
    pool = Pool(runs, retries=2, say=said.append)
    assert pool.work() is None
    tries = [len((run.workdir / "tries").read_text()) for run in runs]
    assert tries == [2, 3, 1]
    assert pool.failed == [runs[1]]
    assert "001 ended with code 1: starting it again, try 3 of 3" in said
    assert said[-1] == f"001 ended with code 1, see {runs[1].log}: Error: the disk is full"
    # Asked again, it tries again; what is done stays as it is.
    Pool(runs, retries=0, say=said.append).work()
    assert [len((run.workdir / "tries").read_text()) for run in runs] == [2, 4, 1]
    assert "2 of 3 runs were done before." in said


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_passed_on_once_and_nothing_else_starts(number, tmp_path, signals_received):
    runs = fakes(tmp_path, {"seconds": 60}, {"seconds": 60}, {})

    def interrupt():
        wait_for(lambda: len(events(tmp_path)) == 2)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    pool = Pool(runs, max_parallel=2, say=lambda line: None)
    assert pool.work() == number
    thread.join(60)
    assert signals_received == []
    assert sorted(event[:2] for event in events(tmp_path)[2:]) == [
        [f"signal{number}", "000"],
        [f"signal{number}", "001"],
    ]
    assert [run.state for run in runs] == ["stopped", "stopped", "waiting"]
    assert pool.failed == []


@pytest.mark.slow
def test_a_run_that_outlived_its_sweep_is_waited_for(tmp_path):
    """The first program is killed alone; the second one must not train beside what it left."""
    runs = fakes(tmp_path, {"seconds": 2}, {})
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import pathlib\n"
        "from tests.sweeps.test_program import Fake, Pool\n"
        "folder = pathlib.Path(sys.argv[2])\n"
        "Pool([Fake(0, {'seconds': 2}, folder, 'a.py', {})]).work()"
    )
    first = subprocess.Popen([sys.executable, "-c", code, str(ROOT), str(tmp_path)], cwd=ROOT)
    wait_for(lambda: events(tmp_path))
    first.kill()
    first.wait(60)
    assert len(events(tmp_path)) == 1
    said = []
    assert Pool(runs, max_parallel=2, say=said.append).work() is None
    assert said[0] == "000 is being trained by another process: waiting for it"
    assert [(run.workdir / "tries").read_text() for run in runs] == ["x", "x"]
    assert sorted(event[:2] for event in events(tmp_path)) == [
        ["end", "000"],
        ["end", "001"],
        ["start", "000"],
        ["start", "001"],
    ]


def test_a_folder_holds_one_sweep_that_may_grow(tmp_path):
    def plan(*overrides, common=None):
        return runs_of(tmp_path / "s", "a.py", common or {}, overrides)

    claim(plan({"seed": 1}, {"seed": (1, 2)}))
    claim(plan({"seed": 1}, {"seed": (1, 2)}, {"seed": 3}))
    before = (tmp_path / "s" / "sweep.json").read_text()
    for other in (
        plan({"seed": 1}, {"seed": 9}, {"seed": 3}),
        plan({"seed": 1}),
        plan({"seed": 1}, {"seed": (1, 2)}, {"seed": 3}, common={"num_envs": 4}),
    ):
        with pytest.raises(ConfigError, match="holds another sweep .*: name another folder"):
            claim(other)
    assert (tmp_path / "s" / "sweep.json").read_text() == before
    (tmp_path / "s" / "sweep.json").write_text("")
    with pytest.raises(
        ConfigError, match=r"s/sweep.json cannot be read \(Expecting value.* another"
    ):
        claim(plan({"seed": 1}))
    with pytest.raises(ConfigError, match="is not empty and holds no sweep"):
        claim(runs_of(tmp_path, "a.py", {}, [{}]))
    with pytest.raises(ConfigError, match="--config.seed=5 is a setting that the sweep sets"):
        plan({"num_envs": 1}, {"seed": 1}, common={"seed": 5})


def test_a_population_and_a_sweep_whose_runs_train_apart_share_no_folder(tmp_path):
    """The one would go on from runs that are further, the other show settings that runs no longer have."""
    apart = runs_of(tmp_path / "apart", "a.py", {}, [{"a": 1.0}, {"a": 2.0}])
    population = runs_of(tmp_path / "population", "a.py", {}, [{"a": 1.0}, {"a": 2.0}])
    for _ in range(2):
        claim(apart)
        claim(population, are_population=True)
    with pytest.raises(ConfigError, match="whose runs train apart, .*: name another folder"):
        claim(apart, are_population=True)
    with pytest.raises(ConfigError, match="holds a population, .*: give --search=pbt, or name"):
        claim(population)


def metrics(run, *rows):
    run.workdir.mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (run.workdir / "metrics.jsonl").write_text(text)


def test_the_table_is_sorted_and_has_what_was_reported_last(tmp_path):
    runs = fakes(tmp_path, {"a": 1}, {"a": 2, "b": "x|y"}, {"a": 3}, {"a": 4})
    metrics(runs[0], {"iteration": 2, "m": 9.0}, {"iteration": 4, "m": 1.0})
    # The last row of all is not the last one that has the metric.
    metrics(runs[1], {"iteration": 4, "m": 2.5}, {"iteration": 6, "n": 0.0})
    metrics(runs[2], {"iteration": 4, "m": None})
    text = write_table(runs, "m", ascending=False)
    assert text == "\n".join(
        [
            "| run | a   | b    | state   | iteration | m   |",
            "|-----|-----|------|---------|-----------|-----|",
            "| 001 | 2   | x\\|y | waiting | 6         | 2.5 |",
            "| 000 | 1   |      | waiting | 4         | 1   |",
            "| 002 | 3   |      | waiting | 4         |     |",
            "| 003 | 4   |      | waiting | 0         |     |",
        ]
    )
    assert (tmp_path / "sweep.md").read_text() == text + "\n"
    write_table(runs, "m", ascending=True)
    with (tmp_path / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["000", "001", "002", "003"]
    assert rows[1]["b"] == "x|y"
    with pytest.raises(ConfigError, match="no run reports --metric=mm: did you mean m?"):
        write_table(runs, "mm", ascending=False)


def test_settings_that_ran_with_several_seeds_have_intervals(tmp_path):
    """Of one run with three seeds, and of three runs with one each."""
    runs = fakes(tmp_path, {"a": 1}, *({"a": 2, "seed": seed} for seed in (0, 1, 2)), {"a": 3})
    metrics(runs[0], {"iteration": 2, "m": 3.0, "m/std": 2.0})
    (runs[0].workdir / "metrics_seeds.jsonl").write_text('{"iteration": 2, "m": [1.0, 3.0, 5.0]}\n')
    for run, value in zip(runs[1:4], (1.0, 5.0, 3.0), strict=True):
        metrics(run, {"iteration": 2, "m": value})
    # Of an earlier version: three seeds, of which only the mean is known.
    metrics(runs[4], {"iteration": 2, "m": 3.0, "m/std": 2.0})
    text = write_table(runs, "m", ascending=False)
    assert text.count("Over seeds:") == 1
    with (tmp_path / "sweep_seeds.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["a"], second["a"]) == ("1", "2")
    for row in (first, second):
        assert (row["seeds"], row["m"], row["estimate"]) == ("3", "3", "mean, t interval")
        half = 4.30265273 * 2.0 / 3**0.5
        assert [float(row["low"]), float(row["high"])] == pytest.approx(
            [3 - half, 3 + half], abs=1e-4
        )


def test_intervals_over_seeds_are_of_runs_that_trained_as_long(tmp_path):
    """A run that failed, or was left behind, reports less training; one that ended itself does not."""
    runs = fakes(tmp_path, *({"seed": seed} for seed in range(4)))
    for run, at, value in zip(runs, (6, 6, 2, 4), (1.0, 2.0, 50.0, 3.0), strict=True):
        metrics(run, {"iteration": at, "m": value})
    status = {"state": "done", "iteration": 4, "num_iters": 6, "reason": "plateau", "saved": []}
    (runs[3].workdir / "training.json").write_text(json.dumps(status))
    write_table(runs, "m", ascending=False)
    with (tmp_path / "sweep_seeds.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["seeds"], row["iteration"], row["m"]) == ("3", "6", "2")


def test_one_unreadable_file_does_not_cost_the_table_of_the_others(tmp_path, caplog):
    runs = fakes(tmp_path, {"a": 1}, {"a": 2})
    metrics(runs[0], {"iteration": 2, "m": 9.0})
    metrics(runs[1], {"iteration": 2, "m": 1.0})
    (runs[1].workdir / "metrics.jsonl").write_text('{"iter\n{"iteration": 4, "m": 1.0}\n')
    text = write_table(runs, "m", ascending=False)
    assert "| 000 | 1   | waiting | 2         | 9   |" in text
    assert "| 001 | 2   | waiting | 0         |     |" in text
    assert caplog.text.count("Run 001 has no metrics in the table") == 1
    draw_curves(runs, "m", ascending=False)
    assert (tmp_path / "sweep.png").exists()
    # What is told of seeds is lost alone.
    (runs[0].workdir / "metrics_seeds.jsonl").write_text("x\n\n")
    write_table(runs, "m", ascending=False)
    assert "Run 000 has no part in the table over seeds" in caplog.text


def test_a_cell_of_the_table_is_one_line(tmp_path):
    runs = runs_of(tmp_path, "a.py", {}, [{"b": "x\ny"}])
    claim(runs)
    (line,) = [line for line in write_table(runs, "m", ascending=True).splitlines() if "x" in line]
    assert "| x y |" in line


SWEEP = f"--config={ROOT}/configs/ipd.py:tabular,quicktest"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--gpus=a,b"], "--gpus=a,b names 'a': give numbers of GPUs, as in 0,1"),
        (["--gpus=-1"], "--gpus=-1 names '-1'"),
        (["--gpus=0,0"], "--gpus=0,0 names 0 twice"),
        (["--gpus=0,1", "--max_parallel=3"], "--max_parallel=3 is more than the 2 of --gpus=0,1"),
        (["--gpus=0", "--executor=slurm"], "--gpus=0 are of this machine, and --executor=slurm"),
        (
            ["--metric=train/reward_per_timestep/player_3"],
            "no run reports --metric=train/reward_per_timestep/player_3: did you mean",
        ),
        (
            ["--metric=evaluation/as_trained/reward_per_timestep/player_3", "--executor=slurm"],
            "no run reports --metric=evaluation/as_trained/reward_per_timestep/player_3: did you mean",
        ),
        ([f"--workdir={ROOT}/docs"], "docs is not empty and holds no sweep"),
        ([f"--workdir={ROOT}/docs", "--executor=slurm"], "docs is not empty and holds no sweep"),
        ([f"--workdir={ROOT}/README.md"], "README.md, which is a file: give a folder"),
    ],
)
@pytest.mark.parametrize("dry_run", ([], ["--dry_run"]))
def test_all_is_checked_before_anything_starts(argv, message, dry_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = flags.FlagValues()
    program.define_flags(given)
    given(["launch.sweep", SWEEP, "--workdir=out", *dry_run, *argv])
    with pytest.raises(ConfigError) as caught:
        program.main([], given)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "metric",
    ("wall_time", "train/agent1/entropy", "evaluation/defect/reward_per_timestep/player_1"),
)
def test_what_is_reported_may_be_shown(metric, tmp_path, capsys):
    given = flags.FlagValues()
    program.define_flags(given)
    given(
        ["launch.sweep", SWEEP, f"--workdir={tmp_path / 'out'}", "--dry_run", f"--metric={metric}"]
    )
    assert program.main([], given) == 0
    assert "-m pax.main" in capsys.readouterr().out and list(tmp_path.iterdir()) == []


# What follows trains.

CONFIG = """
from ml_collections import ConfigDict

from pax.configs import ipd
from pax.sweeps import product


def get_config(argument="3"):
    config = ipd.get_config("tabular,quicktest")
    config.num_iters, config.num_envs = 8, 4
    config.evaluation = ConfigDict()
    return config


def get_sweep(argument="3"):
    return product(seed=range(int(argument)))
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "mine.py").write_text(CONFIG)
    return folder / "mine.py"


def start(config, num_runs, workdir, *argv):
    command = [sys.executable, "-m", "launch.sweep", f"--config={config}:{num_runs}"]
    return subprocess.Popen(
        [*command, f"--workdir={workdir}", *argv],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


def family(pid):
    """A process and all that it started."""
    found = [pid]
    for parent in found:
        children = pathlib.Path(f"/proc/{parent}/task/{parent}/children")
        found += [int(child) for child in children.read_text().split()] if children.exists() else []
    return found


def endings(workdir):
    """How often each run said that it reached its end."""
    return {
        path.stem: path.read_text().count("Done at iteration 8 after ")
        for path in sorted((workdir / "logs").glob("*.log"))
    }


def kill_halfway_and_go_on(config, num_runs, workdir, max_parallel):
    argv = [f"--max_parallel={max_parallel}"]
    first = start(config, num_runs, workdir, *argv)
    half = num_runs // 2
    # One that is done, and one that is in the middle of its training or about to be.
    wait_for(lambda: sum(endings(workdir).values()) >= half, 300)
    wait_for(lambda: len(list((workdir / "logs").glob("*.log"))) > half)
    members = family(first.pid)
    assert len(members) > 1
    for pid in members:
        os.kill(pid, signal.SIGKILL)
    finish(first)
    before = endings(workdir)
    assert half <= sum(before.values()) < num_runs

    code, stdout, stderr = finish(start(config, num_runs, workdir, *argv))
    assert code == 0, stdout + stderr
    assert stdout.startswith(f"{sum(before.values())} of {num_runs} runs were done before.\n")
    assert endings(workdir) == {f"{index:03d}": 1 for index in range(num_runs)}
    for index in range(num_runs):
        run = workdir / f"{index:03d}"
        assert json.loads((run / "training.json").read_text())["state"] == "done"
        assert json.loads((run / "run.json").read_text())["config"]["seed"] == index
        rows = read_metrics(run / "metrics.jsonl")
        assert [row["iteration"] for row in rows] == [2, 4, 6, 8]
    with (workdir / "sweep.csv").open() as file:
        table = list(csv.DictReader(file))
    last = {
        f"{index:03d}": read_metrics(workdir / f"{index:03d}" / "metrics.jsonl")[-1][METRIC]
        for index in range(num_runs)
    }
    assert [row["run"] for row in table] == sorted(last, key=lambda name: -last[name])
    for row in table:
        assert float(row[METRIC]) == pytest.approx(last[row["run"]], rel=1e-5)
        assert (row["state"], row["iteration"], int(row["seed"])) == ("done", "8", int(row["run"]))
    return stdout


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on(config, tmp_path):
    kill_halfway_and_go_on(config, 3, tmp_path / "sweep", max_parallel=1)


@pytest.mark.slow
def test_a_sweep_of_twelve_runs_that_is_killed_goes_on(config, tmp_path):
    stdout = kill_halfway_and_go_on(config, 12, tmp_path / "sweep", max_parallel=2)
    # A row per run, and one of their settings, which are the same, over all seeds; each table has a head.
    assert stdout.count("\n| ") == (1 + 12) + (1 + 1)


def test_bad_overrides_are_told_before_anything_starts(config, tmp_path):
    path = tmp_path / "bad.py"
    path.write_text(
        CONFIG.replace("product(seed=range(int(argument)))", "[{'seed': 1}, {'sed': 2}]")
    )
    code, stdout, stderr = finish(start(path, 2, tmp_path / "out"))
    assert (code, stdout) == (1, "")
    assert stderr == (
        "Error: run 001 of the sweep (sed=2): sed is no setting: the config has no 'sed', did you mean "
        "seed?\n"
    )
    assert not (tmp_path / "out").exists()
