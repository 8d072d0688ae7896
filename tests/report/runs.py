"""Folders of runs for the tests of reports: what training writes, with numbers made up."""

import json

import numpy as np

from pax.metrics.tensorboard_writer import encode_gif
from pax.metrics.writers import JsonLinesWriter, SeedLinesWriter

REWARD = "train/reward_per_timestep/player_{}"


def make_run(path, rewards, *, std=None, config=None, config_path="configs/ipd.py:ppo", **settings):
    """A run whose rows are iterations 10, 20, ...; `rewards` are those of player 1, None where undefined."""
    path.mkdir(parents=True)
    config = {
        "seed": 0,
        "num_seeds": 1,
        "num_iters": 10 * len(rewards),
        "num_envs": 4,
        "num_inner_steps": 5,
        "num_outer_steps": 1,
        "env": {"type": "IteratedMatrixGame"},
        "agent1": {"learning_rate": 0.1},
        **(config or {}),
        **settings,
    }
    record = {
        "config": config,
        "config_path": config_path,
        "command": f"python -m pax.main --config={config_path}",
        "started": "2026-01-02T03:04:05+00:00",
        "versions": {"python": "3.11.7", "jax": "0.10.2"},
    }
    (path / "run.json").write_text(json.dumps(record))
    writer = JsonLinesWriter(path / "metrics.jsonl")
    for index, reward in enumerate(rewards):
        iteration = 10 * (index + 1)
        row = {
            "env_steps": 20 * iteration,
            "wall_time": 0.5 * iteration,
            REWARD.format(1): np.nan if reward is None else reward,
            REWARD.format(2): -1.0,
            "train/agent1/entropy": 1 / iteration,
            "train/agent1/loss_value": 2 / iteration,
            "cooperation_probability/CC": 0.5,
            "cooperation_probability/CD": np.nan,
            "state_visitation/CC": 100,
            "env_steps_per_second": 1000 + iteration,
        }
        if std is not None:
            row |= {f"{key}/std": std for key in list(row) if "/" in key}
        writer.write_scalars(iteration, row)
    writer.close()
    return path


def make_run_of_seeds(path, rewards, **settings):
    """A run with several seeds, whose rewards of player 1 are `[iterations, S]`."""
    num_seeds = len(rewards[0])
    values = np.array([[np.nan if one is None else one for one in row] for row in rewards])
    means = [None if np.isnan(row).all() else float(np.nanmean(row)) for row in values]
    make_run(path, means, std=0.5, num_seeds=num_seeds, **settings)
    writer = SeedLinesWriter(path / "metrics_seeds.jsonl")
    for index, row in enumerate(values):
        same = {
            REWARD.format(2): np.full(num_seeds, -1.0),
            "train/agent1/entropy": np.full(num_seeds, 0.1 / (index + 1)),
            "train/agent1/loss_value": np.full(num_seeds, 0.2 / (index + 1)),
            "cooperation_probability/CC": np.full(num_seeds, 0.5),
            "cooperation_probability/CD": np.full(num_seeds, np.nan),
            "state_visitation/CC": np.full(num_seeds, 100),
        }
        writer.write_seeds(10 * (index + 1), {REWARD.format(1): row, **same})
    writer.close()
    return path


def add_evaluation(path, iteration, name, **metrics):
    """A line of `--mode=evaluate`."""
    line = json.dumps({"iteration": iteration, "evaluation": name, **metrics})
    with (path / "evaluation.jsonl").open("a") as file:
        file.write(line + "\n")


def add_picture(path, name, num_frames=2, size=8):
    """An animation of noise, which cannot be compressed."""
    frames = np.random.default_rng(0).integers(0, 255, (num_frames, size, size, 3), np.uint8)
    (path / "videos").mkdir(exist_ok=True)
    (path / "videos" / name).write_bytes(encode_gif(frames))
