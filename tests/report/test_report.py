"""A report is one page that holds what was run; what cannot be read is said."""

import html.parser
import json
import os
import pathlib
import re
import socket

import numpy as np
import pytest

from pax.errors import ConfigError
from pax.metrics.tensorboard_writer import encode_png
from pax.report.__main__ import report
from pax.report.charts import Line, line_chart, short, ticks
from pax.report.curves import name_of
from tests.report.runs import add_evaluation, add_picture, make_run

ROOT = pathlib.Path(__file__).parents[2]
VOID = {"meta", "img", "br"}


class Page(html.parser.HTMLParser):
    """Collects the text of a page and of its tables, and checks that its tags are nested as they should."""

    def __init__(self, path):
        super().__init__()
        self.open, self.tables, self.images, self.attributes, self.text = [], [], [], [], ""
        self.feed(path.read_text())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag == "img":
            self.images.append(dict(attrs))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Five seeds of one experiment and one of another, with all that a page may show."""
    folder = tmp_path_factory.mktemp("runs")
    paths = []
    for seed in range(5):
        rewards = list(np.linspace(-2.0, -1.0 + seed / 10, 300))
        path = make_run(folder / f"seed_{seed}", rewards, seed=seed)
        add_evaluation(path, 3000, "defect", **{"reward_per_timestep/player_1": -3.0, "x/CC": 0.5})
        add_evaluation(path, 3000, "self", **{"reward_per_timestep/player_1": -1.0, "x/CC": None})
        paths.append(path)
    for name in ("defect_000100.gif", "defect_003000.gif"):
        add_picture(paths[0], name)
    add_picture(paths[0], "self_003000.gif", num_frames=30, size=200)
    other = make_run(folder / "other", [-1.5, -1.5], agent1={"learning_rate": 0.01, "decay": True})
    return [*paths, other]


def test_one_page_holds_it_all(runs, tmp_path):
    out = tmp_path / "deep" / "page.html"
    assert report([str(run) for run in runs], out) == []
    page = Page(out)
    assert out.stat().st_size < 3e6
    results, what, settings, partly, rewards, statistics, speed = page.tables
    # The mean over the last tenth of each seed.
    ends = [np.linspace(-2.0, -1.0 + seed / 10, 300)[270:].mean() for seed in range(5)]
    assert results[1][1:3][0] == "5 (0 to 4)"
    assert results[1][2].startswith(f"{np.mean(ends):.3f} [")
    assert results[2][1:] == ["1 (0)", "-1.500", "-1.000", "mean, t interval"]
    assert what[1][1:] == [
        "IteratedMatrixGame",
        "5 (0 to 4)",
        "3,000 of 3,000",
        "4",
        "5 x 1",
        "2026-01-02 03:04",
    ]
    assert settings[1:] == [["agent1.learning_rate", "0.1", "0.01"], ["num_iters", "3000", "20"]]
    assert partly[1:] == [["agent1.decay", "not set", "true"]]
    assert [row[1:] for row in rewards[1:]] == [
        ["defect", "3,000", "-3.000 [-3.000, -3.000]", "mean, t interval"],
        ["self", "3,000", "-1.000 [-1.000, -1.000]", "mean, t interval"],
        ["mean of all evaluations", "", "-2.000 [-2.000, -2.000]", "mean, t interval"],
    ]
    assert statistics == [["Statistic", "defect", "self"], ["x/CC", "0.500 [0.500, 0.500]", ""]]
    assert speed[1][1:] == ["3,000", "60,000", "1,500", "2,505"]
    for title in ("reward per timestep player 1", "cooperation probability CC", "entropy agent1"):
        assert title in page.text
    assert "state visitation" not in page.text
    assert "With 6 seeds or more they are inter-quartile means" in page.text
    # Only the latest picture of an evaluation, and none that would make the page large.
    (picture,) = page.images
    assert "defect, iteration 3,000" in picture["alt"]
    assert "self_003000.gif is too large to show here" in page.text


def test_a_page_needs_nothing_else_and_is_the_same_again(runs, tmp_path):
    first, second = tmp_path / "a.html", tmp_path / "b.html"
    for out in (first, second, second):
        report([str(run) for run in runs], out)
    assert first.read_bytes() == second.read_bytes()
    for name, value in Page(first).attributes:
        assert name not in ("href", "srcset", "onload")
        assert name != "src" or value.startswith("data:image/")
    assert not re.search(r"https?:|url\(|@import|<script", first.read_text())


def test_whatever_a_run_holds_is_text(tmp_path):
    evil = '<script>alert(1)</script>"&'
    run = make_run(
        tmp_path / "<b>run</b>",
        [1.0, 2.0],
        config_path=evil,
        env={"type": evil},
        agent1={evil: evil},
    )
    add_evaluation(run, 10, evil, **{f"reward{evil}": 1.0, evil: 2.0})
    (run / "videos").mkdir()
    (run / "videos" / "<img src=x>_000001.gif").write_bytes(b"no picture")
    other = make_run(tmp_path / "other", [1.0])
    out = tmp_path / "page.html"
    report([str(run), str(other)], out)
    text = out.read_text()
    assert "<script" not in text and "<b>run" not in text and "<img" not in text
    assert evil in Page(out).text


def test_means_over_seeds_are_said_to_be_means(tmp_path):
    run = make_run(tmp_path / "run", [1.0, 2.0], std=0.4, num_seeds=4)
    report([str(run)], tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    # 3.182 * 0.4 / 2 = 0.6364.
    assert page.tables[0][1][1:] == [
        "4 (0 to 3)",
        "2.000 [1.364, 2.636]",
        "-1.000 [-1.636, -0.364]",
        "mean, t interval",
    ]
    assert "only the mean and the standard deviation of its seeds are known" in page.text


@pytest.fixture(scope="module")
def trained(app, tmp_path_factory):
    """The folder of a run of two seeds, trained and evaluated from the shell."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    config = "--config=configs/ipd.py:ppo,quicktest"
    sizes = ["--config.num_seeds=2", "--config.callbacks.checkpoint.enabled=True"]
    for arguments in ([config, *sizes], ["--mode=evaluate"]):
        done = app(*arguments, f"--workdir={folder}", cwd=ROOT)
        assert done.code == 0, done.stderr
    return folder


