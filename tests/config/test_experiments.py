"""What `--list` promises is what docs/experiments.md says was measured, variant by variant."""

import pathlib
import re
import runpy

import pytest

ROOT = pathlib.Path(__file__).parents[2]
MATRIX_GAMES = {"ipd": "prisoner's dilemma", "imp": "matching pennies"}
NOT_RUN = "not run"


def tables(text):
    """The rows of every table by column, with the heading that it stands under."""
    heading, header = "", None
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            header = None
        elif header is None:
            header = cells
        elif not set(cells[0]) <= set("-: "):
            yield heading, dict(zip(header, cells, strict=True))


@pytest.fixture(scope="module")
def listed():
    """What `--list` says, by file and variant."""
    return {
        (path.stem, variant): text
        for path in sorted((ROOT / "configs").glob("[!_]*.py"))
        for variant, text in runpy.run_path(str(path))["VARIANTS"].items()
    }


@pytest.fixture(scope="module")
def rows():
    return list(tables((ROOT / "docs" / "experiments.md").read_text()))


def is_about_learning(name):
    """Whether a variant of a matrix game is in the table of learning-aware policy gradients."""
    return name[0] in MATRIX_GAMES and name[1].split(",")[0] in ("coala", "in_context")


@pytest.mark.parametrize(
    ("heading", "belongs"),
    [
        ("Learning-aware policy gradients", is_about_learning),
        ("Other games", lambda name: name[0] not in MATRIX_GAMES),
    ],
)
def test_every_variant_is_measured_or_said_not_to_be(heading, belongs, listed, rows):
    measured = {
        re.fullmatch(r"`configs/(\w+)\.py:(.*)`", row["variant"]).groups(): row
        for above, row in rows
        if above == heading
    }
    expected = {name: text for name, text in listed.items() if belongs(name)}
    assert set(measured) == set(expected)
    for name, row in measured.items():
        assert row["`--list`"] == expected[name]
        assert row["measured"], f"{name} has neither a number nor {NOT_RUN!r}"
        assert (row["measured"] == NOT_RUN) == (NOT_RUN in expected[name]), name


@pytest.mark.parametrize("game", MATRIX_GAMES)
def test_every_meta_variant_of_the_matrix_games_is_measured_or_said_not_to_be(game, listed, rows):
    cells = {
        row["variant of `configs/ipd.py` and `configs/imp.py`"].strip("`"): row[MATRIX_GAMES[game]]
        for heading, row in rows
        if heading == "Variants of the shaper"
    }
    own = {
        variant.removesuffix(",small"): text
        for (file, variant), text in listed.items()
        if file == game
        and (" by evolution" in text or " across trials" in text or "context=" in variant)
    }
    for variant, text in own.items():
        cell = cells[f"{variant},small"]
        assert cell, f"{game}.py:{variant} has neither a number nor {NOT_RUN!r}"
        assert (cell == NOT_RUN) == (NOT_RUN in text), (game, variant)
