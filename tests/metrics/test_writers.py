"""The metric writers: what they write is read back by TensorBoard's own readers, or by `json`."""

import inspect
import io
import json
import logging
import math
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable

import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing import (
    data_provider,
    event_accumulator,
    event_file_loader,
    plugin_event_multiplexer,
)
from tensorboard.compat.proto import summary_pb2
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import backend_context
from tensorboard.util import tensor_util

from pax.metrics.scalar_writer import ScalarWriter
from pax.metrics.writers import (
    ConciseLoggingWriter,
    JsonLinesWriter,
    SummaryWriter,
    create_writer,
    metric_writers,
    read_metrics,
)

ROOT = pathlib.Path(__file__).parents[2]
CONTEXT = RequestContext()


def run_python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def provider(logdir: pathlib.Path) -> data_provider.MultiplexerDataProvider:
    """What the tabs of TensorBoard read from."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    return data_provider.MultiplexerDataProvider(multiplexer, str(logdir))


def scalars_shown(logdir: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
    """The SCALARS tab: name to (step, value)."""
    runs = provider(logdir).read_scalars(
        CONTEXT, experiment_id="", plugin_name="scalars", downsample=100
    )
    return {
        tag: [(datum.step, datum.value) for datum in data]
        for tags in runs.values()
        for tag, data in tags.items()
    }


def pictures_shown(logdir: pathlib.Path, tag: str) -> list[tuple[bytes, ...]]:
    """The IMAGES tab: (width, height, encoded pictures ...) of every step of a tag."""
    shown = provider(logdir)
    runs = shown.read_blob_sequences(
        CONTEXT, experiment_id="", plugin_name="images", downsample=100
    )
    return [
        tuple(shown.read_blob(CONTEXT, blob_key=blob.blob_key) for blob in datum.values)
        for datum in runs["."][tag]
    ]


def decoded(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture)


def accumulator(logdir: pathlib.Path) -> event_accumulator.EventAccumulator:
    return event_accumulator.EventAccumulator(str(logdir)).Reload()


class TestWithoutTensorFlow:
    def test_import_never_asks_for_tensorflow_and_writing_does_not_need_it(
        self, tmp_path: pathlib.Path
    ) -> None:
        result = run_python(
            """
            import sys

            class Blocker:
                asked = []

                def find_spec(self, name, path=None, target=None):
                    if name.split(".")[0] == "tensorflow":
                        self.asked.append(name)
                        raise ImportError("TensorFlow is blocked")

            sys.meta_path.insert(0, Blocker())
            from pax.metrics import writers
            from clu import metric_writers, periodic_actions
            assert Blocker.asked == [], Blocker.asked
            assert metric_writers.SummaryWriter is writers.SummaryWriter
            writer = writers.create_writer(sys.argv[1])
            writer.write_scalars(1, {"loss": 0.5})
            writer.write_hparams({"seed": 0})
            writer.close()
            assert not [name for name in sys.modules if name.split(".")[0] == "tensorflow"]
            """,
            str(tmp_path),
        )
        assert result.returncode == 0, result.stderr
        assert scalars_shown(tmp_path) == {"loss": [(1, 0.5)]}

    def test_import_with_tensorflow_disabled_in_sys_modules(self) -> None:
        result = run_python(
            "import sys; sys.modules['tensorflow'] = None; import pax.metrics.writers"
        )
        assert result.returncode == 0, result.stderr

    @pytest.mark.parametrize("writer_type", [SummaryWriter, ScalarWriter])
    def test_interface_is_that_of_clu(self, writer_type: type) -> None:
        interface = metric_writers.MetricWriter
        assert issubclass(writer_type, interface)
        # A registered class is not checked for abstract methods, so check them here.
        assert interface.__abstractmethods__
        for name in interface.__abstractmethods__:
            expected = inspect.signature(getattr(interface, name)).parameters.values()
            actual = inspect.signature(getattr(writer_type, name)).parameters.values()
            assert [(p.name, p.kind, p.default) for p in actual] == [
                (p.name, p.kind, p.default) for p in expected
            ], name

    def test_clu_default_writer_and_write_values(self, tmp_path: pathlib.Path) -> None:
        writer = metric_writers.create_default_writer(tmp_path)  # asynchronous
        with metric_writers.ensure_flushes(writer):
            metric_writers.write_values(
                writer, 3, {"loss": jnp.float32(0.25), "entropy": np.array([1.5])}
            )
        assert scalars_shown(tmp_path) == {"loss": [(3, 0.25)], "entropy": [(3, 1.5)]}
        writer.close()


class TestSummaryWriter:
    def test_scalars_are_shown_by_both_readers(self, tmp_path: pathlib.Path) -> None:
        writer = SummaryWriter(tmp_path)
        writer.write_scalars(1, {"a/x": 0.5, "b": jnp.int32(3), "c": np.float32(0.1)})
        writer.write_scalars(np.int64(2), {"a/x": -0.25, "d": True})  # type: ignore[arg-type]
        writer.close()
        c = float(np.float32(0.1))
        expected = {"a/x": [(1, 0.5), (2, -0.25)], "b": [(1, 3.0)], "c": [(1, c)], "d": [(2, 1.0)]}
        assert scalars_shown(tmp_path) == expected
        events = accumulator(tmp_path)
        assert {
            tag: [(event.step, event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]
        } == expected

    def test_scalars_of_a_step_are_one_event(self, tmp_path: pathlib.Path) -> None:
        writer = SummaryWriter(tmp_path)
        writer.write_scalars(1, {f"scalar_{i}": i for i in range(30)})
        writer.close()
        (path,) = tmp_path.iterdir()
        events = list(event_file_loader.EventFileLoader(str(path)).Load())
        summaries = [event for event in events if event.HasField("summary")]
        assert [len(event.summary.value) for event in summaries] == [30]

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e39, np.float32("nan")])
    def test_scalars_that_cannot_be_drawn_are_left_out(
        self, tmp_path: pathlib.Path, value: float
    ) -> None:
        writer = SummaryWriter(tmp_path)
        writer.write_scalars(1, {"bad": value, "good": 1.0})
        writer.write_scalars(2, {"bad": value})
        writer.close()
        assert scalars_shown(tmp_path) == {"good": [(1, 1.0)]}

    def test_flush_makes_values_readable(self, tmp_path: pathlib.Path) -> None:
        writer = SummaryWriter(tmp_path)
        for step in range(50):
            writer.write_scalars(step, {"x": step})
        writer.flush()
        assert scalars_shown(tmp_path)["x"] == [(step, float(step)) for step in range(50)]
        writer.close()

    def test_texts(self, tmp_path: pathlib.Path) -> None:
        writer = SummaryWriter(tmp_path)
        writer.write_texts(4, {"config": "**Grüße**"})
        writer.close()
        runs = provider(tmp_path).read_tensors(
            CONTEXT, experiment_id="", plugin_name="text", downsample=10
        )
        (datum,) = runs["."]["config"]
        assert (datum.step, datum.numpy.item().decode()) == (4, "**Grüße**")
        (event,) = accumulator(tmp_path).Tensors("config")
        assert event.tensor_proto.string_val[0].decode() == "**Grüße**"

    def test_a_clock_that_is_set_back_hides_nothing(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for now, purge_step, step in ((2_000_000_000.0, 0, 1), (1_900_000_000.0, 2, 2)):
            monkeypatch.setattr(time, "time", lambda now=now: now)
            writer = SummaryWriter(tmp_path, purge_step=purge_step)
            writer.write_scalars(step, {"x": float(step)})
            writer.close()
        first, second = sorted(path.name for path in tmp_path.iterdir())
        assert first.split(".")[3] == "2000000000" and second.split(".")[3] == "2000000001"
        events = accumulator(tmp_path).Scalars("x")
        assert [event.step for event in events] == [1, 2]
        assert events[0].wall_time < events[1].wall_time

    def test_hparams(self, tmp_path: pathlib.Path) -> None:
        writer = SummaryWriter(tmp_path / "run")
        agents = ({"name": "ppo", "sizes": (64, 64)}, {"name": "tft", "sizes": ()})
        config = ml_collections.ConfigDict({"gamma": 0.96, "env": {"id": "ipd"}, "agents": agents})
        writer.write_hparams(
            {"config": config, "seed": 3, "jit": True, "path": None, "eps": np.float32(0.5)}
        )
        writer.write_scalars(1, {"reward": -1.0})
        writer.close()

        shown = provider(tmp_path)
        hparams = backend_context.Context(base_plugin.TBContext(data_provider=shown))
        contents = hparams.hparams_metadata(CONTEXT, "")
        (content,) = [tags["_hparams_/session_start_info"] for tags in contents.values()]
        session = backend_context.metadata.parse_session_start_info_plugin_data(content)
        values = {
            name: getattr(value, value.WhichOneof("kind"))
            for name, value in session.hparams.items()
        }
        assert values == {
            "config.gamma": 0.96,
            "config.env.id": "ipd",
            "config.agents.0.name": "ppo",
            "config.agents.0.sizes": "(64, 64)",
            "config.agents.1.name": "tft",
            "config.agents.1.sizes": "()",
            "seed": 3.0,
            "jit": True,
            "path": "None",
            "eps": 0.5,
        }
        assert values["jit"] is True
        # The name of the row.
        assert session.group_name == f"run in {tmp_path}"
        # The table of the HPARAMS tab: a column per hyper-parameter that it finds.
        experiment = hparams.experiment_from_metadata(
            CONTEXT, "", True, contents, hparams.hparams_from_data_provider(CONTEXT, "", limit=100)
        )
        assert {info.name for info in experiment.hparam_infos} == set(values)
        assert [info.name.tag for info in experiment.metric_infos] == ["reward"]

    @pytest.mark.parametrize(
        ("image", "expected"),
        [
            (np.arange(24, dtype=np.uint8).reshape(2, 4, 3), np.arange(24).reshape(2, 4, 3)),
            (np.array([[[0.0], [0.2], [1.0], [2.0], [np.nan]]]), [[0, 51, 255, 255, 0]]),
            (jnp.array([[[0], [255], [300]]], dtype=jnp.int32), [[0, 255, 255]]),
            (np.array([[[True], [False]]]), [[255, 0]]),
        ],
    )
    def test_images(self, tmp_path: pathlib.Path, image: np.ndarray, expected: np.ndarray) -> None:
        writer = SummaryWriter(tmp_path)
        writer.write_images(1, {"board": image})
        writer.close()
        ((width, height, png),) = pictures_shown(tmp_path, "board")
        assert (int(height), int(width)) == image.shape[:2]
        assert png.startswith(b"\x89PNG")
        np.testing.assert_array_equal(decoded(png), expected)
        assert accumulator(tmp_path).Tensors("board")[0].step == 1

    def test_image_batch(self, tmp_path: pathlib.Path) -> None:
        images = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
        writer = SummaryWriter(tmp_path)
        writer.write_images(1, {"boards": images})
        writer.close()
        ((_, _, first, second),) = pictures_shown(tmp_path, "boards")
        np.testing.assert_array_equal(decoded(first), images[0])
        np.testing.assert_array_equal(decoded(second), images[1])

    @pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (1, 1, 4, 4, 3), (0, 4, 4, 3)])
    def test_image_of_wrong_shape_is_refused(
        self, tmp_path: pathlib.Path, shape: tuple[int, ...]
    ) -> None:
        writer = SummaryWriter(tmp_path)
        with pytest.raises(ValueError, match=r"'board' has shape .*\[N, H, W, C\]"):
            writer.write_images(1, {"board": np.zeros(shape)})
        writer.close()

    def test_videos(self, tmp_path: pathlib.Path) -> None:
        # Greys, so that the palette of a GIF holds them exactly.
        videos = np.arange(2 * 5, dtype=np.uint8).reshape(2, 5, 1, 1, 1) * 20
        videos = np.broadcast_to(videos, (2, 5, 8, 6, 1))
        writer = SummaryWriter(tmp_path)
        writer.write_videos(7, {"episode": videos, "single": videos[0]})
        writer.close()
        ((width, height, *gifs),) = pictures_shown(tmp_path, "episode")
        assert (width, height, len(gifs)) == (b"6", b"8", 2)
        assert pictures_shown(tmp_path, "single")[0][2:] == (gifs[0],)
        for video, gif in zip(videos, gifs, strict=True):
            with Image.open(io.BytesIO(gif)) as picture:
                assert (picture.format, getattr(picture, "n_frames", 1)) == ("GIF", 5)
                for index, frame in enumerate(video):
                    picture.seek(index)
                    assert picture.info["duration"] == 100
                    np.testing.assert_array_equal(np.asarray(picture.convert("L")), frame[..., 0])

    def test_histograms_of_finite_elements(self, tmp_path: pathlib.Path) -> None:
        writer = SummaryWriter(tmp_path)
        array = np.array([[0.0, 0.0, 1.0], [3.0, np.nan, np.inf]])
        writer.write_histograms(2, {"params": array, "default": array}, {"params": 3})
        writer.close()
        runs = provider(tmp_path).read_tensors(
            CONTEXT, experiment_id="", plugin_name="histograms", downsample=10
        )
        # Rows of (left edge, right edge, count).
        expected = [[0, 1, 2], [1, 2, 1], [2, 3, 1]]
        np.testing.assert_allclose(runs["."]["params"][0].numpy, expected)
        assert runs["."]["default"][0].numpy.shape == (30, 3)

    @pytest.mark.parametrize("as_bytes", [False, True])
    def test_summaries(self, tmp_path: pathlib.Path, as_bytes: bool) -> None:
        metadata = summary_pb2.SummaryMetadata(
            plugin_data={"plugin_name": "mine"}, data_class=summary_pb2.DATA_CLASS_TENSOR
        )
        writer = SummaryWriter(tmp_path)
        value = jnp.array([[1.0, 2.0]])
        encoded = metadata.SerializeToString()
        writer.write_summaries(1, {"raw": value}, metadata=encoded if as_bytes else metadata)
        writer.close()
        runs = provider(tmp_path).read_tensors(
            CONTEXT, experiment_id="", plugin_name="mine", downsample=10
        )
        np.testing.assert_array_equal(runs["."]["raw"][0].numpy, [[1.0, 2.0]])
        (event,) = accumulator(tmp_path).Tensors("raw")
        np.testing.assert_array_equal(tensor_util.make_ndarray(event.tensor_proto), [[1.0, 2.0]])

    def test_audio_is_refused_once(
        self, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        writer = SummaryWriter(tmp_path)
        with caplog.at_level(logging.WARNING, logger="absl"):
            writer.write_audios(1, {"a": np.zeros((1, 8, 1))}, sample_rate=8)
            writer.write_audios(2, {"a": np.zeros((1, 8, 1))}, sample_rate=8)
        writer.close()
        assert [record.getMessage() for record in caplog.records] == [
            "Audio is not written to TensorBoard."
        ]

    @pytest.mark.parametrize(
        ("purge_step", "steps"), [(None, [1, 2, 3, 4, 3]), (3, [1, 2, 3]), (0, [3])]
    )
    def test_purge_step_drops_orphaned_events(
        self, tmp_path: pathlib.Path, purge_step: int | None, steps: list[int]
    ) -> None:
        killed = SummaryWriter(tmp_path)
        for step in (1, 2, 3, 4):
            killed.write_scalars(step, {"x": -1.0})
        killed.close()
        # TensorBoard reads files in the order of their names, which begin with the second.
        time.sleep(1.1)
        resumed = SummaryWriter(tmp_path, purge_step=purge_step)
        resumed.write_scalars(3, {"x": 1.0})
        resumed.close()
        shown = scalars_shown(tmp_path)["x"]
        assert [step for step, _ in shown] == steps
        assert shown[-1] == (3, 1.0)
        assert [event.step for event in accumulator(tmp_path).Scalars("x")] == steps


class TestJsonLinesWriter:
    @pytest.fixture
    def path(self, tmp_path: pathlib.Path) -> pathlib.Path:
        return tmp_path / "new" / "metrics.jsonl"

    def test_calls_of_a_step_share_a_line(self, path: pathlib.Path) -> None:
        writer = JsonLinesWriter(path)
        writer.write_scalars(1, {"z": 1, "a": 0.5})
        writer.write_scalars(1, {"m": jnp.float32(2.0), "a": 0.75})
        assert path.read_bytes() == b""
        writer.write_scalars(2, {"z": 2})
        assert path.read_text() == '{"iteration": 1, "z": 1, "a": 0.75, "m": 2.0}\n'
        writer.close()
        writer.close()
        assert path.read_text().splitlines()[1:] == ['{"iteration": 2, "z": 2}']

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (np.float32(0.1), "0.1"),
            (jnp.float32(1 / 3), "0.33333334"),
            (np.float32(16777216.0), "16777216.0"),
            (np.float32(1e-30), "1e-30"),
            (np.float64(0.1) + 0.2, "0.30000000000000004"),
            (0.1, "0.1"),
            (jnp.bfloat16(1.5), "1.5"),
            (np.float16(0.1), "0.1"),
            (np.array([[2.5]], np.float32), "2.5"),
            (7, "7"),
            (np.int32(-7), "-7"),
            (jnp.uint32(2**32 - 1), "4294967295"),
            (np.int64(2**53 + 1), "9007199254740993"),
            (np.bool_(True), "true"),
            (math.nan, "null"),
            (np.float32("inf"), "null"),
            (jnp.float32("-inf"), "null"),
        ],
    )
    def test_numbers(self, path: pathlib.Path, value: object, text: str) -> None:
        writer = JsonLinesWriter(path)
        writer.write_scalars(np.int64(1), {"x": value})  # type: ignore[arg-type]
        writer.close()
        assert path.read_text() == f'{{"iteration": 1, "x": {text}}}\n'

    def test_float32_keeps_its_bits(self, path: pathlib.Path) -> None:
        bits = np.random.default_rng(0).integers(0, 2**32, 2000, dtype=np.uint32)
        floats = bits.view(np.float32)
        floats = floats[np.isfinite(floats)]
        writer = JsonLinesWriter(path)
        writer.write_scalars(1, {str(i): x for i, x in enumerate(floats)})
        writer.close()
        row = json.loads(path.read_text())
        del row["iteration"]
        np.testing.assert_array_equal(np.array(list(row.values()), np.float32), floats)

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (np.zeros(2), r"'x' has shape \(2,\)"),
            ("high", "'x' is 'high', which is not a real number"),
            (None, "'x' is None"),
            (1j, "'x' is 1j"),
        ],
    )
    def test_what_is_no_number_is_refused(
        self, path: pathlib.Path, value: object, message: str
    ) -> None:
        writer = JsonLinesWriter(path)
        with pytest.raises(ValueError, match=message):
            writer.write_scalars(1, {"x": value})
        writer.close()

    def test_step_that_decreases_and_name_of_the_step_are_refused(self, path: pathlib.Path) -> None:
        writer = JsonLinesWriter(path)
        writer.write_scalars(5, {"x": 1})
        with pytest.raises(ValueError, match="iteration 4 after those of 5"):
            writer.write_scalars(4, {"x": 1})
        with pytest.raises(ValueError, match="'iteration' is the key"):
            writer.write_scalars(6, {"iteration": 6})
        writer.close()
        assert read_metrics(path) == [{"iteration": 5, "x": 1}]

    def test_flushed_line_is_replaced_when_its_step_gets_more(self, path: pathlib.Path) -> None:
        writer = JsonLinesWriter(path)
        writer.write_scalars(1, {"x": 1})
        writer.write_scalars(2, {"x": 123456789})
        writer.flush()
        assert len(path.read_text().splitlines()) == 2
        # The new line is shorter, so what is left of the old one must go, too.
        writer.write_scalars(2, {"x": 2})
        writer.flush()
        writer.flush()
        assert path.read_text() == '{"iteration": 1, "x": 1}\n{"iteration": 2, "x": 2}\n'
        writer.write_scalars(2, {"y": 3})
        writer.write_scalars(3, {"x": 4})
        writer.close()
        assert read_metrics(path) == [
            {"iteration": 1, "x": 1},
            {"iteration": 2, "x": 2, "y": 3},
            {"iteration": 3, "x": 4},
        ]

    def test_flushed_lines_survive_a_kill(self, path: pathlib.Path) -> None:
        result = run_python(
            """
            import os, signal, sys
            from pax.metrics.json_writer import JsonLinesWriter
            writer = JsonLinesWriter(sys.argv[1])
            writer.write_scalars(1, {"x": 1})
            writer.write_scalars(2, {"x": 2})
            writer.flush()
            writer.write_scalars(3, {"x": 3})
            os.kill(os.getpid(), signal.SIGKILL)
            """,
            str(path),
        )
        assert result.returncode == -signal.SIGKILL, result.stderr
        assert read_metrics(path) == [{"iteration": 1, "x": 1}, {"iteration": 2, "x": 2}]

    def test_other_writes_do_nothing(self, path: pathlib.Path) -> None:
        writer = JsonLinesWriter(path)
        writer.write_texts(1, {"a": "b"})
        writer.write_images(1, {"a": np.zeros((1, 1, 1))})
        writer.write_hparams({"a": 1})
        writer.close()
        assert path.read_bytes() == b""

    @pytest.mark.parametrize("tail", ["", '{"iteration": 5, "x', '{"iteration": 5}\n\0\0'])
    @pytest.mark.parametrize(("resume_at", "kept"), [(9, 4), (4, 4), (2, 2), (0, 0)])
    def test_resume_keeps_whole_rows_up_to_the_step(
        self, path: pathlib.Path, tail: str, resume_at: int, kept: int
    ) -> None:
        lines = [f'{{"iteration": {i}, "x": {i / 10}, "y": null}}\n' for i in (1, 2, 3, 4)]
        path.parent.mkdir()
        path.write_text("".join(lines) + tail)
        path.chmod(0o644)
        expected = "".join(lines[:kept])
        if resume_at == 9 and tail.startswith('{"iteration": 5}\n'):
            expected += '{"iteration": 5}\n'
        writer = JsonLinesWriter(path, resume_at=resume_at)
        assert path.read_text() == expected
        assert path.stat().st_mode & 0o777 == 0o644
        writer.write_scalars(10, {"x": 1})
        writer.close()
        assert path.read_text() == expected + '{"iteration": 10, "x": 1}\n'
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    def test_resumed_run_equals_an_uninterrupted_one(self, path: pathlib.Path) -> None:
        values = np.random.default_rng(1).normal(size=6).astype(np.float32)

        def write(writer: JsonLinesWriter, steps: range) -> None:
            for step in steps:
                writer.write_scalars(step, {"x": values[step]})
                writer.write_scalars(step, {"evaluation/x": -values[step]})

        whole = JsonLinesWriter(path)
        write(whole, range(6))
        whole.close()
        expected = path.read_bytes()

        interrupted = path.with_name("interrupted.jsonl")
        writer = JsonLinesWriter(interrupted)
        write(writer, range(5))
        writer.close()
        # Step 2 is written again as well: its row is merged, not doubled.
        writer = JsonLinesWriter(interrupted, resume_at=2)
        write(writer, range(2, 6))
        writer.close()
        assert interrupted.read_bytes() == expected

    def test_resume_drops_broken_lines_in_between_and_says_so(
        self, path: pathlib.Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path.parent.mkdir()
        path.write_text('{"iteration": 1}\n{"iter\n[1]\n{"x": 1}\n{"iteration": 2}\n')
        with caplog.at_level(logging.WARNING, logger="absl"):
            JsonLinesWriter(path, resume_at=5).close()
        assert path.read_text() == '{"iteration": 1}\n{"iteration": 2}\n'
        assert "dropping 3 lines that are not rows" in caplog.text

    def test_resume_without_a_file_begins_one(
        self, path: pathlib.Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, logger="absl"):
            JsonLinesWriter(path, resume_at=3).close()
        assert path.read_bytes() == b""
        assert "is missing: the metrics of iterations 1 to 3 are lost" in caplog.text

    @pytest.mark.parametrize(
        ("iterations", "told"),
        [
            ([2, 4, 6, 8, 10], ""),
            ([2, 4, 6, 8], ""),  # The last one may be up to a distance away.
            ([10], ""),
            ([2, 4, 8, 10], "between the iterations 4 to 8"),
            ([6, 8, 10], "between the iterations 0 to 6"),
            ([2, 4], "between the iterations 4 to 10"),
            ([], "between the iterations 0 to 10"),
            ([1, 2, 3, 4, 8], ""),  # Reported less often from some iteration on.
            ([2, 4, 4, 6, 8, 10], "dropping 1 rows of iterations that have another one"),
        ],
    )
    def test_resume_says_which_rows_are_missing(
        self,
        path: pathlib.Path,
        caplog: pytest.LogCaptureFixture,
        iterations: list[int],
        told: str,
    ) -> None:
        path.parent.mkdir()
        path.write_text("".join(f'{{"iteration": {each}}}\n' for each in iterations))
        with caplog.at_level(logging.WARNING, logger="absl"):
            JsonLinesWriter(path, resume_at=10).close()
        assert told in caplog.text and bool(told) == bool(caplog.text)
        rows = [row["iteration"] for row in read_metrics(path.parent)]
        assert rows == sorted(set(iterations))

    def test_run_from_the_start_puts_an_old_file_aside(self, path: pathlib.Path) -> None:
        path.parent.mkdir()
        path.write_text('{"iteration": 1}\n')
        writer = JsonLinesWriter(path)
        writer.write_scalars(0, {"x": 1})
        writer.close()
        assert read_metrics(path) == [{"iteration": 0, "x": 1}]
        assert read_metrics(f"{path}.old") == [{"iteration": 1}]


class TestReadMetrics:
    @pytest.mark.parametrize("tail", ["", "\n", '\n{"iteration": 3, "x": nu'])
    def test_reads_rows_and_tolerates_a_partial_last_line(
        self, tmp_path: pathlib.Path, tail: str
    ) -> None:
        path = tmp_path / "metrics.jsonl"
        path.write_text('{"iteration": 1, "x": null}\n{"iteration": 2, "x": 0.5}' + tail)
        assert read_metrics(path) == [{"iteration": 1, "x": None}, {"iteration": 2, "x": 0.5}]

    def test_names_a_broken_line(self, tmp_path: pathlib.Path) -> None:
        path = tmp_path / "metrics.jsonl"
        path.write_text('{"iteration": 1}\n{"iterat\n{"iteration": 3}\n')
        with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2"):
            read_metrics(path)


class TestConciseLoggingWriter:
    @pytest.fixture
    def logged(self, caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
        caplog.set_level(logging.INFO, logger="absl")
        return lambda: [record.getMessage() for record in caplog.records]

    def test_line(self, logged: Callable[[], list[str]]) -> None:
        ConciseLoggingWriter().write_scalars(
            400,
            {
                "reward_per_timestep/player_1": jnp.float32(-1.0021),
                "loss/player_1": 3.0,
                "reward_per_timestep/player_2": -1.0034,
                "evaluation/tft/reward_per_timestep/player_1": math.nan,
                "reward": 2,
                "forward_passes": 8,
                "env_steps_per_second": 5.12e6,
            },
        )
        assert logged() == [
            "iteration 400 | reward_per_timestep player_1 -1.002 player_2 -1.003 | "
            "evaluation/tft/reward_per_timestep player_1 nan | reward 2 | 5.1e6 env steps/s"
        ]

    def test_nothing_to_say(self, logged: Callable[[], list[str]]) -> None:
        writer = ConciseLoggingWriter()
        writer.write_scalars(1, {"loss": 1.0, "weights": np.zeros(3)})
        writer.close()
        assert logged() == []


class TestCreateWriter:
    def test_files_agree_after_a_resume(self, tmp_path: pathlib.Path) -> None:
        workdir = tmp_path / "exp" / "run"
        writer = create_writer(workdir, log=False)
        assert isinstance(writer, metric_writers.MetricWriter)
        for step in (1, 2, 3, 4):
            writer.write_scalars(step, {"x": -1.0})
        writer.close()
        time.sleep(1.1)  # event files are ordered by the second
        writer = create_writer(str(workdir), resume_at=2, log=False)
        writer.write_scalars(3, {"x": 1.0})
        writer.close()
        expected = [(1, -1.0), (2, -1.0), (3, 1.0)]
        rows = read_metrics(workdir / "metrics.jsonl")
        assert [(row["iteration"], row["x"]) for row in rows] == expected
        assert scalars_shown(workdir) == {"x": expected}

    @pytest.mark.parametrize(("log", "lines"), [(True, ["iteration 1 | reward 2"]), (False, [])])
    def test_log(
        self,
        tmp_path: pathlib.Path,
        caplog: pytest.LogCaptureFixture,
        log: bool,
        lines: list[str],
    ) -> None:
        with caplog.at_level(logging.INFO, logger="absl"):
            writer = create_writer(tmp_path, log=log)
            writer.write_scalars(1, {"reward": 2})
            writer.close()
        assert [record.getMessage() for record in caplog.records] == lines
