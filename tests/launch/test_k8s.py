"""Manifests are what Kubernetes takes, and their commands start what was asked for."""

import contextlib
import io
import json
import os
import pathlib
import subprocess

import pytest
import yaml
from absl import flags

from launch import k8s
from pax.errors import ConfigError

ROOT = pathlib.Path(__file__).parents[2]
SCHEMA = json.loads((pathlib.Path(__file__).parent / "kubernetes_schema.json").read_text())
TYPES = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
}

# How ml_collections loads a file is not ours to change.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


def check(value, schema, where="manifest"):
    """The part of JSON schema that those of Kubernetes are written in."""
    if "oneOf" in schema:
        assert sum(isinstance(value, TYPES[each["type"]]) for each in schema["oneOf"]) == 1, where
        return
    is_bool = isinstance(value, bool) and schema["type"] != "boolean"
    assert isinstance(value, TYPES[schema["type"]]) and not is_bool, (where, value)
    assert "enum" not in schema or value in schema["enum"], (where, value)
    if isinstance(value, list):
        for index, item in enumerate(value):
            check(item, schema["items"], f"{where}[{index}]")
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        assert set(schema.get("required", ())) <= set(value), where
        for key, item in value.items():
            assert key in known or others is not False, f"{where} has no {key}"
            if key in known or isinstance(others, dict):
                check(item, known.get(key, others), f"{where}.{key}")


def test_the_check_finds_what_is_wrong():
    good = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 1}]}}
    check(good, SCHEMA["Service"])
    for spec in ({"port": []}, {"ports": [{}]}, {"ports": [{"port": "1"}]}, {"ports": {}}):
        with pytest.raises(AssertionError):
            check({**good, "spec": spec}, SCHEMA["Service"])
    with pytest.raises(AssertionError):
        check({**good, "kind": "Job"}, SCHEMA["Service"])


def launch(argv, arguments):
    given = flags.FlagValues()
    k8s.define_flags(given)
    given(["launch.k8s", *argv])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        k8s.launch(arguments, given)
    return list(yaml.safe_load_all(printed.getvalue()))


ARGUMENTS = [f"--config={ROOT}/configs/ipd.py:ppo,quicktest", "--config.num_envs=4"]
NAMED = ["--image=pax:1", "--name=mine"]


