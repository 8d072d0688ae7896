"""The page of a report: one HTML file that needs nothing else."""

from __future__ import annotations

import html
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from launch.report_curves import LEARNING, MAX_CHARTS, sections
from launch.report_data import NOT_SET, Experiment, differences
from launch.report_estimates import Estimate, Evaluated, at_the_end, evaluations, over_all
from launch.report_pictures import pictures
from launch.report_words import explanation

GENERATOR = "pax.launch.report"
STYLE = pathlib.Path(__file__).with_name("report.css")
SPEED = "env_steps_per_second"
REWARD = "train/reward_per_timestep/"


def page(experiments: Sequence[Experiment], problems: Sequence[str]) -> str:
    """The whole page."""
    title = ", ".join(dict.fromkeys(experiment.label for experiment in experiments[:3]))
    if len(experiments) > 3:
        title += f" and {len(experiments) - 3} more"
    body = [
        f"<h1>{_text(title)}</h1>",
        _problems(problems),
        _section("Reward per step at the end", _results(experiments)),
        _section("What was run", _runs(experiments)),
        _section("Settings that differ", _settings(experiments)) if len(experiments) > 1 else "",
        *_curves(experiments),
        _section("Evaluations", _evaluations(experiments)),
        _section("Speed", _speed(experiments)),
        _section("Pictures", pictures(experiments)),
        _section("How to read it", explanation(experiments)),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="generator" content="{GENERATOR}">\n'
        # Nothing is fetched and nothing runs, whatever a run's files hold.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{_text(title)}</title>\n<style>\n{STYLE.read_text()}</style></head>\n<body>\n"
        + "\n".join(filter(None, body))
        + "\n</body></html>\n"
    )


def _text(value: Any) -> str:
    return html.escape(str(value))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{_text(title)}</h2>\n{content}</section>" if content else ""


def _problems(problems: Sequence[str]) -> str:
    items = "".join(f"<p>{_text(problem)}.</p>" for problem in problems)
    return (
        f'<div class="problems"><p><b>Not everything could be read.</b></p>{items}</div>'
        if items
        else ""
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], name: str) -> str:
    """A table that scrolls where it is too wide; its cells are HTML, and the first of a row is its head."""
    columns = "".join(f'<th scope="col">{_text(column)}</th>' for column in head)
    lines = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in row[1:])
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(name)}"><table>\n'
        f"<thead><tr>{columns}</tr></thead>\n<tbody>{lines}</tbody></table></div>"
    )


def _long(value: Any) -> str:
    """A cell whose text may be broken."""
    return f'<td class="text">{_text(value)}</td>'


def _number(value: float) -> str:
    """Three digits after the point, or four in all where it is large or very small."""
    if not np.isfinite(value):
        return "undefined"
    small = value != 0 and abs(value) < 0.001
    return f"{value:.4g}" if small or abs(value) >= 10_000 else f"{value:.3f}"


def _cell(estimate: Estimate | None) -> str:
    """The estimate and its interval."""
    if estimate is None:
        return ""
    middle, low, high = (float(part) for part in (estimate.middle, estimate.low, estimate.high))
    interval = f" <small>[{_number(low)}, {_number(high)}]</small>" if np.isfinite(low) else ""
    return f"{_number(middle)}{interval}"


def _labelled(experiments: Sequence[Experiment], index: int) -> str:
    """An experiment's name with the colour of its lines."""
    colour = f'<span class="swatch c{index % 8}"></span>' if len(experiments) > 1 else ""
    return colour + _text(experiments[index].label)


def _seeds(experiment: Experiment) -> str:
    """How many there are, and which."""
    if not experiment.runs[0].record:
        return "?"
    seeds = sorted(seed for run in experiment.runs for seed in run.seeds)
    follow = seeds == list(range(seeds[0], seeds[-1] + 1)) and len(seeds) > 2
    which = f"{seeds[0]} to {seeds[-1]}" if follow else ", ".join(map(str, seeds))
    return f"{len(seeds)} <small>({which})</small>"


def _results(experiments: Sequence[Experiment]) -> str:
    keys = dict.fromkeys(
        key for experiment in experiments for key in experiment.metrics() if key.startswith(REWARD)
    )
    if not keys:
        return ""
    head = ["Experiment", "Seeds", *(_plain(key.removeprefix(REWARD)) for key in keys)]
    rows = [
        [_labelled(experiments, index), _seeds(experiment)]
        + [_cell(_if_known(at_the_end(experiment, key))) for key in keys]
        for index, experiment in enumerate(experiments)
    ]
    note = (
        "<p>Averaged over the last tenth of each run; in brackets, a 95 % interval over seeds.</p>"
    )
    return note + table(head, rows, "Reward per step at the end")


def _if_known(estimate: Estimate | None) -> Estimate | None:
    return estimate if estimate and estimate.is_known else None


def _plain(key: str) -> str:
    return key.replace("_", " ")


def _runs(experiments: Sequence[Experiment]) -> str:
    head = [
        "Experiment",
        "Game",
        "Seeds",
        "Iterations",
        "Environments",
        "Steps x episodes",
        "Started",
    ]
    rows = []
    for index, experiment in enumerate(experiments):
        settings, first = experiment.settings, experiment.runs[0]
        planned = settings.get("num_iters") if not settings.get("total_timesteps") else None
        done = sorted({run.last for run in experiment.runs})
        told = " to ".join(dict.fromkeys(f"{number:,}" for number in (done[0], done[-1])))
        sizes = (settings.get(key, "?") for key in ("num_inner_steps", "num_outer_steps"))
        rows.append(
            [
                _labelled(experiments, index),
                _text(settings.get("env.type", "?")),
                _seeds(experiment),
                _text(told + (f" of {planned:,}" if isinstance(planned, int) else "")),
                _text(settings.get("num_envs", "?")),
                _text(" x ".join(map(str, sizes))),
                _text(str(first.record.get("started", "?"))[:16].replace("T", " ")),
            ]
        )
    return table(head, rows, "What was run") + _versions(experiments) + _commands(experiments)


