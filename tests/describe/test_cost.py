"""What `--describe` predicts is what then happens."""

import os
import re
import subprocess
import sys

import pytest

from tests.test_layout import ROOT

# Runs of seconds to minutes, of all kinds of learners, games and sizes.
RUNS = {
    "ipd.py:ppo": [],
    "ipd.py:ppo_memory": ["--config.num_iters=300"],
    "ipd.py:tabular": ["--config.num_seeds=8", "--config.num_iters=400"],
    "ipd.py:shaper,small": ["--config.num_iters=20"],
    "ipd.py:coala,small": ["--config.num_iters=20"],
    "coin_game.py:ppo": ["--config.num_iters=300"],
    "coin_game.py:shaper,small": ["--config.num_iters=20"],
    "fishery.py:ppo": ["--config.num_iters=300"],
    "ipditm.py:ppo_memory": ["--config.num_iters=50"],
    "sarl.py:cartpole": ["--config.num_iters=40"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_time_and_memory_are_within_30_percent(name, tmp_path):
    def pax(kind, *arguments):
        """Returns what a process says, and the most MiB that it had."""
        command = [sys.executable, "-m", "pax.main", f"--config=configs/{name}", *RUNS[name]]
        # Each compiles.
        env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / kind)}
        said = tmp_path / f"{kind}.txt"
        with said.open("w") as file:
            process = subprocess.Popen([*command, *arguments], cwd=ROOT, env=env, stdout=file)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return said.read_text(), usage.ru_maxrss / 1024

    text, _ = pax("described", "--describe")
    number, unit = re.search(r"^Time: ([\d.]+) (s|minutes):", text, re.M).groups()
    predicted = float(number) * {"s": 1, "minutes": 60}[unit]
    memory = float(re.search(r"^Memory: ([\d,]+) MiB", text, re.M)[1].replace(",", ""))
    done, most = pax("run", f"--workdir={tmp_path / 'workdir'}")
    seconds = float(re.search(r"after ([\d.]+) s\.", done)[1])
    print(f"{name}: {predicted:.1f} s predicted, {seconds:.1f} s; {memory:.0f} MiB, {most:.0f} MiB")
    assert predicted == pytest.approx(seconds, rel=0.3)
    assert memory == pytest.approx(most, rel=0.3)
