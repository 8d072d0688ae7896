"""The layout of the code: what imports what, read from the source without importing it."""

from __future__ import annotations

import ast
import functools
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
MAX_LAYERS = 8


def name_of(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted((ROOT / "pax").rglob("*.py"))}


def imported(node: ast.AST, package: str) -> set[str]:
    """Returns the names that a piece of code imports, in functions too, but for those of type checkers."""
    names: set[str] = set()
    children = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        children = iter(node.orelse)
    elif isinstance(node, ast.Import):
        names = {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: -node.level + 1 or None] if node.level else []
        module = ".".join([*above, *([node.module] if node.module else [])])
        names = {f"{module}.{alias.name}" for alias in node.names}
        names = {name if name in MODULES else module for name in names}
    return names.union(*(imported(child, package) for child in children))


@functools.cache
def imports(module: str) -> frozenset[str]:
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(imported(ast.parse(path.read_text()), package))


def needs(module: str) -> set[str]:
    """Returns the modules of pax that a module has run first: what it imports, and their packages."""
    found = imports(module) & MODULES.keys()
    for name in tuple(found):
        parents = name.split(".")
        # The package `pax` itself offers what is in it: that is for users.
        packages = {".".join(parents[:end]) for end in range(2, len(parents))}
        found |= {each for each in packages if not f"{module}.".startswith(f"{each}.")}
    return found - {module}


def folder(module: str) -> str | None:
    """Returns the folder of pax that a module is in; None for those at its top."""
    path = MODULES[module].relative_to(ROOT / "pax")
    return path.parts[0] if len(path.parts) > 1 else None


def folders_below(module: str, own: str) -> set[str]:
    """Returns the folders that a module needs, looking through modules at the top of pax."""
    found, seen, todo = set(), set(), [module]
    while todo:
        for name in needs(todo.pop()) - seen:
            seen.add(name)
            if folder(name) is None:
                todo.append(name)
            else:
                found.add(folder(name))
    return found - {own}


def test_imports_are_read_from_code_of_any_kind():
    code = """
import json
if TYPE_CHECKING:
    from pax.trainer import MetaTrainer
else:
    import os.path
def late():
    from pax import tasks
    from pax.loop.trial import TrialRunner
    from . import rollout
    from ..roles import Role
"""
    names = {"json", "os.path", "pax.tasks", "pax.loop.trial", "pax.loop.rollout", "pax.roles"}
    assert imported(ast.parse(code), "pax.loop") == names


def test_no_circle_of_imports():
    graph = {module: needs(module) for module in MODULES if module != "pax"}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as e:
        pytest.fail(f"circle of imports: {' <- '.join(e.args[1])}")


def test_pax_imports_nothing_from_beside_it():
    for module in MODULES:
        tops = {name.partition(".")[0] for name in imports(module)}
        assert not tops & {"launch", "configs", "callbacks", "tests"}, module
        # What ships to be started from is no part of what starts it.
        assert not any(
            name.startswith(("pax.configs", "pax.callbacks.examples")) for name in imports(module)
        ), module


def test_folders_are_few_layers():
    below: dict[str, set[str]] = {}
    for module in MODULES:
        own = folder(module)
        if own is not None:
            below.setdefault(own, set()).update(folders_below(module, own))
    layers: dict[str, int] = {}
    for name in graphlib.TopologicalSorter(below).static_order():
        layers[name] = 1 + max((layers[each] for each in below[name]), default=0)
    assert max(layers.values()) <= MAX_LAYERS, layers
