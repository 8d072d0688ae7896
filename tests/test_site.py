"""The site of the documents has every page, and its API reference every public name."""

import ast
import importlib
import inspect
import re
import runpy
from xml.etree import ElementTree

import pytest

from tests.pages import PAGES, ROOT, blocks

DOCS = ROOT / "docs"
REFERENCE = "\n".join(path.read_text() for path in DOCS.glob("api/*.md"))


def test_every_page_is_in_the_navigation():
    named = set(re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text())) - {"index.md"}
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert named == pages


@pytest.mark.parametrize(
    "module",
    [
        "pax",
        "pax.agents",
        "pax.learners",
        "pax.envs",
        "pax.callbacks",
        "pax.config",
        "pax.sweeps",
    ],
)
def test_every_public_name_is_in_the_reference(module):
    loaded = importlib.import_module(module)
    for name in loaded.__all__:
        # Registries are told of in a sentence.
        kind = f"`{name}`" if name.isupper() and isinstance(getattr(loaded, name), dict) else name
        entry = kind if kind.startswith("`") else f"::: {module}.{name}\n"
        assert entry in REFERENCE, f"{module}.{name}"


def imported(code):
    """The dotted names that some code imports from Pax."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "pax":
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_what_code_in_documents_imports_is_in_the_reference():
    """Pages for users show no name that only our source explains; what was measured may."""
    pages = set(PAGES) - {"docs/performance.md"}
    names = {name for page in pages for code in blocks(page, "python") for name in imported(code)}
    names = {name for name in names if not name.startswith("pax.configs.")}
    assert len(names) >= 30
    assert [name for name in sorted(names) if f"::: {name}\n" not in REFERENCE] == []


def test_what_is_in_the_reference_is_documented():
    """A sentence says what it is, and one what each of its methods does, or overrides."""
    for path in re.findall(r"^::: (.*)$", REFERENCE, re.MULTILINE):
        module, _, name = path.rpartition(".")
        documented = getattr(importlib.import_module(module), name)
        first = inspect.getdoc(documented).split("\n\n")[0]
        assert len(first) > 10 and first.endswith((".", ":")), path
        if inspect.isclass(documented):
            for member in vars(documented):
                method = getattr(documented, member)
                if inspect.isfunction(method) and not member.startswith("_"):
                    assert inspect.getdoc(method), f"{path}.{member}"


def test_drawings_are_those_of_their_script_and_fit_their_frame():
    drawings = runpy.run_path(str(DOCS / "images" / "concepts.py"))["DRAWINGS"]
    for name, draw in drawings.items():
        text = (DOCS / "images" / name).read_text(encoding="utf-8")
        assert text == draw(), f"python docs/images/concepts.py draws another {name}"
        drawing = ElementTree.fromstring(text)
        width, height = map(float, drawing.get("viewBox").split()[2:])
        for part in drawing.iter("{http://www.w3.org/2000/svg}text"):
            # Letters are about half as wide as they are high.
            long = 0.5 * len(part.text) * float(part.get("font-size"))
            share = {"start": 0.0, "middle": 0.5, "end": 1.0}[part.get("text-anchor")]
            left = float(part.get("x")) - share * long
            assert left >= 0 and left + long <= width and float(part.get("y")) <= height, part.text
