"""Several processes on one machine: what is started, what is shown, and that nobody outlives the others."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from launch.local import plan
from pax.errors import ConfigError

ROOT = pathlib.Path(__file__).parents[2]


def test_commands():
    starts = plan(["--config=configs/ipd.py:ppo"], 3, 2, 1234)
    assert [command for _, command in starts] == [
        [
            sys.executable,
            "-m",
            "pax.main",
            f"--distributed=127.0.0.1:1234,3,{index}",
            "--config=configs/ipd.py:ppo",
        ]
        for index in range(3)
    ]
    assert [settings for settings, _ in starts] == [
        {"JAX_NUM_CPU_DEVICES": "2", "JAX_LOCAL_DEVICE_IDS": ids} for ids in ("0,1", "2,3", "4,5")
    ]


def test_a_share_of_the_cores(monkeypatch):
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(7)))
    shares = [settings for settings, _ in plan(["--config=x"], 3, 0, 1234)]
    assert shares == [{"JAX_NUM_CPU_DEVICES": "2"}] * 3
    # Unless JAX was told.
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "5")
    assert [settings for settings, _ in plan(["--config=x"], 3, 0, 1234)] == [{}] * 3


@pytest.mark.parametrize(
    ("arguments", "processes", "devices", "message"),
    [
        ([], 2, 0, "there is nothing to run: put flags of pax.main after --"),
        (["--config=x"], 0, 0, "--num_processes is 0: give 1 to 1000"),
        (["--config=x"], 10**6, 0, "--num_processes is 1000000: give 1 to 1000"),
        (["--config=x"], 2, -1, "--devices_per_process is -1: "),
        (["--config=x", "--distributed=off"], 2, 0, "--distributed=off is what this program sets"),
        (["--mode=evaluate"], 2, 0, "--mode=evaluate takes one process"),
    ],
)
def test_what_cannot_be_started(arguments, processes, devices, message):
    with pytest.raises(ConfigError, match=message):
        plan(arguments, processes, devices, 1234)


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["--", "--config=configs/ipd.py:ppo", "--nope=1"], 1, "--nope=1 is no flag of pax.main"),
        (["--", "--config=configs/ipd.py:ppo", "--workdir=docs"], 1, "workdir docs is not empty"),
        (["--num_processes=a", "--", "--config=configs/ipd.py:ppo"], 2, "flag --num_processes=a: "),
    ],
)
def test_a_dry_run_says_what_the_processes_would(app, argv, code, message):
    done = app("--dry_run", *argv, module="launch.local", cwd=ROOT)
    assert (done.code, done.stdout) == (code, "")
    assert done.stderr.startswith(f"Error: {message}") and done.stderr.count("\n") == 1


def start(first, second):
    """Runs `launch.local.run` on two programs."""
    code = f"""
        import sys
        from launch import local
        local.SECONDS_TO_END = 1.0
        programs = {first!r}, {second!r}
        sys.exit(local.run([({{"NUMBER": "7"}}, [sys.executable, "-c", each]) for each in programs]))
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_only_the_lead_is_seen():
    program = "import os, sys; print('{}', os.environ['NUMBER']); print('{}', file=sys.stderr)"
    process = start(program.format("lead", "lead"), program.format("other", "other"))
    assert process.communicate(timeout=60) == ("lead 7\n", "lead\n")
    assert process.returncode == 0


@pytest.mark.slow
def test_the_others_do_not_outlive_one_that_fails():
    waits = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(120)"
    fails = "import sys; print('too bad'); sys.exit(3)"
    started = time.monotonic()
    process = start(waits, fails)
    stdout, stderr = process.communicate(timeout=60)
    assert time.monotonic() - started < 30
    assert process.returncode == 3
    assert (stdout, stderr) == (
        "",
        "[1] too bad\nProcess 1 ended with code 3, and with it the run.\n",
    )


def test_one_that_is_killed_is_named():
    dies = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    process = start("pass", dies)
    assert process.communicate(timeout=60)[1].startswith("Process 1 was killed by SIGKILL")
    assert process.returncode == 128 + signal.SIGKILL


def test_signals_go_to_all(tmp_path):
    program = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        f"pathlib.Path({str(tmp_path)!r}, '{{}}').touch()\n"
        "time.sleep(120)"
    )
    process = start(program.format("first"), program.format("second"))
    end = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 143
