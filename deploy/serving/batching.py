"""Items that come one by one, run together: those of one shape, as many as have come while the last ones were run."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple, Protocol


class Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


class _Place(NamedTuple):
    item: Shaped
    since: float
    result: asyncio.Future


class Batcher:
    """Call it with what will be an item, and get the item and its result.

    Whenever nothing is run, the items of the shape that has waited longest are. They wait for one another only while
    further items are coming, `seconds` at most, and not if they are as many as can be.

    Args:
        run: items of one shape -> a result for each. Called in `thread`.
        most: shape -> items at a time, at most.
        seconds: see above.
        thread: an executor of one thread.

    It must be made, called and closed in one event loop.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Any]], Sequence[Any]],
        most: Callable[[tuple[int, ...]], int],
        seconds: float,
        thread: Executor,
    ) -> None:
        self._run, self._most, self._seconds, self._thread = run, most, seconds, thread
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[tuple[int, ...], deque[_Place]] = {}
        self._coming = 0
        self._news = asyncio.Event()
        self._task = self._loop.create_task(self._serve())

    async def __call__(self, coming: Awaitable[Shaped]) -> tuple[Any, Any]:
        """Whoever is cancelled while waiting is not run."""
        self._coming += 1
        try:
            item = await coming
        finally:
            self._coming -= 1
            self._news.set()
        place = _Place(item, self._loop.time(), self._loop.create_future())
        self._waiting.setdefault(item.shape, deque()).append(place)
        return item, await place.result

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _serve(self) -> None:
        while True:
            batch = await self._next()
            try:
                results = await self._loop.run_in_executor(self._thread, self._run, [place.item for place in batch])
            except Exception as error:
                for place in filter(_is_awaited, batch):
                    place.result.set_exception(error)
            else:
                for place, result in zip(batch, results):
                    if _is_awaited(place):
                        place.result.set_result(result)

    async def _next(self) -> list[_Place]:
        while True:
            self._news.clear()
            self._drop_cancelled()
            shape = self._due()
            if shape is not None:
                queue = self._waiting[shape]
                return [queue.popleft() for _ in range(min(len(queue), self._most(shape)))]
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._patience())

    def _drop_cancelled(self) -> None:
        for shape, queue in list(self._waiting.items()):
            alive = deque(filter(_is_awaited, queue))
            if alive:
                self._waiting[shape] = alive
            else:
                del self._waiting[shape]

    def _due(self) -> tuple[int, ...] | None:
        """The shape whose turn it is."""
        if not self._waiting:
            return None
        if not self._coming or self._patience() <= 0:
            return self._oldest()
        return next((shape for shape, queue in self._waiting.items() if len(queue) >= self._most(shape)), None)

    def _patience(self) -> float | None:
        """Seconds until those who have waited longest go as they are; None where there are none."""
        if not self._waiting:
            return None
        return self._waiting[self._oldest()][0].since + self._seconds - self._loop.time()

    def _oldest(self) -> tuple[int, ...]:
        return min(self._waiting, key=lambda shape: self._waiting[shape][0].since)


def _is_awaited(place: _Place) -> bool:
    return not place.result.done()  # unless it was cancelled
