"""Policies that are not on this machine: where their copies are."""

from __future__ import annotations

import os
import pathlib

from pax.run.remote import is_url, local_path


def is_elsewhere(path: str | os.PathLike[str]) -> bool:
    """Returns whether a path is of something on a bucket."""
    return is_url(path)


def local_policy(name: str, path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns where a policy, or a folder with policies, is on this machine; what is elsewhere is fetched.

    Args:
        name: the setting or flag that names it, for messages.
        path: of this machine, or a URL, as in `gs://bucket/run`.

    Raises:
        ConfigError: if it cannot be fetched.
    """
    return local_path(name, path)