def _versions(experiments: Sequence[Experiment]) -> str:
    """One sentence for each set of versions."""
    found: dict[str, list[str]] = {}
    for experiment in experiments:
        for run in experiment.runs:
            versions = run.record.get("versions")
            if isinstance(versions, dict):
                told = ", ".join(f"{name} {version}" for name, version in versions.items())
                found.setdefault(told, []).append(str(run.path))
    sentences = [
        f"With {told}: {', '.join(paths)}." if len(found) > 1 else f"With {told}."
        for told, paths in found.items()
    ]
    return "".join(f'<p class="soft">{_text(sentence)}</p>' for sentence in sentences)


def _commands(experiments: Sequence[Experiment]) -> str:
    items = []
    for experiment in experiments:
        for run in experiment.runs:
            command = run.record.get("command", "(no run.json: made from Python)")
            items.append(f"<p>{_text(run.path)}<br><code>{_text(command)}</code></p>")
    return f"<details><summary>Folders and commands</summary>{''.join(items)}</details>"


def _settings(experiments: Sequence[Experiment]) -> str:
    known = [experiment for experiment in experiments if experiment.runs[0].record]
    found = differences([experiment.runs[0] for experiment in known])
    if len(known) < 2 or not found:
        return "<p>None that are recorded.</p>"
    head = ["Setting", *(experiment.label for experiment in known)]
    rows: dict[bool, list[list[str]]] = {True: [], False: []}
    for key, values in found.items():
        row = [f"<code>{_text(key)}</code>", *(_long(_shortened(value)) for value in values)]
        rows[NOT_SET not in values].append(row)
    parts = [table(head, rows[True], "Settings that differ")] if rows[True] else []
    if rows[False]:
        # The settings of another agent, mostly: many, and of less interest than that it is another.
        parts.append(
            f"<details><summary>{len(rows[False])} settings that not all of them have</summary>"
            f"{table(head, rows[False], 'Settings that not all have')}</details>"
        )
    return "".join(parts)


def _shortened(text: str, most: int = 200) -> str:
    return text if len(text) <= most else f"{text[:most]} ..."


def _curves(experiments: Sequence[Experiment]) -> list[str]:
    drawn, left_out = sections(experiments)
    parts = []
    for name, figures in drawn.items():
        content = f'<div class="charts">{"".join(figures)}</div>' if figures else ""
        if content and name == LEARNING:
            content = f"<details><summary>{len(figures)} charts</summary>{content}</details>"
        parts.append(_section(f"{name}, curves" if name == "Evaluations" else name, content))
    if left_out:
        parts.append(
            f'<p class="soft">{left_out} charts past the first {MAX_CHARTS} are left out.</p>'
        )
    return parts


def _evaluations(experiments: Sequence[Experiment]) -> str:
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
            *(_plain(key.rpartition("/")[2]) for key in rewards),
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
        label = _labelled(experiments, index)
        for name, evaluated in results.items():
            at = sorted(set(evaluated.iterations))
            told = " to ".join(dict.fromkeys(f"{number:,}" for number in (at[0], at[-1])))
            cells = [_cell(_if_known(evaluated.metrics.get(key))) for key in keys]
            rows.append([label, _text(name), told, *cells])
        overall = [over_all(results, key) for key in keys]
        if any(overall):
            rows.append([label, "<i>all evaluations together</i>", "", *map(_cell, overall)])
    return rows


def _statistics(experiment: Experiment, results: dict[str, Evaluated]) -> str:
    """A table of one experiment, with a column per evaluation: there are many statistics."""
    keys = dict.fromkeys(key for evaluated in results.values() for key in evaluated.metrics)
    shown = [key for key in keys if _is_statistic(key)]
    rows = [
        [_text(_plain(key))]
        + [_cell(_if_known(evaluated.metrics.get(key))) for evaluated in results.values()]
        for key in shown
    ]
    head = f"<h3>{_text(experiment.label)}</h3>"
    return head + table(["Statistic", *results], rows, experiment.label) if rows else ""


def _is_statistic(key: str) -> bool:
    return not key.startswith("reward") and "state_visitation" not in key


def _speed(experiments: Sequence[Experiment]) -> str:
    rows = []
    for experiment in experiments:
        for run in experiment.runs:
            last = run.rows[run.last]
            speeds = [
                row["env_steps_per_second"]
                for row in run.rows.values()
                if "env_steps_per_second" in row
            ]
            if not speeds and "wall_time" not in last:
                continue
            rows.append(
                [
                    _text(run.path),
                    f"{run.last:,}",
                    _rounded(last.get("env_steps")),
                    _rounded(last.get("wall_time")),
                    _rounded(float(np.nanmedian(speeds)) if np.isfinite(speeds).any() else None),
                ]
            )
    if not rows:
        return ""
    head = [
        "Run",
        "Iterations",
        "Environment steps of a seed",
        "Seconds",
        "Steps per second, all seeds",
    ]
    note = (
        '<p class="soft">Seconds are those of the whole run, with compiling; the speed is the median of '
        "the reports.</p>"
    )
    return table(head, rows, "Speed") + note


def _rounded(value: float | None) -> str:
    return "" if value is None or not np.isfinite(value) else f"{value:,.0f}"
