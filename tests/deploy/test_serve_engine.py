"""A model in its process: its answers are the predictor's, its batches full, and its death is survived."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from errors import UserError

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

import drawing
from PIL import Image
from predictor import Predictor
from serving import encoding
from serving.engine import Answer, Description, Job
from serving.local import LocalEngine
from serving.metrics import Metrics
from serving.refusals import Refusal

from tests.deploy.conftest import CHAINS_THAT_RESIZE, CLASSES, COLORS, NORMALIZE, Describe
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


def with_engine(
    folder: Path, scenario: Callable[[LocalEngine, Counted], Awaitable[None]], batch: int = 4, pixels: int = 1 << 20
) -> None:
    """Run the scenario with a started engine, and close it."""

    async def run(pool: ThreadPoolExecutor) -> None:
        metrics = Counted()
        load = partial(Predictor, folder, device="cpu", threads=1, batch=batch)
        engine = LocalEngine("street", load, sizes=[], pixels=pixels, seconds=0.2, pool=pool, metrics=metrics)
        try:
            await engine.start()
            await scenario(engine, metrics)
        finally:
            await engine.close()

    with ThreadPoolExecutor(2) as pool:
        asyncio.run(asyncio.wait_for(run(pool), SECONDS))


def test_answers_are_the_predictor_s(describe: Describe, photo: Photo) -> None:
    folder = describe()
    expected = Predictor(folder, device="cpu", threads=1)
    pictures = {kind: encoded(photo(50, 70, number), kind) for number, kind in enumerate(MEDIA_TYPES)}

    async def scenario(engine: LocalEngine, metrics: Counted) -> None:
        for data in pictures.values():
            label = expected.predict(data)[0]
            answer = await engine.segment(Job(data))
            with Image.open(io.BytesIO(answer.content)) as image:
                assert image.mode == "P" and image.getpalette()[:15] == [part for color in COLORS for part in color]
            np.testing.assert_array_equal(decoded(answer.content), label)
            assert {"queue", "decode", "prepare", "wait", "run", "answer", "encode"} == set(answer.milliseconds)
            _check_json(await engine.segment(Job(data, "json", media_type="application/json")), label)
        drawn = await engine.segment(Job(pictures["PNG"], "overlay", 0.25, "image/png"))
        label = expected.predict(pictures["PNG"])[0]
        overlay = drawing.overlay(decoded(pictures["PNG"]), label, COLORS, 0.25)
        np.testing.assert_array_equal(decoded(drawn.content), overlay)
        jpeg = await engine.segment(Job(pictures["PNG"], "overlay", 0.25, "image/jpeg"))
        assert jpeg.content[:2] == b"\xff\xd8" and decoded(jpeg.content).shape == overlay.shape

    with_engine(folder, scenario)


def _check_json(answer: Answer, label: np.ndarray) -> None:
    content = json.loads(answer.content)
    assert content["model"] == "street" and (content["height"], content["width"]) == label.shape
    runs = np.array(content["runs"])
    np.testing.assert_array_equal(np.repeat(runs[:, 0], runs[:, 1]), label.ravel())
    assert (runs[1:, 0] != runs[:-1, 0]).all()
    assert [entry["name"] for entry in content["classes"]] == list(CLASSES)
    counts = np.bincount(label.ravel(), minlength=len(CLASSES))
    assert [entry["share"] for entry in content["classes"]] == pytest.approx(counts / label.size, abs=1e-6)
    assert content["milliseconds"]["run"] > 0


@pytest.mark.parametrize("chain", CHAINS_THAT_RESIZE)
def test_graphs_that_end_in_logits_and_resize(describe: Describe, photo: Photo, chain: str) -> None:
    folder = describe("none", transforms=CHAINS_THAT_RESIZE[chain])
    data = encoded(photo(90, 120))

    async def scenario(engine: LocalEngine, metrics: Counted) -> None:
        label = decoded((await engine.segment(Job(data))).content)
        np.testing.assert_array_equal(label, Predictor(folder, device="cpu", threads=1).predict(data)[0])

    with_engine(folder, scenario)


def test_requests_at_the_same_time_share_batches(describe: Describe, photo: Photo) -> None:
    folder = describe()
    pictures = [encoded(photo(40 + 8 * (number % 2), 60, number)) for number in range(16)]

    async def scenario(engine: LocalEngine, metrics: Counted) -> None:
        answers = await asyncio.gather(*(engine.segment(Job(data)) for data in pictures))
        predictor = Predictor(folder, device="cpu", threads=1)
        for data, answer in zip(pictures, answers):
            np.testing.assert_array_equal(decoded(answer.content), predictor.predict(data)[0])
        assert sum(metrics.batches) == 16 and max(metrics.batches) == 4 and len(metrics.batches) <= 8

    with_engine(folder, scenario)


def test_batches_of_large_pictures_are_smaller(describe: Describe, photo: Photo) -> None:
    pictures = [encoded(photo(64, 64, number)) for number in range(6)]

    async def scenario(engine: LocalEngine, metrics: Counted) -> None:
        await asyncio.gather(*(engine.segment(Job(data)) for data in pictures))
        assert max(metrics.batches) == 2

    with_engine(describe(), scenario, pixels=2 * 64 * 64 + 5)


def test_a_fixed_batch_is_filled(describe: Describe, photo: Photo) -> None:
    folder = describe("fixed")

    async def scenario(engine: LocalEngine, metrics: Counted) -> None:
        data = encoded(photo(64, 96))
        label = decoded((await engine.segment(Job(data))).content)
        np.testing.assert_array_equal(label, Predictor(folder, device="cpu", threads=1).predict(data)[0])
        with pytest.raises(UserError, match="64x96"):
            await engine.segment(Job(encoded(photo(64, 64))))

    with_engine(folder, scenario, batch=1)


def test_bad_pictures_are_said_without_a_path(describe: Describe, photo: Photo) -> None:
    folder = describe(transforms=[{"type": "Padding", "target_size": [64, 64]}, NORMALIZE])
    jpeg = encoded(photo(60, 60), "JPEG")

    async def scenario(engine: LocalEngine, metrics: Counted) -> None:
        for data, words in ((jpeg[:-900], "damaged"), (encoded(photo(60, 80)), "greater than 64x64")):
            with pytest.raises(UserError, match=words) as caught:
                await engine.segment(Job(data))
            assert str(folder.parent) not in str(caught.value) and "/" not in str(caught.value)
        assert (await engine.segment(Job(jpeg))).media_type == "image/png"

    with_engine(folder, scenario)


def test_cancelled_jobs_are_not_run(describe: Describe, photo: Photo) -> None:
    data = encoded(photo(400, 400))

    async def scenario(engine: LocalEngine, metrics: Counted) -> None:
        jobs = [asyncio.ensure_future(engine.segment(Job(data))) for _ in range(10)]
        await asyncio.wait(jobs[:1])
        for job in jobs[2:]:
            job.cancel()
        await asyncio.wait(jobs)
        assert sum(metrics.batches) <= 4
        assert (await engine.segment(Job(data))).media_type == "image/png"

    with_engine(describe(), scenario, batch=1)


def test_a_process_that_dies_is_replaced(describe: Describe, photo: Photo) -> None:
    data = encoded(photo(40, 60))

    async def scenario(engine: LocalEngine, metrics: Counted) -> None:
        before = await engine.segment(Job(data))
        first = engine._process.pid
        os.kill(first, signal.SIGTERM)  # which may come to all processes of a service at a time, and ends none of these
        assert (await engine.segment(Job(data))).content == before.content
        os.kill(first, signal.SIGKILL)
        with pytest.raises(Refusal) as caught:
            await engine.segment(Job(data))
        assert (caught.value.status, caught.value.reason) == (503, "network_died")
        assert (await engine.segment(Job(data))).content == before.content
        assert engine._process.pid != first

    with_engine(describe(), scenario)


def test_models_that_cannot_be_loaded(describe: Describe) -> None:
    folder = describe()
    (folder / "model.pdiparams").write_bytes(b"damaged")

    async def scenario(engine: LocalEngine, metrics: Counted) -> None:
        raise AssertionError("it was loaded")

    with pytest.raises(UserError, match="cannot load it"):
        with_engine(folder, scenario)


def test_more_classes_than_a_palette_has() -> None:
    names = tuple(f"class {index}" for index in range(300))
    model = Description("street", names, ((0, 0, 0),) * 300, (-1, 3, -1, -1), "paddle", "fp32", "cpu", 1)
    label = np.arange(12, dtype=np.uint8).reshape(3, 4)  # such a picture may lack the classes above 255
    for given in (label, label.astype(np.uint16) * 25):
        np.testing.assert_array_equal(decoded(encoding.labels(given, model)), given)


def test_runs_across_the_pieces_that_they_are_written_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_RUNS_AT_A_TIME", 3)
    model = Description("street", CLASSES, tuple(map(tuple, COLORS)), (-1, 3, -1, -1), "paddle", "fp32", "cpu", 1)
    for seed in range(5):
        label = np.random.default_rng(seed).integers(0, 3, (5, 7)).astype(np.uint8)
        _check_json(Answer(encoding.summary(label, model, {"run": 1.0}), "application/json", {}), label)
    flat = np.full((4, 4), 2, np.uint8)
    assert json.loads(encoding.summary(flat, model, {}))["runs"] == [[2, 16]]
