"""One process of the server: it loads the models while it answers already, and ends when nothing is in hand."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.config
import multiprocessing
import os
import signal
import socket
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
from uvicorn import Config, Server

from serving import application
from serving.limits import Limits
from serving.local import LocalEngine
from serving.metrics import Metrics
from serving.process import Size
from serving.protocol import Protocol
from serving.service import Service

log = logging.getLogger("hrfamily")
LOADING_FAILED = 3  # exit status
_LOG = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "plain": {"format": "%(message)s"},
        "full": {"format": "%(asctime)s %(levelname)s %(process)d %(message)s"},
    },
    "handlers": {
        "out": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stdout"},
        "err": {"class": "logging.StreamHandler", "formatter": "full", "stream": "ext://sys.stderr"},
    },
    "loggers": {
        "hrfamily": {"handlers": ["err"], "level": "INFO", "propagate": False},
        "hrfamily.access": {"handlers": ["out"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["err"], "level": "WARNING", "propagate": False},
    },
}
_LOOK_SECONDS = 0.02
_DRAINING_PART = 0.8  # of the time that there is; the rest is for answers on their way


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


def work(settings: Settings, listener: socket.socket, loads_first: bool = False) -> None:
    """The process, from its start to its end by SIGTERM; Ctrl-C is for the one above, which sends that.

    Args:
        loads_first: it takes no connections until its models are loaded, so that those beside it do.
    """
    configure_logging()
    config = Config(
        build(settings, loads_first),
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round((1 - _DRAINING_PART) * settings.drain_seconds)),
    )
    Server(config).run([listener])


def configure_logging() -> None:
    """A line for each request to the standard output, the rest to the error output."""
    logging.config.dictConfig(_LOG)


def build(settings: Settings, loads_first: bool = False) -> FastAPI:
    """Its application."""
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # pixels are limited on purpose, and to fewer
    metrics = Metrics()
    pool = ThreadPoolExecutor(settings.threads, "beside")
    models = {name: _engine(name, settings, pool, metrics) for name in settings.folders}
    lifespan = partial(_lifespan, seconds=_DRAINING_PART * settings.drain_seconds, loads_first=loads_first)
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
async def _lifespan(app: FastAPI, seconds: float, loads_first: bool) -> AsyncIterator[None]:
    service: Service = app.state.service
    async with service.running():
        service.starting.add_done_callback(_started)
        _drain_before_end(service, seconds)
        while loads_first and not (service.starting.done() or service.is_draining):
            await asyncio.sleep(_LOOK_SECONDS)
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
    os._exit(LOADING_FAILED)


def _drain_before_end(service: Service, seconds: float) -> None:
    """Put draining before what uvicorn does on SIGTERM, and take the end of the process above for one."""
    loop = asyncio.get_running_loop()
    end = partial(signal.getsignal(signal.SIGTERM), signal.SIGTERM, None)
    tasks: list[asyncio.Task[None]] = []  # the loop itself does not keep them

    def drain() -> None:
        if not tasks:
            tasks.append(loop.create_task(_drain(service, seconds, end)))

    def orphaned() -> None:
        loop.remove_reader(above.sentinel)
        drain()

    loop.add_signal_handler(signal.SIGTERM, drain)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    above = multiprocessing.parent_process()
    if above:
        loop.add_reader(above.sentinel, orphaned)


async def _drain(service: Service, seconds: float, end: Callable[[], Any]) -> None:
    service.drain()
    until = time.monotonic() + seconds
    while not service.is_idle and time.monotonic() < until:
        await asyncio.sleep(_LOOK_SECONDS)
    end()
