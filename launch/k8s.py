"""A run on Kubernetes: prints the manifest of an Indexed Job, one pod per host, and of its Service.

    python -m launch.k8s --image=registry/pax:1 --name=mine --gpus=8 -- --config=configs/ipd.py:shaper
    python -m launch.k8s --image=... --name=mine --num_hosts=4 --gpus=8 --claim=experiments -- --config=...
    python -m launch.k8s ... --out=mine.yaml -- ... && kubectl apply -f mine.yaml

What follows `--` are arguments of `pax.main`. The image must hold Pax and start in its checkout, for configs.
`--claim` names a PersistentVolumeClaim for results: what is lost with a pod goes on from its checkpoints.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from pax.checks import MAX_INT, short
from pax.config.command_line import run_program
from pax.config.run_arguments import parse
from pax.errors import ConfigError

PORT = 8476
"""Where the first host coordinates the others; JAX's own choice on Kubernetes."""
INDEX = "JOB_COMPLETION_INDEX"
"""The variable in which an Indexed Job tells a pod its number."""


@dataclasses.dataclass(frozen=True)
class Hosts:
    """What the manifest asks for."""

    image: str
    name: str
    num_hosts: int = 1
    gpus: int = 0
    """Per host."""
    cpus: str | None = None
    memory: str | None = None
    namespace: str | None = None
    claim: str | None = None
    mount: str = "/exp"
    """Where the claim is, in the pod."""
    retries: int = 6
    """How often pods may die before the Job has failed; evictions do not count."""
    save_seconds: int = 300
    """Between SIGTERM, on which a run saves, and SIGKILL."""


def check(hosts: Hosts, workdir: str) -> None:
    """Raises ConfigError unless Kubernetes can take these names, and the folder is on the claim."""
    for flag in ("image", "name"):
        if not getattr(hosts, flag):
            raise ConfigError(f"--{flag} is missing: give one")
    for flag in ("cpus", "memory", "namespace", "claim", "mount"):
        if getattr(hosts, flag) == "":
            raise ConfigError(f"--{flag} is empty: give a value, or leave it out")
    if hosts.retries * hosts.num_hosts > MAX_INT:
        raise ConfigError(
            f"--retries={hosts.retries} of --num_hosts={hosts.num_hosts} are more than Kubernetes counts: "
            "give fewer"
        )
    if not workdir.isprintable():
        raise ConfigError(f"--workdir is {short(workdir)}: give the path of a folder")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*", hosts.image):
        raise ConfigError(
            f"--image={short(hosts.image)}: give the name of an image, as in registry/pax:1"
        )
    # A pod's host name is that of the Job, a dash and its index, and must be a label of DNS.
    longest = 63 - len(f"-{hosts.num_hosts - 1}")
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", hosts.name) or len(hosts.name) > longest:
        raise ConfigError(
            f"--name={hosts.name}: give small letters, digits and dashes, at most {longest}, a letter first"
        )
    for flag in ("image", "mount", "namespace", "claim"):
        text = getattr(hosts, flag)
        if text and (not text.isprintable() or " " in text):
            raise ConfigError(f"--{flag}={text!r} has blanks or line breaks: give a name without")
    label = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
    for flag, form in (("namespace", label), ("claim", rf"(?=.{{1,253}}$){label}(\.{label})*")):
        text = getattr(hosts, flag)
        if text and not re.fullmatch(form, text):
            raise ConfigError(f"--{flag}={text}: give small letters, digits and dashes")
    if hosts.cpus and not re.fullmatch(
        r"(?!0+(\.0*)?m?$)[0-9]+(\.[0-9]{1,3})?|(?!0+m)[0-9]+m", hosts.cpus
    ):
        raise ConfigError(f"--cpus={hosts.cpus}: give cores as in 16, 0.5 or 500m")
    if hosts.memory and not re.fullmatch(
        r"(?!0+(\.0*)?[^0-9]*$)[0-9]+(\.[0-9]+)?([kMGTPE]|[KMGTPE]i)?", hosts.memory
    ):
        raise ConfigError(f"--memory={hosts.memory}: give memory as in 64Gi or 500M")
    if ".." in pathlib.PurePosixPath(workdir).parts:
        raise ConfigError(f"--workdir={workdir} has '..' in it: give a path without")
    if not re.fullmatch(r"/[^/:][^:]*", hosts.mount) or ".." in hosts.mount.split("/"):
        raise ConfigError(
            f"--mount={hosts.mount} is no absolute path of a folder, without ':' and '..': give one, "
            "as in /exp"
        )
    if hosts.claim and not pathlib.PurePosixPath(workdir).is_relative_to(hosts.mount):
        raise ConfigError(
            f"--workdir={workdir} is not on the claim, which is at {hosts.mount}: give a folder there"
        )