def test_what_the_app_writes_can_be_reported(trained, tmp_path):
    assert report([str(trained)], tmp_path / "page.html") == []
    rows = list(map(json.loads, (trained / "evaluation.jsonl").read_text().splitlines()))
    (evaluations,) = (
        table for table in Page(tmp_path / "page.html").tables if table[0][1] == "Evaluation"
    )
    shown = {row[1]: row[3] for row in evaluations[1:]}
    assert rows and {row["evaluation"] for row in rows} <= set(shown)
    for row in rows:
        one, other = row["reward_per_timestep/player_1"]
        assert shown[row["evaluation"]].startswith(f"{(one + other) / 2:.3f}")
    # What a row says about itself is no metric.
    assert "seconds" not in Page(tmp_path / "page.html").text.partition("How to read it")[0].split()


def test_what_cannot_be_read_is_said_and_the_rest_goes_on(tmp_path, capsys):
    good = make_run(tmp_path / "good", [1.0])
    (good / "evaluation.jsonl").write_text('{"iteration": 1, "evaluation": "x", "r": 1}\nrubbish\n')
    damaged = make_run(tmp_path / "damaged", [1.0, 2.0, 3.0])
    lines = (damaged / "metrics.jsonl").read_text().splitlines(keepends=True)
    (damaged / "metrics.jsonl").write_text("".join([lines[0], lines[1][:20] + "\n", lines[2]]))
    half = make_run(tmp_path / "half", [1.0])
    (half / "run.json").write_text("{")
    (tmp_path / "empty").mkdir()
    fresh = make_run(tmp_path / "fresh", [])
    (fresh / "metrics.jsonl").unlink()
    file = tmp_path / "file"
    file.write_text("")
    paths = [tmp_path / "missing", file, tmp_path / "empty", tmp_path, damaged, half, fresh, good]
    problems = report([str(path) for path in paths], tmp_path / "page.html")
    expected = [
        "missing does not exist: give the folder of a run",
        "file is a file: give the folder of a run",
        "empty holds no run of Pax: give the folder of a run",
        r"holds no run of Pax: give those in it, as .*/\*",
        "damaged is left out, as its metrics are damaged: .*metrics.jsonl, line 2 is not",
        "half holds an unreadable run.json",
        "fresh has no metrics.jsonl, so it is left out: train there first",
        "evaluation.jsonl, line 2 is no evaluation, so it is passed over",
    ]
    assert len(problems) == len(expected)
    for problem, pattern in zip(problems, expected, strict=True):
        assert re.search(pattern, problem), (problem, pattern)
    said = capsys.readouterr().err
    assert said == "".join(f"Error: {problem}\n" for problem in problems)
    page = Page(tmp_path / "page.html")
    assert len(page.tables[0]) == 2
    assert "Not everything could be read" in page.text and "line 2 is not" in page.text


