"""What a compiled program consists of, and what it sends between devices: read from its text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_COLLECTIVE = re.compile(
    r" = (.*?) ((?:all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast)"
    r"(?:-start)?)\("
)
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_BITS = re.compile(r"\d+")


class Collective(NamedTuple):
    """One operation in which devices exchange data.

    Attributes:
        kind: `all-reduce` and so on.
        bytes: size of its result on one device.
        loops: rounds of the loops around it, the outermost first; 1 where the program does not tell.
    """

    kind: str
    bytes: int
    loops: tuple[int, ...]

    @property
    def times(self) -> int:
        """How often it runs."""
        return math.prod(self.loops)


def collectives(hlo: str) -> list[Collective]:
    """Returns all collectives, wherever they are called from; `hlo` is `compiled.as_text()`."""
    bodies, entry = _computations(hlo)
    return [
        Collective(match[2].removesuffix("-start"), _num_bytes(match[1]), loops)
        for line, loops in _lines(bodies, entry, ())
        if (match := _COLLECTIVE.search(line))
    ]


def loops(hlo: str) -> list[int]:
    """Rounds of every loop of which the program tells them."""
    return [int(n) for n in re.findall(r'"known_trip_count":\{"n":"(\d+)"\}', hlo)]


def instructions(hlo: str, rounds: int) -> int:
    """Counts instructions within loops of so many rounds, those of fused operations included."""
    bodies, entry = _computations(hlo)
    return sum(rounds in around and " = " in line for line, around in _lines(bodies, entry, ()))


def _computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    """Returns the lines of each computation, and the name of the one that is the program."""
    bodies: dict[str, list[str]] = {}
    name = entry = ""
    for line in hlo.splitlines():
        if start := re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line):
            name = start[2]
            bodies[name] = []
            entry = name if start[1] else entry
        elif name:
            bodies[name].append(line)
    return bodies, entry


def _lines(
    bodies: dict[str, list[str]], name: str, around: tuple[int, ...]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Returns all lines that run when a computation does, with the rounds of the loops around them."""
    for line in bodies.get(name, []):
        yield line, around
        within = around
        if " while(" in line:
            rounds = loops(line)
            within = (*around, rounds[0] if rounds else 1)
        called = re.findall(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)", line)
        for branches in re.findall(
            r"(?:branch_computations|called_computations)=\{([^}]*)\}", line
        ):
            called += re.findall(r"[\w.\-]+", branches)
        for computation in called:
            yield from _lines(bodies, computation, within)


def _num_bytes(shapes: str) -> int:
    """Returns the size of one array or a tuple of them, as in `(f32[8,2]{1,0}, s32[])`."""
    total = 0
    for dtype, sizes in _SHAPE.findall(shapes):
        bits = _BITS.search(dtype)
        width = 1 if dtype == "pred" else int(bits[0]) // 8 if bits else 0
        total += width * math.prod(int(n) for n in sizes.split(",") if n)
    return total
