"""Tests of the order in which callbacks run and of what becomes of their errors."""

import dataclasses
import json
import types

import pytest
from absl import logging as absl_logging

from pax.callbacks.callback import Callback, CallbackError
from pax.callbacks.callback_list import CallbackList
from pax.errors import ConfigError, TrainingError


class Trainer:
    """The part of a trainer that callbacks see."""

    def __init__(self, chunk=10, num_iters=100):
        self.chunk = chunk
        self.num_iters = num_iters
        self.stop_reason = None
        self.is_interrupted = False

    def request_stop(self, reason):
        self.stop_reason = reason


class Recorder(Callback):
    """Writes down every hook in a list shared with the other recorders."""

    def __init__(self, name, events, priority=30, every=10, strict=True, fail_in=(), error=None):
        self.name = name
        self.events = events
        self.priority = priority
        self.every = every
        self.strict = strict
        self.fail_in = fail_in
        self.error = error or ValueError("boom")

    def _event(self, hook, *args):
        self.events.append((self.name, hook, *args))
        if hook in self.fail_in:
            raise self.error

    def setup(self, trainer):
        self._event("setup")

    def on_fit_start(self, trainer, state):
        self._event("on_fit_start", state)

    def on_chunk_end(self, trainer, state, step, metrics):
        self._event("on_chunk_end", step)

    def on_evaluation_end(self, trainer, step, name, metrics):
        self._event("on_evaluation_end", step, name, metrics)

    def on_save(self, trainer, step):
        self._event("on_save", step)

    def on_fit_end(self, trainer, state, step):
        self._event("on_fit_end", state, step)

    def on_exception(self, trainer, error):
        self._event("on_exception", error)

    def teardown(self, trainer):
        self._event("teardown")


class Stopper(Recorder):
    """Asks for a stop at a step."""

    stop_at = 40

    def on_chunk_end(self, trainer, state, step, metrics):
        super().on_chunk_end(trainer, state, step, metrics)
        if step == self.stop_at:
            trainer.request_stop("enough")


@pytest.fixture
def log(monkeypatch):
    """Lines that went to the log, with their level."""
    lines = []

    def writer(level):
        return lambda message, *args: lines.append((level, message % args))

    for level in ("info", "warning", "exception"):
        monkeypatch.setattr(absl_logging, level, writer(level))
    return lines


def run_chunks(callbacks, trainer, steps):
    """Fires `on_chunk_end` as a trainer does."""
    for step in steps:
        callbacks.on_chunk_end(
            trainer,
            None,
            step,
            {},
            lambda step=step: step >= trainer.num_iters or trainer.stop_reason is not None,
        )
        if trainer.stop_reason is not None:
            break


def test_order_is_by_priority_then_by_position():
    events = []
    callbacks = CallbackList(
        [
            Recorder("checkpoint", events, priority=100),
            Recorder("first", events),
            Recorder("writer", events, priority=0),
            Recorder("second", events),
            Recorder("evaluation", events, priority=50),
        ]
    )
    callbacks.on_save(Trainer(), 7)
    order = ["writer", "first", "second", "evaluation", "checkpoint"]
    assert events == [(name, "on_save", 7) for name in order]
    assert callbacks.names == tuple(order)
    assert [callback.name for callback in callbacks] == order
    assert len(callbacks) == 5


def test_hooks_get_their_arguments():
    events = []
    callbacks = CallbackList([Recorder("r", events)])
    trainer, error = Trainer(), ValueError()
    callbacks.setup(trainer)
    callbacks.on_fit_start(trainer, "state")
    callbacks.on_chunk_end(trainer, "state", 10, {}, lambda: False)
    callbacks.on_evaluation_end(trainer, 10, "versus_tft", {"reward": 1.0})
    callbacks.on_save(trainer, 10)
    callbacks.on_fit_end(trainer, "state", 100)
    callbacks.on_exception(trainer, error)
    callbacks.teardown(trainer)
    assert events == [
        ("r", "setup"),
        ("r", "on_fit_start", "state"),
        ("r", "on_chunk_end", 10),
        ("r", "on_evaluation_end", 10, "versus_tft", {"reward": 1.0}),
        ("r", "on_save", 10),
        ("r", "on_fit_end", "state", 100),
        ("r", "on_exception", error),
        ("r", "teardown"),
    ]


