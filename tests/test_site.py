"""The site of the documents has every page, and its API reference every public name."""

import importlib
import re

import pytest

from tests.test_layout import ROOT

DOCS = ROOT / "docs"
REFERENCE = "\n".join(path.read_text() for path in DOCS.glob("api/*.md"))


def test_every_page_is_in_the_navigation():
    named = set(re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text())) - {"index.md"}
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert named == pages


@pytest.mark.parametrize(
    "module", ["pax", "pax.agents", "pax.learners", "pax.envs", "pax.callbacks", "pax.config"]
)
def test_every_public_name_is_in_the_reference(module):
    loaded = importlib.import_module(module)
    for name in loaded.__all__:
        # Registries are told of in a sentence.
        kind = f"`{name}`" if name.isupper() and isinstance(getattr(loaded, name), dict) else name
        entry = kind if kind.startswith("`") else f"::: {module}.{name}\n"
        assert entry in REFERENCE, f"{module}.{name}"
