"""Signals end training after the chunk; a second Ctrl-C ends it at once."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from callbacks import Checkpoint, Scalars
from pax import Callback, MetaTrainer
from pax.agents import AGENTS
from pax.callbacks.callback import CallbackError
from pax.envs import IteratedMatrixGame
from pax.metrics.writers import METRICS_FILE, read_metrics
from pax.run import interrupt
from pax.run.interrupt import STOP_SIGNALS, Interrupted, raised, stop_on_signals

pytestmark = pytest.mark.usefixtures("signals_received")


class Send(Callback):
    """Sends this process a signal at a step, when the chunk has ended."""

    priority = 10

    def __init__(self):
        self.number = self.step = None
        self.again = False
        self.ended = []

    def on_chunk_end(self, trainer, state, step, metrics):
        if step == self.step:
            os.kill(os.getpid(), self.number)

    def on_fit_end(self, trainer, state, step):
        self.ended.append(step)

    def teardown(self, trainer):
        if self.again:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def send():
    return Send()


@pytest.fixture(scope="module")
def trainer(tmp_path_factory, send):
    env = IteratedMatrixGame(num_inner_steps=4)
    agents = [AGENTS["Random"].for_env(env, 0), AGENTS["TitForTat"].for_env(env, 1)]
    return MetaTrainer(
        env,
        agents,
        num_envs=4,
        chunk=2,
        callbacks=[send, Scalars(every=2), Checkpoint(every=100)],
        default_callbacks=False,
        workdir=tmp_path_factory.mktemp("run"),
    )


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_ends_training_after_the_chunk_and_then_acts(
    trainer, send, number, signals_received
):
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    start = trainer.step
    send.number, send.step = number, start + 4
    trainer.fit(num_iters=start + 100)

    assert trainer.step == start + 4
    assert trainer.stop_reason == number.name
    assert send.ended[-1] == start + 4
    # It ended as it should: reported, and saved.
    assert read_metrics(trainer.workdir / METRICS_FILE)[-1]["iteration"] == start + 4
    saved = {path.name for path in (trainer.workdir / "checkpoints").iterdir()}
    assert str(start + 4) in saved
    # And then what the program does about the signal.
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == before
    assert signals_received == [number]


def test_a_second_signal_does_nothing_while_the_run_is_closed(trainer, send, signals_received):
    send.number, send.step, send.again = signal.SIGTERM, trainer.step + 4, True
    trainer.fit(num_iters=trainer.step + 100)
    send.again = False

    status = json.loads((trainer.workdir / "training.json").read_text())
    assert (status["state"], status["reason"]) == ("stopped", "SIGTERM")
    # That one signal acts once all is closed.
    assert signals_received == [signal.SIGTERM]


def test_training_goes_on_after_an_interruption(trainer, send):
    send.step = None
    goal = trainer.step + 2
    trainer.fit(num_iters=goal)

    assert (trainer.step, trainer.stop_reason) == (goal, None)


def test_ctrl_c_reaches_a_script_of_several_fits(trainer, send):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    start = trainer.step
    send.number, send.step = signal.SIGINT, start + 4
    fits = []
    with pytest.raises(KeyboardInterrupt):
        for num_iters in (start + 2, start + 8, start + 100):
            trainer.fit(num_iters)
            fits.append(num_iters)
    send.step = None

    assert fits == [start + 2]
    assert trainer.step == start + 4
    assert (trainer.workdir / "checkpoints" / str(start + 4)).is_dir()


def test_a_signal_acts_though_the_run_fails_after_it(signals_received):
    class Failing(Callback):
        def on_chunk_end(self, trainer, state, step, metrics):
            os.kill(os.getpid(), signal.SIGTERM)
            raise ValueError("the disk is full")

    env = IteratedMatrixGame(num_inner_steps=4)
    agents = [AGENTS["Random"].for_env(env, 0), AGENTS["TitForTat"].for_env(env, 1)]
    trainer = MetaTrainer(env, agents, num_envs=4, callbacks=[Failing()], default_callbacks=False)

    # A program that goes on with the next run after an error is still asked to end.
    with pytest.raises(CallbackError, match="the disk is full"):
        trainer.fit()
    assert signals_received == [signal.SIGTERM]
    with pytest.raises(CallbackError, match="the disk is full"):
        trainer.fit(pass_on_signals=False)
    assert signals_received == [signal.SIGTERM]


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_an_ignored_signal_stays_ignored(number, signals_received):
    signal.signal(number, signal.SIG_IGN)
    told = []
    with stop_on_signals(told.append):
        assert signal.getsignal(number) == signal.SIG_IGN
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == signal.SIG_IGN
    assert told == signals_received == []


@pytest.mark.parametrize("first", STOP_SIGNALS)
@pytest.mark.parametrize("second", STOP_SIGNALS)
def test_after_the_first_signal_ctrl_c_acts_as_before_and_others_do_nothing(
    first, second, signals_received
):
    told = []
    with stop_on_signals(told.append):
        os.kill(os.getpid(), first)
        assert (told, signals_received) == ([first], [])
        os.kill(os.getpid(), second)
        in_context = [second] if second == signal.SIGINT else []
        assert (told, signals_received) == ([first], in_context)
    os.kill(os.getpid(), second)
    assert (told, signals_received) == ([first], [*in_context, second])


def test_handlers_come_back_after_an_error():
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with pytest.raises(ValueError, match="oops"), stop_on_signals(lambda number: None):
        assert [signal.getsignal(number) for number in STOP_SIGNALS] != before
        raise ValueError("oops")
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_in_another_thread_nothing_changes():
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    seen = []

    def run():
        with stop_on_signals(lambda number: None):
            seen.extend(signal.getsignal(number) for number in STOP_SIGNALS)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert seen == before


# The module by itself: all of Pax takes seconds to import.
STUCK = f"""
    import hashlib, signal, sys, threading
    sys.path.insert(0, {str(pathlib.Path(interrupt.__file__).parent)!r})
    from interrupt import leaving, raised, stop_on_signals
