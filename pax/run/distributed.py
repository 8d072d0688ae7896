"""Several processes that train one run together, on JAX's own multi-controller runtime.

Every process runs the same program on the same config; JAX makes one set of devices of theirs. Process 0 is
the lead: it alone writes reports and prints. With one process, everything here is what it would be without.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from pax.errors import ConfigError, PaxError, ProcessError

OFF, AUTO = "off", "auto"
CONNECT_SECONDS = 120
"""How long a process waits for the others to start."""
HEARTBEAT_SECONDS = 20
"""Without a sign of life for so long, a process is taken for dead."""
RESOLVE_SECONDS = 60
"""How long the name of process 0 may be unknown to itself."""
LEAVE_SECONDS = 15
"""What a process has for its own end once another one is gone."""
_TEXT_BYTES = 4096


def join(flag: str) -> None:
    """Joins the other processes, as the flag `--distributed` says; before anything asks JAX for a device.

    Args:
        flag: `off`, `auto` (what Slurm, Open MPI, Kubernetes or a TPU pod says), or `HOST:PORT,N,I`: where
            process 0 can be reached, how many processes there are, and which of them this one is.

    Raises:
        ConfigError: if the flag says something else, or there is nobody to join.
        ProcessError: if the others cannot be reached.
    """
    if flag == OFF:
        return
    # It would take SIGTERM away from Pax, which agrees with all processes on where to stop by itself.
    jax.config.update("jax_enable_preemption_service", False)
    where: dict[str, Any] = {}
    if flag != AUTO:
        address, number, index = parse(flag)
        where = {
            "coordinator_address": address,
            "num_processes": number,
            "process_id": index,
            "cluster_detection_method": "deactivate",
        }
        if index == 0:
            where["coordinator_bind_address"] = bind_address(address)
    try:
        jax.distributed.initialize(
            **where,
            initialization_timeout=CONNECT_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=LEAVE_SECONDS,
        )
    except ValueError as e:
        raise ConfigError(
            f"--distributed is {flag!r}, and JAX finds no cluster here "
            f"({' '.join(str(e).split())}): give HOST:PORT,N,I, or off"
        ) from e
    except RuntimeError as e:
        raise ProcessError(
            f"--distributed is {flag!r}, and the processes did not find each other "
            f"({first_line(e)}): start all of them within {CONNECT_SECONDS} seconds, with the "
            "address of the first and a port that is free there"
        ) from e


def parse(flag: str) -> tuple[str, int, int]:
    """Address, number of processes and index of this one, from `HOST:PORT,N,I`.

    Raises:
        ConfigError: if it is none.
    """
    match = re.fullmatch(r"([^,\s]+:(\d+)),(\d+),(\d+)", flag)
    if match is None:
        raise ConfigError(
            f"--distributed is {flag!r}: give off, auto, or HOST:PORT,N,I as in 10.0.0.1:1234,2,0 for the "
            "first of two processes"
        )
    port, number, index = (int(match[group]) for group in (2, 3, 4))
    if not 1 <= port <= 65535:
        raise ConfigError(f"--distributed is {flag!r}: ports are 1 to 65535")
    if not 0 <= index < number:
        raise ConfigError(
            f"--distributed is {flag!r}: {number} processes are numbered from 0 to {number - 1}"
            if number
            else f"--distributed is {flag!r}: there is at least 1 process"
        )
    return match[1], number, index


def bind_address(address: str) -> str:
    """Returns where process 0 listens: on the address given, and not on every interface of its machine.

    Anybody who reaches it can take part, as nothing is authenticated. A name that means the loopback
    interface on its own machine only, as Debian's host names do, would keep others out: then it listens on
    all interfaces, and says so.

    Raises:
        ProcessError: if the name cannot be resolved.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    deadline = time.monotonic() + RESOLVE_SECONDS
    while True:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            break
        except OSError as e:
            # A cluster may announce a name only after the process that has it was started.
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"--distributed names the host {host}, which is not known here ({e}): give the address "
                    "of the machine of process 0"
                ) from e
            time.sleep(1.0)
    own = ipaddress.ip_address(found[0][4][0])
    asked_for = host == "localhost" or _is_loopback(host)
    if own.is_loopback and not asked_for:
        logging.warning(
            "%s is %s on this machine, so process 0 listens on all interfaces: see docs/scale.md.",
            host,
            own,
        )
        return f"[::]:{port}"
    return f"[{own}]:{port}" if own.version == 6 else f"{own}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_lead() -> bool:
    """Returns whether this process is the one that writes reports and prints."""
    return jax.process_index() == 0


