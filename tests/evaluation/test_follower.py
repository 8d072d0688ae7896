"""`--follow` beside training, both killed: every checkpoint is evaluated once, and none twice."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = pathlib.Path(__file__).parents[2]
STEPS = [4, 8, 12, 16, 20, 24]
EVALUATIONS = ["as_trained", "defect"]

# Holds training up after iteration 12, before its checkpoint.
CALLBACKS = """
import os
import pathlib
import time

from pax import Callback


class HoldUp(Callback):
    priority = 95

    def on_chunk_end(self, trainer, state, step, metrics):
        reached = os.environ.get("REACHED")
        if step == 12 and reached:
            pathlib.Path(reached).touch()
            time.sleep(120)
"""


@pytest.fixture
def start(tmp_path):
    """Starts a command whose log goes to a file, and ends it with the test."""
    (tmp_path / "my_module.py").write_text(CALLBACKS)
    processes = []

    def start(log, *argv, **environment):
        with (tmp_path / log).open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "pax.main", f"--workdir={tmp_path}/run", *argv],
                cwd=tmp_path,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    **environment,
                },
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=60)


def train(start, log, **environment):
    return start(
        log,
        f"--config={ROOT}/configs/ipd.py:tabular,quicktest",
        "--config.num_iters=24",
        "--config.num_seeds=2",
        "--config.callbacks.evaluation.every=4",
        "--config.callbacks.checkpoint.every=4",
        "--config.callbacks.checkpoint.keep_every=4",
        "--config.extra_callbacks=('my_module.HoldUp',)",
        **environment,
    )


def follow(start, log):
    return start(
        log, "--mode=evaluate", "--follow", "--poll_seconds=0.1", "--allow_imports=my_module"
    )


def wait_for(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def kill(process):
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL


@pytest.mark.slow
def test_both_are_killed(start, tmp_path):
    run = tmp_path / "run"
    results = run / "evaluation.jsonl"

    def log(name):
        return (tmp_path / name).read_text()

    # It waits for a run that is not there, and leaves the folder to training.
    follower = follow(start, "follower1")
    wait_for(lambda: "Waiting for training to start" in log("follower1"))
    assert not run.exists()
    trainer = train(start, "trainer1", REACHED=str(tmp_path / "reached"))
    wait_for((tmp_path / "reached").exists)
    wait_for(lambda: "Evaluated iteration 8 " in log("follower1"))
    waits = "Waiting for the next checkpoint: training was at iteration 8 of 24, ETA "
    wait_for(lambda: waits in log("follower1"))
    kill(trainer)
    assert json.loads((run / "training.json").read_text())["state"] == "training"
    assert follower.poll() is None
    kill(follower)
    # In the middle of a line.
    with results.open("a") as file:
        file.write('{"iteration": 12, "evaluation": "as_tr')
    # The newest checkpoint is lost: training goes back to iteration 4, and saves that of 8 once more.
    (run / "checkpoints" / "8" / "checksums.json").unlink()

    follower = follow(start, "follower2")
    wait_for(lambda: "Waiting for the next checkpoint" in log("follower2"))
    trainer = train(start, "trainer2")
    assert trainer.wait(120) == 0, log("trainer2")
    assert "Resuming at iteration 4 of 24" in log("trainer2")
    stdout, _ = follower.communicate(timeout=60)
    assert follower.returncode == 0, log("follower2")
    assert stdout == (
        "Training ended at iteration 24. Evaluated 4 checkpoints. "
        f"Look at it: tensorboard --logdir={run}\n"
    )
    assert "Traceback" not in log("follower1") + log("follower2")

    # Once each, by what was done as by what was written.
    evaluated = re.findall(r"Evaluated iteration (\d+) ", log("follower1") + log("follower2"))
    assert [int(step) for step in evaluated] == STEPS
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert [(row["iteration"], row["evaluation"]) for row in rows] == [
        (step, name) for step in STEPS for name in EVALUATIONS
    ]
    times = [row["wall_time"] for row in rows if row["evaluation"] == "defect"]
    assert times == sorted(times) and times[0] > 0
    assert json.loads((run / "training.json").read_text()) == {
        "state": "done",
        "iteration": 24,
        "num_iters": 24,
        "reason": None,
        "saved": STEPS,
    }

    # The same numbers as training's own evaluation of the same policies, and the same curves.
    reported = {
        row["iteration"]: row
        for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    }
    shown = EventAccumulator(str(run / "evaluation")).Reload()
    for name in EVALUATIONS:
        tag = f"evaluation/{name}/reward_per_timestep/player_1"
        expected = {step: pytest.approx(reported[step][tag], abs=1e-6) for step in STEPS}
        means = {
            row["iteration"]: sum(row["reward_per_timestep/player_1"]) / 2
            for row in rows
            if row["evaluation"] == name
        }
        assert means == expected
        assert [(event.step, event.value) for event in shown.Scalars(tag)] == list(expected.items())
        assert f"{tag}/std" in shown.Tags()["scalars"]
