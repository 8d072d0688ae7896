"""What determines a program, without tracing it: settings, code, versions, devices and flags.

A program that was kept is run instead of tracing one, so whatever could make another one of it
is part of the key, and rather more than that: too much costs a second, too little a wrong result.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import platform
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax

CALLBACKS = ("callbacks", "extra_callbacks")
WITHOUT_EFFECT = (
    "evaluation",
    "num_iters",
    "total_timesteps",
    "chunk",
    "seed",
)
"""Settings that no traced program depends on, or that its name has: a number of iterations, and a seed."""
VARIABLES = ("JAX_", "XLA_", "TF_", "CUDA_", "NVIDIA_", "LD_")
"""How those variables of the environment begin that compilers and their libraries read."""
_DOTTED = re.compile(r"(?!pax\.)[^\W\d]\w*(\.\w+)+")
_PAX = pathlib.Path(__file__).resolve().parents[1]


class NotKeptError(Exception):
    """Nobody can tell from outside which program a run will have."""


def key_of_run(
    settings: Mapping[str, Any],
    config_file: pathlib.Path,
    objects: Iterable[object],
    devices: Iterable[jax.Device],
    callbacks_are_of_pax: bool,
) -> str:
    """Returns a text that two runs share only if they have the same programs.

    Args:
        settings: the whole config of the run.
        config_file: where it is from; it may do more than give settings.
        objects: the game, the agents, the learners and the samplers that were made of it.
        devices: where the programs run.
        callbacks_are_of_pax: whether all do, so that nothing of theirs changes a program.

    Raises:
        NotKeptError: if code or files of the user's own could determine programs.
    """
    own = {name: value for name, value in settings.items() if name not in WITHOUT_EFFECT}
    callbacks = {name: own.pop(name, None) for name in CALLBACKS}
    for text in _texts(own):
        if os.sep in text or os.path.exists(text):
            raise NotKeptError(f"the setting {text!r} may be a file")
        if _DOTTED.fullmatch(text):
            raise NotKeptError(f"the setting {text!r} may be code that is not of Pax")
    for each in objects:
        if not each.__module__.startswith("pax."):
            raise NotKeptError(f"{each!r:.80} is of {each.__module__}, which is not of Pax")
    if not callbacks_are_of_pax:
        # What they do to the run follows from their settings and their modules.
        own |= callbacks
    # What has no JSON, such as an array, could not be told from another one by its text.
    key = {
        "settings": own,
        "config": hashlib.sha256(config_file.read_bytes()).hexdigest(),
        "pax": _digest_of_pax(),
        "modules": _modules(),
        "python": sys.version,
        "jax": {name: repr(value) for name, value in _jax_settings().items()},
        "environment": {
            name: value for name, value in os.environ.items() if name.startswith(VARIABLES)
        },
        "devices": [(each.id, each.platform, each.device_kind) for each in devices],
        "all devices": [(each.id, each.process_index) for each in jax.devices()],
        "backend": jax.devices()[0].client.platform_version,
        "machine": platform.machine(),
    }
    try:
        return json.dumps(key, sort_keys=True)
    except (TypeError, ValueError) as e:
        raise NotKeptError(f"a setting is not as in JSON: {e}") from e


def _texts(value: Any) -> Iterator[str]:
    """Returns all texts among settings, names of settings left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)


def _jax_settings() -> dict[str, Any]:
    """Returns JAX's settings; where its caches are makes no difference."""
    return {name: value for name, value in jax.config.values.items() if "cache" not in name}


def _digest_of_pax() -> str:
    """Returns a digest of all files of the package, also of modules that are imported later."""
    digest = hashlib.sha256()
    found = []
    # `pax.configs` is a link in a checkout.
    for folder, folders, names in os.walk(_PAX, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found += [os.path.join(folder, name) for name in names if not name.endswith(".pyc")]
    for path in sorted(found):
        data = pathlib.Path(path).read_bytes()
        digest.update(f"{path}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def _modules() -> list[tuple[str, int, int]]:
    """Returns the files of all modules that are imported, with their sizes and times, but for Python's own.

    Packages that are installed anew, in whatever way, have other times; what users import is there too.
    """
    standard = sysconfig.get_path("stdlib") + os.sep
    installed = os.sep + "site-packages" + os.sep
    files = set()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and (not file.startswith(standard) or installed in file):
            files.add(file)
    found = []
    for file in sorted(files):
        try:
            about = os.stat(file)
        except OSError:
            # A module of an archive, say; the archive is on the path, and named by it.
            found.append((file, -1, -1))
            continue
        found.append((file, about.st_size, about.st_mtime_ns))
    return found
