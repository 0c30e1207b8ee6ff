"""The models of one application: which requests they take, how many are in hand, and when a request takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from typing import Any

from hrfamily_deploy.errors import UserError
from hrfamily_deploy.serving.engine import Description, Engine, SegmentRequest, SegmentResponse
from hrfamily_deploy.serving.limits import Limits
from hrfamily_deploy.serving.metrics import Metrics
from hrfamily_deploy.serving.refusals import RETRY, Refusal


class Model:
    """A model and what is going on with it.

    Attributes:
        description: None until it is loaded.
        in_hand: requests that are being answered.
        seconds: that the last response took.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.description: Description | None = None
        self.in_hand = 0
        self.seconds = 1.0


class Service:
    """Passes requests to engines, or refuses them.

    Attributes:
        is_draining: whether requests are refused.
    """

    def __init__(self, models: Mapping[str, Engine], limits: Limits, metrics: Metrics) -> None:
        self.limits, self.metrics = limits, metrics
        self._models = {name: Model(engine) for name, engine in models.items()}
        self._uploads = 0
        self.is_draining = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Within this, the models are loaded, by the task that it gives, and requests may come. At its end they are
        closed."""
        loading = asyncio.get_running_loop().create_task(self._load())
        try:
            yield loading
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            for model in self._models.values():
                await model.engine.close()

    def drain(self) -> None:
        """Refuse requests from now on."""
        self.is_draining = True

    @property
    def is_idle(self) -> bool:
        return not self._uploads and not any(model.in_hand for model in self._models.values())

    def check_ready(self) -> list[Description]:
        """Descriptions of the models. Raises Refusal unless all of them take requests."""
        self._check_open()
        return [self._started(model) for model in self._models.values()]

    def model(self, name: str) -> Model:
        """The model of that name. Raises Refusal if there is none, or it takes no requests."""
        if name not in self._models:
            raise Refusal(404, "no_such_model", f"no model {name[:100]!r}; there are {', '.join(self._models)}")
        self._check_open()
        self._started(self._models[name])
        return self._models[name]

    @contextlib.contextmanager
    def upload(self, model: Model) -> Iterator[None]:
        """Count an upload while its body is received. Raises Refusal if there are too many, or the queue is full."""
        self._check_queue(model)
        if self._uploads >= self.limits.uploads:
            raise Refusal(429, "too_many_uploads", f"{self._uploads} images are being received already", RETRY)
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    async def segment(self, model: Model, request: SegmentRequest, gone: Awaitable[Any]) -> SegmentResponse:
        """The response.

        Args:
            gone: is done when the client has closed the connection.

        Raises:
            Refusal: the client is gone, the queue is full, it takes too long, or the image cannot be segmented.
        """
        self._check_queue(model)
        self._count(model, 1)
        begun = asyncio.get_running_loop().time()
        try:
            answer = await self._raced(model.engine.segment(request), gone)
        except UserError as error:
            raise Refusal(422, "bad_picture", str(error)) from None
        finally:
            self._count(model, -1)
        model.seconds = asyncio.get_running_loop().time() - begun
        self.metrics.stages(model.engine.name, answer.milliseconds)
        return answer

    async def _load(self) -> None:
        for model in self._models.values():
            model.description = await model.engine.start()

    def _check_open(self) -> None:
        if self.is_draining:
            raise Refusal(503, "draining", "the server is about to stop", {"Connection": "close", **RETRY})

    def _started(self, model: Model) -> Description:
        if model.description is None:
            raise Refusal(503, "starting", f"{model.engine.name} is being loaded", RETRY)
        return model.description

    def _check_queue(self, model: Model) -> None:
        if model.in_hand >= self.limits.queue:
            # The last response waited for a queue as long as this one.
            retry = {"Retry-After": str(max(1, math.ceil(model.seconds)))}
            raise Refusal(429, "queue_full", f"{model.in_hand} images are in hand already", retry)

    def _count(self, model: Model, more: int) -> None:
        model.in_hand += more
        self.metrics.queue(model.engine.name, model.in_hand)

    async def _raced(self, work: Awaitable[SegmentResponse], gone: Awaitable[Any]) -> SegmentResponse:
        tasks = [asyncio.ensure_future(work), asyncio.ensure_future(gone)]
        try:
            done, _ = await asyncio.wait(tasks, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left = [task for task in tasks if not task.done()]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        if tasks[0] in done:
            return tasks[0].result()
        if tasks[1] in done:
            raise Refusal(499, "client_gone", "the client closed the connection")
        raise Refusal(504, "timeout", f"no answer within {self.limits.seconds:g} seconds", RETRY)
