"""The notebook runs from top to bottom, and shows what it says."""

import json
import os
import pathlib
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
# What the cells have left behind, after the last one.
CHECK = """
import json
welfare = trainer.history["welfare"]
print(json.dumps({
    "figures": [len(plt.figure(number).axes) for number in plt.get_fignums()],
    "curves": [axes.get_title() for axes in curves.axes],
    "step": trainer.step, "reason": trainer.stop_reason, "rows": len(welfare),
    "first": float(welfare[:5].mean()), "last": float(welfare[-5:].mean()),
    "scores": {name: list(map(float, pair)) for name, pair in scores.items()},
}))
"""


@pytest.fixture(scope="module")
def cells():
    return [
        cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"
    ]


def test_it_does_what_it_says(cells, tmp_path):
    script = tmp_path / "quickstart.py"
    script.write_text("\n\n".join("".join(cell["source"]) for cell in cells) + CHECK)
    done = subprocess.run(
        # plt.show() cannot show anything here, and says so.
        [sys.executable, "-W", "ignore:FigureCanvasAgg is non-interactive", str(script)],
        # Nearly all of the time is compiling, which this halves.
        env={
            **os.environ,
            "MPLBACKEND": "agg",
            "PYTHONPATH": str(ROOT),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["reason"] == "everybody cooperates" and found["step"] < 200
    assert found["figures"] == [1]
    assert found["curves"] == ["train/reward per timestep", "cooperation probability"]
    assert found["rows"] == 5 * found["step"]
    # At random both get -1.5 on average; those who cooperate get -1.
    assert found["first"] == pytest.approx(-3.0, abs=0.1)
    assert found["last"] == pytest.approx(-2.0, abs=0.02)
    # A cooperator gets -1 from cooperators, -3 from defectors, and what lies between at random.
    expected = {"tit-for-tat": -1.0, "altruist": -1.0, "random": -2.0, "defector": -3.0}
    assert {name: pair[0] for name, pair in found["scores"].items()} == pytest.approx(
        expected, abs=0.1
    )


def test_it_is_kept_with_what_it_shows(cells):
    assert NOTEBOOK.stat().st_size < 300_000
    outputs = [output for cell in cells for output in cell["outputs"]]
    kinds = {output["output_type"] for output in outputs}
    assert kinds == {"stream", "display_data", "execute_result"}
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert all(output["name"] == "stdout" for output in outputs if "name" in output)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))


def test_it_can_be_opened_and_installs_pax_where_its_home_is(cells):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    home = project["urls"]["Homepage"]
    assert f'"git+{home}"' in "".join(cells[0]["source"])
    address = f"https://colab.research.google.com/github{home.removeprefix('https://github.com')}"
    for document in (ROOT / "README.md", NOTEBOOK):
        assert f"({address}/blob/main/docs/quickstart.ipynb)" in document.read_text()
