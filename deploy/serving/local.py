"""A model that this process runs: pictures are decoded and answers encoded beside the network, which runs batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from predictor import Predictor

from serving.batching import Batcher
from serving.engine import Answer, Description, Job
from serving.metrics import Metrics
from serving.network import Network, Opened, Stopwatch

_BATCHES_IN_HAND = 3  # one being run, one being prepared and one being encoded; further jobs wait as files
Size = tuple[int, int]


class LocalEngine:
    """See `serving.engine.Engine`.

    Args:
        name: of the model.
        load: makes the predictor; called in the thread that will run it.
        sizes: (height, width) to warm up with.
        pixels: of a batch, at most, unless it is a single picture.
        seconds: that a batch waits for pictures which are being prepared, at most.
        pool: threads for decoding and encoding.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], Predictor],
        *,
        sizes: Sequence[Size],
        pixels: int,
        seconds: float,
        pool: Executor,
        metrics: Metrics,
    ) -> None:
        self.name = name
        self._load, self._sizes, self._pixels, self._seconds = load, sizes, pixels, seconds
        self._pool, self._metrics = pool, metrics
        self._thread = ThreadPoolExecutor(1, f"run {name}")

    async def start(self) -> Description:
        self._network = await asyncio.get_running_loop().run_in_executor(self._thread, self._loaded)
        self._batcher = Batcher(self._run, self._most, self._seconds, self._thread)
        self._room = asyncio.Semaphore(_BATCHES_IN_HAND * self._network.description.batch)
        return self._network.description

    async def segment(self, job: Job) -> Answer:
        watch = Stopwatch()
        async with self._room:
            watch.lap("queue")
            opened, result = await self._batcher(self._beside(self._network.open, job))
            opened.milliseconds = {**watch.milliseconds, **opened.milliseconds}
            return await self._beside(self._network.finish, job, opened, result)

    async def close(self) -> None:
        if hasattr(self, "_batcher"):
            await self._batcher.close()
        self._thread.shutdown(wait=False)

    def _loaded(self) -> Network:
        network = Network(self._load(), self.name)
        for size in self._sizes:
            network.warm_up(*size)
        return network

    def _run(self, batch: Sequence[Opened]) -> Sequence[Any]:
        self._metrics.batch(self.name, len(batch))
        return self._network.run(batch)

    def _most(self, shape: tuple[int, ...]) -> int:
        return max(1, min(self._network.description.batch, self._pixels // self._network.pixels(shape)))

    def _beside(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future:
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
