"""Jobs of Slurm: the script that is submitted, and what becomes of a run that is preempted.

The commands of Slurm are stood in for; what runs in the job is the real thing.
"""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest
from absl import flags

from launch.slurm import __main__ as slurm
from launch.slurm import job as slurm_job
from launch.slurm import task as slurm_task
from launch.slurm.job import minutes
from pax.errors import ConfigError, PaxError

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = f"--config={ROOT}/configs/ipd.py:tabular,quicktest"
# The long options of sbatch 24.05, from its manual.
OPTIONS = """
    account acctg-freq array batch bb bbf begin chdir cluster-constraint clusters comment constraint container
    container-id contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot
    dependency distribution error exclude exclusive export export-file extra extra-node-info get-user-env gid
    gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags hint hold ignore-pbs
    input job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu
    mem-per-gpu mincpus network nice no-kill no-requeue nodefile nodelist nodes ntasks ntasks-per-core
    ntasks-per-gpu ntasks-per-node ntasks-per-socket open-mode output overcommit oversubscribe parsable
    partition prefer priority profile propagate qos quiet reboot requeue reservation resv-ports segment signal
    sockets-per-node spread-job switches test-only thread-spec threads-per-core time time-min tmp tres-bind
    tres-per-task uid usage use-min-nodes verbose wait wait-all-nodes wckey wrap
    """

# How ml_collections loads a file is not ours to change.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Commands that do as little as they can, and a file that says how they were called."""
    bin = tmp_path / "bin"
    bin.mkdir()
    log = f'echo "$(basename "$0") $*" >> {tmp_path}/calls\n'
    commands = {
        "sbatch": log + f"echo Submitted batch job $((6 + $(grep -c ^sbatch {tmp_path}/calls)))",
        "scontrol": log + f"cat {tmp_path}/state",
        "squeue": f"cat {tmp_path}/queue",
        # Without its options it is the command.
        "srun": 'while [ "${1#--}" != "$1" ]; do case $1 in --unbuffered) shift;; *) shift 2;; esac; done\n'
        'exec "$@"',
    }
    for name, body in commands.items():
        (bin / name).write_text(f"#!/bin/bash\n{body}\n")
        (bin / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")
    monkeypatch.chdir(ROOT)
    return tmp_path


def flags_of(argv):
    given = flags.FlagValues()
    slurm.define_flags(given)
    given(["launch.slurm", *argv])
    return given


def launch(argv, arguments):
    return slurm.launch(arguments, flags_of(argv))


def options_of(script):
    """The options of a batch script, each of which must be one that sbatch has."""
    lines = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    found = {}
    for line in lines:
        matched = re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(\S+))?", line)
        assert matched and matched[1] in OPTIONS.split(), line
        assert matched[1] not in found
        found[matched[1]] = matched[2]
    # After the first command, sbatch reads no more of them.
    body = script[: script.index(lines[-1])].splitlines()[1:]
    assert all(line == "" or line.startswith("#") for line in body)
    return found


def test_the_script_of_a_run_over_nodes(tmp_path, capsys):
    argv = ["--dry_run", "--nodes=2", "--gpus_per_node=4", "--time=1-2:30:00", "--partition=gpu"]
    more = ["--mem=64G", "--cpus_per_task=8", "--sbatch=gres=gpu:4", "--sbatch=exclusive"]
    setup = ["--setup=module load cuda"]
    workdir = tmp_path / "mine"
    arguments = [CONFIG, "--config.num_envs=4", f"--workdir={workdir}", "--mode=train"]
    assert launch([*argv, *more, *setup], arguments) == 0
    script = capsys.readouterr().out
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    options = options_of(script)
    expected = {
        "nodes": "2",
        "ntasks-per-node": "4",
        "gpus-per-node": "4",
        "cpus-per-task": "8",
        "time": str(26 * 60 + 30),
        "partition": "gpu",
        "mem": "64G",
        "gres": "gpu:4",
        "exclusive": None,
        "requeue": None,
        "signal": "USR2@120",
        "chdir": os.getcwd(),
        "job-name": "pax-mine",
    }
    assert {key: options.get(key, "missing") for key in expected} == expected
    lines = script.splitlines()
    assert lines.index("module load cuda") < next(
        index for index, line in enumerate(lines) if line.startswith("srun ")
    )
    assert lines[-1] == "# the job runs: " + shlex.join(
        ["python", "-m", "pax.main", *arguments, "--distributed=auto"]
    )
    # Nothing is written when one only looks.
    assert list(tmp_path.iterdir()) == []