RUN_FILES = ("metrics.jsonl", "run.json", "evaluation.jsonl")


@pytest.mark.parametrize("name", RUN_FILES)
@pytest.mark.parametrize("kind", ("pipe", "folder", "socket", "device"))
def test_only_regular_files_are_read(name, kind, tmp_path, monkeypatch):
    good, bad = make_run(tmp_path / "good", [1.0]), make_run(tmp_path / "bad", [1.0])
    path = bad / name
    path.unlink(missing_ok=True)
    monkeypatch.chdir(bad)  # Paths of sockets are short.
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "pipe":
            os.mkfifo(name)
        elif kind == "folder":
            path.mkdir()
        elif kind == "socket":
            listener.bind(name)
        else:
            path.symlink_to("/dev/zero")
        # With a row, as an empty folder of metrics would be an empty run.
        problems = report([str(bad), str(good)], tmp_path / "page.html")
    if kind == "folder" and name == "metrics.jsonl":
        pattern = "metrics.jsonl cannot be read"
    else:
        pattern = rf"{name}.*(no regular file|No such device or address)|{name} cannot be read"
    assert len(problems) == 1 and re.search(pattern, problems[0]), problems


def damaged(path, **changes):
    """A run whose second row, of three, is changed."""
    make_run(path, [1.0, 2.0, 3.0])
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    rows[1] |= changes
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("iteration", (10**400, 2**31, -1, True, 1.5, None))
def test_iterations_that_no_run_can_have_are_told(iteration, tmp_path):
    good = str(make_run(tmp_path / "good", [1.0]))
    problems = report(
        [damaged(tmp_path / "bad", iteration=iteration), good], tmp_path / "page.html"
    )
    assert len(problems) == 1
    assert (
        "metrics.jsonl, line 2 is not an object with an 'iteration' from 0 to 2147483647"
        in problems[0]
    )


@pytest.mark.parametrize(
    ("key", "value"), (("seed", 10**400), ("seed", -1), ("num_seeds", 10**12), ("num_seeds", True))
)
def test_seeds_that_no_run_can_have_are_told(key, value, tmp_path):
    good = str(make_run(tmp_path / "good", [1.0]))
    bad = str(make_run(tmp_path / "bad", [1.0], **{key: value}))
    (problem,) = report([bad, good], tmp_path / "page.html")
    assert len(problem) < 400 and f"run.json has {key} " in problem


@pytest.mark.parametrize("num_seeds", (2**31 - 2, 3))
def test_many_seeds_are_told_without_counting_them(num_seeds, tmp_path):
    runs = [make_run(tmp_path / str(i), [1.0], std=0.1, num_seeds=num_seeds) for i in range(2)]
    assert report(list(map(str, runs)), tmp_path / "page.html") == []
    assert f"{num_seeds} (0 to {num_seeds - 1})" in Page(tmp_path / "page.html").text