"""
STUCK += """

    def say(number):
        print("left by", number.name, flush=True)

    def work(seconds=300):
        threading.Timer(0.3, print, ("at work",), {"flush": True}).start()
        # As a compiled call does, it keeps the main thread from handling signals.
        hashlib.pbkdf2_hmac("sha256", b"a", b"b", 3_000_000 * seconds)
"""


@contextlib.contextmanager
def started(code):
    """A process that runs `STUCK` and then this, and is at work."""
    text = textwrap.dedent(STUCK) + textwrap.dedent(code)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", text], **pipes) as process:
        try:
            assert process.stdout.readline() == "at work\n"
            yield process
        finally:
            process.kill()


@pytest.mark.usefixtures("ctrl_c_works")
def test_amid_a_compiled_call_a_signal_is_told_at_once_and_a_second_ctrl_c_leaves():
    code = "with leaving(say), stop_on_signals(lambda number: None): work()"
    with started(code) as process:
        process.send_signal(signal.SIGTERM)
        lines = [process.stderr.readline() for _ in range(2)]
        assert lines[1] == "SIGTERM: stopping after this chunk; Ctrl-C to leave at once.\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (130, "left by SIGINT\n", "")


@pytest.mark.usefixtures("ctrl_c_works")
@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
def test_a_program_that_goes_on_ends_amid_a_compiled_call(number):
    with started("with leaving(say), raised(): work()") as process:
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    told = f"left by {number.name}\n"
    assert (process.returncode, stdout, stderr) == (128 + number, told, "")


def test_a_signal_comes_once_more_if_python_drops_what_it_raises():
    class Receives:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    before = sys.unraisablehook
    with pytest.raises(Interrupted) as caught, raised():
        Receives()
        time.sleep(10)
    assert caught.value.number == signal.SIGTERM
    assert sys.unraisablehook is before


def test_the_first_signal_is_raised_and_others_do_nothing(signals_received):
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    for number in STOP_SIGNALS:
        with raised():
            with pytest.raises(Interrupted) as caught:
                os.kill(os.getpid(), number)
                time.sleep(10)
            os.kill(os.getpid(), signal.SIGTERM)
        assert caught.value.number == number
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == before
    assert signals_received == []


def test_the_second_ctrl_c_ends_a_process_that_does_not_stop():
    code = """
        import os, signal
        from pax.run.interrupt import stop_on_signals
        with stop_on_signals(lambda number: print("first", number.name, flush=True)):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            print("still here", flush=True)
            os.kill(os.getpid(), signal.SIGINT)
            print("not any more", flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.stdout.split("\n") == ["first SIGTERM", "still here", ""]
    # Python ends by SIGINT after a KeyboardInterrupt.
    assert result.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in result.stderr


def test_an_interrupted_program_does_not_wait_for_an_orderly_end():
    """Python's own crashes where something still compiles."""
    code = """
        import atexit, os, signal
        from pax.config.command_line import run_program
        atexit.register(os.abort)
        def work(arguments, given):
            print("begun")
            signal.raise_signal(signal.SIGINT)
        run_program(work, lambda flags: None)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    told = "Interrupted by SIGINT\n"
    assert (result.returncode, result.stdout, result.stderr) == (130, "begun\n", told)
