"""The pictures of a report, within the page itself."""

from __future__ import annotations

import base64
import html
import pathlib
import re
from collections.abc import Sequence

from pax.report.data import Experiment, RecordedRun

LARGEST = 400_000
LARGEST_IN_ALL = 1_200_000
FIGURES, CURVES = "pictures", ("_probability",)
KINDS = {b"GIF8": "gif", b"\x89PNG": "png"}


def pictures(experiments: Sequence[Experiment]) -> str:
    """Returns the last episode of each evaluation and the figures of the callback `Pictures`.

    They are of the first run of each experiment that has any.
    """
    shown, told, total = [], [], 0
    for experiment in experiments:
        run = next((run for run in experiment.runs if latest(run)), None)
        recorded = latest(run) if run else {}
        drawn = next((one for each in experiment.runs if (one := figures_of(each))), {})
        for name, (iteration, path) in {**recorded, **drawn}.items():
            try:
                data = path.read_bytes()
            except OSError as e:
                told.append(f"{path} cannot be read ({e.strerror})")
                continue
            kind = KINDS.get(data[:4])
            if kind is None:
                told.append(f"{path} is no picture")
            elif len(data) > LARGEST or total + len(data) > LARGEST_IN_ALL:
                told.append(f"{path} is too large to show here ({len(data) / 1e6:.1f} MB)")
            else:
                total += len(data)
                caption = f"{name}, iteration {iteration:,}" if iteration else name
                if len(experiments) > 1:
                    caption = f"{experiment.label}: {caption}"
                shown.append(_figure(caption, kind, data))
    notes = "".join(f'<p class="soft">{html.escape(note)}.</p>' for note in told)
    figures = f'<div class="charts">{"".join(shown)}</div>' if shown else ""
    says = (
        "<p>The last episode that was recorded of each evaluation, and the newest figures, of one seed.</p>"
        if shown
        else ""
    )
    return says + figures + notes


def figures_of(run: RecordedRun) -> dict[str, tuple[int, pathlib.Path]]:
    """Returns the newest figures of the callback `Pictures`, by name; 0 for their iteration."""
    # The page has curves of what is in each state.
    paths = [p for p in sorted((run.path / FIGURES).glob("*.png")) if not p.stem.endswith(CURVES)]
    return {path.stem.replace("_", " "): (0, path) for path in paths if path.is_file()}


def latest(run: RecordedRun) -> dict[str, tuple[int, pathlib.Path]]:
    """Returns the iteration and the path of the last picture, by evaluation."""
    found: dict[str, tuple[int, pathlib.Path]] = {}
    for path in sorted((run.path / "videos").glob("*")):
        match = re.fullmatch(r"(.+?)(?:_(\d+))?\.(?:gif|png)", path.name)
        if match and path.is_file():
            name, iteration = match[1], int(match[2] or 0)
            if name not in found or iteration >= found[name][0]:
                found[name] = (iteration, path)
    return found


def _figure(caption: str, kind: str, data: bytes) -> str:
    encoded = base64.b64encode(data).decode()
    text = html.escape(caption)
    return (
        f'<figure class="picture"><figcaption><b>{text}</b></figcaption>'
        f'<img alt="{text}" src="data:image/{kind};base64,{encoded}"></figure>'
    )