def test_every_and_the_last_step():
    events = []
    callbacks = CallbackList([Recorder("a", events, every=20), Recorder("b", events, every=30)])
    run_chunks(callbacks, Trainer(num_iters=70), range(10, 80, 10))
    assert [e[2] for e in events if e[0] == "a"] == [20, 40, 60, 70]
    assert [e[2] for e in events if e[0] == "b"] == [30, 60, 70]


def test_a_due_last_step_is_not_fired_twice():
    events = []
    callbacks = CallbackList([Recorder("a", events, every=20)])
    trainer = Trainer(num_iters=40)
    run_chunks(callbacks, trainer, (10, 20, 30, 40))
    run_chunks(callbacks, trainer, (40,))
    assert [e[2] for e in events] == [20, 40]
    callbacks.on_fit_start(trainer, None)  # A new fit starts the count afresh.
    run_chunks(callbacks, trainer, (40,))
    assert [e[2] for e in events if e[1] == "on_chunk_end"] == [20, 40, 40]


def test_without_every_each_chunk_counts():
    events = []
    callbacks = CallbackList([Recorder("a", events, every=None)])
    run_chunks(callbacks, Trainer(num_iters=25), (10, 20, 25))
    assert [e[2] for e in events] == [10, 20, 25]


def test_a_fit_that_starts_between_two_chunks():
    events = []
    callbacks = CallbackList([Recorder("a", events, every=20)])
    run_chunks(callbacks, Trainer(num_iters=100), (35, 45, 55, 65, 75, 85, 95, 100))
    # The chunks that pass 40, 60 and 80, and the last one.
    assert [e[2] for e in events] == [45, 65, 85, 100]


def test_early_stop_makes_the_step_the_last_and_keeps_the_order():
    events = []
    callbacks = CallbackList(
        [
            Recorder("checkpoint", events, priority=100, every=20),
            Stopper("stop", events, priority=60),
            Recorder("evaluation", events, priority=50, every=100),
            Recorder("writer", events, priority=0),
        ]
    )
    run_chunks(callbacks, Trainer(num_iters=1000), range(10, 1000, 10))
    at_stop = [e[0] for e in events if e[2] == 40]
    # The evaluation was not due at 40. It still precedes the checkpoint of that step.
    assert at_stop == ["writer", "stop", "evaluation", "checkpoint"]
    assert max(e[2] for e in events) == 40


@pytest.mark.parametrize(
    ("every", "remedy"),
    [(15, "use 10 or 20"), (3, "use 10"), (0, "use 10"), (-20, "use 10"), (25, "use 20 or 30")],
)
def test_every_must_be_a_multiple_of_chunk(every, remedy):
    callbacks = CallbackList([Recorder("Evaluation", [], every=every)])
    with pytest.raises(ConfigError) as e:
        callbacks.validate(10)
    assert f"Evaluation.every={every} " in str(e.value)
    assert "chunk=10" in str(e.value)
    assert str(e.value).endswith(f"{remedy}.")


@pytest.mark.parametrize("every", [10.0, True, "10"])
def test_every_must_be_an_integer(every):
    with pytest.raises(ConfigError, match=r"x\.every=.* whole number"):
        CallbackList([Recorder("x", [], every=every)]).validate(1)


def test_valid_every():
    CallbackList([Recorder("x", [], every=30)]).validate(10)
    CallbackList([Recorder("x", [], every=1)]).validate(1)
    CallbackList([Recorder("x", [], every=None)]).validate(10)

    class OnlyAtTheEnd(Callback):
        def on_fit_end(self, trainer, state, step):
            pass

    # `every` means nothing to a callback that does not listen to chunks.
    CallbackList([OnlyAtTheEnd(), Callback()]).validate(10)


def test_items_must_be_callbacks():
    with pytest.raises(ConfigError, match=r"callbacks\[1\].*pass an instance, not the class"):
        CallbackList([Callback(), Callback])
    with pytest.raises(ConfigError, match=r"callbacks\[0\] is 'print'"):
        CallbackList(["print"])


def test_names():
    class Video(Callback):
        pass

    class Plot(Video):
        name = "my_plot"

    @dataclasses.dataclass
    class Movie(Callback):
        every: int = 5

    assert [Video().name, Plot().name, Movie().name] == ["Video", "my_plot", "Movie"]
    third = Video()
    third.name = "Video_2"
    names = CallbackList([Video(), Video(), third, Video(), Movie()]).names
    assert names == ("Video", "Video_2", "Video_2_2", "Video_3", "Movie")


