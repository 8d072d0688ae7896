"""Makes the README the first page of the site, and has links out of `docs` lead to the repository."""

import pathlib
import re
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = pathlib.Path(__file__).parents[1]


def on_files(files: Files, config: Any) -> Files:
    """Adds the README, with its links as they are from within `docs`."""
    text = (ROOT / "README.md").read_text().replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=_outside(text, "", config.repo_url)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Has `../README.md` lead to the first page, and files outside of `docs` to the repository."""
    del files
    up = "../" * (page.file.src_uri.count("/") + 1)
    return _outside(
        markdown.replace(f"]({up}README.md", f"]({up[3:]}index.md"), up, config.repo_url
    )


def _outside(text: str, up: str, repository: str) -> str:
    """Returns a text whose links to files of the repository, `up` from where it stands, lead there."""

    def to_repository(link: re.Match[str]) -> str:
        path = link[1].partition("#")[0]
        is_page = (ROOT / "docs" / path).exists() and not path.endswith(".py")
        path = f"docs/{path}" if path.endswith(".py") and (ROOT / "docs" / path).is_file() else path
        is_ours = path and (ROOT / path).is_file() and not is_page
        return f"]({repository}/blob/main/{path})" if is_ours else link[0]

    return re.sub(rf"\]\({re.escape(up)}([\w./#-]+)\)", to_repository, text)
