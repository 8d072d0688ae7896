"""Numbers and tables as text, for Markdown and CSV files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table in Markdown, in which bars, line breaks and control characters in a cell end none."""
    lines = [columns, ["---"] * len(columns), *rows]
    cells = [[_printable(cell).replace("|", r"\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _printable(cell: str) -> str:
    # What others wrote, as on a card of the zoo, is not to steer the terminal.
    return "".join(each if each.isprintable() else "?" for each in cell)


def number(mean: float, half: float, decimals: int = 3) -> str:
    """Returns `mean +- half`, as far as there are such numbers."""
    if np.isnan(mean):
        return ""
    # Without "-0.000".
    return f"{mean:z.{decimals}f}" + ("" if np.isnan(half) else f" +- {half:.{decimals}f}")


def csv_number(value: float) -> str:
    """Returns a number as CSV files have it; empty if it is undefined."""
    return "" if np.isnan(value) else f"{value:.6g}"
