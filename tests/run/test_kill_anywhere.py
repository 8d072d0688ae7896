"""`kill -9` at random moments: whatever a run was doing, it ends as one that was never killed.

    pytest -m slow tests/run/test_kill_anywhere.py

Moments are spread over all of a run: its start, compiling, training, saving and its end.
"""

import json
import os
import pathlib
import random
import signal
import time

import pytest

from tests.app_server import app_server
from tests.run.files import events, policies, rows

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
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


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Runs a command line for so many seconds at most, and then kills it."""
    with app_server(tmp_path_factory.mktemp("server")) as run:
        yield run


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
        answer = server(*command(whole))
        assert answer.code == 0, answer.stderr
        seconds = time.monotonic() - started
    expected = rows(whole), events(whole), policies(whole), ended(whole)

    moments = random.Random(kind)
    wrong, at, tries = [], [], 0
    while len(at) < KILLS:
        tries += 1
        workdir = tmp_path / f"run{tries}"
        # A stratum each, so that no part of a run is left out.
        delay = (len(at) + moments.random()) / KILLS * seconds
        killed = server(*command(workdir), seconds=delay)
        if killed.code != -signal.SIGKILL:
            # It was faster than the one before.
            seconds *= 0.95
            assert tries < 10 * KILLS
            continue
        saved = workdir / "training.json"
        at.append(json.loads(saved.read_text())["iteration"] if saved.exists() else None)
        again = server(*command(workdir))
        found = None
        if again.code == 0:
            found = rows(workdir), events(workdir), policies(workdir), ended(workdir)
        if found != expected:
            found_wrong = difference(found, expected)
            said = killed.stderr + again.stderr
            wrong.append((tries, round(delay, 2), again.code, found_wrong, said))
    print(
        f"{kind}: {KILLS - len(wrong)} of {KILLS} end the same; saved when they were killed: {at}"
    )
    assert not wrong, wrong
