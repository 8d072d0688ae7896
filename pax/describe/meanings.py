"""Reads what settings mean from where they are documented: the docstrings of the classes that take them."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import re
import textwrap
from typing import Any

SECTION = re.compile(r"^(Args|Attributes|Settings):\s*$")
ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \w+)*)(?: \([^)]*\))?: (.*)$")


@functools.cache
def meanings(documented: Any) -> dict[str, str]:
    """Returns what is said about the arguments and fields of a class or function, by name.

    Read are the sections `Args`, `Attributes` and `Settings` of its docstring, of the docstrings of its
    constructor and of `make_params`, and the string below a field; of a class, also those of its bases.
    """
    if not isinstance(documented, type):
        return _in_docstring(inspect.getdoc(documented))
    found: dict[str, str] = {}
    for cls in reversed(documented.__mro__[:-1]):
        found |= _below_fields(cls)
        found |= _in_docstring(cls.__doc__)
        for name in ("__init__", "make_params"):
            if name in cls.__dict__:
                found |= _in_docstring(cls.__dict__[name].__doc__)
    return found


def _in_docstring(text: str | None) -> dict[str, str]:
    """Returns the entries of the sections of a docstring, each as one line."""
    found: dict[str, str] = {}
    names: list[str] = []
    level = None
    for line in inspect.cleandoc(text or "").splitlines():
        words = line.strip()
        indent = len(line) - len(line.lstrip())
        if SECTION.match(line):
            level, names = 0, []
        elif level is None or not words:
            continue
        elif indent == 0:
            level = None
        elif (entry := ENTRY.match(words)) and (level in (0, indent)):
            level, names = indent, entry[1].lstrip("*").split(", ")
            found |= dict.fromkeys(names, entry[2])
        else:
            found |= {name: f"{found[name]} {words}" for name in names}
    return found


def _below_fields(cls: type) -> dict[str, str]:
    """Returns the string that stands below each field in the source of a class."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found = {}
    for field, below in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            found[field.target.id] = " ".join(below.value.value.split())
    return found