EXTREMES = (1e308, -1e308, 1.7976931348623157e308, 1e300, 1e155, 5e-324, -5e-324, 1e-300, 0.0, 1.0)


@pytest.mark.parametrize("num_runs", (1, 6))
@pytest.mark.parametrize("size", EXTREMES)
def test_any_finite_number_can_be_drawn(size, num_runs, tmp_path, recwarn):
    for index, other in enumerate((size, -size, 1.0, 5e-324, -1e308)):
        paths = [
            make_run(tmp_path / f"{index}-{seed}", [size, other, 1.0, None], seed=seed, std=size)
            for seed in range(num_runs)
        ]
        assert report(list(map(str, paths)), tmp_path / "page.html") == []
        page = Page(tmp_path / "page.html")
        for key, value in page.attributes:
            if key in ("d", "cx", "cy", "x", "y"):
                assert not re.search("nan|inf|[0-9]{6}", value), (other, key, value)
    assert not [warning for warning in recwarn if warning.category is RuntimeWarning]


def test_means_of_the_largest_numbers_are_known(tmp_path):
    """The sum of two numbers of 1.5e308 is infinite, their mean is not."""
    paths = [make_run(tmp_path / str(seed), [1.5e308] * 200, seed=seed) for seed in range(2)]
    assert report(list(map(str, paths)), tmp_path / "page.html") == []
    assert Page(tmp_path / "page.html").tables[0][1][2].startswith("1.5e+308")


@pytest.mark.parametrize("key", ("env_steps", "wall_time", "env_steps_per_second"))
@pytest.mark.parametrize("value", (1e308, -1e308, 10**400, 5e-324))
def test_axes_and_speeds_may_be_any_number(key, value, tmp_path):
    paths = [damaged(tmp_path / "one", **{key: value}), str(make_run(tmp_path / "two", [1.0] * 3))]
    last = pathlib.Path(paths[0]) / "metrics.jsonl"
    rows = [json.loads(line) for line in last.read_text().splitlines()]
    rows[-1][key] = value
    last.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert report(paths, tmp_path / "page.html") == []


@pytest.mark.parametrize("target", ("notes", "."))
def test_a_report_is_not_written_to_a_pipe(target, tmp_path):
    run = str(make_run(tmp_path / "run", [1.0]))
    os.mkfifo(tmp_path / "notes")
    with pytest.raises(ConfigError, match="no regular file|is a folder"):
        report([run], tmp_path / target)


def test_nothing_is_lost(tmp_path):
    run = str(make_run(tmp_path / "run", [1.0]))
    notes = tmp_path / "notes.html"
    notes.write_text("mine")
    with pytest.raises(ConfigError, match="notes.html exists and is no report: give another file"):
        report([run], notes)
    assert notes.read_text() == "mine"
    with pytest.raises(ConfigError, match="is a folder"):
        report([run], tmp_path)
    with pytest.raises(ConfigError, match="cannot be written"):
        report([run], notes / "page.html")
    with pytest.raises(ConfigError, match="nothing to report: give folders"):
        report([], tmp_path / "page.html")
    with pytest.raises(ConfigError, match="none of the runs can be reported, so .* is not written"):
        report([str(tmp_path / "missing")], tmp_path / "page.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.html", "run"]


