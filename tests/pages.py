"""What documents hold: pages, their blocks, and the code of a page run as it stands but for its sizes."""

import pathlib
import re
import sys

import pax
from pax import MetaTrainer

ROOT = pathlib.Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    )
}
"""The text of every document, by its path from the top of the repository."""
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (\S+\.py)\n")


def blocks(page, *languages):
    """The blocks of a page in one of these languages; "" is that of blocks that name none."""
    return [code for language, code in BLOCK.findall(PAGES[page]) if language in languages]


def write_files(page, folder):
    """Writes the blocks that begin with the name of a file; returns the others."""
    others = []
    for code in blocks(page, "python"):
        if name := FILE.match(code):
            path = folder / name[1]
            path.parent.mkdir(exist_ok=True)
            path.write_text(code)
        else:
            others.append(code)
    return others


def run_page(page, folder, monkeypatch, smaller=(), before=""):
    """Runs the Python code of a page from top to bottom, in a folder; returns the names that it leaves.

    `smaller` are pairs of what stands there and what is run in its place. Trainers are small in any case.
    """
    code = "\n".join(write_files(page, folder))
    for written, run in smaller:
        assert written in code, f"{page} no longer has {written}"
        code = code.replace(written, run)

    class SmallTrainer(MetaTrainer):
        def __init__(self, *args, **settings):
            super().__init__(*args, **{"chunk": 2, "num_envs": 4, **settings})

    monkeypatch.setattr(pax, "MetaTrainer", SmallTrainer)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    known = set(sys.modules)
    names = {"__name__": "page"}
    try:
        exec(compile(before + code, page, "exec"), names)
    finally:
        # Another page may have a module of the same name.
        for name in set(sys.modules) - known:
            if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
    return names
