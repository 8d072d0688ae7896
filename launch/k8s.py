"""A run on Kubernetes: prints the manifest of an Indexed Job, one pod per host, and of its Service.

    python -m launch.k8s --image=registry/pax:1 --name=mine --gpus=8 -- --config=configs/ipd.py:shaper
    python -m launch.k8s --image=... --name=mine --num_hosts=4 --gpus=8 --claim=experiments -- --config=...
    python -m launch.k8s ... --out=mine.yaml -- ... && kubectl apply -f mine.yaml

What follows `--` are arguments of `pax.main`. The image must hold Pax and start in its checkout, for configs.
`--claim` names a PersistentVolumeClaim for results: what is lost with a pod goes on from its checkpoints.
"""

from __future__ import annotations

import json
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from pax.checks import MAX_INT, short
from pax.config.command_line import run_program
from pax.config.flags import check_forms, definer
from pax.config.run_arguments import parse
from pax.errors import ConfigError
from pax.run.remote import is_url

PORT = 8476
"""Where the first host coordinates the others; JAX's own choice on Kubernetes."""
INDEX = "JOB_COMPLETION_INDEX"
"""The variable in which an Indexed Job tells a pod its number."""


LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
NAME = "give small letters, digits and dashes"
FORMS = {
    "image": (r"[A-Za-z0-9][A-Za-z0-9._:/@-]*", "give the name of an image, as in registry/pax:1"),
    "name": (r"[a-z]([-a-z0-9]*[a-z0-9])?", f"{NAME}, a letter first"),
    "namespace": (LABEL, NAME),
    "claim": (rf"(?=.{{1,253}}$){LABEL}(\.{LABEL})*", f"{NAME}, and dots between them"),
    "cpus": (
        r"(?!0+(\.0*)?m?$)[0-9]+(\.[0-9]{1,3})?|(?!0+m)[0-9]+m",
        "give cores as in 16, 0.5 or 500m",
    ),
    "memory": (
        r"(?!0+(\.0*)?[^0-9]*$)[0-9]+(\.[0-9]+)?([kMGTPE]|[KMGTPE]i)?",
        "give memory as in 64Gi or 500M",
    ),
    "mount": (
        r"(?!.*/\.\.(/|$))/[^/: ][^: ]*",
        "give the absolute path of a folder, without ':', '..' and blanks, as in /exp",
    ),
}
"""By flag, what Kubernetes takes, and the remedy where it is something else."""


def check(hosts: flags.FlagValues, workdir: str) -> None:
    """Raises ConfigError unless Kubernetes can take these names, and the folder is on the claim."""
    for flag in ("image", "name"):
        if not hosts[flag].value:
            raise ConfigError(f"--{flag} is missing: give one")
    check_forms(hosts, FORMS)
    # A pod's host name is that of the Job, a dash and its index, and must be a label of DNS.
    longest = 63 - len(f"-{hosts.num_hosts - 1}")
    if len(hosts.name) > longest:
        raise ConfigError(f"--name={hosts.name} is too long: give at most {longest} letters")
    if hosts.retries * hosts.num_hosts > MAX_INT:
        raise ConfigError(
            f"--retries={hosts.retries} of --num_hosts={hosts.num_hosts} are more than Kubernetes counts: "
            "give fewer"
        )
    if not workdir.isprintable():
        raise ConfigError(f"--workdir is {short(workdir)}: give the path of a folder")
    path = pathlib.PurePosixPath(workdir)
    if is_url(workdir):
        if hosts.num_hosts > 1:
            raise ConfigError(
                f"--workdir={workdir} is on a bucket, and --num_hosts={hosts.num_hosts} need a folder that "
                "all of them see: give one on a --claim"
            )
        return
    if ".." in path.parts:
        raise ConfigError(f"--workdir={workdir} has '..' in it: give a path without")
    if hosts.claim and not path.is_relative_to(hosts.mount):
        raise ConfigError(
            f"--workdir={workdir} is not on the claim, which is at {hosts.mount}: give a folder there"
        )


def manifests(hosts: flags.FlagValues, arguments: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the Job, and with several hosts the Service by which they find the first one.

    Args:
        hosts: what to ask for.
        arguments: those of `pax.main`.
    """
    name = hosts.name
    labels = {"app.kubernetes.io/name": "pax", "app.kubernetes.io/instance": name}
    metadata = filled({"name": name, "labels": labels, "namespace": hosts.namespace})
    limits = filled({"nvidia.com/gpu": hosts.gpus})
    requests = filled({"cpu": hosts.cpus, "memory": hosts.memory})
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    if hosts.claim:
        volumes.append({"name": "exp", "persistentVolumeClaim": {"claimName": hosts.claim}})
        mounts.append({"name": "exp", "mountPath": hosts.mount})
    if hosts.gpus > 1:
        # NCCL talks between GPUs of a host through shared memory, of which pods have 64 MB.
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    several = hosts.num_hosts > 1
    container = {
        "name": "pax",
        "image": hosts.image,
        "command": ["/bin/sh", "-c", shell_command(hosts, arguments)],
        "ports": several and [{"name": "coordinator", "containerPort": PORT}],
        "resources": filled({"limits": limits, "requests": requests}),
        "volumeMounts": mounts,
    }
    pod = {
        "subdomain": several and name,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": hosts.save_seconds,
        "containers": [filled(container)],
        "volumes": volumes,
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
            "template": {"metadata": {"labels": labels}, "spec": filled(pod)},
        },
    }
    if not several:
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


def filled(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries that are neither empty nor 0."""
    return {key: value for key, value in entries.items() if value}


def shell_command(hosts: flags.FlagValues, arguments: Sequence[str]) -> str:
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
    define = definer(flag_values)
    define("image", None, "The image, which holds Pax and starts in its checkout.")
    define("name", None, "Name of the Job and of its Service.")
    define("num_hosts", 1, "Pods, each with a process of the run.", low=1, high=MAX_INT)
    define("gpus", 0, "GPUs per host.", low=0, high=MAX_INT)
    define("cpus", None, "Cores that a host asks for, as in 16 or 500m.")
    define("memory", None, "Memory that a host asks for, as in 64Gi.")
    define("namespace", None, "Namespace. Default: that of kubectl.")
    define("claim", None, "A PersistentVolumeClaim for results.")
    define("mount", "/exp", "Where the claim is in the pod.")
    define("retries", 6, "How often hosts may die; evictions do not count.", low=0)
    define("save_seconds", 300, "From SIGTERM to SIGKILL.", low=1, high=MAX_INT)
    define("out", None, "A file to write to. Default: print.")


def launch(arguments: Sequence[str], given: flags.FlagValues) -> None:
    """Prints or writes the manifests of the run that arguments of `pax.main` describe, as YAML.

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
    run = parse(arguments, same_files=False)
    workdir = run.workdir or f"{given.mount}/{given.name}"
    check(given, workdir)
    text = "---\n".join(
        # A dump of its own for each, and copies, as what occurs twice would be an alias.
        yaml.safe_dump(json.loads(json.dumps(manifest)), sort_keys=False, width=10_000)
        for manifest in manifests(given, run.command_line(workdir))
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
    if not given.claim and not is_url(workdir):
        print("Without --claim, results and checkpoints are gone when the pod is.", file=sys.stderr)


if __name__ == "__main__":
    run_program(launch, define_flags)
