"""Runs many command lines of Pax's programs, each as a process of its own, and imports Pax once.

Importing takes longer than many a test: one process imports, and a fork of it runs each command line. It
reads a line of JSON with one, and answers with what came of it.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import textwrap
import threading
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]

SERVER = """
    import json, os, pathlib, runpy, signal, sys, time, traceback, warnings

    import callbacks
    import orbax.checkpoint
    import pax.main
    from pax.loop.iteration import Loop

    pax.callbacks.Curves._draw = lambda self, trainer: None  # As in tests/conftest.py.
    warnings.simplefilter("ignore")  # JAX warns about forks.

    def run(request):
        traced = []
        wrapped = Loop.run
        Loop.run = lambda *args: traced.append(1) or wrapped(*args)
        try:
            runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        finally:
            pathlib.Path(request["traced"]).write_text(str(len(traced)))

    for line in sys.stdin:
        request = json.loads(line)
        sys.argv = ["program", *request["argv"]]
        pid = os.fork()
        if not pid:
            os.chdir(request["cwd"])
            for stream, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT), stream)
            code = 1
            try:
                run(request)
            except SystemExit as end:
                code = end.code
            except BaseException:
                traceback.print_exc()
            # What there is to tidy up takes longer than all the rest, and is the parent's.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else code is not None)
        deadline = time.monotonic() + request["seconds"]
        ended, status = 0, 0
        while not ended and time.monotonic() < deadline:
            time.sleep(0.001)
            ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            os.kill(pid, signal.SIGKILL)
            status = os.waitpid(pid, 0)[1]
        print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Answer(NamedTuple):
    """What came of a command line."""

    code: int
    stdout: str
    stderr: str
    traced: int
    """How often a loop was traced, so compiled."""


@contextlib.contextmanager
def app_server(folder, **environment):
    """Gives a function that runs a command line, and returns an `Answer`.

    It runs `python -m module` in the folder `cwd`, by default `folder`, and kills it after `seconds`.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVER)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    paths = {name: folder / name for name in ("stdout", "stderr", "traced")}

    def run(*argv, module="pax.main", cwd=folder, seconds=300):
        for path in paths.values():
            path.unlink(missing_ok=True)
        request = {"module": module, "argv": argv, "cwd": str(cwd), "seconds": seconds}
        request |= {name: str(path) for name, path in paths.items()}
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        with ending(process, seconds + 60):
            code = int(process.stdout.readline())
        texts = {name: path.read_text() if path.exists() else "" for name, path in paths.items()}
        return Answer(code, texts["stdout"], texts["stderr"], int(texts["traced"] or 0))

    try:
        yield run
    finally:
        process.stdin.close()
        process.wait(timeout=20)
        process.stdout.close()


@contextlib.contextmanager
def ending(process, seconds=300):
    """Has a process end if it takes too long, so that nobody waits for ever for what it says."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