def test_from_the_shell(app, tmp_path):
    run = make_run(tmp_path / "run", [1.0])

    def call(*arguments):
        return app(*map(str, arguments), module="launch.report", cwd=ROOT)

    done = call(run, tmp_path / "missing", f"--out={tmp_path / 'page.html'}")
    assert done.code == 1
    assert (
        done.stderr == f"Error: {tmp_path / 'missing'} does not exist: give the folder of a run\n"
    )
    assert done.stdout == f"Written to {tmp_path / 'page.html'}\n"
    done = call(run, "--uot=x")
    assert done.code == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: Unknown command line flag 'uot'")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("train/reward_per_timestep/player_2", ("Rewards", "reward_per_timestep", "player 2")),
        ("train/agent1/loss_policy", ("Learning", "loss_policy", "agent1")),
        ("train/fitness/std", ("Learning", "fitness", "std")),
        ("train/agent2/fitness/best", ("Learning", "agent2/fitness", "best")),
        ("state_probability/CC", ("Statistics", "state_probability", "CC")),
        ("prob_coop/player_1/CC", ("Statistics", "prob_coop/player_1", "CC")),
        ("prob_coop/player_1", ("Statistics", "prob_coop", "player_1")),
        ("temperature", ("Statistics", "temperature", "")),
        (
            "evaluation/defect/reward_per_timestep/player_1",
            ("Evaluations", "reward_per_timestep/player_1", "defect"),
        ),
        ("evaluation/defect/state_probability/CC", None),
        ("state_visitation/CC", None),
        ("env_steps", None),
    ],
)
def test_metrics_have_their_places(key, expected):
    name = name_of(key)
    assert (name and (name.section, name.chart, name.line)) == expected


def test_axes_have_round_numbers():
    assert ticks(0.0, 10.0) == [0, 2, 4, 6, 8, 10]
    np.testing.assert_allclose(ticks(-2.03, -0.98), [-2.0, -1.8, -1.6, -1.4, -1.2, -1.0])
    np.testing.assert_allclose(ticks(3e-6, 4.1e-5), [1e-5, 2e-5, 3e-5, 4e-5])
    assert [short(x) for x in (1.5e6, 20_000, 9_000, 0.25, -1e-17, 2e9)] == [
        "1.5M",
        "20k",
        "9000",
        "0.25",
        "0",
        "2G",
    ]


def test_lines_are_where_their_numbers_are():
    nothing = np.full(5, np.nan)
    x, y = np.arange(5.0), np.array([0.0, 1.0, np.nan, 2.0, 4.0])
    drawn = line_chart("t", [Line("a", x, y, nothing, nothing)], "x", "y")
    points = [
        [tuple(map(float, point.split())) for point in stretch.split("L")]
        for stretch in re.search(r'class="curve" d="M([^"]*)"', drawn)[1].split("M")
    ]
    # A gap where it is undefined.
    assert [len(stretch) for stretch in points] == [2, 2]
    (x0, y0), (x1, y1), (x3, y3), (x4, y4) = [point for stretch in points for point in stretch]
    np.testing.assert_allclose(
        [x1 - x0, x4 - x3, x3 - x1], np.array([1, 1, 2]) * (x4 - x0) / 4, atol=0.2
    )
    np.testing.assert_allclose([y0 - y1, y3 - y4], np.array([1, 2]) * (y0 - y4) / 4, atol=0.2)
    assert "band" not in drawn
    constant = line_chart("t", [Line("a", x[:1], y[:1], y[:1], y[:1])], "x", "y")
    assert "<circle" in constant and "nan" not in constant
    # One point has its interval, and the number of its place alone.
    alone = line_chart("t", [Line("a", x[3:4], y[3:4], y[3:4] - 1, y[3:4] + 1)], "x", "y")
    assert 'class="curve"' in alone and "band" not in alone
    assert re.findall(r'y="227" text-anchor="middle">([^<]*)<', alone) == ["3"]


def test_a_page_has_the_figures_of_a_run_and_names_its_curves(tmp_path):
    run = make_run(tmp_path / "drawn", [-1.5, -1.0])
    (run / "pictures").mkdir()
    for name in ("trial_as_trained", "play_defect", "state_probability"):
        (run / "pictures" / f"{name}.png").write_bytes(encode_png(np.zeros((4, 6, 3), np.uint8)))
    plain = make_run(tmp_path / "plain", [-1.5, -1.0], seed=1)
    (run / "curves.png").write_bytes(b"")
    out = tmp_path / "page.html"
    report([str(run), str(plain)], out)
    page = Page(out)
    # What is in each state is among the curves of the page.
    assert [image["alt"] for image in page.images] == ["play defect", "trial as trained"]
    assert page.text.count("learning curves: curves.png") == 1
    assert f"{run} (learning curves" in page.text
