"""Pieces of HTML that the sections of a report are made of."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pax.metrics.bootstrap import Estimate
from pax.report.data import Experiment


def text(value: Any) -> str:
    """Returns what is shown as it is, whatever it holds."""
    return html.escape(str(value))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], name: str) -> str:
    """Returns a table that scrolls if it is too wide; cells are HTML, and the first of a row is its head."""
    columns = "".join(f'<th scope="col">{text(column)}</th>' for column in head)
    lines = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in row[1:])
        + "</tr>\n"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(name)}"><table>\n'
        f"<thead><tr>{columns}</tr></thead>\n<tbody>{lines}</tbody></table></div>"
    )


def long_cell(value: str, most: int = 200) -> str:
    """Returns a cell whose text may be broken, and is cut off where it is very long."""
    told = value if len(value) <= most else f"{value[:most]} ..."
    return f'<td class="text">{text(told)}</td>'


def decimal(value: float) -> str:
    """Returns three digits after the point, or four in all where it is large or very small."""
    if not np.isfinite(value):
        return "undefined"
    small = value != 0 and abs(value) < 0.001
    return f"{value:.4g}" if small or abs(value) >= 10_000 else f"{value:.3f}"


def estimate_cell(estimate: Estimate | None) -> str:
    """Returns the estimate and its interval; empty if nothing is known."""
    if estimate is None or not estimate.is_known:
        return ""
    middle, low, high = (float(part) for part in (estimate.middle, estimate.low, estimate.high))
    interval = f" <small>[{decimal(low)}, {decimal(high)}]</small>" if np.isfinite(low) else ""
    return f"{decimal(middle)}{interval}"


def estimate_cells(estimates: Sequence[Estimate | None]) -> list[str]:
    """Returns the cells of some estimates, and one that says which they are; empty if nothing is known."""
    known = [one.method for one in estimates if one is not None and one.is_known]
    method = f"<small>{text(', '.join(dict.fromkeys(known)))}</small>"
    return [*map(estimate_cell, estimates), method]


def labelled(experiments: Sequence[Experiment], index: int) -> str:
    """Returns an experiment's name with the colour of its lines."""
    colour = f'<span class="swatch c{index % 8}"></span>' if len(experiments) > 1 else ""
    return colour + text(experiments[index].label)


def plain(key: str) -> str:
    """Returns a metric's name in words."""
    return key.replace("_", " ")
