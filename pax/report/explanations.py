"""What a report says of its own numbers."""

from __future__ import annotations

import html
from collections.abc import Sequence

from pax.metrics.bootstrap import LEAST_SEEDS, REPETITIONS
from pax.report.curves import POINTS
from pax.report.data import Experiment

SEEDS = (
    "Runs that differ in their seed only are seeds of one experiment, as those of one run with num_seeds > 1 "
    "are. Lines and numbers are means over "
    "seeds, and bands and brackets 95 % intervals of the mean by Student's t, which takes seeds to be "
    f"normally distributed. With {LEAST_SEEDS} seeds or more they are inter-quartile means (of n seeds the "
    "n // 4 lowest and highest are left out at each point) with 95 % intervals by the percentile bootstrap "
    f"over seeds, with {REPETITIONS} draws that are the same whenever the page is made (Agarwal et al. 2021, "
    "Deep Reinforcement Learning at the Edge of the Statistical Precipice). With fewer seeds such intervals "
    "cover far less than 95 %: two seeds 50 %, three 73 %, five 89 %. One seed has no interval. The column "
    "Estimate says what a row shows. A point that is undefined in some seeds is that of the others."
)
MEANS = (
    "Of a run with num_seeds > 1 on this page, only the mean and the standard deviation of its seeds are "
    "known, at least at some iterations: its metrics_seeds.jsonl is missing or incomplete. There, lines and "
    "numbers are means with t intervals, however many seeds there are; where a statistic was undefined in "
    "some seeds, the interval still counts all of them."
)
NO_RECORD = (
    "A run without run.json was made from Python: its settings are not known, and unless it has several "
    "seeds, it has no intervals."
)
POOLED = (
    "Mean of all evaluations: results of one seed in different evaluations depend on each other, so its mean "
    "over evaluations is one sample."
)
CURVES = (
    f"A curve of more than {POINTS} points shows averages of neighbouring ones, and fewer points on a page "
    "of very many curves. Where seeds ended at different iterations, the rest of a curve is of those that "
    "went on. A band that reaches far beyond all lines is cut off."
)


def explanation(experiments: Sequence[Experiment]) -> str:
    """Paragraphs about what is on the page."""
    sentences = [SEEDS]
    if any(experiment.has_means_only for experiment in experiments):
        sentences.append(MEANS)
    if any(not experiment.runs[0].record for experiment in experiments):
        sentences.append(NO_RECORD)
    sentences += [POOLED, CURVES]
    return "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)
