"""The page of a report: one HTML file that needs nothing else."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from pax.metrics.curves_page import CURVES_FILE
from pax.report.curves import LEARNING, MAX_CHARTS, sections
from pax.report.data import NOT_SET, Experiment, differences
from pax.report.estimates import at_the_end
from pax.report.evaluations import evaluation_tables
from pax.report.explanations import explanation
from pax.report.html import estimate_cells, labelled, long_cell, plain, table, text
from pax.report.pictures import pictures

# Marks a page as a report, which may be replaced by a newer one, also if an earlier version wrote it.
GENERATOR = "pax.launch.report"
STYLE = pathlib.Path(__file__).with_name("report.css")
SPEED = "env_steps_per_second"
REWARD = "train/reward_per_timestep/"


def page(experiments: Sequence[Experiment], problems: Sequence[str]) -> str:
    """Returns the whole page."""
    title = ", ".join(dict.fromkeys(experiment.label for experiment in experiments[:3]))
    if len(experiments) > 3:
        title += f" and {len(experiments) - 3} more"
    body = [
        f"<h1>{text(title)}</h1>",
        _problems(problems),
        _section("Reward per step at the end", _results(experiments)),
        _section("What was run", _runs(experiments)),
        _section("Settings that differ", _settings(experiments)) if len(experiments) > 1 else "",
        *_curves(experiments),
        _section("Evaluations", evaluation_tables(experiments)),
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
        f"<title>{text(title)}</title>\n<style>\n{STYLE.read_text()}</style></head>\n<body>\n"
        + "\n".join(filter(None, body))
        + "\n</body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{text(title)}</h2>\n{content}</section>" if content else ""


def _problems(problems: Sequence[str]) -> str:
    items = "".join(f"<p>{text(problem)}.</p>" for problem in problems)
    return (
        f'<div class="problems"><p><b>Not everything could be read.</b></p>{items}</div>'
        if items
        else ""
    )


def _seeds(experiment: Experiment) -> str:
    """Says how many there are, and which."""
    if not experiment.runs[0].record:
        return str(experiment.num_seeds) if experiment.num_seeds > 1 else "?"
    parts: list[range] = []
    for seeds in sorted((run.seeds for run in experiment.runs), key=lambda seeds: seeds.start):
        if parts and parts[-1].stop == seeds.start:
            parts[-1] = range(parts[-1].start, seeds.stop)
        else:
            parts.append(seeds)
    which = ", ".join(
        f"{part[0]} to {part[-1]}" if len(part) > 2 else ", ".join(map(str, part)) for part in parts
    )
    return f"{experiment.num_seeds} <small>({which})</small>"


def _results(experiments: Sequence[Experiment]) -> str:
    keys = dict.fromkeys(
        key for experiment in experiments for key in experiment.metrics() if key.startswith(REWARD)
    )
    if not keys:
        return ""
    head = ["Experiment", "Seeds", *(plain(key.removeprefix(REWARD)) for key in keys), "Estimate"]
    rows = []
    for index, experiment in enumerate(experiments):
        estimates = [at_the_end(experiment, key) for key in keys]
        cells = estimate_cells(estimates)
        rows.append([labelled(experiments, index), _seeds(experiment), *cells])
    note = (
        "<p>Averaged over the last tenth of each run; in brackets, a 95 % interval over seeds.</p>"
    )
    return note + table(head, rows, "Reward per step at the end")


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
                labelled(experiments, index),
                text(settings.get("env.type", "?")),
                _seeds(experiment),
                text(told + (f" of {planned:,}" if isinstance(planned, int) else "")),
                text(settings.get("num_envs", "?")),
                text(" x ".join(map(str, sizes))),
                text(str(first.record.get("started", "?"))[:16].replace("T", " ")),
            ]
        )
    return table(head, rows, "What was run") + _versions(experiments) + _commands(experiments)


def _versions(experiments: Sequence[Experiment]) -> str:
    """Returns one sentence for each set of versions."""
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
    return "".join(f'<p class="soft">{text(sentence)}</p>' for sentence in sentences)


def _commands(experiments: Sequence[Experiment]) -> str:
    items = []
    for experiment in experiments:
        for run in experiment.runs:
            command = run.record.get("command", "(no run.json: made from Python)")
            items.append(
                f"<p>{text(run.path)}{_curves_file(run.path)}<br><code>{text(command)}</code></p>"
            )
    return f"<details><summary>Folders and commands</summary>{''.join(items)}</details>"


def _curves_file(path: pathlib.Path) -> str:
    """Names the run's own page of learning curves, if it has one."""
    return f" (learning curves: {CURVES_FILE})" if (path / CURVES_FILE).is_file() else ""


def _settings(experiments: Sequence[Experiment]) -> str:
    known = [experiment for experiment in experiments if experiment.runs[0].record]
    found = differences([experiment.runs[0] for experiment in known])
    if len(known) < 2 or not found:
        return "<p>None that are recorded.</p>"
    head = ["Setting", *(experiment.label for experiment in known)]
    rows: dict[bool, list[list[str]]] = {True: [], False: []}
    for key, values in found.items():
        row = [f"<code>{text(key)}</code>", *map(long_cell, values)]
        rows[NOT_SET not in values].append(row)
    parts = [table(head, rows[True], "Settings that differ")] if rows[True] else []
    if rows[False]:
        # The settings of another agent, mostly: many, and of less interest than that it is another.
        parts.append(
            f"<details><summary>{len(rows[False])} settings that not all of them have</summary>"
            f"{table(head, rows[False], 'Settings that not all have')}</details>"
        )
    return "".join(parts)


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
                    text(run.path),
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
    if value is None or not np.isfinite(value):
        return ""
    return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.4g}"