def manifests(hosts: Hosts, arguments: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the Job, and with several hosts the Service by which they find the first one.

    Args:
        hosts: what to ask for.
        arguments: those of `pax.main`.
    """
    name = hosts.name
    labels = {"app.kubernetes.io/name": "pax", "app.kubernetes.io/instance": name}
    metadata: dict[str, Any] = {"name": name, "labels": labels}
    if hosts.namespace:
        metadata["namespace"] = hosts.namespace
    limits: dict[str, Any] = {"nvidia.com/gpu": hosts.gpus} if hosts.gpus else {}
    requests = {"cpu": hosts.cpus, "memory": hosts.memory}
    requests = {key: value for key, value in requests.items() if value}
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    if hosts.claim:
        volumes.append({"name": "exp", "persistentVolumeClaim": {"claimName": hosts.claim}})
        mounts.append({"name": "exp", "mountPath": hosts.mount})
    if hosts.gpus > 1:
        # NCCL talks between GPUs of a host through shared memory, of which pods have 64 MB.
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    container = {
        "name": "pax",
        "image": hosts.image,
        "command": ["/bin/sh", "-c", shell_command(hosts, arguments)],
        **(
            {"ports": [{"name": "coordinator", "containerPort": PORT}]}
            if hosts.num_hosts > 1
            else {}
        ),
        **({"resources": {"limits": limits, "requests": requests}} if limits or requests else {}),
        **({"volumeMounts": mounts} if mounts else {}),
    }
    pod = {
        **({"subdomain": name} if hosts.num_hosts > 1 else {}),
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": hosts.save_seconds,
        "containers": [container],
        **({"volumes": volumes} if volumes else {}),
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "completionMode": "Indexed",
            "completions": hosts.num_hosts,
            "parallelism": hosts.num_hosts,
            # When one host dies, the others do.
            "backoffLimit": hosts.retries * hosts.num_hosts,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    },
                    {
                        # The host was told to stop, or was told so by another one, and has saved.
                        "action": "Ignore",
                        "onExitCodes": {"containerName": "pax", "operator": "In", "values": [143]},
                    },
                    {
                        # The command line is wrong, and stays so.
                        "action": "FailJob",
                        "onExitCodes": {"containerName": "pax", "operator": "In", "values": [2]},
                    },
                ]
            },
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    if hosts.num_hosts == 1:
        return [job]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "clusterIP": "None",
            "selector": labels,
            # Hosts look for each other before any of them is ready.
            "publishNotReadyAddresses": True,
            "ports": [{"name": "coordinator", "port": PORT}],
        },
    }
    return [service, job]


def shell_command(hosts: Hosts, arguments: Sequence[str]) -> str:
    """Returns the command of a pod, whose number only its shell knows."""
    command = shlex.join(["python", "-m", "pax.main", *arguments])
    # Kubernetes puts values for $(...) before the shell sees it; $$ is a dollar sign to it.
    command = command.replace("$", "$$")
    if hosts.num_hosts > 1:
        first = f"{hosts.name}-0.{hosts.name}:{PORT}"
        command += f' --distributed="{first},{hosts.num_hosts},${INDEX}"'
    # The signal to stop goes to the first process of the pod, which must be Python.
    return f"exec {command}"


def define_flags(flag_values: flags.FlagValues) -> None:
    """Defines the flags of this program."""
    own: dict[str, Any] = {"flag_values": flag_values}
    flags.DEFINE_string(
        "image", None, "The image, which holds Pax and starts in its checkout.", **own
    )
    flags.DEFINE_string("name", None, "Name of the Job and of its Service.", **own)
    flags.DEFINE_integer(
        "num_hosts",
        1,
        "Pods, each with a process of the run.",
        lower_bound=1,
        upper_bound=MAX_INT,
        **own,
    )
    flags.DEFINE_integer("gpus", 0, "GPUs per host.", lower_bound=0, upper_bound=MAX_INT, **own)
    flags.DEFINE_string("cpus", None, "Cores that a host asks for, as in 16 or 500m.", **own)
    flags.DEFINE_string("memory", None, "Memory that a host asks for, as in 64Gi.", **own)
    flags.DEFINE_string("namespace", None, "Namespace. Default: that of kubectl.", **own)
    flags.DEFINE_string("claim", None, "A PersistentVolumeClaim for results.", **own)
    flags.DEFINE_string("mount", Hosts.mount, "Where the claim is in the pod.", **own)
    flags.DEFINE_integer(
        "retries",
        Hosts.retries,
        "How often hosts may die; evictions do not count.",
        lower_bound=0,
        **own,
    )
    flags.DEFINE_integer(
        "save_seconds",
        Hosts.save_seconds,
        "From SIGTERM to SIGKILL.",
        lower_bound=1,
        upper_bound=MAX_INT,
        **own,
    )
    flags.DEFINE_string("out", None, "A file to write to. Default: print.", **own)


def launch(arguments: Sequence[str], given: flags.FlagValues) -> str:
    """Returns the manifests of the run that arguments of `pax.main` describe, as YAML; written if asked for.

    Raises:
        PaxError: in one sentence.
    """
    try:
        import yaml
    except ImportError as e:
        raise ConfigError(
            'PyYAML is not installed, which writes YAML: pip install -e ".[launch]"'
        ) from e
    if given.out == "":
        raise ConfigError("--out is empty: name a file, or leave it out")
    names = [field.name for field in dataclasses.fields(Hosts)]
    asked: dict[str, Any] = {name: given[name].value for name in names}
    hosts = Hosts(**asked)
    run = parse(arguments, same_files=False)
    workdir = run.workdir or f"{hosts.mount}/{hosts.name}"
    check(hosts, workdir)
    text = "---\n".join(
        # A dump of its own for each, and copies, as what occurs twice would be an alias.
        yaml.safe_dump(json.loads(json.dumps(manifest)), sort_keys=False, width=10_000)
        for manifest in manifests(hosts, run.command_line(workdir))
    )
    if given.out:
        try:
            pathlib.Path(given.out).write_text(text)
        except OSError as e:
            raise ConfigError(
                f"--out={given.out} cannot be written ({e.strerror}): name another file"
            ) from e
        print(f"Written to {given.out}: kubectl apply -f {given.out}")
    else:
        print(text, end="")
    if not hosts.claim:
        print("Without --claim, results and checkpoints are gone when the pod is.", file=sys.stderr)
    return text


def main(arguments: list[str], given: flags.FlagValues) -> None:
    """Prints or writes the manifests."""
    launch(arguments, given)


if __name__ == "__main__":
    run_program(main, define_flags)
