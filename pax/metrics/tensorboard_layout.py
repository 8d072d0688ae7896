"""TensorBoard's tab "Custom scalars": the curves that belong together, in one chart each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

from pax.metrics.seeds import interval_names
from pax.metrics.tensorboard_tags import GAME, PROGRESS, SPEED

# By category and chart, the tags that it shows.
CHARTS = {
    "Rewards": {
        "training": r"train/reward_per_timestep/player_\d+",
        "evaluations": r"evaluation/.*/reward_per_timestep/player_\d+",
        "fitness": r"train/(.*/)?fitness/\w+",
        "episode return": rf"(evaluation/.*|{GAME})/episode_return",
    },
    "States": {
        "share of steps": r"state_probability/(?!.*/std$).*",
        "cooperation": r"(cooperation_probability|prob_coop)/(?!.*/std$).*",
    },
    "Learning": {
        "policy loss": r"train/.*/loss_policy",
        "value loss": r"train/.*/loss_value",
        "entropy": r"train/.*/entropy",
        "gradient norm": r"train/.*/gradient_norm",
    },
    "Speed": {"environment steps per second": rf"{PROGRESS}/{SPEED}"},
}


def make_layout(tags: Iterable[str]) -> layout_pb2.Layout:
    """Makes the charts that have something to show, given the names of all scalars."""
    tags = list(tags)
    categories = []
    for category, charts in CHARTS.items():
        shown = [
            layout_pb2.Chart(
                title=title, multiline=layout_pb2.MultilineChartContent(tag=[f"^{pattern}$"])
            )
            for title, pattern in charts.items()
            if any(re.fullmatch(pattern, tag) for tag in tags)
        ]
        if category == "Rewards" and (intervals := _intervals(tags)):
            shown.append(layout_pb2.Chart(title="intervals over seeds", margin=intervals))
        if shown:
            categories.append(layout_pb2.Category(title=category, chart=shown))
    return layout_pb2.Layout(category=categories)


def _intervals(tags: Iterable[str]) -> layout_pb2.MarginChartContent | None:
    """Returns the chart of what `pax.metrics.seeds.reward_intervals` has found, a band each, if anything."""
    shown = set(tags)
    names = [interval_names(tag) for tag in sorted(shown)]
    series = [
        layout_pb2.MarginChartContent.Series(value=middle, lower=low, upper=high)
        for middle, low, high in names
        if middle in shown
    ]
    return layout_pb2.MarginChartContent(series=series) if series else None


def write_layout(writer: Any, tags: Iterable[str]) -> None:
    """Writes the layout through a CLU metric writer; those that do not know such a thing pass it over."""
    layout = make_layout(tags).SerializeToString()
    writer.write_summaries(
        0,
        # As an object, because numpy's strings end at the first zero byte.
        {metadata.CONFIG_SUMMARY_TAG: np.array(layout, dtype=object)},
        metadata.create_summary_metadata().SerializeToString(),
    )
