"""Policies by other names than paths of this machine: where they, or their copies, are."""

from __future__ import annotations

import os
import pathlib

from pax.checkpoints.wandb_policies import fetch_policy, is_at_wandb
from pax.checkpoints.zoo_policies import is_in_zoo, zoo_path
from pax.run.remote import is_url, local_path


def is_elsewhere(path: str | os.PathLike[str]) -> bool:
    """Returns whether a path is of something on a bucket, at W&B, or in the zoo of Pax."""
    return is_url(path) or is_at_wandb(path) or is_in_zoo(path)


def local_policy(name: str, path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns where a policy, or a folder with policies, is on this machine; what is elsewhere is fetched.

    Args:
        name: the setting or flag that names it, for messages.
        path: of this machine, a URL, as in `gs://bucket/run`, of a policy at W&B, as in
            `wandb:<entity>/<project>/<run>/<file>`, or of one that ships with Pax, as in `zoo:ipd/loqa/1`.

    Raises:
        ConfigError: if it cannot be fetched, or is in no zoo.
    """
    if is_in_zoo(path):
        return zoo_path(name, path)
    if isinstance(path, str) and is_at_wandb(path):
        return fetch_policy(name, path)
    return local_path(name, path)
