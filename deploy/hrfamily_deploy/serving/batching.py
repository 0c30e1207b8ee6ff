"""Batches of items that arrive one by one: those of one shape that arrive while a batch is run are the next batch."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Shaped(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


Item = TypeVar("Item", bound=Shaped)
Result = TypeVar("Result")


@dataclass
class _Waiting(Generic[Item, Result]):
    item: Item
    since: float
    result: asyncio.Future[Result]


class Batcher(Generic[Item, Result]):
    """Call it with an awaitable of an item, and get the item and its result.

    Whenever no batch is being run, the items of the shape that has waited longest are the next one. They wait for one
    another only while further items are being prepared, for `seconds` at most, and not if the batch is full.

    Args:
        run: items of one shape -> a result for each. It is called in `thread`.
        most: shape -> items in a batch, at most.
        seconds: see above.
        thread: an executor of one thread.

    It must be made, called and closed in one event loop.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        most: Callable[[tuple[int, ...]], int],
        seconds: float,
        thread: Executor,
    ) -> None:
        self._run, self._most, self._seconds, self._thread = run, most, seconds, thread
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[tuple[int, ...], deque[_Waiting[Item, Result]]] = {}
        self._in_preparation = 0
        self._change = asyncio.Event()
        self._task = self._loop.create_task(self._serve())

    async def __call__(self, preparation: Awaitable[Item]) -> tuple[Item, Result]:
        """An item whose caller is cancelled before its batch begins is not run."""
        self._in_preparation += 1
        try:
            item = await preparation
        finally:
            self._in_preparation -= 1
            self._change.set()
        waiting: _Waiting[Item, Result] = _Waiting(item, self._loop.time(), self._loop.create_future())
        self._waiting.setdefault(item.shape, deque()).append(waiting)
        return item, await waiting.result

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _serve(self) -> None:
        while True:
            batch = await self._next_batch()
            try:
                results = await self._loop.run_in_executor(self._thread, self._run, [each.item for each in batch])
            except Exception as error:
                for each in filter(_is_wanted, batch):
                    each.result.set_exception(error)
            else:
                for each, result in zip(batch, results):
                    if _is_wanted(each):
                        each.result.set_result(result)

    async def _next_batch(self) -> list[_Waiting[Item, Result]]:
        while True:
            self._change.clear()
            self._drop_cancelled()
            shape = self._ready_shape()
            if shape is not None:
                queue = self._waiting[shape]
                return [queue.popleft() for _ in range(min(len(queue), self._most(shape)))]
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._change.wait(), self._seconds_left())

    def _drop_cancelled(self) -> None:
        for shape, queue in list(self._waiting.items()):
            wanted = deque(filter(_is_wanted, queue))
            if wanted:
                self._waiting[shape] = wanted
            else:
                del self._waiting[shape]

    def _ready_shape(self) -> tuple[int, ...] | None:
        """The shape of the batch that is to be run now; None if it is better to wait."""
        seconds = self._seconds_left()
        if seconds is None:
            return None
        if not self._in_preparation or seconds <= 0:
            return self._oldest()
        return next((shape for shape, queue in self._waiting.items() if len(queue) >= self._most(shape)), None)

    def _seconds_left(self) -> float | None:
        """For which the item that has waited longest may wait for others; None if no item waits."""
        if not self._waiting:
            return None
        return self._waiting[self._oldest()][0].since + self._seconds - self._loop.time()

    def _oldest(self) -> tuple[int, ...]:
        return min(self._waiting, key=lambda shape: self._waiting[shape][0].since)


def _is_wanted(waiting: _Waiting[Item, Result]) -> bool:
    return not waiting.result.done()  # a future without a result is done only if its caller was cancelled
