"""Tables of the literature: what is measured, kept, shown and refused."""

import contextlib
import csv
import json
import pathlib

import numpy as np
import pytest

from launch.reproduce import __main__ as program
from launch.reproduce import cells
from launch.reproduce import folder as results
from launch.reproduce import published as tables
from launch.reproduce.cells import Cell, PublishedTable
from pax.errors import ConfigError, OutputError
from pax.evaluation.players import find_policies
from pax.metrics.json_writer import read_metrics
from pax.metrics.seeds import SeedMetrics
from pax.run.directory import read_run
from pax.run.files import write_whole
from pax.run.locks import holding

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def table(monkeypatch):
    """Two cells; what was measured is noted, and the second fails if it is told to."""
    measured, failing = [], []

    def cell(name, samples):
        def measure(folder):
            measured.append(name)
            if name in failing:
                raise KeyboardInterrupt
            return np.array(samples)

        return measure

    rows = (
        Cell("one: a - b", (-1.0, None), cell("one", [[-1.0, 0.0], [-2.0, 1.0]])),
        Cell("two", (), cell("two", [[0.5, 0.25]])),
    )
    built = PublishedTable("A table", "reward", "pair", ("first", "second"), rows)
    monkeypatch.setitem(tables.TABLES, "fake", lambda quick: built)
    return measured, failing


def test_a_table_is_printed_and_written(table, tmp_path, capsys):
    folder = program.reproduce(["fake"], str(tmp_path / "out"), False)
    printed = capsys.readouterr().out
    assert "| one: a - b | -1.500 +- 0.500 | 0.500 +- 0.500 | -1, - | 2 |" in printed
    assert "| two | 0.500 | 0.250 |  | 1 |" in printed
    with (folder / "fake.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "pair": "one: a - b",
        "column": "first",
        "mean": "-1.5",
        "standard_error": "0.5",
        "published": "-1.0",
        "seeds": "2",
    }
    assert [row["standard_error"] for row in rows] == ["0.5", "0.5", "", ""]
    assert (folder / "fake.png").read_bytes().startswith(b"\x89PNG")


def test_where_nothing_was_published_no_column_says_so(monkeypatch, tmp_path, capsys):
    cell = Cell("one", (), lambda folder: np.array([[1.0, 2.0]]))
    built = PublishedTable("A table", "reward", "pair", ("first", "second"), (cell,))
    monkeypatch.setitem(tables.TABLES, "fake", lambda quick: built)
    folder = program.reproduce(["fake"], str(tmp_path / "out"), False)
    assert "| pair | first | second | seeds | seconds |" in capsys.readouterr().out
    with (folder / "fake.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[:2] == [
        ["pair", "column", "mean", "standard_error", "seeds"],
        ["one", "first", "1", "", "1"],
    ]
    program.reproduce(["fake"], str(tmp_path / "quick"), True)
    assert "A table (a small part of the work, --quick" in capsys.readouterr().out


def test_rows_of_schelling_diagrams_are_counted_in_english():
    labels = [cell.label for cell in tables.TABLES["schelling"](True).cells]
    assert labels[:3] == [
        f"Commons Harvest: {text}"
        for text in ("0 others cooperate", "1 other cooperates", "2 others cooperate")
    ]


