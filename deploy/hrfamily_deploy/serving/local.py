"""A model of this machine: threads decode images and encode answers while the network's process runs batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np

from hrfamily_deploy.serving.batching import Batcher
from hrfamily_deploy.serving.engine import Description, SegmentRequest, SegmentResponse
from hrfamily_deploy.serving.metrics import Metrics
from hrfamily_deploy.serving.network import DecodedImage, Network, Stopwatch
from hrfamily_deploy.serving.process import NetworkDied
from hrfamily_deploy.serving.refusals import network_died
from hrfamily_deploy.serving.settings import BATCHES_IN_HAND, ModelSettings

log = logging.getLogger("hrfamily")


class LocalEngine:
    """See `serving.engine.Engine`.

    Args:
        pool: threads for decoding and encoding.
        metrics: count the batches.
    """

    def __init__(self, model: ModelSettings, pool: Executor, metrics: Metrics) -> None:
        self.name = model.name
        self._model, self._pool, self._metrics = model, pool, metrics
        self._thread = ThreadPoolExecutor(1, f"run {model.name}")
        self._network: Network | None = None
        self._batcher: Batcher[DecodedImage, np.ndarray] | None = None

    @property
    def network(self) -> Network:
        """The network, once it is loaded."""
        if self._network is None:
            raise RuntimeError(f"{self.name} is not loaded")
        return self._network

    async def start(self) -> Description:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._load)
        self._batcher = Batcher(self._run, self.network.most, self._model.batch_seconds, self._thread)
        self._room = asyncio.Semaphore(BATCHES_IN_HAND * self.network.description.batch)
        return self.network.description

    async def segment(self, request: SegmentRequest) -> SegmentResponse:
        if self._batcher is None:
            raise RuntimeError(f"{self.name} is not loaded")
        watch = Stopwatch()
        async with self._room:
            watch.lap("queue")
            image, result = await self._batcher(self._beside(self.network.decode, request))
            image.milliseconds = {**watch.milliseconds, **image.milliseconds}
            return await self._beside(self.network.respond, request, image, result)

    async def close(self) -> None:
        if self._batcher:
            await self._batcher.close()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._unload)
        self._thread.shutdown(wait=False)

    def _load(self) -> None:
        self._network = Network(self._model)  # here, so that `close` finds it even if `start` is cancelled meanwhile

    def _unload(self) -> None:
        if self._network:
            self._network.close()

    def _run(self, batch: Sequence[DecodedImage]) -> list[np.ndarray]:
        self._metrics.batch(self.name, len(batch))
        try:
            return self.network.run(batch)
        except NetworkDied:
            log.error("the process of %s died and is replaced", self.name)
            self.network.restart()
            raise network_died() from None

    def _beside(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
