"""Every experiment of the earlier Pax has a command here, which builds what it would train."""

import collections
import pathlib
import runpy
import shlex

import pytest

from tests.test_pages import accept_flags

pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

DOCS = pathlib.Path(__file__).parents[1] / "docs"
TABLE = runpy.run_path(str(DOCS / "old_experiments.py"))
ROWS = TABLE["read"]()
# The number of files in each folder of pax/conf/experiment there; `debug` is in none.
NUMBERS = {"c_rice": 6, "cg": 19, "cournot": 5, "debug": 1, "fishery": 8, "imp": 20, "impitm": 13}
NUMBERS |= {"ipd": 86, "ipditm": 13, "multiplayer_ipd": 3, "rice": 12, "sarl": 2}


def test_every_old_experiment_is_there_once():
    names = [row["old"] for row in ROWS]
    assert len(names) == len(set(names)) == 188
    assert collections.Counter(name.split("/")[0] for name in names) == NUMBERS
    assert all(row["command"].startswith("python -m pax.") for row in ROWS)


def test_the_page_is_made_from_the_table():
    text = (DOCS / "old_experiments.md").read_text()
    assert text == TABLE["page"](), "run python docs/old_experiments.py"
    for row in ROWS:
        assert f"`{row['old']}`" in text and f"`{row['command']}`" in text


@pytest.mark.parametrize(
    "folder",
    [
        pytest.param(folder, marks=() if folder in ("cournot", "sarl") else pytest.mark.slow)
        for folder in NUMBERS
    ],
)
def test_the_commands_build_what_they_would_train(folder):
    of_folder = {row["command"] for row in ROWS if row["old"].split("/")[0] == folder}
    for command in sorted(of_folder):
        python, flag, module, *arguments = shlex.split(command)
        assert (python, flag) == ("python", "-m")
        # Nobody has written the policies of frozen roles yet: a learner has the same shapes.
        arguments = [each for each in arguments if ".path=" not in each and "=frozen" not in each]
        accept_flags(module, arguments)


def test_evaluations_read_runs_that_another_row_or_its_note_names():
    for row in ROWS:
        for argument in shlex.split(row["command"]):
            if argument.startswith("--workdir=exp/"):
                folder, _, name = argument.removeprefix("--workdir=exp/").partition("-")
                trained = f"{folder}/{name}" in {other["old"] for other in ROWS}
                assert trained or "Trained by" in row["note"], row