def test_several_hosts_are_an_indexed_job_and_find_the_first_by_a_service(capsys):
    argv = ["--num_hosts=4", "--gpus=8", "--cpus=16", "--memory=64Gi", "--namespace=research"]
    service, job = launch([*NAMED, *argv, "--claim=results", "--save_seconds=60"], ARGUMENTS)
    assert capsys.readouterr().err == ""
    check(service, SCHEMA["Service"])
    check(job, SCHEMA["Job"])
    assert service["spec"]["clusterIP"] == "None"
    pod = job["spec"]["template"]["spec"]
    # What a schema does not say: the Service has to find these pods, and their names contain its own.
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert pod["subdomain"] == service["metadata"]["name"] == "mine"
    assert service["metadata"]["namespace"] == job["metadata"]["namespace"] == "research"
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 4, 4)
    # A policy for failed pods is refused with any other one.
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] == 60
    (container,) = pod["containers"]
    by_code = [rule for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert [rule["onExitCodes"]["containerName"] for rule in by_code] == [container["name"]] * 2
    assert container["resources"] == {
        "limits": {"nvidia.com/gpu": 8},
        "requests": {"cpu": "16", "memory": "64Gi"},
    }
    assert container["volumeMounts"] == [
        {"name": "exp", "mountPath": "/exp"},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]
    assert [volume["name"] for volume in pod["volumes"]] == ["exp", "shm"]


def test_one_host_needs_no_service(capsys):
    (job,) = launch(NAMED, ARGUMENTS)
    check(job, SCHEMA["Job"])
    assert "Without --claim, results and checkpoints are gone" in capsys.readouterr().err
    command = job["spec"]["template"]["spec"]["containers"][0]["command"][-1]
    assert "--distributed" not in command and "--workdir=/exp/mine" in command


@pytest.mark.parametrize("claim", [[], ["--claim=results"]])
def test_a_folder_on_a_bucket_needs_no_claim(capsys, claim):
    (job,) = launch([*NAMED, *claim], [*ARGUMENTS, "--workdir=gs://bucket/run"])
    check(job, SCHEMA["Job"])
    assert capsys.readouterr().err == ""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert "--workdir=gs://bucket/run" in container["command"][-1]


def test_the_shell_of_a_pod_starts_what_was_asked_for(tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nfor each in "$@"; do echo "$each"; done\n')
    python.chmod(0o755)
    odd = '--config.agent1.path=it\'s $(HOME) $HOME $$ "x"'
    _, job = launch([*NAMED, "--num_hosts=2"], [*ARGUMENTS, odd, "--workdir=/exp/a b"])
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    # What Kubernetes makes of it: $(X) would be a value, $$ is a dollar sign.
    assert "$(" not in command[2].replace("$$", "")
    told = subprocess.run(
        [*command[:2], command[2].replace("$$", "$")],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "JOB_COMPLETION_INDEX": "1", "HOME": "/"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == [
        "-m",
        "pax.main",
        ARGUMENTS[0],
        ARGUMENTS[1],
        odd,
        "--workdir=/exp/a b",
        "--distributed=mine-0.mine:8476,2,1",
    ]


@pytest.mark.parametrize(
    ("argv", "arguments", "message"),
    [
        (["--name=mine"], ARGUMENTS, "--image is missing: give one"),
        (["--image=a"], ARGUMENTS, "--name is missing: give one"),
        (["--image=a", "--name=My_run"], ARGUMENTS, "--name=My_run: give small letters, digits"),
        (["--image=a", "--name=" + "a" * 62], ARGUMENTS, "is too long: give at most 61"),
        ([*NAMED, "--mount=exp"], ARGUMENTS, "--mount=exp: give the absolute path of a folder"),
        (
            [*NAMED, "--claim=results"],
            [*ARGUMENTS, "--workdir=exp/mine"],
            "--workdir=exp/mine is not on the claim, which is at /exp",
        ),
        (
            [*NAMED, "--num_hosts=2"],
            [*ARGUMENTS, "--workdir=gs://bucket/run"],
            "--workdir=gs://bucket/run is on a bucket, and --num_hosts=2 need a folder that all of",
        ),
        ([*NAMED, "--memory=lots"], ARGUMENTS, "--memory=lots: give memory as in 64Gi"),
        ([*NAMED, "--memory=0"], ARGUMENTS, "--memory=0: give memory as in 64Gi"),
        ([*NAMED, "--cpus=-3"], ARGUMENTS, "--cpus=-3: give cores as in 16, 0.5 or 500m"),
        ([*NAMED, "--cpus=many"], ARGUMENTS, "--cpus=many: give cores"),
        ([*NAMED, "--namespace=Mine"], ARGUMENTS, "--namespace=Mine: give small letters"),
        ([*NAMED, "--claim=a\nb"], ARGUMENTS, "--claim='a\\nb': give small letters"),
        (
            [*NAMED, "--claim=results"],
            [*ARGUMENTS, "--workdir=/exp/../etc"],
            "--workdir=/exp/../etc has '..' in it",
        ),
        (["--image=a$(id)", "--name=b"], ARGUMENTS, "--image=a$(id): give the name of an image"),
        (['--image=a"b', "--name=b"], ARGUMENTS, "give the name of an image, as in registry/pax:1"),
        ([*NAMED, "--memory=\u0663Gi"], ARGUMENTS, "give memory as in 64Gi"),
        ([*NAMED, "--cpus=\u0663"], ARGUMENTS, "give cores as in 16"),
        ([*NAMED, "--cpus=0.00001"], ARGUMENTS, "--cpus=0.00001: give cores as in 16"),
        ([*NAMED, "--namespace=a.b"], ARGUMENTS, "--namespace=a.b: give small letters"),
        ([*NAMED, "--claim=a..b"], ARGUMENTS, "--claim=a..b: give small letters"),
        ([*NAMED, "--claim="], ARGUMENTS, "--claim is empty: give a value, or leave it out"),
        ([*NAMED, "--out="], ARGUMENTS, "--out is empty: name a file"),
        ([*NAMED, "--mount=/"], ARGUMENTS, "--mount=/: give the absolute path of a folder"),
        (
            [*NAMED, "--mount=/a/../b"],
            ARGUMENTS,
            "--mount=/a/../b: give the absolute path of a folder",
        ),
        ([*NAMED, "--mount=/a:b"], ARGUMENTS, "--mount=/a:b: give the absolute path of a folder"),
        ([*NAMED, "--retries=99999999999"], ARGUMENTS, "are more than Kubernetes counts"),
        (NAMED, [*ARGUMENTS, "--workdir=/exp/a\nb"], "--workdir is '/exp/a\\nb': give the path"),
        (NAMED, [*ARGUMENTS, "--mdoe=train"], "--mdoe=train is no flag of pax.main: did you mean"),
        (NAMED, [], "give the arguments of pax.main after --"),
        (NAMED, ["--mode=train"], "--config is missing after --"),
        (NAMED, [*ARGUMENTS, "--distributed=auto"], "--distributed=auto is set here: take it away"),
        (NAMED, [*ARGUMENTS, "--config.num_envs=0"], "num_envs is 0: give at least 1"),
        (NAMED, [*ARGUMENTS, "--config.nope=0"], "nope is no setting"),
    ],
)
def test_what_is_wrong_is_told(argv, arguments, message):
    with pytest.raises(ConfigError) as caught:
        launch(argv, arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_from_the_shell(app, tmp_path):
    def run(*argv):
        return app(*NAMED, *argv, module="launch.k8s", cwd=ROOT)

    out = tmp_path / "mine.yaml"
    done = run("--claim=results", f"--out={out}", "--", *ARGUMENTS)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == f"Written to {out}: kubectl apply -f {out}\n"
    check(yaml.safe_load(out.read_text()), SCHEMA["Job"])
    done = run("--", *ARGUMENTS, "--config.num_env=3")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "Error: num_env is no setting: the config has no 'num_env', did you"
    )
