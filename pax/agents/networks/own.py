"""Networks of the user's own, which agents name by dotted paths as their `network`."""

from __future__ import annotations

import dataclasses
from typing import Any

from pax import dotted
from pax.agents.networks.actor_critic import Network
from pax.agents.networks.memory import Memory
from pax.checks import check_choice
from pax.errors import ConfigError


def check_network(name: str, known: tuple[str, ...], where: str, memory_only: bool = False) -> None:
    """Checks that a network is one of Pax, or of the user's own and of the right kind.

    Args:
        name: of the network.
        known: those of Pax that are possible.
        where: whose it is, for messages.
        memory_only: whether it has to be a memory.

    Raises:
        ConfigError: if it is none.
    """
    if not isinstance(name, str) or "." not in name:
        check_choice("network", name, known, where)
        return
    cls = dotted.load("network", name)
    kinds = (Memory,) if memory_only else (Memory, Network)
    if not (isinstance(cls, type) and issubclass(cls, kinds)) or cls in kinds:
        paths = ", or of ".join(f"{kind.__module__}.{kind.__name__}" for kind in kinds)
        raise ConfigError(
            f"network is {name!r} in {where}, which is none that it can have: give a subclass of {paths}"
        )


def own_network(name: str, **settings: Any) -> Network | None:
    """Returns a network of the user's own, made with those settings that its fields name.

    None for the name of a memory, which a network of Pax is built around.

    Raises:
        ConfigError: if it has a field without a default that no setting is for.
    """
    cls = dotted.load("network", name)
    if issubclass(cls, Memory):
        return None
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for field in fields.values():
        has_default = not (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if not has_default and field.name not in settings:
            raise ConfigError(
                f"network is {name!r}, whose field {field.name} has no default, and agents give only "
                f"{', '.join(settings)}: give it one"
            )
    return cls(**{key: value for key, value in settings.items() if key in fields})
