"""Line charts as SVG, small enough to put many of them into one page.

Colours and fonts come from the page's style sheet: line k has the class `c<k>`.
"""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Sequence

import numpy as np

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 68, 16, 8, 40
NUM_COLOURS = 8
# Up to so many points are marked: a line between few would hide that there is nothing in between.
MARKED = 20
LARGEST, SMALLEST = 1e300, 1e-300
# Beyond these, differences of numbers do not fit into a float64, or are 0.


@dataclasses.dataclass(frozen=True)
class Line:
    """A curve `[T]` and its band; NaN where there is none."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    colour: int = 0

    def where_x_is_known(self) -> Line:
        """Returns the same without points whose x is not finite."""
        known = np.isfinite(self.x)
        parts = {key: getattr(self, key)[known] for key in ("x", "y", "low", "high")}
        return dataclasses.replace(self, **parts)

    def in_units(self, unit: float) -> Line:
        """Returns the same with y, low and high divided by a unit."""
        parts = {key: getattr(self, key) / unit for key in ("y", "low", "high")}
        return dataclasses.replace(self, **parts)


def line_chart(
    title: str, lines: Sequence[Line], x_label: str, y_label: str, note: str = ""
) -> str:
    """Returns a `<figure>` with title, legend, axes, lines and their bands.

    A band that reaches much further than the lines is cut off at the frame, so that lines can be read.
    """
    lines = [line.where_x_is_known() for line in lines]
    unit = _unit(lines)
    if unit > 1.0:
        lines = [line.in_units(unit) for line in lines]
        y_label = f"{y_label}, in {unit:g}"
    y_range = _limits(lines)
    xs = np.concatenate([line.x for line in lines])
    x_range = _padded(float(xs.min()), float(xs.max()), 0.015) if len(xs) else (0.0, 1.0)
    # Beside the only point there is nothing to be counted.
    x_ticks = [float(xs[0])] if len(set(xs.tolist())) == 1 else ticks(*x_range)
    marks = [
        f'<g class="line c{line.colour % NUM_COLOURS}">{_draw(line, x_range, y_range)}</g>'
        for line in lines
    ]
    legend = "".join(
        f'<span class="key c{line.colour % NUM_COLOURS}">{html.escape(line.name)}</span>'
        for line in lines
        if line.name
    )
    note = f'<span class="note">{html.escape(note)}</span>' if note else ""
    return (
        f'<figure class="chart"><figcaption><b>{html.escape(title)}</b>'
        f'<span class="legend">{legend}</span>{note}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">'
        f"{_axes(x_range, x_ticks, y_range, x_label, y_label)}"
        f'<svg x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}"'
        f' overflow="hidden">{"".join(marks)}</svg></svg></figure>'
    )


def ticks(low: float, high: float, num: int = 5) -> list[float]:
    """Returns about `num` round numbers from `low` to `high`: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / num
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [factor * power for factor in (1, 2, 5, 10)]
    step = min(steps, key=lambda step: abs(math.log(step / rough)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def short(value: float) -> str:
    """Returns a number as an axis shows it: 1.5M, 20k, 0.25."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size <= abs(value) < 1e13:
            return f"{value / (1e3 if letter == 'k' else size):.4g}{letter}"
    # What is left of rounding is no tick.
    return f"{value:.4g}" if abs(value) > 1e-12 else "0"


def _unit(lines: Sequence[Line]) -> float:
    """Returns 1, or a power of ten in which y has room at either end of what a float64 holds."""
    ys = np.concatenate([line.y for line in lines])
    largest = np.max(np.abs(ys), initial=0.0, where=np.isfinite(ys))
    return 1e10 if largest > LARGEST else 1.0


def _limits(lines: Sequence[Line]) -> tuple[float, float]:
    """Returns the limits of the lines, and of their bands as far as these are not much wider."""
    ys = np.concatenate([line.y for line in lines])
    ys = ys[np.isfinite(ys)]
    if not len(ys):
        return -0.5, 0.5
    low, high = float(ys.min()), float(ys.max())
    slack = max(high - low, 0.1 * abs(high), 1e-9)
    bands = np.concatenate([part for line in lines for part in (line.low, line.high)])
    bands = bands[np.isfinite(bands)]
    if len(bands):
        low = min(low, max(float(bands.min()), low - slack))
        high = max(high, min(float(bands.max()), high + slack))
    return _padded(low, high, 0.05)


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    """Returns a range with room at either end, and never empty."""
    if high - low <= max(1e-9 * max(abs(low), abs(high)), SMALLEST):
        room = 0.5 * abs(high) if abs(high) > SMALLEST else 0.5
        return low - room, high + room
    return low - share * (high - low), high + share * (high - low)


def _axes(
    x_range: tuple[float, float],
    x_ticks: Sequence[float],
    y_range: tuple[float, float],
    x_label: str,
    y_label: str,
) -> str:
    bottom, middle = HEIGHT - BOTTOM, TOP + (HEIGHT - TOP - BOTTOM) / 2
    parts = []
    for value in ticks(*y_range):
        y = TOP + _place(value, y_range, bottom - TOP, flip=True)
        parts.append(
            f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(value)}</text>'
        )
    for value in x_ticks:
        x = LEFT + _place(value, x_range, WIDTH - LEFT - RIGHT)
        parts.append(
            f'<path class="axis" d="M{x:.1f} {bottom}v4"/>'
            f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{short(value)}</text>'
        )
    parts.append(f'<path class="axis" d="M{LEFT} {bottom}H{WIDTH - RIGHT}"/>')
    centre = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(
        f'<text x="{centre}" y="{HEIGHT - 5}" text-anchor="middle">{html.escape(x_label)}</text>'
        f'<text transform="translate(11 {middle}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(y_label)}</text>"
    )
    return "".join(parts)


def _draw(line: Line, x_range: tuple[float, float], y_range: tuple[float, float]) -> str:
    """Draws band, line and marks, in the coordinates of the frame."""
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    xs = [_place(x, x_range, width) for x in line.x]

    def points(values: np.ndarray, part: range) -> list[str]:
        # Far outside is as good as infinitely far, and shorter.
        ys = np.clip(
            [_place(values[i], y_range, height, flip=True) for i in part], -height, 2 * height
        )
        return [f"{xs[i]:.1f} {y:.1f}" for i, y in zip(part, ys, strict=True)]

    drawn = []
    for part in _stretches(np.isfinite(line.low) & np.isfinite(line.high)):
        outline = "L".join(points(line.low, part) + points(line.high, part)[::-1])
        # Over one point a band has no width.
        kind, end = ("band", "Z") if len(part) > 1 else ("curve", "")
        drawn.append(f'<path class="{kind}" d="M{outline}{end}"/>')
    stretches = _stretches(np.isfinite(line.y))
    curve = "".join("M" + "L".join(points(line.y, part)) for part in stretches if len(part) > 1)
    dash = f' stroke-dasharray="{6 + line.colour} 3"' if line.colour >= NUM_COLOURS else ""
    if curve:
        drawn.append(f'<path class="curve" d="{curve}"{dash}/>')
    for part in stretches:
        if len(part) == 1 or len(line.x) <= MARKED:
            for point in points(line.y, part):
                x, y = point.split()
                drawn.append(f'<circle cx="{x}" cy="{y}" r="3"/>')
    return "".join(drawn)


def _stretches(is_known: np.ndarray) -> list[range]:
    """Returns the longest ranges of indices that are known throughout."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_known.astype(int), [0]])))
    return [range(*pair) for pair in edges.reshape(-1, 2)]


def _place(value: float, within: tuple[float, float], length: float, flip: bool = False) -> float:
    share = (float(value) - within[0]) / (within[1] - within[0])
    return length * (1 - share if flip else share)