def test_what_is_done_is_not_done_again(table, tmp_path):
    measured, failing = table
    failing.append("two")
    with pytest.raises(KeyboardInterrupt):
        program.reproduce(["fake"], str(tmp_path), False)
    failing.clear()
    program.reproduce(["fake"], str(tmp_path), False)
    program.reproduce(["fake"], str(tmp_path), False)
    assert measured == ["one", "two", "two"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "give one table, one of mfos, lola, shaper, coin_game, coala"),
        (["mfos", "lola"], "give one table, .* and not 2"),
        (["mofs"], "there is no table 'mofs': did you mean mfos?"),
    ],
)
def test_what_is_wrong_is_said(names, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        program.reproduce(names, str(tmp_path / "new"), False)
    assert not (tmp_path / "new").exists()


def test_a_folder_keeps_one_table(table, tmp_path):
    program.reproduce(["fake"], str(tmp_path), False)
    with pytest.raises(ConfigError, match="holds the results of .*fake.*: name another folder"):
        program.reproduce(["fake"], str(tmp_path), True)
    (tmp_path / "table.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be used"):
        program.reproduce(["fake"], str(tmp_path), False)


def test_from_the_shell_an_error_is_one_sentence(app):
    done = app("mofs", module="launch.reproduce", cwd=ROOT)
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr == "Error: there is no table 'mofs': did you mean mfos?\n"


@pytest.mark.parametrize(
    ("pair", "expected"),
    [(("NL", "NL"), (-1.983, -1.983)), (("static", "NL"), (-2.454, -1.002))],
)
def test_exact_learners_score_what_was_published(pair, expected, tmp_path):
    samples = tables._exact("IPD", *pair, 2, 2048, tmp_path)
    assert samples.shape == (2, 2)
    np.testing.assert_allclose(samples.mean(axis=0), expected, atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("name", tables.TABLES)
def test_every_table_has_a_quick_form(name, tmp_path):
    folder = program.reproduce([name], str(tmp_path), True)
    rows = tables.TABLES[name](True).cells
    assert len(list((folder / "cells").glob("*.json"))) == len(rows)
    for path in (folder / "cells").glob("*.json"):
        assert np.isfinite(json.loads(path.read_text())["samples"]).all()


def test_a_folder_that_holds_something_else_is_left_alone(table, tmp_path):
    (tmp_path / "notes.md").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty and holds no results of this program"):
        program.reproduce(["fake"], str(tmp_path), False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.md"]
    assert table[0] == []


def test_one_process_measures_a_table(table, tmp_path):
    folder = program.reproduce(["fake"], str(tmp_path / "out"), False)
    with (
        holding(folder / ".table.lock"),
        pytest.raises(OutputError, match="is in use: another part of this process measures there"),
    ):
        program.reproduce(["fake"], str(folder), False)


def test_of_two_that_begin_at_once_the_second_leaves_the_first_its_folder(tmp_path, monkeypatch):
    real = results.holding

    @contextlib.contextmanager
    def holding_late(path):
        (path.parent / "table.json").write_text('{"table": "first"}')
        with real(path) as lock:
            yield lock

    monkeypatch.setattr(results, "holding", holding_late)
    with (
        pytest.raises(ConfigError, match="holds the results of .*first"),
        results.alone_in(tmp_path / "out", {"table": "second"}),
    ):
        pytest.fail("it is of the first")
    assert json.loads((tmp_path / "out" / "table.json").read_text()) == {"table": "first"}


def test_a_folder_of_other_settings_tells_which(tmp_path):
    with results.alone_in(tmp_path / "out", {"table": "league", "num_seeds": 3, "quick": True}):
        pass
    told = "results of league with other settings .num_seeds: 3 -> 2.: name another folder"
    with (
        pytest.raises(ConfigError, match=told),
        results.alone_in(tmp_path / "out", {"table": "league", "num_seeds": 2, "quick": True}),
    ):
        pytest.fail("it has three seeds")


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    with (
        pytest.raises(OutputError, match="/cells cannot be used .File exists.: make room, or take"),
        results.alone_in(tmp_path / "out", {"table": "a"}),
    ):
        (tmp_path / "out" / "cells").touch()
        (tmp_path / "out" / "cells").mkdir()
    with (
        pytest.raises(OutputError, match="/out/cells cannot be used .Is a directory."),
        results.alone_in(tmp_path / "out", {"table": "a"}),
    ):
        (tmp_path / "out" / "cells").unlink()
        (tmp_path / "out" / "cells").mkdir()
        write_whole(tmp_path / "out" / "cells", "")
    with pytest.raises(BrokenPipeError), results.alone_in(tmp_path / "out", {"table": "a"}):
        raise BrokenPipeError


def test_ctrl_c_keeps_what_was_measured(table, tmp_path):
    table[1].append("two")
    with pytest.raises(KeyboardInterrupt):
        program.reproduce(["fake"], str(tmp_path / "out"), False)
    assert [path.name for path in (tmp_path / "out" / "cells").iterdir()] == ["one__a___b.json"]


@pytest.mark.parametrize(
    "text",
    (
        "{",
        "[]",
        "3",
        '{"samples": [], "seconds": 1}',
        '{"samples": [["x"]], "seconds": 1}',
        '{"samples": [[1.0]]}',
    ),
)
def test_a_damaged_cell_is_one_sentence(text, table, tmp_path):
    folder = program.reproduce(["fake"], str(tmp_path / "out"), False)
    cell = next((folder / "cells").glob("*.json"))
    cell.write_text(text)
    with pytest.raises(OutputError, match="cannot be used .*: take it away to measure it anew"):
        program.reproduce(["fake"], str(tmp_path / "out"), False)
    assert cell.read_text() == text


def test_what_the_folder_is_for_may_be_damaged(table, tmp_path):
    folder = program.reproduce(["fake"], str(tmp_path / "out"), False)
    for text in ("{", "[" * 10**5, "null"):
        (folder / "table.json").write_text(text)
        with pytest.raises(ConfigError, match="cannot be used|holds the results of None"):
            program.reproduce(["fake"], str(tmp_path / "out"), False)


def test_a_row_is_the_last_tenth_of_each_seed(tmp_path):
    config = cells.config_of("configs/ipd.py:ppo", 2, True, {"num_iters": 20})
    samples = cells.train(config, "configs/ipd.py:ppo", tmp_path)
    assert samples.shape == (2, 2)
    # Metrics are of even iterations, two by two: 19 and 20 are the last tenth.
    rows = read_metrics(tmp_path)
    assert rows[-1]["iteration"] == 20
    names = cells.REWARDS
    probed = cells.LastTenth(20)
    for first in range(1, 21, 2):
        per_seed = {name: np.array([[first, 1.0], [first + 1, 3.0]]) for name in names}
        probed.on_chunk_end(None, None, first + 1, SeedMetrics(per_seed))
    np.testing.assert_allclose(probed.mean(names[0]), [19.5, 2.0])
    # What is done is not done again, and its numbers are kept.
    written = (tmp_path / "metrics.jsonl").read_bytes()
    again = cells.config_of("configs/ipd.py:ppo", 2, True, {"num_iters": 20})
    np.testing.assert_array_equal(cells.train(again, "configs/ipd.py:ppo", tmp_path), samples)
    assert (tmp_path / "metrics.jsonl").read_bytes() == written
    # It is a run like any other.
    files, errors = find_policies([str(tmp_path)])
    assert not errors
    assert [file.path.stem for file in files] == ["agent1_seed_0", "agent1_seed_1"]
    assert read_run(tmp_path)["config_path"] == "configs/ipd.py:ppo"


def test_what_is_undefined_in_an_iteration_is_left_out():
    last = cells.LastTenth(4)
    for step, value in ((3, 8.0), (4, np.nan)):
        last.on_chunk_end(None, None, step, SeedMetrics({"x": np.array([[value]])}))
    assert np.isnan(last.mean("x")).all()
    last.on_chunk_end(None, None, 4, SeedMetrics({"x": np.array([[7.0]])}))
    assert last.mean("x").tolist() == [7.0]


def test_learning_curves_are_drawn(monkeypatch, tmp_path):
    cell = cells.trained("mine", (), "configs/ipd.py:tabular", 2, True, panel="Rewards")
    built = PublishedTable("A table", "reward", "pair", ("first", "second"), (cell,))
    monkeypatch.setitem(tables.TABLES, "fake", lambda quick: built)
    folder = program.reproduce(["fake"], str(tmp_path / "out"), False)
    assert (folder / "fake_curves.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in (folder / "runs").iterdir()] == ["mine"]
