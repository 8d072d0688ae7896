"""The evaluations of a report."""

from __future__ import annotations

from collections.abc import Sequence

from pax.report.data import Experiment
from pax.report.estimates import Evaluated, evaluations, over_all
from pax.report.html import estimate_cell, estimate_cells, labelled, plain, table, text


def evaluation_tables(experiments: Sequence[Experiment]) -> str:
    """Rewards of the last evaluations; their statistics behind a click."""
    found = [evaluations(experiment) for experiment in experiments]
    everything = [evaluated for results in found for evaluated in results.values()]
    keys = list(dict.fromkeys(key for evaluated in everything for key in evaluated.metrics))
    rewards = [key for key in keys if key.startswith("reward")]
    others = any(_is_statistic(key) for key in keys)
    if not everything:
        return ""
    content = table(
        [
            "Experiment",
            "Evaluation",
            "Iteration",
            *(plain(key.rpartition("/")[2]) for key in rewards),
            "Estimate",
        ],
        _evaluation_rows(experiments, found, rewards),
        "Rewards of evaluations",
    )
    if others:
        statistics = "".join(map(_statistics, experiments, found))
        content += f"<details><summary>Statistics of evaluations</summary>{statistics}</details>"
    return "<p>Reward per step of the frozen policies, as last evaluated.</p>" + content


def _evaluation_rows(
    experiments: Sequence[Experiment],
    found: Sequence[dict[str, Evaluated]],
    keys: Sequence[str],
) -> list[list[str]]:
    rows = []
    for index, results in enumerate(found):
        label = labelled(experiments, index)
        for name, evaluated in results.items():
            at = sorted(set(evaluated.iterations))
            told = " to ".join(dict.fromkeys(f"{number:,}" for number in (at[0], at[-1])))
            estimates = [evaluated.metrics.get(key) for key in keys]
            rows.append([label, text(name), told, *estimate_cells(estimates)])
        overall = [over_all(results, key) for key in keys]
        if any(overall):
            rows.append([label, "<i>mean of all evaluations</i>", "", *estimate_cells(overall)])
    return rows


def _statistics(experiment: Experiment, results: dict[str, Evaluated]) -> str:
    """Returns a table of one experiment, with a column per evaluation: there are many statistics."""
    keys = dict.fromkeys(key for evaluated in results.values() for key in evaluated.metrics)
    shown = [key for key in keys if _is_statistic(key)]
    rows = [
        [text(plain(key))]
        + [estimate_cell(evaluated.metrics.get(key)) for evaluated in results.values()]
        for key in shown
    ]
    head = f"<h3>{text(experiment.label)}</h3>"
    return head + table(["Statistic", *results], rows, experiment.label) if rows else ""


def _is_statistic(key: str) -> bool:
    return not key.startswith("reward") and "state_visitation" not in key
