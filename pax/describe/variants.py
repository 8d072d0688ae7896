"""Lists the variants of configs, by file."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence

from pax.config.files import list_variants, load_module
from pax.describe.page import WIDTH
from pax.errors import ConfigError

NAME_WIDTH = 32
"""Variants with longer names have their text below."""


def variants_page(words: Sequence[str] = ()) -> str:
    """Returns the variants whose names or texts have all the words in them, as lines of 100 columns.

    Raises:
        ConfigError: if there is none.
    """
    found = {
        name: text
        for name, text in list_variants().items()
        if all(word.lower() in f"{name} {text}".lower() for word in words)
    }
    if not found:
        raise ConfigError(
            f"no variant has {' and '.join(map(repr, words))} in its name or text: see all by --list alone"
        )
    lines = []
    for file, names in itertools.groupby(found, key=lambda name: name.partition(":")[0]):
        about = (load_module(file).__doc__ or "").strip().partition("\n")[0]
        lines += _wrapped(f"{file}  ", about, "    ")
        for name in names:
            variant = f"  :{name.partition(':')[2]}"
            lines += _wrapped(f"{variant:{NAME_WIDTH}}  ", found[name], " " * (NAME_WIDTH + 2))
        lines.append("")
    return "\n".join(lines[:-1])


def _wrapped(head: str, text: str, indent: str) -> list[str]:
    """Returns a head with its text beside it, or below it where the head is long."""
    before = [] if len(head) <= NAME_WIDTH + 2 else [head.rstrip()]
    first = indent if before else head
    return before + textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False
    )
