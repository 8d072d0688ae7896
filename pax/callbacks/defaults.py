"""The callbacks that a trainer has without being asked: users of Python expect to see and to keep a run."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pax.callbacks.callback import Callback
from pax.callbacks.checkpoint import Checkpoint
from pax.callbacks.curves import Curves
from pax.callbacks.progress import Progress
from pax.callbacks.scalars import Scalars

REPORT_EVERY = 10
SAVE_EVERY = 100


def default_callbacks(
    given: Iterable[Callback], chunk: int, *, saves: bool, quiet: bool
) -> list[Callback]:
    """Returns those of `Progress`, `Scalars`, `Checkpoint` and `Curves` that a run lacks.

    Args:
        given: what it has already; a kind that is among them is not added.
        chunk: iterations per compiled call: reports come every 10 iterations, checkpoints every 100, or the
            next multiples of the chunk.
        saves: whether it reports and saves, as it has a folder.
        quiet: whether it shows no progress.
    """
    wanted: list[Callback] = [] if quiet else [Progress()]
    if saves:
        wanted.append(Scalars(every=math.ceil(REPORT_EVERY / chunk) * chunk))
        wanted.append(Checkpoint(every=math.ceil(SAVE_EVERY / chunk) * chunk))
        wanted.append(Curves())
    given = list(given)
    return [each for each in wanted if not any(isinstance(one, type(each)) for one in given)]
