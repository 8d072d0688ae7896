"""What figures need of their surroundings, and of what they draw."""

import io
import sys

import numpy as np
import pytest

from pax.envs import figures
from pax.envs.figures import Curves, HeatMap, number_form, plot_curves, plot_heat_maps
from pax.errors import ConfigError


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    figures._figure_class.cache_clear()
    with pytest.raises(ConfigError, match="pip install matplotlib$"):
        plot_curves([Curves("Stock", {"stock": np.zeros(3)})])


def test_figures_can_be_saved_without_a_display():
    values = np.array([[1.0, np.nan], [1.0, 1.0]])
    for figure in (
        plot_heat_maps([HeatMap("Payoff", values, "CD", "CD", "own", "other")] * 2),
        plot_curves([Curves("Stock", {"stock": np.zeros(3)}, {"rest": 1.0})] * 2),
    ):
        file = io.BytesIO()
        figure.savefig(file, format="png")
        assert file.getvalue().startswith(b"\x89PNG")


def test_names_are_no_formulas():
    names = ("$", r"$\x$", "$$")
    figure = plot_heat_maps([HeatMap(r"$\x$", np.eye(3), names, names, "own", "other")])
    figure.suptitle("$a_b$")
    figure.savefig(io.BytesIO(), format="png")
    figure = plot_curves([Curves("$$", {"$a$": np.ones(3)})])
    figure.axes[0].set_yscale("log")
    figure.savefig(io.BytesIO(), format="png")
    assert not figure.axes[0].title.get_parse_math()
    assert all(label.get_parse_math() for label in figure.axes[0].get_yticklabels())


def test_a_single_step_is_a_dot():
    figure = plot_curves([Curves("Price", {"price": np.array([3.0])})])
    assert figure.axes[0].lines[0].get_marker() == "o"


@pytest.mark.parametrize(
    ("scale", "least", "written"),
    [
        ((-3.0, 0.0), 1, "-1.2"),
        ((-3.0, 0.0), 2, "-1.23"),
        ((-2.0, -1.0), 1, "-1.23"),
        ((0.007, 0.041), 2, "-1.234"),
    ],
)
def test_numbers_in_cells_can_be_told_apart(scale, least, written):
    assert number_form(scale, least).format(-1.234) == written
