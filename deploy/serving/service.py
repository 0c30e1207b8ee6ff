"""The models of one application: whether they take requests, how many are in hand, and how long one may take."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from typing import Any

from errors import UserError

from serving.engine import Answer, Description, Engine, Job
from serving.limits import Limits
from serving.metrics import Metrics
from serving.refusals import Refusal

_RETRY = {"Retry-After": "1"}


class Model:
    """One of them.

    Attributes:
        description: None until it has started.
        in_hand: requests.
        seconds: that the last answer took.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.description: Description | None = None
        self.in_hand = 0
        self.seconds = 1.0


class Service:
    """See the module.

    Attributes:
        starting: the task that loads the models, within `running`.
        is_draining: whether requests are refused.
    """

    def __init__(self, models: Mapping[str, Engine], limits: Limits, metrics: Metrics) -> None:
        self.limits, self.metrics = limits, metrics
        self._models = {name: Model(engine) for name, engine in models.items()}
        self._uploads = 0
        self.is_draining = False
        self.starting: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Models start at its beginning, while requests come already, and are closed at its end."""
        self.starting = asyncio.get_running_loop().create_task(self._start())
        try:
            yield
        finally:
            self.starting.cancel()
            await asyncio.gather(self.starting, return_exceptions=True)
            for model in self._models.values():
                await model.engine.close()

    def drain(self) -> None:
        """From now on, requests are refused."""
        self.is_draining = True

    @property
    def is_idle(self) -> bool:
        return not self._uploads and not any(model.in_hand for model in self._models.values())

    def check_ready(self) -> list[Description]:
        """What there is to say of the models. Raises Refusal unless all of them take requests."""
        self._check_open()
        return [self._started(model) for model in self._models.values()]

    def model(self, name: str) -> Model:
        """Raises Refusal if there is none of that name, or none that takes requests."""
        if name not in self._models:
            raise Refusal(404, "no_such_model", f"no model {name[:100]!r}; there are {', '.join(self._models)}")
        self._check_open()
        self._started(self._models[name])
        return self._models[name]

    @contextlib.contextmanager
    def upload(self, model: Model) -> Iterator[None]:
        """While a body is received. Raises Refusal if there is no room for it or for what is done with it."""
        self._check_queue(model)
        if self._uploads >= self.limits.uploads:
            raise Refusal(429, "too_many_uploads", f"{self._uploads} pictures are being received already", _RETRY)
        self._uploads += 1
        try:
            yield
        finally:
            self._uploads -= 1

    async def segment(self, model: Model, job: Job, gone: Awaitable[Any]) -> Answer:
        """The answer, unless the client is `gone` before, or it takes too long.

        Raises:
            Refusal: one of these, or a full queue, or a picture that cannot be segmented.
        """
        self._check_queue(model)
        self._count(model, 1)
        begun = asyncio.get_running_loop().time()
        try:
            answer = await self._raced(model.engine.segment(job), gone)
        except UserError as error:
            raise Refusal(422, "bad_picture", str(error)) from None
        finally:
            self._count(model, -1)
        model.seconds = asyncio.get_running_loop().time() - begun
        self.metrics.stages(model.engine.name, answer.milliseconds)
        return answer

    async def _start(self) -> None:
        for model in self._models.values():
            model.description = await model.engine.start()

    def _check_open(self) -> None:
        if self.is_draining:
            raise Refusal(503, "draining", "the server is about to stop", {"Connection": "close", **_RETRY})

    def _started(self, model: Model) -> Description:
        if model.description is None:
            raise Refusal(503, "starting", f"{model.engine.name} is being loaded", _RETRY)
        return model.description

    def _check_queue(self, model: Model) -> None:
        if model.in_hand >= self.limits.queue:
            # When the queue was as long as now, this is what it took until there was room again.
            retry = {"Retry-After": str(max(1, math.ceil(model.seconds)))}
            raise Refusal(429, "queue_full", f"{model.in_hand} pictures are in hand already", retry)

    def _count(self, model: Model, more: int) -> None:
        model.in_hand += more
        self.metrics.queue(model.engine.name, model.in_hand)

    async def _raced(self, work: Awaitable[Answer], gone: Awaitable[Any]) -> Answer:
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
        raise Refusal(504, "timeout", f"no answer within {self.limits.seconds:g} seconds", _RETRY)