class Counter(Callback):
    def __init__(self, count=0):
        self.count = count

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_state_round_trip(log):
    one, other = Counter(), Counter()
    callbacks = CallbackList([one, other, Callback()])
    one.count, other.count = 3, 5
    saved = json.loads(json.dumps(callbacks.state_dict()))
    assert saved == {"Counter": {"count": 3}, "Counter_2": {"count": 5}, "Callback": {}}
    first, second = Counter(), Counter()
    CallbackList([first, second, Callback()]).load_state_dict(saved)
    assert (first.count, second.count) == (3, 5)
    assert log == []


def test_missing_and_additional_state_is_tolerated(log):
    counter, other = Counter(), Counter(7)
    other.name = "Other"
    state = {"Counter": {"count": 4}, "Gone": {"x": 1}}
    CallbackList([counter, other]).load_state_dict(state)
    assert (counter.count, other.count) == (4, 7)
    assert [level for level, _ in log] == ["warning", "info"]
    assert "Gone" in log[0][1]
    assert "Other" in log[1][1]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such file"), "no such file"),
        (KeyError("reward"), "KeyError('reward')"),
        (RuntimeError(), "RuntimeError()"),
    ],
)
def test_error_of_a_strict_callback_is_wrapped(error, text):
    events = []
    callbacks = CallbackList(
        [
            Recorder("Evaluation", events, fail_in=["on_chunk_end"], error=error),
            Recorder("later", events),
        ]
    )
    with pytest.raises(CallbackError) as e:
        callbacks.on_chunk_end(Trainer(), None, 400, {}, lambda: False)
    assert str(e.value) == f"Evaluation.on_chunk_end failed at step 400: {text}"
    assert e.value.__cause__ is error
    assert [event[0] for event in events] == ["Evaluation"]


@pytest.mark.parametrize("hook", ["setup", "on_fit_start", "on_fit_end", "on_save"])
def test_every_hook_is_wrapped(hook):
    callbacks = CallbackList([Recorder("X", [], fail_in=[hook])])
    args = {"setup": (), "on_fit_start": (None,), "on_fit_end": (None, 5), "on_save": (5,)}[hook]
    at_step = " at step 5" if 5 in args else ""
    with pytest.raises(CallbackError, match=rf"^X\.{hook} failed{at_step}: boom$"):
        getattr(callbacks, hook)(Trainer(), *args)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "error", [TrainingError("loss is NaN"), CallbackError("x"), KeyboardInterrupt(), SystemExit(2)]
)
def test_deliberate_errors_pass_unchanged(error, strict):
    callbacks = CallbackList([Recorder("X", [], strict=strict, fail_in=["on_save"], error=error)])
    with pytest.raises(type(error)) as e:
        callbacks.on_save(Trainer(), 1)
    assert e.value is error
    assert e.value.__cause__ is None


def test_lenient_callback_switches_itself_off_after_three_errors_in_a_row(log):
    events = []
    video = Recorder("video", events, strict=False)
    other = Recorder("other", events)
    callbacks = CallbackList([video, other])
    trainer = Trainer()
    callbacks.setup(trainer)
    events.clear()
    # Two errors, a success, three errors; successes of another hook do not count.
    for step, fails in zip(range(10, 80, 10), [1, 1, 0, 1, 1, 1, 1], strict=True):
        video.fail_in = ["on_chunk_end"] if fails else []
        callbacks.on_chunk_end(trainer, None, step, {}, lambda: False)
        callbacks.on_save(trainer, step)
    steps = [e[2] for e in events if e[:2] == ("video", "on_chunk_end")]
    assert steps == [10, 20, 30, 40, 50, 60]
    assert [e[2] for e in events if e[:2] == ("other", "on_chunk_end")] == [*steps, 70]
    assert [e[2] for e in events if e[:2] == ("video", "on_save")] == steps[:-1]
    assert [level for level, _ in log] == ["exception"] * 5 + ["warning"]
    assert log[0][1] == "video.on_chunk_end failed at step 10."
    assert log[-1][1].startswith("Callback video is off")
    callbacks.teardown(trainer)
    assert ("video", "teardown") in events  # Its setup ran, so it gets to release what it holds.


def test_lenient_callback_whose_setup_failed_is_off(log):
    events = []
    callbacks = CallbackList([Recorder("video", events, strict=False, fail_in=["setup"])])
    callbacks.setup(Trainer())
    callbacks.on_save(Trainer(), 1)
    callbacks.teardown(Trainer())
    assert events == [("video", "setup")]
    assert callbacks.state_dict() == {"video": {}}


