"""A metric of one's own: how unequal the players of a game are."""

from __future__ import annotations

from typing import Any

from pax.callbacks.callback import Callback


class RewardGap(Callback):
    r"""Reports `reward_gap`, the best paid player's reward per step less the worst paid one's.

        python -m pax.main --config=configs/ipd.py:ppo \
            --config.extra_callbacks="('callbacks.reward_gap.RewardGap',)"

    `probe` is compiled into the loop. What it returns joins the metrics, as `metrics.jsonl` and TensorBoard
    show them.
    """

    def probe(self, trial: Any) -> dict[str, Any]:
        """Computes the gap of one trial, from its rewards per step `[players]`."""
        rewards = trial.reward_per_timestep
        return {"reward_gap": rewards.max() - rewards.min()}
