"""A model of this machine: pictures are decoded and answers encoded in threads, while its process runs batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
from predictor import Predictor

from serving.batching import Batcher
from serving.engine import Answer, Description, Job
from serving.metrics import Metrics
from serving.network import Network, Opened, Stopwatch
from serving.process import Died, NetworkProcess, Size
from serving.refusals import Refusal

log = logging.getLogger("hrfamily")
_BATCHES_IN_HAND = 3  # one being run, one being prepared and one being encoded; further jobs wait as files


class LocalEngine:
    """See `serving.engine.Engine`.

    Args:
        name: of the model.
        load: makes the predictor, in another process: it can be pickled.
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
        self._process: NetworkProcess | None = None
        self._batcher: Batcher | None = None

    async def start(self) -> Description:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._start_process)
        self._network = Network(self._process.ends, self.name)
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
        if self._batcher:
            await self._batcher.close()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._stop_process)
        self._thread.shutdown(wait=False)

    def _start_process(self) -> None:
        self._process = NetworkProcess(self._load, self._sizes)

    def _stop_process(self) -> None:
        if self._process:
            self._process.close()

    def _run(self, batch: Sequence[Opened]) -> list[np.ndarray]:
        self._metrics.batch(self.name, len(batch))
        try:
            return self._network.timed(batch, self._process.run)
        except Died:
            log.error("the process of %s died and is replaced", self.name)
            self._stop_process()
            self._start_process()
            message = "the network's process died of this picture, of one beside it, or by accident"
            raise Refusal(503, "network_died", message, {"Retry-After": "1"}) from None

    def _most(self, shape: tuple[int, ...]) -> int:
        return max(1, min(self._network.description.batch, self._pixels // self._network.pixels(shape)))

    def _beside(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future:
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
