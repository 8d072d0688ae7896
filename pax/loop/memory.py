"""The memory that a compiled program needs, the memory that is free, and the error if it is too little."""

from __future__ import annotations

import jax

from pax.errors import ConfigError


def program_bytes(program: jax.stages.Compiled, num_devices: int) -> int:
    """Returns the memory that a program takes, on all devices together; 0 if it cannot tell."""
    needed = program.memory_analysis()
    if needed is None:
        return 0
    of_a_device = (
        needed.temp_size_in_bytes
        + needed.argument_size_in_bytes
        + needed.output_size_in_bytes
        - needed.alias_size_in_bytes
    )
    return int(of_a_device) * num_devices


def free_bytes() -> int | None:
    """Returns the memory that is free, of the machine on a CPU, else of all devices; None if none is told."""
    if jax.default_backend() != "cpu":
        told = [device.memory_stats() or {} for device in jax.local_devices()]
        if not all("bytes_limit" in each for each in told):
            return None
        return sum(each["bytes_limit"] - each.get("bytes_in_use", 0) for each in told)
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def no_room(what: str, needed: int, free: int) -> ConfigError:
    """Returns the error that there is too little memory for something."""
    return ConfigError(
        f"{what} needs {_gib(needed)} of memory, and {_gib(free)} are free: make num_envs, num_opps or "
        "num_seeds smaller"
    )


def _gib(number: int) -> str:
    return f"{number / 2**30:.1f} GiB"
