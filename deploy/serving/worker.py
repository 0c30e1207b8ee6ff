"""One process of the server: it loads the models while it answers already, and ends when nothing is in hand."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from errors import UserError
from fastapi import FastAPI
from PIL import Image
from predictor import Predictor
from uvicorn.config import STARTUP_FAILURE

from serving import application
from serving.limits import Limits
from serving.local import LocalEngine
from serving.metrics import Metrics
from serving.process import Size
from serving.service import Service

log = logging.getLogger("hrfamily")
_LOOK_SECONDS = 0.02
DRAINING_PART = 0.8  # of the time that there is; the rest is for answers on their way


@dataclass(frozen=True)
class Settings:
    """What a process is started with.

    Attributes:
        folders: of the exported networks, by name.
        predictor: the options of all of them.
        sizes: (height, width) to warm up each of them with.
        limits: of this process.
        batch_seconds: that a batch waits for pictures which are being prepared, at most.
        drain_seconds: from SIGTERM to the end.
        threads: for decoding and encoding.
        api_key: see `application.create`.
    """

    folders: Mapping[str, Path]
    predictor: Mapping[str, Any]
    sizes: Mapping[str, tuple[Size, ...]]
    limits: Limits
    batch_seconds: float
    drain_seconds: float
    threads: int
    api_key: str | None


def build(settings: Settings) -> FastAPI:
    """The application, as uvicorn calls for it in a new process."""
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # pixels are limited on purpose, and to fewer
    metrics = Metrics()
    pool = ThreadPoolExecutor(settings.threads, "beside")
    models = {name: _engine(name, settings, pool, metrics) for name in settings.folders}
    lifespan = partial(_lifespan, seconds=DRAINING_PART * settings.drain_seconds)
    return application.create(models, settings.limits, api_key=settings.api_key, metrics=metrics, lifespan=lifespan)


def _engine(name: str, settings: Settings, pool: Executor, metrics: Metrics) -> LocalEngine:
    return LocalEngine(
        name,
        partial(Predictor, settings.folders[name], **settings.predictor),
        sizes=settings.sizes[name],
        pixels=settings.limits.pixels,
        seconds=settings.batch_seconds,
        pool=pool,
        metrics=metrics,
    )


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI, seconds: float) -> AsyncIterator[None]:
    service: Service = app.state.service
    async with service.running():
        service.starting.add_done_callback(_started)
        _drain_before_end(service, seconds)
        yield


def _started(task: asyncio.Task[None]) -> None:
    """Without its models a process is of no use; its end, with this status, is the server's."""
    if task.cancelled():
        return
    error = task.exception()
    if error is None:
        log.info("ready, process %d", os.getpid())
        return
    if isinstance(error, UserError):
        print(f"error: {error}", file=sys.stderr, flush=True)
    else:
        log.error("models cannot be loaded", exc_info=error)
    os._exit(STARTUP_FAILURE)


def _drain_before_end(service: Service, seconds: float) -> None:
    """Put draining before what uvicorn does on signals, and take the end of the process above for one."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()  # the loop itself does not keep them

    def drain(number: int, end: Callable[..., Any]) -> None:
        loop.remove_signal_handler(number)
        signal.signal(number, end)  # a second one does not wait
        tasks.add(loop.create_task(_drain(service, seconds, partial(end, number, None))))

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, drain, number, signal.getsignal(number))
    above = multiprocessing.parent_process()
    if above:
        loop.add_reader(above.sentinel, _orphaned, loop, above.sentinel)


def _orphaned(loop: asyncio.AbstractEventLoop, sentinel: int) -> None:
    loop.remove_reader(sentinel)
    os.kill(os.getpid(), signal.SIGTERM)


async def _drain(service: Service, seconds: float, end: Callable[[], Any]) -> None:
    service.drain()
    until = time.monotonic() + seconds
    while not service.is_idle and time.monotonic() < until:
        await asyncio.sleep(_LOOK_SECONDS)
    end()
