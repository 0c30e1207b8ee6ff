"""Which items are run together, and when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

pytest.importorskip("fastapi")

from hrfamily_deploy.serving.batching import Batcher

SOON, NEVER = 5.0, 1000.0


@dataclass(frozen=True)
class Item:
    name: str
    shape: tuple[int, ...] = (4, 4)


@dataclass
class Network:
    """Runs a batch when it is allowed to, and keeps a record."""

    allowed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    batches: list[str] = field(default_factory=list)

    def __call__(self, batch: Sequence[Item]) -> list[str]:
        assert len({item.shape for item in batch}) == 1
        self.batches.append("".join(item.name for item in batch))
        if not self.allowed.acquire(timeout=SOON):
            raise TimeoutError("this batch was not expected")
        if any(item.name == "!" for item in batch):
            raise ValueError("what the network says")
        return [item.name.upper() for item in batch]


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def ready(item: Item) -> Item:
    return item


async def when(event: asyncio.Event, item: Item) -> Item:
    await event.wait()
    return item


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(int(SOON / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen")


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(scenario(), SOON)

    asyncio.run(limited())


def test_what_comes_while_a_batch_is_run_is_the_next_one(thread: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        network = Network()
        batcher = Batcher(network, lambda shape: 3, NEVER, thread)
        first = asyncio.create_task(batcher(ready(Item("a"))))
        await until(lambda: network.batches == ["a"])  # nothing else was coming: it did not wait
        rest = [asyncio.create_task(batcher(ready(Item(name)))) for name in "bcde"]
        await asyncio.sleep(0.05)
        network.allowed.release(3)
        assert [result for _, result in await asyncio.gather(first, *rest)] == list("ABCDE")
        assert network.batches == ["a", "bcd", "e"]
        await batcher.close()

    run(scenario)


def test_it_waits_for_what_is_coming_but_not_if_full(thread: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        network, come = Network(threading.Semaphore(9)), asyncio.Event()
        batcher = Batcher(network, lambda shape: 2, NEVER, thread)
        late = asyncio.create_task(batcher(when(come, Item("z"))))
        await asyncio.sleep(0)
        early = asyncio.create_task(batcher(ready(Item("a"))))
        await asyncio.sleep(0.1)
        assert network.batches == []
        await asyncio.gather(early, batcher(ready(Item("b"))))
        assert network.batches == ["ab"]
        last = asyncio.create_task(batcher(ready(Item("y"))))
        await asyncio.sleep(0.05)
        come.set()
        await asyncio.gather(late, last)
        assert network.batches == ["ab", "yz"]
        await batcher.close()

    run(scenario)


def test_it_does_not_wait_for_longer_than_it_may(thread: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        network, come = Network(threading.Semaphore(9)), asyncio.Event()
        batcher = Batcher(network, lambda shape: 2, 0.15, thread)
        late = asyncio.create_task(batcher(when(come, Item("z"))))
        await asyncio.sleep(0)
        begun = asyncio.get_running_loop().time()
        await batcher(ready(Item("a")))
        assert 0.14 <= asyncio.get_running_loop().time() - begun < 2
        come.set()
        await late
        assert network.batches == ["a", "z"]
        await batcher.close()

    run(scenario)


def test_what_was_coming_and_failed_is_not_waited_for(thread: ThreadPoolExecutor) -> None:
    async def broken() -> Item:
        await asyncio.sleep(0.05)
        raise ValueError("no image")

    async def scenario() -> None:
        network = Network(threading.Semaphore(9))
        batcher = Batcher(network, lambda shape: 2, NEVER, thread)
        failing = asyncio.create_task(batcher(broken()))
        await asyncio.sleep(0)
        assert await batcher(ready(Item("a"))) == (Item("a"), "A")
        with pytest.raises(ValueError, match="no image"):
            await failing
        await batcher.close()

    run(scenario)


def test_shapes_take_turns_by_age_and_have_their_own_sizes(thread: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        network = Network()
        batcher = Batcher(network, lambda shape: 1 if shape[0] > 4 else 4, NEVER, thread)
        items = [Item("a"), Item("S"), Item("B", (8, 8)), Item("t"), Item("C", (8, 8)), Item("u")]
        tasks = [asyncio.create_task(batcher(ready(item))) for item in items]
        await until(lambda: bool(network.batches))
        network.allowed.release(9)
        await asyncio.gather(*tasks)
        assert network.batches == ["aStu", "B", "C"]
        await batcher.close()

    run(scenario)


def test_cancelled_items_are_not_run(thread: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        network = Network()
        batcher = Batcher(network, lambda shape: 4, NEVER, thread)
        first = asyncio.create_task(batcher(ready(Item("a"))))
        await until(lambda: network.batches == ["a"])
        rest = [asyncio.create_task(batcher(ready(Item(name)))) for name in "bcd"]
        await asyncio.sleep(0.02)
        rest[1].cancel()
        first.cancel()  # it is being run: only its result is dropped
        network.allowed.release(9)
        await asyncio.wait([first, *rest])
        assert network.batches == ["a", "bd"]
        assert [task.cancelled() for task in [first, *rest]] == [True, False, True, False]
        await batcher.close()

    run(scenario)


def test_a_failure_is_that_of_its_batch_alone(thread: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        network = Network()
        batcher = Batcher(network, lambda shape: 2, NEVER, thread)
        tasks = [asyncio.create_task(batcher(ready(Item(name)))) for name in "ab!c"]
        network.allowed.release(9)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, ValueError) for result in results] == [False, False, True, True]
        assert (await batcher(ready(Item("d"))))[1] == "D"
        await batcher.close()

    run(scenario)
