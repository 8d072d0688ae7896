"""`kill -9` at random moments: whatever a run was doing, it ends as one that was never killed.

    pytest -m slow tests/run/test_kill_anywhere.py

Moments are spread over all of a run: its start, compiling, training, saving and its end.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
TIMES = ("wall_time", "env_steps_per_second")
KILLS = int(os.environ.get("KILLS", 25))
"""Of each kind of run."""

OFTEN = [
    "--config.callbacks.scalars.every=2",
    "--config.callbacks.scalars.each_iteration=True",
    "--config.callbacks.evaluation.every=4",
    "--config.callbacks.checkpoint.every=4",
    "--config.callbacks.progress.enabled=False",
    "--config.chunk=2",
]
RUNS = {
    "gradient": ["configs/ipd.py:ppo,opponent=self,quicktest", "--config.num_iters=100"],
    "evolution": ["configs/ipd.py:shaper,quicktest", "--config.num_iters=40"],
    # Done after 20 looks, at iteration 40.
    "early_stop": [
        "configs/ipd.py:tabular,quicktest",
        "--config.num_iters=100",
        "--config.extra_callbacks=(('callbacks.EarlyStop', {'monitor': "
        "'train/reward_per_timestep/player_1', 'threshold': -100.0, 'patience': 20, 'every': 2}),)",
    ],
    "pictures": [
        "configs/ipd.py:tabular,quicktest",
        "--config.num_iters=20",
        "--config.callbacks.pictures.enabled=True",
        "--config.callbacks.pictures.every=6",
    ],
}

# Importing takes longer than these runs, and writes nothing: one process imports, and a fork of it runs each.
SERVER = """
    import json, os, signal, sys, time, traceback, warnings

    import callbacks
    from pax import main
    import orbax.checkpoint

    warnings.simplefilter("ignore")  # JAX has a word to say about forks.

    for line in sys.stdin:
        request = json.loads(line)
        sys.argv = ["main.py", *request["argv"]]
        pid = os.fork()
        if not pid:
            for stream in (1, 2):
                os.dup2(os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
            code = 1
            try:
                main.run()
            except SystemExit as end:
                code = end.code
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else code is not None)
        deadline = time.monotonic() + request["seconds"]
        ended, status = 0, 0
        while not ended and time.monotonic() < deadline:
            time.sleep(0.001)
            ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
        print(os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Runs a command for so many seconds at most, and then kills it; gives the exit code."""
    folder = tmp_path_factory.mktemp("server")
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVER)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(argv, log, seconds):
        request = {"argv": argv, "log": str(log), "seconds": seconds}
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield run
    process.stdin.close()
    process.wait(timeout=20)
    process.stdout.close()


def rows(workdir):
    lines = []
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        lines.append(json.dumps({key: row[key] for key in row if key not in TIMES}))
    return lines


def events(workdir):
    """What TensorBoard shows by tag and step, without what tells the time and what was asked for."""
    shown = EventAccumulator(str(workdir), size_guidance={"tensors": 0}).Reload()
    return {
        tag: [(event.step, event.tensor_proto.SerializeToString()) for event in shown.Tensors(tag)]
        for tag in shown.Tags()["tensors"]
        if tag not in ("config", *TIMES) and not tag.startswith(("_hparams_", "custom_scalars"))
    }


def policies(workdir):
    return {path.name: path.read_bytes() for path in (workdir / "policies").iterdir()}


def ended(workdir):
    status = json.loads((workdir / "training.json").read_text())
    return {key: status[key] for key in ("state", "iteration", "reason")}


def difference(found, expected):
    """The first of rows, events, policies and end that differs, in short."""
    for name, one, other in zip(
        ("rows", "events", "policies", "end"), found or (), expected, strict=False
    ):
        if one == other:
            continue
        if name != "events":
            return name, str(one)[-500:], str(other)[-500:]
        tags = [tag for tag in {*one, *other} if one.get(tag) != other.get(tag)]
        steps = [[[step for step, _ in e.get(tags[0], ())] for e in (one, other)]]
        return name, tags[:5], steps
    return None


# The order of the files of one second is that of the numbers of their processes.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", RUNS)
def test_a_run_that_is_killed_at_any_moment_ends_as_if_it_had_not_been(kind, server, tmp_path):
    config, *settings = RUNS[kind]

    def command(workdir):
        return [f"--config={ROOT}/{config}", *OFTEN, *settings, f"--workdir={workdir}"]

    # Twice, as the first one compiles.
    for whole in (tmp_path / "first", tmp_path / "whole"):
        started = time.monotonic()
        assert server(command(whole), tmp_path / "log", 300) == 0, (tmp_path / "log").read_text()
        seconds = time.monotonic() - started
    expected = rows(whole), events(whole), policies(whole), ended(whole)

    moments = random.Random(kind)
    wrong, at, tries = [], [], 0
    while len(at) < KILLS:
        tries += 1
        workdir, log = tmp_path / f"run{tries}", tmp_path / f"log{tries}"
        # A stratum each, so that no part of a run is left out.
        delay = (len(at) + moments.random()) / KILLS * seconds
        if server(command(workdir), log, delay) != -signal.SIGKILL:
            # It was faster than the one before.
            seconds *= 0.95
            assert tries < 10 * KILLS
            continue
        saved = workdir / "training.json"
        at.append(json.loads(saved.read_text())["iteration"] if saved.exists() else None)
        code = server(command(workdir), log, 300)
        found = None
        if code == 0:
            found = rows(workdir), events(workdir), policies(workdir), ended(workdir)
        if found != expected:
            found_wrong = difference(found, expected)
            wrong.append((tries, round(delay, 2), code, found_wrong, log.read_text()))
    print(
        f"{kind}: {KILLS - len(wrong)} of {KILLS} end the same; saved when they were killed: {at}"
    )
    assert not wrong, wrong
