"""A report in a real browser: nothing on the console, and nothing wider than a phone.

Skipped unless a Chromium is installed. KEEP_SCREENSHOTS=<folder> keeps what it looked like.
"""

import html
import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from pax.report.__main__ import report
from tests.report.runs import add_evaluation, add_picture, make_run

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--v=0",
)
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
# As wide as a phone, whatever the least width of the browser's own window is.
FRAME = '<iframe width="390" height="844" style="border:0" srcdoc="{}"></iframe>'
MEASURE = """<script>onload = () => console.log(
  [...document.querySelectorAll("iframe")].map((f) => f.contentDocument.documentElement.scrollWidth)
)</script>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")


def browse(page, folder, picture, size):
    """Takes a screenshot; returns what the page wrote to the console."""
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}"]
    command += [f"--window-size={size[0]},{size[1]}", f"--screenshot={picture}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return re.findall(r"CONSOLE.*", done.stderr)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Two experiments, with long names and wide tables."""
    folder = tmp_path_factory.mktemp("browser")
    rng = np.random.default_rng(0)
    paths = []
    for index in range(8):
        rewards = np.cumsum(rng.normal(0.01, 0.1, 60)) - 2
        variant = "ppo,opponent=tabular,shared" if index < 5 else "shaper,small"
        name = f"configs/ipd.py:{variant}"
        path = make_run(folder / str(index), list(rewards), seed=index, config_path=name)
        if index >= 5:
            path.joinpath("run.json").write_text(
                path.joinpath("run.json").read_text().replace("learning_rate", "long_" * 12)
            )
        for evaluation in ("as_trained", "always_defect"):
            metrics = {f"reward_per_timestep/player_{i}": rewards[-1] + i for i in range(6)}
            add_evaluation(path, 600, evaluation, **metrics)
        add_picture(path, "as_trained_000600.gif", size=64)
        paths.append(str(path))
    report(paths, folder / "page.html")
    return folder / "page.html"


@pytest.mark.parametrize("name", SIZES)
def test_it_looks_like_a_page(page, name, tmp_path):
    width, height = SIZES[name]
    folder = pathlib.Path(os.environ.get("KEEP_SCREENSHOTS", tmp_path))
    picture = folder / f"report_{name}.png"
    assert browse(page, tmp_path, picture, SIZES[name]) == []
    with Image.open(picture) as image:
        assert image.size == (width, height)
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    # Mostly paper, and some ink: not the browser's page about an error, which is empty or grey.
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    assert tuple(colours[counts.argmax()]) == (252, 252, 251)
    assert 0.02 < (pixels.max(axis=1) < 128).mean() < 0.3


def test_it_fits_a_phone(page, tmp_path):
    frames = tmp_path / "frames.html"
    wide = '<div style="width: 700px">This is wider.</div>'
    documents = [page.read_text(), wide]
    frames.write_text(
        "<!DOCTYPE html>" + "".join(FRAME.format(html.escape(d)) for d in documents) + MEASURE
    )
    (said,) = browse(frames, tmp_path, tmp_path / "frames.png", SIZES["desktop"])
    assert re.search(r'"([\d,]+)"', said)[1].split(",") == ["390", "708"]
