"""A model in its process: its answers are the predictor's, its batches full, and its death is survived."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrfamily_deploy.errors import UserError

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from PIL import Image

from hrfamily_deploy.imaging import drawing
from hrfamily_deploy.predictor import Predictor
from hrfamily_deploy.serving.engine import Description, SegmentRequest, SegmentResponse
from hrfamily_deploy.serving.local import LocalEngine
from hrfamily_deploy.serving.metrics import Metrics
from hrfamily_deploy.serving.outputs import OUTPUTS, Segmented, summary
from hrfamily_deploy.serving.refusals import Refusal
from hrfamily_deploy.serving.settings import ModelSettings
from tests.deploy.conftest import CHAINS_THAT_RESIZE, CLASSES, COLORS, NORMALIZE, Describe, describe_in
from tests.deploy.http_tools import MEDIA_TYPES, decoded, encoded

Photo = Callable[..., np.ndarray]
SECONDS = 90  # for a process to load Paddle, more than once, on a slow machine


class Counted(Metrics):
    """Keeps the sizes of batches."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def batch(self, model: str, size: int) -> None:
        self.batches.append(size)


class Hosted:
    """A started engine and the loop it lives in."""

    def __init__(self, folder: Path, batch: int = 4, pixels: int = 1 << 20) -> None:
        self.metrics, self.folder = Counted(), folder
        self._loop, self._pool = asyncio.new_event_loop(), ThreadPoolExecutor(2)
        load = partial(Predictor, folder, device="cpu", threads=1, batch=batch)
        self.engine = LocalEngine(ModelSettings("street", load, (), pixels, 0.2), self._pool, self.metrics)

    def run(self, scenario: Awaitable[Any]) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(scenario, SECONDS))

    def segment(self, data: bytes, *options: Any) -> SegmentResponse:
        return self.run(self.engine.segment(SegmentRequest(data, *options)))

    def segment_all(self, pictures: Sequence[bytes]) -> list[SegmentResponse]:
        async def scenario() -> list[SegmentResponse]:
            return await asyncio.gather(*(self.engine.segment(SegmentRequest(data)) for data in pictures))

        self.metrics.batches.clear()
        return self.run(scenario())

    def __enter__(self) -> Hosted:
        try:
            self.run(self.engine.start())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self.engine.close())
        self._pool.shutdown()
        self._loop.close()


