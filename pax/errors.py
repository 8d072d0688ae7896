"""The errors Pax raises on purpose.

Each message is one sentence that names the key, the value and the remedy, so that an application
may print it without a traceback.
"""

import difflib
from collections.abc import Iterable


class PaxError(Exception):
    """Base of the errors that a user can cause and can correct."""


class ConfigError(PaxError, ValueError):
    """A setting is unknown, has a wrong value or contradicts another one."""


class MissingLibraryError(ConfigError):
    """A library that an option needs is not installed."""


class CheckpointError(PaxError):
    """A checkpoint or an exported policy is missing, damaged, misfit or cannot be written."""


class OutputError(PaxError):
    """A folder cannot be written to: it is in use, gone or full."""


class TrainingError(PaxError):
    """Training cannot go on, for example because a loss is not a number."""


class ProcessError(PaxError):
    """Another process of the run is gone, or cannot be reached."""


LEAST_LETTERS = 4
"""A text needs so many before it is looked for within longer names."""
MOST_NAMED = 3
"""How many names that contain the text are listed, the shortest first."""


def nearest(name: object, known: Iterable[str]) -> str:
    """Returns `did you mean ...?` if something similar is known, or contains it, else the list of what is."""
    known = sorted(known)
    if not known:
        return "there is none to choose from"
    # Whatever is written in other cases is near.
    by_case = {each.lower(): each for each in reversed(known)}
    asked = str(name).lower()
    close = difflib.get_close_matches(asked, by_case, n=1)
    if not close and len(asked) >= LEAST_LETTERS:
        # The last part of a dotted key, or of the name of a metric, say.
        longer = sorted(each for each in by_case if asked in each)
        close = sorted(longer, key=len)[:MOST_NAMED]
    if not close:
        return f"choose one of {', '.join(known)}"
    return f"did you mean {' or '.join(by_case[each] for each in close)}?"
