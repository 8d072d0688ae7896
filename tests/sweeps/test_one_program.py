"""`--in_one_program`: a sweep leaves what processes would have left, whatever happens to it on the way."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from absl import flags

from launch import sweep as program
from pax.config.command_line import read_flags
from pax.errors import ConfigError
from pax.metrics.writers import read_metrics
from pax.sweeps.__main__ import computes

ROOT = pathlib.Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

CONFIG = """
from ml_collections import ConfigDict

from pax.configs import ipd
from pax.sweeps import product


def get_config(argument=""):
    config = ipd.get_config("tabular,quicktest")
    config.num_iters, config.num_envs, config.chunk = 100, 4, 2
    config.callbacks.checkpoint.every = 10
    config.evaluation = ConfigDict()
    return config


def get_sweep(argument=""):
    return product(**{"agent1.learning_rate": (0.01, 0.03, 0.1)}, seed=(0, 3))
"""


def start(config, workdir, *argv):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "launch.sweep", f"--config={config}"),
            *(f"--workdir={workdir}", *argv),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    stdout, stderr = process.communicate(timeout=1000)
    return process.returncode, stdout, stderr


def rows_of(run):
    told = ("wall_time", "env_steps_per_second")
    return [
        {key: value for key, value in row.items() if key not in told}
        for row in read_metrics(run / "metrics.jsonl")
    ]


def wait_for(condition, process, seconds=600.0):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("number", (signal.SIGKILL, signal.SIGTERM))
def test_a_sweep_that_is_stopped_goes_on_as_if_it_had_not_been(number, tmp_path):
    config = tmp_path / "mine.py"
    config.write_text(CONFIG)
    folder = tmp_path / "sweep"
    first = start(config, folder)
    wait_for(lambda: (folder / "001" / "checkpoints" / "20").exists(), first)
    os.kill(first.pid, number)
    code, _, _ = finish(first)
    assert code == (-number if number == signal.SIGKILL else 128 + number)
    states = [path.parent.name for path in folder.glob("*/training.json")]
    assert len(states) > 0
    # One of them goes on alone.
    alone = min(states)
    arguments = json.loads((folder / alone / "run.json").read_text())["command"].split()[1:]
    went_on = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert went_on.returncode == 0, went_on.stderr
    code, stdout, stderr = finish(start(config, folder))
    assert code == 0, stdout + stderr
    assert "runs were done before." in stdout
    code, stdout, stderr = finish(start(config, tmp_path / "straight"))
    assert code == 0, stdout + stderr
    for index in range(6):
        run = f"{index:03d}"
        assert json.loads((folder / run / "training.json").read_text())["state"] == "done"
        rows, straight = rows_of(folder / run), rows_of(tmp_path / "straight" / run)
        if run == alone:
            # Another program, in which numbers are rounded in another order.
            assert [row["iteration"] for row in rows] == [row["iteration"] for row in straight]
        else:
            assert rows == straight
    with (folder / "sweep.csv").open() as file:
        assert {row["state"] for row in csv.DictReader(file)} == {"done"}
    assert (folder / "sweep.png").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--in_one_program", "--gpus=0"], "--in_one_program trains all runs in this process, and"),
        (["--in_one_program", "--max_parallel=2"], "and --max_parallel is about several: give one"),
        (["--side_by_side=2", "--noin_one_program"], "--side_by_side=2 is about runs in one"),
        (
            ["--in_one_program", "--config.callbacks.wandb.enabled=True"],
            "which can have pax.callbacks.WandB once: take it away, or give --noin_one_program",
        ),
        (["--factor=9"], "--factor=9 says nothing with --search=grid: give --search=halving, or"),
        (["--search=pbt", "--num_runs=3"], "give --search=random or --search=optuna, or leave"),
    ],
)
def test_flags_that_do_not_fit_are_told(argv, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = flags.FlagValues()
    program.define_flags(given)
    config = f"--config={ROOT}/configs/ipd.py:tabular,quicktest"
    # Where overrides are read from.
    monkeypatch.setattr(sys, "argv", ["launch.sweep", config, "--workdir=out", *argv])
    read_flags(sys.argv, given)
    with pytest.raises(ConfigError) as caught:
        program.main([], given)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_only_starts_others_leaves_accelerators_to_them():
    assert computes(["launch.sweep", "--config=a.py", "--workdir=b"])
    for flag in ("--noin_one_program", "--max_parallel=2", "--gpus=0", "--executor=slurm"):
        assert not computes(["launch.sweep", "--config=a.py", flag])
