"""Which axis is spread over devices, and what cannot be."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from pax.configs.ipd import VARIANTS, get_config
from pax.errors import ConfigError
from pax.loop.sharding import Placement

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            (50, 3, 1),
            r"divides none of candidates \(50\), opponents \(3\), seeds \(1\): make candidates 48",
        ),
        ((1, 9, 1), "make opponents 8, or use fewer devices"),
        ((2, 1, 1), "make candidates 4, or use fewer devices"),
    ],
)
def test_sizes_that_devices_do_not_divide_are_told_with_the_nearest_that_do(
    monkeypatch, sizes, message
):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    candidates, opponents, seeds = sizes
    with pytest.raises(ConfigError, match=f"^num_devices is 4, which .*{message}"):
        Placement(4, candidates=candidates, opponents=opponents, seeds=seeds)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (3, "num_devices is 3, and each of 2 processes uses equally many: make it 2"),
        (None, r"there are 2 processes, which divides none of .*: make seeds 2, or use fewer"),
    ],
)
def test_processes_that_cannot_share(monkeypatch, number, message):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ConfigError, match=message):
        Placement(number, candidates=1, opponents=1, seeds=3)


def test_processes_with_unequal_devices(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 5)
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"has 4 devices of the 5 that 2 processes have together"):
        Placement(None, candidates=8, opponents=1, seeds=1)


@pytest.mark.parametrize(
    ("sizes", "choice"),
    [
        # Two agents of a pool would leave six devices idle.
        ((2, 1, 8), "seeds (8) over 8 of 8 devices"),
        ((16, 8, 8), "candidates (16) over 8 of 8 devices"),
        ((3, 12, 4), "opponents (12) over 6 of 8 devices"),
        # Five devices are done as soon as eight, and three would take half as long again.
        ((1, 1, 9), "seeds (9, filled up to 10) over 5 of 8 devices"),
        ((1, 1, 12), "seeds (12) over 6 of 8 devices"),
        ((1, 6, 9), "opponents (6) over 6 of 8 devices"),
        ((1, 1, 3), "seeds (3) over 3 of 8 devices"),
        ((1, 1, 1), "everything on 1 of 8 devices"),
    ],
)
def test_the_axis_that_fills_most_devices_is_cut(monkeypatch, sizes, choice):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    candidates, opponents, seeds = sizes
    found = Placement(None, candidates=candidates, opponents=opponents, seeds=seeds)
    assert str(found) == choice


def test_seeds_are_filled_up_for_a_number_of_devices_that_was_asked_for(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    found = Placement(4, candidates=1, opponents=1, seeds=5)
    assert str(found) == "seeds (5, filled up to 8) over 4 of 8 devices"
    with pytest.raises(ConfigError, match=r"num_devices is 4, .* make seeds 4, or use fewer"):
        Placement(4, candidates=1, opponents=1, seeds=3)


def test_the_choice_is_one_line():
    assert str(Placement(1, candidates=50, opponents=1, seeds=1)) == "everything on 1 of 1 device"


# What is cut, and the sizes that make it divisible by 8, of the variant that is not slow.
QUICK = {"gs": ("candidates (8)", {"agent1": {"ema_decay": 0.5}})}


def check_devices(variant, axis, settings, numbers=(2, 8)):
    result = subprocess.run(
        [
            sys.executable,
            ROOT / "tests" / "loop" / "device_runs.py",
            variant,
            json.dumps({"num_devices": [1, *numbers], **settings}),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "8"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    runs = json.loads(result.stdout)
    assert [run["placement"] for run in runs.values()] == [
        "everything on 1 of 8 devices",
        *(f"{axis} over {number} of 8 devices" for number in numbers),
    ]
    for number, run in runs.items():
        assert len(run["metrics"]) == 10
        for found, expected in zip(run["metrics"], runs["1"]["metrics"], strict=True):
            assert found.keys() == expected.keys()
            for name, value in found.items():
                np.testing.assert_allclose(
                    value, expected[name], rtol=1e-4, atol=1e-4, err_msg=name
                )
        averages = [name for name in run["metrics"][0] if name.startswith("average")]
        assert bool(averages) == ("agent1" in settings)
        rewards = [one["train/reward_per_timestep/player_1"] for one in run["metrics"]]
        assert len(set(map(str, rewards))) > 1  # It learns, or meets other luck.
        # Seeds have nothing to say to each other, until those that are filled up are taken out at the end.
        # Others gather fitness or gradients, and metrics, but no step waits for another device.
        is_told = not axis.startswith("seeds") or "filled up" in axis
        assert bool(run["collectives"]) == (number != "1" and is_told)
        assert run["num_rollouts"] >= 1
        assert not [found for found in run["collectives"] if found["in_rollout"]]


@pytest.mark.parametrize("variant", QUICK)
def test_devices_agree_and_do_not_talk_in_rollouts(variant):
    check_devices(variant, *QUICK[variant])


@pytest.mark.slow
def test_seeds_that_devices_do_not_divide_are_filled_up_and_agree():
    check_devices("ppo", "seeds (3, filled up to 4)", {"num_seeds": 3}, numbers=(2,))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["ppo", "ppo_memory"])
def test_devices_share_opponents(variant):
    # Gradients are summed in another order.
    check_devices(variant, "opponents (8)", {"num_opps": 8})


@pytest.mark.slow
@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - set(QUICK)))
def test_devices_agree_and_do_not_talk_in_rollouts_of_any_variant(variant):
    config = get_config(f"{variant},quicktest")
    if any(config[name].learner.type == "evolution" for name in config.roles):
        cut = ("candidates (8)", {})
    elif "num_agents" in config.agent1.learner:
        # A mixed pool.
        cut = ("candidates (8)", {"agent1": {"learner": {"num_agents": 8}}})
    elif config.num_opps > 1:
        cut = ("opponents (8)", {"num_opps": 8})
    else:
        cut = ("seeds (8)", {"num_seeds": 8})
    check_devices(variant, *cut)