def test_teardown_runs_in_reverse_for_those_whose_setup_ran():
    events = []
    callbacks = CallbackList(
        [
            Recorder("a", events),
            Recorder("b", events),
            Recorder("c", events, fail_in=["setup"]),
            Recorder("d", events),
        ]
    )
    with pytest.raises(CallbackError):
        callbacks.setup(Trainer())
    events.clear()
    callbacks.teardown(Trainer())
    callbacks.teardown(Trainer())
    assert events == [("b", "teardown"), ("a", "teardown")]


def test_teardown_raises_the_first_error_after_all_have_run(log):
    events = []
    first, second = ValueError("first"), ValueError("second")
    callbacks = CallbackList(
        [
            Recorder("a", events),
            Recorder("b", events, fail_in=["teardown"], error=second),
            Recorder("c", events, fail_in=["teardown"], error=first),
            Recorder("d", events, fail_in=["teardown"], strict=False),
        ]
    )
    callbacks.setup(Trainer())
    events.clear()
    with pytest.raises(CallbackError, match=r"^c\.teardown failed: first$") as e:
        callbacks.teardown(Trainer())
    assert e.value.__cause__ is first
    assert [event[0] for event in events] == ["d", "c", "b", "a"]
    assert log == [("exception", "d.teardown failed."), ("exception", "b.teardown failed.")]


def test_teardown_never_hides_the_error_in_flight(log):
    events = []
    callbacks = CallbackList(
        [Recorder("a", events), Recorder("b", events, fail_in=["teardown", "on_exception"])]
    )
    callbacks.setup(Trainer())
    original = RuntimeError("out of memory")
    with pytest.raises(RuntimeError) as e:
        try:
            raise original
        except BaseException as error:
            callbacks.on_exception(Trainer(), error)
            callbacks.teardown(Trainer(), error)
            raise
    assert e.value is original
    assert events[2:] == [
        ("a", "on_exception", original),
        ("b", "on_exception", original),
        ("b", "teardown"),
        ("a", "teardown"),
    ]
    assert log == [("exception", "b.on_exception failed."), ("exception", "b.teardown failed.")]


def test_interrupt_in_a_teardown_waits_for_the_others():
    events = []
    callbacks = CallbackList(
        [
            Recorder("a", events),
            Recorder("b", events, fail_in=["teardown"], error=KeyboardInterrupt()),
        ]
    )
    callbacks.setup(Trainer())
    with pytest.raises(KeyboardInterrupt):
        callbacks.teardown(Trainer())
    assert events[-1] == ("a", "teardown")


class CooperationRate(Callback):
    def probe(self, trial):
        return {"cooperation": 1 - trial.actions.mean()}


def test_probes_are_traced():
    import jax
    import jax.numpy as jnp

    class Longest(Callback):
        def probe(self, trial):
            return {"longest": trial.actions.shape[0]}

    plain = CallbackList([Callback()])
    assert not plain.has_probes
    assert plain.probe(None) == {}
    callbacks = CallbackList([CooperationRate(), Callback(), Longest()])
    assert callbacks.has_probes
    probe = jax.jit(lambda actions: callbacks.probe(types.SimpleNamespace(actions=actions)))
    scalars = probe(jnp.array([0.0, 1.0, 1.0, 1.0]))
    assert {k: float(v) for k, v in scalars.items()} == {"cooperation": 0.25, "longest": 4.0}


def test_probes_must_not_share_a_name():
    callbacks = CallbackList([CooperationRate(), CooperationRate()])
    trial = types.SimpleNamespace(actions=types.SimpleNamespace(mean=lambda: 0.5))
    with pytest.raises(ConfigError, match=r"CooperationRate and CooperationRate_2.*'cooperation'"):
        callbacks.probe(trial)


class Patient(Callback):
    def __init__(self, threshold):
        self.threshold = threshold
        self._times = 0

    def state_dict(self):
        return {"times": self._times}

    def load_state_dict(self, state):
        self._times = state["times"]


def test_states_find_their_callbacks_in_another_order():
    strict, mild = Patient(0.9), Patient(0.1)
    strict._times, mild._times = 3, 7
    saved = CallbackList([strict, mild]).state_dict()
    new_strict, new_mild = Patient(0.9), Patient(0.1)
    CallbackList([new_mild, new_strict]).load_state_dict(json.loads(json.dumps(saved)))
    assert (new_strict._times, new_mild._times) == (3, 7)
