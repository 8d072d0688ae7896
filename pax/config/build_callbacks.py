"""From a config to callbacks: those that ship with Pax, and the user's own, by their dotted paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from pax.callbacks.callback import Callback
from pax.checks import short
from pax.config.imports import find_class
from pax.config.sections import check_section, check_type, errors_at
from pax.errors import ConfigError


def build_callbacks(config: ConfigDict) -> list[Callback]:
    """Builds the callbacks that the config has, and the extra ones from the shell."""
    specs = []
    for name, section in config.callbacks.items():
        where = f"callbacks.{name}"
        check_type(where, section, {})
        settings = dict(section)
        is_enabled = settings.pop("enabled", True)
        check_type(f"{where}.enabled", is_enabled, True)
        if is_enabled:
            specs.append((where, settings.pop("type", ""), settings))
    for index, extra in enumerate(config.extra_callbacks):
        where = f"extra_callbacks[{index}]"
        pair = [extra, {}] if isinstance(extra, str) else extra
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not hasattr(pair[1], "items"):
            raise ConfigError(
                f"{where} is {short(extra)}: give 'module.Class', or ('module.Class', {{'setting': 1}}) "
                "within another pair of brackets"
            )
        specs.append((where, pair[0], dict(pair[1])))
    return [build_callback(*spec) for spec in specs]


def build_callback(where: str, path: str, settings: Mapping[str, Any]) -> Callback:
    """Builds a callback by its dotted path."""
    if not path:
        raise ConfigError(f"{where} has no type: give the dotted path of a class, 'module.Class'")
    cls = find_class(where, path, Callback, "pax.Callback", {})
    check_section(where, settings, cls)
    with errors_at(where):
        try:
            return cls(**settings)
        except ConfigError:
            raise
        except Exception as e:
            raise ConfigError(
                f"{path} cannot be made with {short(dict(settings))} ({type(e).__name__}: {e}): change "
                "its settings"
            ) from e
