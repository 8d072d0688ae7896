"""Runs that are killed, stopped or find a damaged checkpoint end as if nothing had happened."""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.run.files import policies, rows

pytestmark = pytest.mark.usefixtures("ctrl_c_works")

ROOT = pathlib.Path(__file__).parents[2]

# Holds a run up after iteration 20: until it is asked to stop, or for good.
CALLBACKS = """
import os
import pathlib
import time

from pax import Callback


class HoldUp(Callback):
    # After the metrics of the iteration are written, and before its checkpoint is.
    priority = 95

    def on_chunk_end(self, trainer, state, step, metrics):
        reached = os.environ.get("REACHED")
        if step == 20 and reached:
            pathlib.Path(reached).touch()
            end = time.monotonic() + 60
            while not trainer.stop_reason and time.monotonic() < end:
                time.sleep(0.01)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kill")
    (folder / "my_module.py").write_text(CALLBACKS)
    return folder


@pytest.fixture(scope="module")
def start(folder, ctrl_c_works):
    """Starts a run, to be held up if `reached`, a file that it then makes, is given."""

    def start(*argv, reached=None, **environment):
        return subprocess.Popen(
            [sys.executable, "-m", "pax.main", *argv],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                **environment,
                **({"REACHED": str(reached)} if reached else {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def command(workdir):
    # Everything that a run keeps is in play: two learners, two seeds, all iterations reported.
    return [
        f"--config={ROOT}/configs/ipd.py:tabular,opponent=self,quicktest",
        "--config.num_iters=32",
        "--config.num_seeds=2",
        "--config.callbacks.scalars.each_iteration=True",
        # As often as checkpoints: where a run is stopped, it is evaluated too.
        "--config.callbacks.evaluation.every=4",
        "--config.callbacks.checkpoint.every=4",
        "--config.extra_callbacks=('my_module.HoldUp',)",
        f"--workdir={workdir}",
    ]


def finish(process):
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


def wait_for(path):
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def uninterrupted(start, folder):
    workdir = folder / "uninterrupted"
    code, _, stderr = finish(start(*command(workdir)))
    assert code == 0, stderr
    assert [json.loads(line)["iteration"] for line in rows(workdir)] == list(range(1, 33))
    return workdir


def assert_same(workdir, uninterrupted):
    assert rows(workdir) == rows(uninterrupted)
    assert policies(workdir) == policies(uninterrupted)
    assert len(policies(workdir)) == 4


@pytest.mark.slow
def test_kill(start, folder, uninterrupted):
    workdir, reached = folder / "killed", folder / "reached_kill"
    process = start(*command(workdir), reached=reached)
    wait_for(reached)
    wait_for(workdir / "checkpoints" / "16")
    process.send_signal(signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    # Further than the checkpoint.
    assert len(rows(workdir)) == 20
    code, stdout, stderr = finish(start(*command(workdir)))
    assert code == 0, stderr
    assert "Resuming at iteration 16 of 32." in stderr
    assert stdout.startswith("Done at iteration 32 ")
    assert_same(workdir, uninterrupted)


@pytest.mark.slow
def test_sigterm_then_the_command_that_it_names_then_damage(start, folder, uninterrupted):
    workdir, reached = folder / "stopped", folder / "reached_stop"
    process = start(*command(workdir), reached=reached)
    wait_for(reached)
    process.send_signal(signal.SIGTERM)
    code, stdout, stderr = finish(process)
    assert code == 128 + signal.SIGTERM
    assert stdout == ""
    assert "Traceback" not in stderr
    last = stderr.splitlines()[-1]
    stopped = re.fullmatch(
        r"Stopped by SIGTERM at iteration 20 of 32, saved. To go on: python (-m pax.main .*)", last
    )
    assert stopped, stderr
    assert rows(workdir)[:20] == rows(uninterrupted)[:20]

    damaged = folder / "damaged"
    shutil.copytree(workdir, damaged)
    code, _, stderr = finish(start(*shlex.split(stopped[1])[2:]))
    assert code == 0, stderr
    assert "Resuming at iteration 20 of 32." in stderr
    assert_same(workdir, uninterrupted)

    files = [
        path for path in (damaged / "checkpoints" / "20" / "state").rglob("*") if path.is_file()
    ]
    largest = max(files, key=lambda path: path.stat().st_size)
    os.truncate(largest, largest.stat().st_size // 2)
    code, _, stderr = finish(start(*command(damaged)))
    assert code == 0, stderr
    assert re.search(r"Checkpoint 20 in .* is damaged \(.*\): trying the one before\.", stderr)
    assert "Resuming at iteration 16 of 32." in stderr
    assert_same(damaged, uninterrupted)


@pytest.mark.slow
def test_sigint(start, folder, uninterrupted):
    workdir, reached = folder / "interrupted", folder / "reached_interrupt"
    process = start(*command(workdir), reached=reached)
    wait_for(reached)
    process.send_signal(signal.SIGINT)
    code, _, stderr = finish(process)
    assert code == 128 + signal.SIGINT
    assert "Traceback" not in stderr
    assert re.search(r"\nStopped by SIGINT at iteration 20 of 32, saved. To go on: python", stderr)
    assert (workdir / "checkpoints" / "20").is_dir()
    assert len(policies(workdir)) == 4


def test_a_second_sigint_does_not_wait(start, folder):
    workdir = folder / "impatient"
    # It compiles anew, and as users do, so that there is time for both signals.
    slow = {"JAX_ENABLE_COMPILATION_CACHE": "false", "XLA_FLAGS": ""}
    process = start(*command(workdir), "--config.num_inner_steps=21", **slow)
    # Whatever it says or does not say, it ends.
    deadline = threading.Timer(120, process.kill)
    deadline.start()
    for line in process.stderr:
        if "Compiling" in line:
            break
    process.send_signal(signal.SIGINT)
    for line in process.stderr:
        if "Ctrl-C to leave at once" in line:
            break
    process.send_signal(signal.SIGINT)
    code, stdout, stderr = finish(process)
    deadline.cancel()
    assert (code, stdout) == (128 + signal.SIGINT, "")
    # On a fast machine the first chunk may be done before the second signal comes, which is then
    # one too many.
    assert re.fullmatch(
        r"Stopped by SIGINT at iteration (0 of 32, unsaved|2 of 32, saved). To go on: python .*",
        stderr.splitlines()[-1],
    )
    assert "Traceback" not in stderr
