"""Figures of games that are not played on a grid."""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pax.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


@dataclasses.dataclass(frozen=True)
class HeatMap:
    """A table of numbers, NaN where there is none."""

    title: str
    values: np.ndarray
    rows: Sequence[str]
    columns: Sequence[str]
    row_label: str
    column_label: str


@dataclasses.dataclass(frozen=True)
class Curves:
    """Quantities over the steps of an episode, and constants to compare them with."""

    title: str
    lines: Mapping[str, Any]
    """By name, `[T]`."""
    references: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """By name, scalars."""


def plot_heat_maps(maps: Sequence[HeatMap]) -> Figure:
    """Plots tables side by side, coloured on one scale."""
    figure = new_figure((3.2 * len(maps), 3.2))
    low = min(np.nanmin(table.values) for table in maps)
    high = max(np.nanmax(table.values) for table in maps)
    for index, table in enumerate(maps):
        axes = figure.add_subplot(1, len(maps), index + 1)
        plot_heat_map(axes, table, (low, high), "{:.4g}")
    return figure


def plot_heat_map(
    axes: Axes,
    table: HeatMap,
    scale: tuple[float, float],
    form: str | None,
    *,
    aspect: Literal["auto", "equal"] = "auto",
    size: float | None = None,
) -> AxesImage:
    """Plots a table as coloured cells into the axes of a figure; returns the image.

    Args:
        axes: where to put it.
        table: numbers, and their names.
        scale: the numbers at both ends of the colours.
        form: how numbers are written into their cells, as in `{:z.2f}` (z: no "-0.00"); None: they are not.
        aspect: of cells.
        size: of the numbers, in points.
    """
    image = axes.imshow(
        np.ma.masked_invalid(table.values), vmin=scale[0], vmax=scale[1], aspect=aspect
    )
    axes.set_xticks(range(len(table.columns)), table.columns)
    axes.set_yticks(range(len(table.rows)), table.rows)
    axes.set(title=table.title, xlabel=table.column_label, ylabel=table.row_label)
    for (row, column), value in np.ndenumerate(table.values):
        if form is not None and np.isfinite(value):
            # Readable on either end of the scale.
            colour = "black" if value > sum(scale) / 2 else "white"
            text = form.format(value)
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
    return image


def number_form(scale: tuple[float, float], least: int = 1) -> str:
    """Returns how numbers of a scale are written into cells, so that they can be told apart.

    Args:
        scale: the smallest and the largest of them.
        least: digits after the point, of which there are more on a scale shorter than 2, or .2.
    """
    length = scale[1] - scale[0]
    digits = 1 if length >= 2 else 2 if length >= 0.2 else 3
    return f"{{:z.{max(digits, least)}f}}"


def plot_curves(panels: Sequence[Curves]) -> Figure:
    """Plots panels one below the other, with a common axis of steps."""
    figure = new_figure((6.4, 2.4 * len(panels)))
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(len(panels), 1, index + 1)
        for name, values in panel.lines.items():
            values = np.asarray(values)
            # A step between two without a value has no line, nor has a single one.
            marker = "o" if len(values) == 1 or np.isnan(values).any() else ""
            axes.plot(np.arange(len(values)), values, marker=marker, label=name)
        for (name, value), style in zip(panel.references.items(), ("--", ":"), strict=False):
            axes.axhline(float(value), color="grey", linestyle=style, label=name)
        axes.set(title=panel.title, xlabel="step" if panel is panels[-1] else "")
        axes.locator_params(axis="x", integer=True)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")
    return figure


def new_figure(size: tuple[float, float]) -> Figure:
    """Returns an empty figure of a size in inches, outside of the global state of pyplot.

    Raises:
        ConfigError: if matplotlib is not installed.
    """
    return _figure_class()(figsize=size, layout="constrained")


@functools.cache
def _figure_class() -> type[Figure]:
    """Returns matplotlib's figure, which a notebook shows even if nobody has imported pyplot."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.text import Text
    except ImportError as e:
        raise ConfigError(
            "matplotlib is not installed, and figures of games need it: pip install matplotlib"
        ) from e

    class ShownFigure(Figure):
        def draw(self, renderer: Any) -> None:
            axes = [axis for each in self.axes for axis in (each.xaxis, each.yaxis)]
            # Powers on an axis of logarithms are formulas. What files and people are called is none.
            formulas = {
                text for axis in axes if axis.get_scale() == "log" for text in axis.findobj(Text)
            }
            for text in {*self.findobj(Text)} - formulas:
                text.set_parse_math(False)
            super().draw(renderer)

        def _repr_png_(self) -> bytes:
            picture = io.BytesIO()
            self.savefig(picture, format="png")
            return picture.getvalue()

    return ShownFigure