@pytest.fixture(scope="module")
def street(graphs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """With the usual graph; it takes a process some seconds to load."""
    with Hosted(describe_in(tmp_path_factory.mktemp("engine"), graphs)()) as hosted:
        yield hosted


def predictor_of(folder: Path) -> Predictor:
    return Predictor(folder, device="cpu", threads=1)


def test_answers_are_the_predictor_s(street: Hosted, photo: Photo) -> None:
    predictor = predictor_of(street.folder)
    for number, kind in enumerate(MEDIA_TYPES):
        data = encoded(photo(50, 70, number), kind)
        label, answer = predictor.predict(data)[0], street.segment(data)
        with Image.open(io.BytesIO(answer.content)) as image:
            assert image.mode == "P" and image.getpalette()[:15] == [part for color in COLORS for part in color]
        np.testing.assert_array_equal(decoded(answer.content), label)
        assert {"queue", "decode", "prepare", "wait", "run", "answer", "encode"} == set(answer.milliseconds)
        _check_json(street.segment(data, "json", 0.4, "application/json"), label)


def test_overlays(street: Hosted, photo: Photo) -> None:
    image = photo(50, 70)
    drawn = street.segment(encoded(image), "overlay", 0.25, "image/png")
    expected = drawing.overlay(image.copy(), predictor_of(street.folder).predict(image)[0], COLORS, 0.25)
    np.testing.assert_array_equal(decoded(drawn.content), expected)
    jpeg = street.segment(encoded(image), "overlay", 0.25, "image/jpeg")
    assert jpeg.content[:2] == b"\xff\xd8" and decoded(jpeg.content).shape == image.shape


def _check_json(answer: SegmentResponse, label: np.ndarray) -> None:
    content = json.loads(answer.content)
    assert content["model"] == "street" and (content["height"], content["width"]) == label.shape
    runs = np.array(content["runs"])
    np.testing.assert_array_equal(np.repeat(runs[:, 0], runs[:, 1]), label.ravel())
    assert (runs[1:, 0] != runs[:-1, 0]).all()
    assert [entry["name"] for entry in content["classes"]] == list(CLASSES)
    counts = np.bincount(label.ravel(), minlength=len(CLASSES))
    assert [entry["share"] for entry in content["classes"]] == pytest.approx(counts / label.size, abs=1e-6)
    assert content["milliseconds"]["run"] > 0


def test_requests_at_the_same_time_share_batches(street: Hosted, photo: Photo) -> None:
    pictures = [encoded(photo(40 + 8 * (number % 2), 60, number)) for number in range(16)]
    predictor = predictor_of(street.folder)
    for data, answer in zip(pictures, street.segment_all(pictures)):
        np.testing.assert_array_equal(decoded(answer.content), predictor.predict(data)[0])
    batches = street.metrics.batches
    assert sum(batches) == 16 and max(batches) == 4 and len(batches) <= 8


def test_cancelled_jobs_are_not_run(street: Hosted, photo: Photo) -> None:
    data = encoded(photo(400, 400))

    async def scenario() -> None:
        jobs = [asyncio.ensure_future(street.engine.segment(SegmentRequest(data))) for _ in range(30)]
        await asyncio.wait(jobs[:1])
        for job in jobs[12:]:  # more than are prepared ahead of the network
            job.cancel()
        await asyncio.wait(jobs)

    street.metrics.batches.clear()
    street.run(scenario())
    assert 12 <= sum(street.metrics.batches) <= 20
    assert street.segment(data).media_type == "image/png"


def test_a_process_that_dies_is_replaced(street: Hosted, photo: Photo) -> None:
    data, first = encoded(photo(40, 60)), street.engine.network.pid
    before = street.segment(data)
    os.kill(first, signal.SIGTERM)  # which may come to all processes of a service at a time, and ends none of these
    assert street.segment(data).content == before.content
    os.kill(first, signal.SIGKILL)
    with pytest.raises(Refusal) as caught:
        street.segment(data)
    assert (caught.value.status, caught.value.reason) == (503, "network_died")
    assert street.segment(data).content == before.content
    assert street.engine.network.pid != first


def test_graphs_that_end_in_logits_and_resize(describe: Describe, photo: Photo) -> None:
    folder = describe("none", transforms=CHAINS_THAT_RESIZE["ResizeByShort"])
    data = encoded(photo(90, 120))
    with Hosted(folder) as hosted:
        np.testing.assert_array_equal(decoded(hosted.segment(data).content), predictor_of(folder).predict(data)[0])


def test_batches_of_large_images_are_smaller(describe: Describe, photo: Photo) -> None:
    with Hosted(describe(), pixels=2 * 64 * 64 + 5) as hosted:
        hosted.segment_all([encoded(photo(64, 64, number)) for number in range(6)])
        assert max(hosted.metrics.batches) == 2


def test_a_fixed_batch_is_filled(describe: Describe, photo: Photo) -> None:
    folder, data = describe("fixed"), encoded(photo(64, 96))
    with Hosted(folder, batch=1) as hosted:
        np.testing.assert_array_equal(decoded(hosted.segment(data).content), predictor_of(folder).predict(data)[0])
        with pytest.raises(UserError, match="64x96"):
            hosted.segment(encoded(photo(64, 64)))


def test_bad_images_are_said_without_a_path(describe: Describe, photo: Photo) -> None:
    folder = describe(transforms=[{"type": "Padding", "target_size": [64, 64]}, NORMALIZE])
    jpeg = encoded(photo(60, 60), "JPEG")
    with Hosted(folder) as hosted:
        for data, words in ((jpeg[:-900], "damaged"), (encoded(photo(60, 80)), "greater than 64x64")):
            with pytest.raises(UserError, match=words) as caught:
                hosted.segment(data)
            assert str(folder.parent) not in str(caught.value) and "/" not in str(caught.value)
        assert hosted.segment(jpeg).media_type == "image/png"


def test_models_that_cannot_be_loaded(describe: Describe) -> None:
    folder = describe()
    (folder / "model.pdiparams").write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot load it"), Hosted(folder):
        pass


def encode(output: str, label: np.ndarray, model: Description, **milliseconds: float) -> bytes:
    return OUTPUTS[output].encode(Segmented(label, None, model, SegmentRequest(b"", output), milliseconds))


def test_more_classes_than_a_palette_has() -> None:
    names = tuple(f"class {index}" for index in range(300))
    model = Description("street", names, ((0, 0, 0),) * 300, (-1, 3, -1, -1), "paddle", "fp32", "cpu", 1)
    label = np.arange(12, dtype=np.uint8).reshape(3, 4)  # such an image may lack the classes above 255
    for given in (label, label.astype(np.uint16) * 25):
        np.testing.assert_array_equal(decoded(encode("labels", given, model)), given)


def test_runs_across_the_pieces_that_they_are_written_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "_RUNS_AT_A_TIME", 3)
    model = Description("street", CLASSES, tuple(map(tuple, COLORS)), (-1, 3, -1, -1), "paddle", "fp32", "cpu", 1)
    for seed in range(5):
        label = np.random.default_rng(seed).integers(0, 3, (5, 7)).astype(np.uint8)
        _check_json(SegmentResponse(encode("json", label, model, run=1.0), "application/json", {}), label)
    flat = np.full((4, 4), 2, np.uint8)
    assert json.loads(encode("json", flat, model))["runs"] == [[2, 16]]