def test_the_script_of_a_sweep_is_an_array(tmp_path, capsys):
    argv = ["--dry_run", "--array", "--max_parallel=3", "--gpus_per_node=2"]
    assert launch(argv, [CONFIG, "--config.num_envs=4", f"--workdir={tmp_path}/s"]) == 0
    script = capsys.readouterr().out
    options = options_of(script)
    assert options["array"] == "0-11%3"
    assert (options["nodes"], options["ntasks-per-node"], options["gpus-per-node"]) == (
        "1",
        "1",
        "2",
    )
    runs = [line for line in script.splitlines() if line.startswith("# array task")]
    assert len(runs) == 12
    assert runs[4] == (
        f"# array task 4 runs: python -m pax.main {CONFIG} --config.num_envs=4 "
        f"--config.agent1.learning_rate=0.01 --config.seed=1 --workdir={tmp_path}/s/004"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_submits_what_is_neither_done_nor_queued(cluster, capsys):
    folder = cluster / "s"
    arguments = [CONFIG, f"--workdir={folder}"]

    def submitted():
        calls = (cluster / "calls").read_text().splitlines()
        script = pathlib.Path(calls[-1].removeprefix("sbatch "))
        return options_of(script.read_text()).get("array")

    assert launch(["--array"], arguments) == 0
    assert submitted() == "0-11%12"
    jobs = json.loads((folder / "slurm.json").read_text())
    assert jobs == {f"{index:03d}": f"7_{index}" for index in range(12)}
    assert "Submitted 12 runs as job 7." in capsys.readouterr().out
    # Two are done, three are in the queue, seven are neither.
    for name in ("000", "005"):
        (folder / name).mkdir()
        status = {"state": "done", "iteration": 4, "num_iters": 4, "reason": None, "saved": []}
        (folder / name / "training.json").write_text(json.dumps(status))
    (cluster / "queue").write_text("7_1\n7_2\n7_11\n9_3\n")
    assert launch(["--array"], arguments) == 0
    assert submitted() == "0-6%7"
    jobs = json.loads((folder / "slurm.json").read_text())
    again = {name: job for name, job in jobs.items() if job.startswith("8")}
    names = ["003", "004", "006", "007", "008", "009", "010"]
    assert again == {name: f"8_{index}" for index, name in enumerate(names)}
    assert "2 of 12 runs are done. 10 are queued or training" in capsys.readouterr().out


def wait_for(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_preempted_run_saves_is_requeued_and_goes_on(cluster):
    """With submitit's signal; then with SIGTERM, which is how Slurm begins a time of grace."""
    workdir, logs = cluster / "run", cluster / "run-slurm"
    # More than there is time for: it ends when it is told to.
    long = ["--config.num_iters=1000000", "--config.callbacks.checkpoint.every=1000000"]
    lean = ["--config.callbacks.evaluation.enabled=False", "--config.num_envs=4"]
    assert launch([], [CONFIG, *long, *lean, f"--workdir={workdir}"]) == 0
    script = logs / "7_submission.sh"
    environment = {
        **os.environ,
        "SLURM_JOB_ID": "7",
        "SLURM_NTASKS": "1",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_NODELIST": "here",
        "SLURM_NODEID": "0",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
    }

    def start():
        with (cluster / "out").open("a") as out:
            job = subprocess.Popen(
                ["bash", str(script)],
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        metrics = workdir / "metrics.jsonl"
        before = metrics.stat().st_size if metrics.exists() else 0
        wait_for(lambda: metrics.exists() and metrics.stat().st_size > before + 500)
        children = pathlib.Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        return job, int(children[0])

    def status():
        return json.loads((workdir / "training.json").read_text())

    def requeued():
        return (cluster / "calls").read_text().splitlines().count("scontrol requeue 7")

    job, task = start()
    os.kill(task, signal.SIGUSR2)
    job.wait(60)
    assert requeued() == 1
    first = status()
    assert (first["state"], first["reason"]) == ("stopped", "SIGTERM")
    assert (workdir / "checkpoints" / str(first["iteration"])).is_dir()

    (cluster / "state").write_text("JobId=7 JobName=pax\n   JobState=RUNNING Reason=None\n")
    job, task = start()
    out = (cluster / "out").read_text()
    assert f"Resuming at iteration {first['iteration']} of 1000000." in out
    # Some Slurms send it to all processes, so that pax.main gets it twice.
    (child,) = pathlib.Path(f"/proc/{task}/task/{task}/children").read_text().split()
    os.kill(int(child), signal.SIGTERM)
    os.kill(task, signal.SIGTERM)
    job.wait(60)
    assert requeued() == 2
    second = status()
    assert second["state"] == "stopped" and second["iteration"] > first["iteration"]
    assert (workdir / "checkpoints" / str(second["iteration"])).is_dir()


@pytest.mark.parametrize(
    ("state", "expected"),
    [("RUNNING", True), ("CANCELLED", False), ("COMPLETING", False), ("PENDING", False)],
)
def test_a_job_that_slurm_has_ended_is_not_requeued(state, expected, cluster, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    told = f"JobId=7 JobName=JobState=RUNNINGS\n   Requeue=1\n   JobState={state} Reason=None\n"
    (cluster / "state").write_text(told)
    assert slurm_task._is_running() == expected
    assert (cluster / "calls").read_text() == "scontrol show job 7\n"


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("1:30:00", 90), ("0:00:01", 1), ("2-01:00:30", 2941)]
)
def test_times(text, expected):
    assert minutes(text) == expected


@pytest.mark.parametrize(
    ("argv", "arguments", "message"),
    [
        (["--time=soon"], [CONFIG], "--time=soon: give minutes, or [days-]hours:minutes:seconds"),
        (["--time=0"], [CONFIG], "--time=0: give minutes"),
        (["--name=a\nrm -rf x"], [CONFIG], "job_name is 'a\\nrm -rf x', which is no single line"),
        (["--partition=a\nb"], [CONFIG], "--partition='a\\nb': give a name"),
        (["--sbatch=gres=a\nb"], [CONFIG], "gres is 'a\\nb', which is no single line"),
        (["--setup=module load x\nb"], [CONFIG], "setup is 'module load x\\nb', which is no"),
        (["--time=\u0663"], [CONFIG], "--time=\u0663: give minutes"),
        (["--time=" + "9" * 5000], [CONFIG], "...: give minutes"),
        (["--partition=a b; rm"], [CONFIG], "--partition=a b; rm: give a name, without blanks"),
        (["--constraint=$(id)"], [CONFIG], "--constraint=$(id): give a name, without blanks"),
        (["--account="], [CONFIG], "--account is empty: give a value, or leave it out"),
        (["--name="], [CONFIG], "--name is empty: give one"),
        (["--mem=lots"], [CONFIG], "--mem=lots: give memory as in 32G"),
        ([], [CONFIG, "--workdir=a\nb"], "--workdir is 'a\\nb': give the path of a folder"),
        (["--sbatch=gres gpu"], [CONFIG], "--sbatch=gres gpu is no option of sbatch"),
        (
            [],
            [CONFIG],
            "there is no srun here: run this where jobs are submitted, or add --dry_run",
        ),
        (["--array"], [CONFIG], "--workdir is missing after --: name a folder for the sweep"),
        (
            ["--array"],
            [CONFIG, "--workdir=s", "--mode=train"],
            "--mode=train has no use in a sweep",
        ),
        (["--setup=ls"], [CONFIG, "--nope=1"], "--nope=1 is no flag of pax.main: choose one of"),
        ([], [CONFIG, "--mdoe=train"], "--mdoe=train is no flag of pax.main: did you mean mode?"),
        ([], [CONFIG, "--workdir="], "--workdir is empty: name a folder"),
        (["--dry_run"], [CONFIG, f"--workdir={ROOT}/docs"], "docs is not empty and holds no run"),
        (
            ["--array", "--dry_run"],
            [CONFIG, f"--workdir={ROOT}/docs"],
            "docs is not empty and holds no sweep",
        ),
        (
            ["--array", "--dry_run", "--metric=trian"],
            [CONFIG, "--workdir=s"],
            "no run reports --metric=trian",
        ),
        ([], [CONFIG, "--config.num_iters=0"], "num_iters is 0: give at least 1"),
        ([], [CONFIG, "--config.agent1.path=nope"], "agent1.path: no policy file"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_written(
    argv, arguments, message, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PaxError) as caught:
        launch(argv, arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_without_submitit_one_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit.slurm.slurm", None)
    with pytest.raises(
        ConfigError, match=r'submitit is not installed, .*: pip install -e "\.\[launch\]"'
    ):
        launch(["--dry_run"], [CONFIG])
    assert slurm_job.INSTALL == 'pip install -e ".[launch]"'
