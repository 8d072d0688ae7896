"""One run over several processes: the same as over one, and nobody is left behind when one of them ends."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from launch.local import free_port
from pax.errors import ConfigError, ProcessError
from pax.run import distributed
from tests.run.files import TIMES

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("on", r"--distributed is 'on': give off, auto, or HOST:PORT,N,I as in"),
        ("host:1234,2", "give off, auto, or HOST:PORT,N,I"),
        ("host,2,0", "give off, auto, or HOST:PORT,N,I"),
        ("host:70000,2,0", "ports are 1 to 65535"),
        ("host:1234,2,2", "2 processes are numbered from 0 to 1"),
        ("host:1234,0,0", "there is at least 1 process"),
    ],
)
def test_a_flag_that_says_nothing(flag, message):
    with pytest.raises(ConfigError, match=message):
        distributed.join(flag)


def test_a_flag_that_says_who_and_where():
    assert distributed.parse("10.0.0.1:1234,4,3") == ("10.0.0.1:1234", 4, 3)
    assert distributed.parse("[::1]:80,1,0") == ("[::1]:80", 1, 0)


@pytest.mark.parametrize(
    ("address", "found", "expected"),
    [
        ("10.0.0.1:1234", "10.0.0.1", "10.0.0.1:1234"),
        ("127.0.0.1:1234", "127.0.0.1", "127.0.0.1:1234"),
        ("localhost:1234", "127.0.0.1", "127.0.0.1:1234"),
        ("[::1]:1234", "::1", "[::1]:1234"),
        ("node7:1234", "192.168.0.7", "192.168.0.7:1234"),
        # As Debian calls its own machine: nobody else would reach it there.
        ("node7:1234", "127.0.1.1", "[::]:1234"),
    ],
)
def test_process_0_listens_where_it_is_told_to(monkeypatch, address, found, expected):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (found, 1234))])
    given = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda **where: given.update(where))
    before = jax.config.jax_enable_preemption_service
    try:
        distributed.join(f"{address},2,0")
        assert given["coordinator_bind_address"] == expected
        given.clear()
        distributed.join(f"{address},2,1")
        assert "coordinator_bind_address" not in given
    finally:
        jax.config.update("jax_enable_preemption_service", before)


def test_a_host_that_nobody_knows(monkeypatch):
    monkeypatch.setattr(distributed, "RESOLVE_SECONDS", 0)
    with pytest.raises(
        ProcessError, match="names the host nowhere.invalid, which is not known here"
    ):
        distributed.bind_address("nowhere.invalid:1234")


def test_one_process_agrees_with_itself():
    assert distributed.agree(None) is None
    assert distributed.agree("enough") == "enough"
    assert distributed.from_lead("exp/run") == "exp/run"
    with pytest.raises(ConfigError, match="no such folder"):
        distributed.by_lead(raise_config_error)


def raise_config_error():
    raise ConfigError("no such folder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def finish(process, seconds=240):
    stdout, stderr = process.communicate(timeout=seconds)
    return process.returncode, stdout, stderr


def start(module, *argv, cwd, env):
    return subprocess.Popen(
        [sys.executable, "-m", module, *argv],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def assert_close(found, expected):
    assert len(found) == len(expected)
    for row, like in zip(found, expected, strict=True):
        assert row.keys() == like.keys()
        for key, value in row.items():
            assert (value is None) == (like[key] is None)
            if value is not None:
                np.testing.assert_allclose(value, like[key], rtol=1e-4, atol=1e-4, err_msg=key)


@pytest.mark.parametrize(
    "both_ways", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["one_way", "both_ways"]
)
def test_two_processes_of_four_devices_are_one_of_eight(tmp_path, environment, both_ways):
    folder = tmp_path
    variant = [
        f"--config={ROOT}/configs/ipd.py:tabular,quicktest",
        # A gradient learner against opponents everywhere: every update needs all devices.
        "--config.num_opps=8",
        "--config.num_iters=4",
        "--config.num_devices=all",
        "--config.callbacks.scalars.each_iteration=True",
        "--config.callbacks.evaluation.every=2",
        "--config.callbacks.checkpoint.every=2",
        "--config.callbacks.checkpoint.keep_latest=9",
    ]

    def one(workdir):
        env = {**environment, "JAX_NUM_CPU_DEVICES": "8"}
        return finish(start("pax.main", *variant, f"--workdir={workdir}", cwd=folder, env=env))

    def two(workdir):
        flags = ["--num_processes=2", "--devices_per_process=4", "--"]
        return finish(
            start(
                "launch.local",
                *flags,
                *variant,
                f"--workdir={workdir}",
                cwd=folder,
                env=environment,
            )
        )

    for run, name in ((one, "one"), (two, "two")):
        code, stdout, stderr = run(folder / name)
        assert code == 0, stderr
        assert "Done at iteration 4 " in stdout
        over = "8 of 8 devices" + (" of 2 processes" if name == "two" else "")
        assert f"Devices: opponents (8) over {over}" in stderr
    expected = rows(folder / "one")
    assert [row["iteration"] for row in expected if "train/reward_per_timestep/player_1" in row]
    assert any(key.startswith("evaluation/") for row in expected for key in row)
    assert_close(rows(folder / "two"), expected)

    # One goes on where the other was.
    for run, name, other in ((one, "one_from_two", "two"), (two, "two_from_one", "one")):
        if run is two and not both_ways:
            continue
        workdir = folder / name
        shutil.copytree(folder / other, workdir)
        shutil.rmtree(workdir / "checkpoints" / "4")
        code, _, stderr = run(workdir)
        assert code == 0, stderr
        assert "Resuming at iteration 2 of 4." in stderr
        assert_close(rows(workdir), expected)
        names = {path.name for path in (workdir / "policies").iterdir()}
        assert names == {path.name for path in (folder / "one" / "policies").iterdir()}


def wait_for(condition, processes):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        assert all(process.poll() is None for process in processes), processes[0].communicate()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    "victims",
    # The lead is the one that the others need most.
    [(1,), (0, 1)],
)
def test_one_of_two_processes_is_killed_then_both_resume_then_one_is_asked_to_stop(
    folder, environment, victims
):
    workdir = folder / f"killed_{len(victims)}"
    env = {**environment, "JAX_NUM_CPU_DEVICES": "1"}

    def begin():
        port = free_port()
        return [
            start(
                "pax.main",
                f"--distributed=127.0.0.1:{port},2,{index}",
                f"--config={ROOT}/configs/ipd.py:tabular,quicktest",
                "--config.num_iters=1000000",
                "--config.num_seeds=2",
                "--config.callbacks.evaluation.enabled=False",
                "--config.callbacks.scalars.every=100",
                "--config.callbacks.checkpoint.every=50",
                f"--workdir={workdir}",
                cwd=folder,
                env=env,
            )
            for index in (0, 1)
        ]

    def saved():
        paths = (workdir / "checkpoints").glob("*/checksums.json")
        return max(
            (int(path.parent.name) for path in paths if path.parent.name.isdecimal()), default=0
        )

    for victim in victims:
        before = saved()
        processes = begin()
        wait_for(lambda before=before: saved() > before, processes)
        processes[victim].send_signal(signal.SIGKILL)
        code, stdout, stderr = finish(processes[1 - victim], seconds=60)
        assert finish(processes[victim])[0] == -signal.SIGKILL
        assert code != 0
        assert "Done" not in stdout
        assert re.search(
            "most likely because another one has ended|likely indicates that another task died",
            stderr,
        ), stderr
        if victim == 0:
            assert f"Resuming at iteration {before} of" not in stderr  # Only the lead speaks.
        elif before:
            assert "Resuming at iteration" in stderr

    before = saved()
    processes = begin()
    wait_for(lambda: saved() > before, processes)
    processes[1].send_signal(signal.SIGTERM)
    ended = [finish(process, seconds=60) for process in processes]
    assert [code for code, _, _ in ended] == [128 + signal.SIGTERM] * 2, ended
    assert f"Resuming at iteration {before} of" in ended[0][2]
    stopped = re.search(r"Stopped by SIGTERM at iteration (\d+) of 1000000, saved\.", ended[0][2])
    assert stopped, ended[0][2]
    assert saved() == int(stopped[1])
    assert "Stopped" not in ended[1][2]
    assert json.loads((workdir / "training.json").read_text())["reason"] == "SIGTERM"
    assert len(list((workdir / "policies").iterdir())) == 2


def test_what_says_that_another_process_is_gone(monkeypatch):
    gone = ValueError("UNKNOWN: Gloo AllGather failed: Connection closed by peer")
    assert not distributed.is_lost(gone)  # There is no other.
    monkeypatch.setattr("jax.process_count", lambda: 2)
    assert distributed.is_lost(gone)
    assert not distributed.is_lost(ValueError("the folder is UNKNOWN: look again"))
    assert not distributed.is_lost(distributed.lost(gone))
    wrapped = RuntimeError("Evaluation failed")
    wrapped.__cause__ = gone
    assert distributed.is_lost(wrapped)
