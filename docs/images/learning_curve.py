"""Draws learning_curve.png from four runs; needs matplotlib, which Pax does not.

for opponent in tit_for_tat defect always_cooperate self; do
    python -m pax.main --config=configs/ipd.py:ppo,opponent=$opponent --workdir=exp/curve-$opponent \
        --config.num_seeds=3 --config.callbacks.scalars.each_iteration=True
done
python docs/images/learning_curve.py exp/curve-*
"""

import pathlib
import sys

import matplotlib.pyplot as plt

from pax.metrics.writers import read_metrics

KEY = "train/reward_per_timestep/player_1"

figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
for workdir in map(pathlib.Path, sys.argv[1:]):
    rows = read_metrics(workdir / "metrics.jsonl")
    iterations = [row["iteration"] for row in rows]
    mean = [row[KEY] for row in rows]
    low, high = ([row[KEY] + sign * row[KEY + "/std"] for row in rows] for sign in (-1, 1))
    opponent = workdir.name.rpartition("-")[2]
    (line,) = axes.plot(iterations, mean, label=f"against {opponent.replace('self', 'itself')}")
    axes.fill_between(iterations, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
axes.set(xscale="log", xlabel="iteration (15,000 environment steps each)", ylabel="reward per step")
axes.set_title("PPO in the iterated prisoner's dilemma, mean and spread of 3 seeds", fontsize=10)
figure.legend(loc="outside right", frameon=False, fontsize=9)
axes.spines[["top", "right"]].set_visible(False)
figure.savefig(pathlib.Path(__file__).with_suffix(".png"), dpi=110)