def from_lead(text: str) -> str:
    """Returns the text that the lead has, cut off after 4096 bytes; every process must ask."""
    if jax.process_count() == 1:
        return text
    return _decode(multihost_utils.broadcast_one_to_all(_encode(text)))


def by_lead(action: Callable[[], None]) -> None:
    """Has the lead do something before any process goes on; if it cannot, all raise its error."""
    error = None
    if is_lead():
        try:
            action()
        except PaxError as e:
            error = e
    text = from_lead("" if error is None else str(error))
    if error is not None:
        raise error
    if text:
        raise ConfigError(text)


def agree(reason: str | None) -> str | None:
    """Returns the reason of the first process that has one; every process must ask."""
    if jax.process_count() == 1:
        return reason
    reasons = multihost_utils.process_allgather(_encode(reason or "", 256))
    return next(filter(None, map(_decode, reasons)), None)


def check_same(what: str, text: str) -> None:
    """Raises ConfigError unless all processes have the same text, a config say."""
    if jax.process_count() == 1:
        return
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    digests = multihost_utils.process_allgather(digest)
    others = [i for i, other in enumerate(digests) if (other != digests[0]).any()]
    if others:
        raise ConfigError(
            f"process {others[0]} was started with another {what} than process 0: give all of them the "
            "same flags but for the last number of --distributed"
        )


def is_lost(error: BaseException | None) -> bool:
    """Returns whether an error, or what caused it, says that several processes could not compute together."""
    if error is None or isinstance(error, ProcessError) or jax.process_count() == 1:
        return False
    # JAX raises the same as a ValueError where it calls a compiled program without checks of its own.
    status = r"(ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|UNAVAILABLE|UNKNOWN): "
    is_status = isinstance(error, ValueError) and re.match(status, str(error)) is not None
    return isinstance(error, jax.errors.JaxRuntimeError) or is_status or is_lost(error.__cause__)


def lost(error: BaseException) -> ProcessError:
    """Returns what a failed computation of several processes most likely means."""
    return ProcessError(
        f"process {jax.process_index()} of {jax.process_count()} cannot go on, most likely because another "
        f"one has ended ({first_line(error)}): start all of them again with the same --workdir, and they "
        "go on from the newest checkpoint"
    )


def leave_soon(error: BaseException) -> None:
    """Ends this process shortly, whatever it waits for then: the others may no longer answer."""

    def leave() -> None:
        leave_at_once(f"Error: {' '.join(str(error).split())}", 1)

    timer = threading.Timer(LEAVE_SECONDS, leave)
    timer.daemon = True
    timer.start()


def leave_at_once(sentence: str, code: int) -> None:
    """Ends this process without waiting for others, so that they notice."""
    logging.flush()
    if sentence:
        print(sentence, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def first_line(error: BaseException) -> str:
    """Returns the beginning of what may be pages."""
    line = (str(error) or type(error).__name__).strip().splitlines()[0]
    return line if len(line) <= 200 else f"{line[:197]}..."


def _encode(text: str, size: int = _TEXT_BYTES) -> np.ndarray:
    data = text.encode()[:size]
    return np.frombuffer(data.ljust(size, b"\0"), np.uint8)


def _decode(data: np.ndarray) -> str:
    return bytes(np.asarray(data, np.uint8)).rstrip(b"\0").decode(errors="ignore")
